"""How ``nkifix demo`` looks: verdict, crash, diff, table, verdict."""

from __future__ import annotations

from pathlib import Path

from nkifix.cli import console
from nkifix.cli.console import Console, Table, Text
from nkifix.differential.budget import Accuracy, is_trivial
from nkifix.differential.demonstration import CRASHING, Demonstration, Row
from nkifix.differential.kernels import Crashed, Result


def render(shown: Demonstration, *, file: Path, is_specimen: bool, diff: bytes, lines: tuple[int, ...]) -> None:
    """Print the whole demonstration on stdout."""
    out = console.out()
    kind = "our own specimen, not NxDI's file" if is_specimen else "the file given"
    out.print(Text.assemble(("Kernel: ", "bold"), f"{kind}\n  {file}"))
    out.print("Where it ran: nkifix's emulator of NKI on this CPU, never a NeuronCore.", markup=False)
    verdict = _verdict(shown, lines)
    out.print(verdict)
    _crashes(out, shown, file)
    out.print(Text("\nThe fix", style="bold"))
    _diff(out, diff)
    out.print(Text("\nCase by case", style="bold"))
    console.print_table(out, _table(shown))
    out.print(LEGEND, markup=False, style="dim")
    for name in shown.left_out:
        out.print(f"Left out: {name}: this file's FlashConfig has no such field.", markup=False)
    for text in shown.warnings:
        out.print(f"The emulator warns: {text}", markup=False)
    out.print()
    out.print(verdict)


LEGEND = """\
stock, fixed: before and after the fix; right: within the budget in every row.
bytes: the stock answer against the fixed one.
error: largest distance of the fixed answer from a float64 oracle.
budget: what the worst query row spends of its own, which is 2 x (error of an
  independent low-precision reference + half a unit in the last place)."""


def _verdict(shown: Demonstration, lines: tuple[int, ...]) -> Text:
    failures = [row for row in shown.rows if row.failed]
    if failures:
        text = Text.assemble((f"DOES NOT HOLD in {len(failures)} of {len(shown.rows)} cases:", "bold red"))
        for row in failures:
            text.append(f"\n  {row.case.name}: " + row.failed.replace("\n", "\n  "))
        return text
    crashed = sum(row.case in CRASHING for row in shown.rows)
    return Text.assemble(
        ("HOLDS:", "bold green"),
        f"\n  {crashed} calls crash before the fix and are right after it"
        f"\n  {len(shown.rows) - crashed} calls that were right give identical bytes after it"
        f"\n  {len(lines)} lines changed: {', '.join(map(str, lines))}",
    )


def _crashes(out: Console, shown: Demonstration, file: Path) -> None:
    """Each way in which the stock kernel crashed, once, under the calls that crash so."""
    calls: dict[str, list[Row]] = {}
    for row in shown.rows:
        if row.case in CRASHING and isinstance(row.stock, Crashed):
            place = file.name if row.stock.line is None else f"{file.name}:{row.stock.line}"
            calls.setdefault(f"{place}: {row.stock.in_words()}", []).append(row)
    if calls:
        out.print(Text("\nThe crash, in the interpreter's words", style="bold"))
    for words, rows in calls.items():
        for row in rows:
            q, k, _ = row.case.shapes
            out.print(f"  {row.case.name}: q {q}, k {k}", markup=False)
            out.print(f"    flash_fwd{list(row.case.grid)}(q, k, v{_arguments(row)})", markup=False)
        out.print(words, markup=False, style="red")


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
        accuracy = row.fixed_accuracy
        table.add_row(
            row.case.name,
            _outcome(row.stock, row.stock_accuracy),
            _outcome(row.fixed, row.fixed_accuracy),
            _sameness(row),
            "-" if accuracy is None else f"{accuracy.error:.1e}",
            "-" if accuracy is None else f"{accuracy.spent:.0%}",
            Text("FAILS", style="bold red") if row.failed else Text("holds", style="green"),
        )
    return table


def _outcome(result: Result, accuracy: Accuracy | None) -> Text:
    if isinstance(result, Crashed):
        return Text("crashes", style="red")
    if is_trivial(result.output):
        return Text("constant", style="red")
    return Text("right", style="green") if accuracy is not None and accuracy.right else Text("wrong", style="red")


def _sameness(row: Row) -> str:
    if row.stock_to_fixed is None:
        return "-"
    return "identical" if row.identical else "differ"
