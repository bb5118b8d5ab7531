"""``nkifix schedule``: the mask of a case as a kernel executes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nkifix import atomic
from nkifix.cli import console
from nkifix.cli.profile import CASE_HELP
from nkifix.errors import RefusalError

if TYPE_CHECKING:
    from nkifix.emulator import Target

_EPILOG = """\
KERNEL is named as for `nkifix profile`. What is drawn was observed: tiles are followed from the loads of q and k to
the matmuls that make scores and to the selects that mask them, on the emulator and without arithmetic.
"""


@click.command(epilog=_EPILOG)
@click.argument("kernel", metavar="KERNEL")
@click.option("--case", "case_text", default="seq=4096,d=128", show_default=True, metavar="CASE", help=CASE_HELP)
@click.option("--target", type=click.Choice(["trn1", "trn2"]), default="trn1", show_default=True, help="Chip.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@click.option("--png", "png_file", type=click.Path(path_type=Path, dir_okay=False), help="Write an image.")
def command(kernel: str, case_text: str, target: Target, html_file: Path | None, png_file: Path | None) -> None:
    """Draw which 128 x 512 tiles of the score matrix KERNEL skips, cuts and computes in full."""
    from nkifix.differential.named_cases import read_case
    from nkifix.differential.references import resolve
    from nkifix.profiling import picture
    from nkifix.profiling.mask import Kind, MaskTracker
    from nkifix.profiling.measure import measure

    case, reference = read_case(case_text), resolve(kernel)
    tracker = MaskTracker(case.seq_q, case.seq_k)
    measure(reference, case, target, compute=False, consumers=(tracker,))
    seen = tracker.picture
    if seen.count(Kind.SKIPPED) == seen.kinds.size:
        raise RefusalError(
            f"no matmul of q and k was seen in {reference.name}",
            where=reference.file,
            why="tiles are followed from loads of the parameters q and k, laid out (batch, heads, d, sequence)",
            next_step="give a kernel with flash_fwd's parameters",
        )
    console.write_data(picture.text(seen))
    console.note(picture.legend(seen))
    facts = f"{reference.name} on {target}, case {case.name}, as executed on the emulator (first head)."
    if html_file:
        atomic.put(html_file, picture.page(seen, "Mask as executed", facts).encode())
        console.note(f"written: {html_file}")
    if png_file:
        atomic.put(png_file, picture.png(seen))
        console.note(f"written: {png_file}")
