"""How ``nkifix profile`` answers."""

from __future__ import annotations

from collections.abc import Sequence

from nkifix.cli import console
from nkifix.emulator.engines import Engine
from nkifix.emulator.hardware import TARGETS
from nkifix.profiling.document import in_report, quantities
from nkifix.profiling.measure import LineUse, Measurement

COSTLIEST = 10
_TEXT_WIDTH = 72


def render(measured: Measurement, against: Measurement | None = None) -> None:
    """Print one measurement, or two side by side."""
    _render_one(measured)
    if against is not None:
        console.out().print()
        _render_one(against)
        console.out().print()
        _render_ratios(measured, against)


def render_assumptions(assumptions: Sequence[str]) -> None:
    """Print what the latency estimate assumes."""
    out = console.out()
    out.print("\nThe estimated latency assumes:", markup=False)
    for assumption in assumptions:
        out.print(f"  - {assumption}", markup=False)


def _render_one(measured: Measurement) -> None:
    out = console.out()
    latency, profile = measured.schedule.latency_seconds, measured.profile
    over_busiest, over_roofline = _over(latency, profile.bound_seconds), _over(latency, profile.roofline_seconds)
    out.print(
        f"{measured.reference.name} on {measured.target}, case {measured.case.name}: estimated {_us(latency)}, "
        f"{over_busiest} its busiest engine's time and {over_roofline} the roofline",
        style="bold",
        markup=False,
    )
    how = "emulated" if measured.computed else "priced without its arithmetic"
    out.print(f"Estimated from documented formulas ({how}); measured on no device.\n", markup=False)
    _render_engines(measured)
    _render_lines(measured.lines[:COSTLIEST])
    _render_memory(measured)
    if profile.uncosted:
        listed = ", ".join(f"{kind} ({count} times)" for kind, count in sorted(profile.uncosted.items()))
        out.print(f"Not costed, for lack of a documented formula: {listed}", markup=False)


def _render_engines(measured: Measurement) -> None:
    table = console.Table("engine", box=None, pad_edge=False)
    for name in ("instructions", "cycles", "busy us", "of estimated latency"):
        table.add_column(name, justify="right")
    for row in measured.engines:
        cycles = "" if row.cycles is None else f"{row.cycles:,.0f}"
        table.add_row(
            row.engine.value, f"{row.executed:,}", cycles, f"{row.busy_seconds * 1e6:,.1f}", f"{row.share:.1%}"
        )
    console.print_table(console.out(), table)
    profile = measured.profile
    tensor = profile.engine_seconds[Engine.TENSOR]
    console.out().print(
        f"Bounds: Tensor {_us(tensor)}, DMA {_us(profile.dma_seconds)}; roofline {_us(profile.roofline_seconds)}, "
        f"busiest engine {_us(profile.bound_seconds)}\n",
        markup=False,
    )


def _render_lines(rows: Sequence[LineUse]) -> None:
    table = console.Table("costliest lines", "engine", box=None, pad_edge=False)
    table.add_column("busy us", justify="right")
    table.add_column("source")
    for row in rows:
        text = row.text if len(row.text) <= _TEXT_WIDTH else row.text[: _TEXT_WIDTH - 1] + "…"
        engine = "" if row.engine is None else row.engine.value
        place = console.Text(f"{row.file}:{row.line}")
        table.add_row(place, engine, f"{row.busy_seconds * 1e6:,.1f}", console.Text(text))
    console.print_table(console.out(), table)
    console.out().print()


def _render_memory(measured: Measurement) -> None:
    profile, held, limits = measured.profile, measured.footprint, TARGETS[measured.target]
    table = console.Table("DMA bytes per descriptor", "class", box=None, pad_edge=False)
    table.add_column("transfers", justify="right")
    table.add_column("bytes", justify="right")
    for row in profile.transfers:
        table.add_row(f"{row.run_bytes:,}", row.payload, f"{row.transfers:,}", f"{row.total_bytes:,}")
    out = console.out()
    console.print_table(out, table)
    out.print(
        f"DMA: {profile.loaded_bytes:,} bytes in, {profile.stored_bytes:,} bytes out\n"
        f"Memory per partition, at most: SBUF {held.peak_sbuf_bytes_per_partition:,} of "
        f"{limits.sbuf_usable_bytes:,} bytes, PSUM {held.peak_psum_bytes_per_partition:,} bytes "
        "(what is not reused yet; the compiler may spill or share)",
        markup=False,
    )
    timeline = held.timeline
    if timeline:
        out.print(f"SBUF over time: {sparkline([sample.sbuf_bytes for sample in timeline])}", markup=False)
    if held.spill is not None:
        out.print(f"SBUF is exceeded first at {in_report(held.spill, dict(measured.files))}", markup=False)


def _render_ratios(measured: Measurement, against: Measurement) -> None:
    table = console.Table("", box=None, pad_edge=False)
    for name in (measured.reference.name, against.reference.name, "ratio"):
        table.add_column(console.Text(name), justify="right")
    for name, mine, other in quantities(measured, against):
        ratio = f"{mine / other:.3f}" if other else ""
        table.add_row(name, f"{mine:,.0f}", f"{other:,.0f}", ratio)
    console.print_table(console.out(), table)


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[int], width: int = 60) -> str:
    """Numbers as a row of at most ``width`` blocks, each the largest of its stretch."""
    width = min(width, len(values))
    top = max(values) or 1
    stretches = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    return "".join(BLOCKS[max(stretch) * (len(BLOCKS) - 1) // top] for stretch in stretches)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} us"


def _over(seconds: float, bound: float) -> str:
    return f"{seconds / bound:.2f} x" if bound else "no multiple of"
