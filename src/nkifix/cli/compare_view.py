"""How ``nkifix compare`` answers."""

from __future__ import annotations

from nkifix.cli import console
from nkifix.cli.console import Console, Table, Text
from nkifix.differential.conditions import BOUND
from nkifix.differential.report.document import Document
from nkifix.differential.report.words import by_weight, did, number, share

STYLES = {"holds": "green", "fails": "bold red", "open": "yellow"}
_VERDICTS = {0: "green", 1: "bold red", 2: "yellow"}

LEGEND = """\
error: largest distance from a float64 oracle. reference: that of an independent low-precision implementation.
budget: what the comparison's worst query row spends of its own, 2 x (the reference's error + rounding).
ULP: largest distance of both answers in representable values. time: busiest engine, comparison over baseline,
by documented formulas."""


def render(report: Document) -> None:
    """Print the verdict, what differs in the signatures, and a row for each case; those that decide come first."""
    out = console.out()
    out.print(_verdict(report))
    for name in ("baseline", "comparison"):
        kernel = report[name]
        fixes = f", fixed: {', '.join(kernel['fixes'])}" if kernel["fixes"] else ""
        out.print(f"{name + ':':<12}{kernel['name']} ({kernel['sha256'][:12]}{fixes})", markup=False)
    seen = report["environment"]
    out.print(f"on:         {seen['backend']}, {seen['target']}", markup=False)
    _differences(out, report)
    if report["cases"]:
        out.print()
        console.print_table(out, _table(report))
        out.print(LEGEND, markup=False, style="dim")
        _reasons(out, report)


def _verdict(report: Document) -> Text:
    counts = ", ".join(f"{count} {words}" for words, count in report["summary"].items())
    text = Text.assemble((report["verdict"].upper(), _VERDICTS[report["exit_code"]]), f": {counts or 'no case'}")
    for one in report["conditions"]:
        if one["met_by"]:
            text.append(f"\n{one['text']}: {len(one['met_by'])} cases, first {one['met_by'][0]}")
    return text


def _differences(out: Console, report: Document) -> None:
    lines = report["signature_differences"]
    out.print(f"\nSignature and config: {'' if lines else 'the same'}", markup=False)
    for line in lines:
        out.print(f"  {line}", markup=False)


def _table(report: Document) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("case", "outcome", "error", "reference", "budget", "differing", "ULP", "time"):
        table.add_column(heading, justify="left" if heading in ("case", "outcome") else "right", no_wrap=True)
    for case in by_weight(report["cases"]):
        gap = case["differences"]
        table.add_row(
            Text(case["name"]),
            Text(case["words"], style=STYLES[case["meaning"]]),
            number(case["comparison"]["error"], ".1e"),
            number(case["reference_error"], ".1e"),
            number(case["comparison"]["budget_spent"], ".0%"),
            share(gap),
            number(gap and gap["largest_ulp"], "d"),
            number(case["cost_ratio"].get(BOUND), ".2f"),
        )
    return table


def _reasons(out: Console, report: Document) -> None:
    """Why the first cases that do not hold do not, a line each."""
    cases = [case for case in by_weight(report["cases"]) if case["meaning"] != "holds"]
    for case in cases[:_MOST_REASONS]:
        out.print(f"\n{case['name']}: {case['words']}", markup=False)
        if case["reason"]:
            out.print(f"  {case['reason']}", markup=False)
            continue
        for side in ("baseline", "comparison"):
            out.print(f"  {side}: {did(case[side])}", markup=False)
    if len(cases) > _MOST_REASONS:
        out.print(f"\n… and {len(cases) - _MOST_REASONS} more; --json FILE has all.", markup=False)


_MOST_REASONS = 10
