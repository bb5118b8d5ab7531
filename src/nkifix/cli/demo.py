"""``nkifix demo``: the crash, the fix and the proof, in one screen."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nkifix import specimens
from nkifix.cli import console
from nkifix.codemod import AlreadyFixed, Fixed, apply, select, unified_diff
from nkifix.errors import RefusalError

# One BLAS thread: more gain nothing on 128 x 512 tiles. It must be set before numpy is first imported.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

DEFECT = "misspelled-causal-mask"
UPSTREAM_PATH = Path("src/neuronx_distributed_inference/modules/sliding_window/attention.py")


@click.command()
@click.option(
    "--upstream",
    "given",
    type=click.Path(path_type=Path),
    help="The kernel file (attention.py), or a checkout of neuronx-distributed-inference. Default: our specimen.",
)
def command(given: Path | None) -> None:
    """Show the crash of the default call, the two-line fix, and the proof that the fixed file is right.

    Exit code 0 only if everything claimed held; 1 if something did not; 2 if the file cannot be shown.
    """
    file = _kernel_file(given)
    stock = _read(file)
    outcome = apply(stock, select(only=(DEFECT,)))
    if isinstance(outcome, AlreadyFixed):
        console.note(f"{file}: this kernel is already fixed; there is no crash to show.")
        raise SystemExit(console.EXIT_DIFFERS)
    if not isinstance(outcome, Fixed):
        raise RefusalError(
            f"the defect {DEFECT} was not recognised: {outcome.reason}",
            where=f"{file}:{outcome.line}" if outcome.line else str(file),
            next_step="give NxDI's modules/sliding_window/attention.py (tags v0.6.10598 to v0.7.14366)",
        )
    _show(file, given is None, stock, outcome)


def _kernel_file(given: Path | None) -> Path:
    if given is None:
        return specimens.path(DEFECT)
    return given / UPSTREAM_PATH if given.is_dir() else given


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RefusalError(
            f"the kernel file cannot be read: {error.strerror}",
            where=str(file),
            next_step="give an attention.py, or a checkout that holds " + str(UPSTREAM_PATH),
        ) from error


def _show(file: Path, is_specimen: bool, stock: bytes, outcome: Fixed) -> None:
    from nkifix.cli import demo_view
    from nkifix.differential.demonstration import CRASHING, WORKING, demonstrate

    with console.progress("running", total=len(CRASHING) + len(WORKING)) as advance:
        try:
            shown = demonstrate(stock, outcome.data, progress=advance)
        except RefusalError as error:
            error.where = error.where or str(file)
            raise
    diff = unified_diff(stock, outcome.data, os.fsencode(file.name))
    demo_view.render(shown, file=file, is_specimen=is_specimen, diff=diff, lines=outcome.lines)
    if not shown.held:
        raise SystemExit(console.EXIT_DIFFERS)
