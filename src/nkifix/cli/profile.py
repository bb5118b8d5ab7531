"""``nkifix profile``: what a kernel costs on a case, by documented formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nkifix import atomic
from nkifix.cli import console

if TYPE_CHECKING:
    from nkifix.emulator import Target
    from nkifix.profiling.measure import Measurement

EPILOG = """\
KERNEL is `vendored`, PATH/attention.py[:function] (or a checkout), or git:REPO@REV[:path]; each may end in +fix (the
misspelled name), +fix:full (every fix) or +fix:id,id.

Cycles and bytes rest on AWS's documented formulas. The latency is an estimate on top of them. Nothing is measured on
a device.
"""
CASE_HELP = (
    "A case of the matrix by its name, or settings: seq (or seq_q, seq_k), batch, heads, kv_heads, d, window, causal, "
    "dtype, scale, mixed, tile, core, transposed_v, windowed_context."
)


@click.command(epilog=EPILOG)
@click.argument("kernel", metavar="KERNEL")
@click.option("--case", "case_text", default="seq=4096,d=128", show_default=True, metavar="CASE", help=CASE_HELP)
@click.option("--target", type=click.Choice(["trn1", "trn2"]), default="trn1", show_default=True, help="Chip.")
@click.option("--against", metavar="KERNEL", help="Put a second kernel beside it, with ratios.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write everything as JSON.")
@click.option(
    "--trace", "trace_file", type=click.Path(path_type=Path, dir_okay=False), help="Write Chrome trace events."
)
@click.option("--no-compute", is_flag=True, help="Leave the arithmetic out: the same costs, much faster.")
@click.option("--assumptions", is_flag=True, help="Print what the estimated latency assumes.")
def command(
    kernel: str,
    case_text: str,
    target: Target,
    against: str | None,
    json_file: Path | None,
    trace_file: Path | None,
    no_compute: bool,
    assumptions: bool,
) -> None:
    """Estimate what KERNEL costs: cycles per engine and line, DMA, memory, bounds, latency."""
    from nkifix.cli import profile_view
    from nkifix.differential.named_cases import read_case
    from nkifix.differential.references import resolve
    from nkifix.emulator.cost.schedule import ASSUMPTIONS
    from nkifix.profiling.measure import measure

    case = read_case(case_text)
    references = [resolve(name) for name in (kernel, *((against,) if against else ()))]
    compute, spans = not no_compute, trace_file is not None
    measured: list[Measurement] = []
    with console.progress("running", total=len(references)) as advance:
        for number, reference in enumerate(references):
            advance(reference.name)
            measured.append(measure(reference, case, target, compute=compute, spans=spans and number == 0))
    if json_file:
        from nkifix.profiling.document import document

        _write(json_file, json.dumps(document(*measured), indent=2) + "\n")
    if trace_file:
        from nkifix.emulator.cost.trace import trace_events

        _write(trace_file, json.dumps(trace_events(measured[0].schedule, measured[0].files)) + "\n")
    profile_view.render(*measured)
    if assumptions:
        profile_view.render_assumptions(ASSUMPTIONS)


def _write(path: Path, text: str) -> None:
    atomic.put(path, text.encode())
    console.note(f"written: {path}")
