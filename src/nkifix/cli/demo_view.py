"""How ``nkifix demo`` looks: verdict, crash, diff, table, verdict."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nkifix.cli import console
from nkifix.differential.demonstration import CRASHING, Demonstration, Row
from nkifix.differential.kernels import Crashed


def render(shown: Demonstration, *, file: Path, is_specimen: bool, diff: bytes, lines: tuple[int, ...]) -> None:
    """Print the whole demonstration on stdout."""
    out = console.out()
    kind = "our own specimen kernel, not NxDI's file" if is_specimen else "the file given"
    out.print(Text.assemble(("Kernel: ", "bold"), f"{file} ({kind})"))
    out.print("Where it ran: nkifix's emulator of NKI on this CPU, never a NeuronCore.", markup=False)
    verdict = _verdict(shown, lines)
    out.print(verdict)
    _crash(out, shown, file)
    out.print(Text("\nThe fix", style="bold"))
    _diff(out, diff)
    out.print(Text("\nCase by case", style="bold"))
    out.print(_table(shown))
    out.print(
        "bytes: stock answer against fixed answer; error: the fixed kernel's largest distance from a float64 oracle;\n"
        "budget: 2 x (error of an independent low-precision reference + half a unit in the last place).",
        markup=False,
        style="dim",
    )
    for name in shown.left_out:
        out.print(f"Left out: {name}: this file's FlashConfig has no such field.", markup=False)
    out.print(verdict)


def _verdict(shown: Demonstration, lines: tuple[int, ...]) -> Text:
    failures = [row for row in shown.rows if row.failed]
    if failures:
        text = Text(f"DOES NOT HOLD: {len(failures)} of {len(shown.rows)} cases", style="bold red")
        for row in failures:
            text.append(f"\n  {row.case.name}: {row.failed}", style="not bold")
        return text
    crashed = sum(row.case in CRASHING for row in shown.rows)
    return Text(
        f"HOLDS: {crashed} calls crash before the fix and are right after it; {len(shown.rows) - crashed} calls "
        f"that were right give identical bytes; {len(lines)} lines changed ({', '.join(map(str, lines))})",
        style="bold green",
    )


def _crash(out: Console, shown: Demonstration, file: Path) -> None:
    out.print(Text("\nThe crash, in the interpreter's words", style="bold"))
    for row in shown.rows:
        if row.case in CRASHING and isinstance(row.stock, Crashed):
            out.print(f"  {row.case.name}: flash_fwd{list(row.case.grid)}(q, k, v{_arguments(row)})", markup=False)
            out.print(f"    {file.name}:{row.stock.line}: {row.stock.in_words()}", markup=False, style="red")


def _arguments(row: Row) -> str:
    given = row.case.keywords(dict)
    return "".join(f", {name}={value}" for name, value in given.items())


def _diff(out: Console, diff: bytes) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.decode("utf-8", errors="replace").splitlines():
        out.print(line, style=styles.get(line[:1], ""), markup=False)


def _table(shown: Demonstration) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("case", "stock", "fixed", "bytes", "error", "budget", "claim"):
        table.add_column(heading, justify="right" if heading in ("error", "budget") else "left", no_wrap=True)
    for row in shown.rows:
        table.add_row(
            row.case.name,
            _outcome(row.stock, row.stock_error, row.tolerance),
            _outcome(row.fixed, row.fixed_error, row.tolerance),
            _sameness(row),
            "-" if row.fixed_error is None else f"{row.fixed_error:.1e}",
            f"{row.tolerance:.1e}",
            Text("FAILS", style="bold red") if row.failed else Text("holds", style="green"),
        )
    return table


def _outcome(result: object, error: float | None, tolerance: float) -> Text:
    if isinstance(result, Crashed):
        return Text("crashes", style="red")
    right = error is not None and error <= tolerance
    return Text("right", style="green") if right else Text("wrong", style="red")


def _sameness(row: Row) -> str:
    if row.stock_to_fixed is None:
        return "-"
    return "identical" if row.identical else f"differ by {row.stock_to_fixed:.1e}"
