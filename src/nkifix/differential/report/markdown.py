"""A comparison as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nkifix.differential.conditions import BOUND
from nkifix.differential.report.document import Document, failing
from nkifix.differential.report.words import did

MOST_ROWS = 20
"""Failing cases that are listed at most."""


def markdown(report: Document) -> str:
    """Verdict, counts, what differs in the signatures, and the cases that fail."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Document) -> Iterator[str]:
    baseline, comparison, seen = report["baseline"], report["comparison"], report["environment"]
    yield f"### {_code(comparison['name'])} **{report['verdict']}** {_code(baseline['name'])}"
    yield ""
    if not report["complete"]:
        yield "The run was broken off: the counts are of the cases it reached."
        yield ""
    yield "| outcome | cases |"
    yield "|---|---:|"
    for words, count in report["summary"].items():
        yield f"| {words} | {count} |"
    yield ""
    for line in report["signature_differences"]:
        yield f"- {_text(line)}"
    for one in report["conditions"]:
        if one["met_by"]:
            yield f"- {_code(one['text'])} is met by {len(one['met_by'])} cases, the first {_text(one['met_by'][0])}"
    yield from _failing(failing(report["cases"]))
    yield from _slowest(report["cases"])
    yield ""
    yield (
        f"<sub>nkifix {seen['nkifix']}, {seen['backend']}, {seen['target']}; SHA-256 {baseline['sha256'][:12]} and "
        f"{comparison['sha256'][:12]}. Times by documented formulas, measured on no device.</sub>"
    )


def _failing(cases: list[dict[str, Any]]) -> Iterator[str]:
    if not cases:
        return
    yield ""
    yield "| failing case | outcome | baseline | comparison |"
    yield "|---|---|---|---|"
    for case in cases[:MOST_ROWS]:
        sides = " | ".join(_text(did(case[side])) for side in ("baseline", "comparison"))
        yield f"| {_text(case['name'])} | {case['words']} | {sides} |"
    if len(cases) > MOST_ROWS:
        yield ""
        yield f"… and {len(cases) - MOST_ROWS} more failing cases."


def _slowest(cases: list[dict[str, Any]]) -> Iterator[str]:
    """How the busiest engine's time compares, where both answer."""
    ratios = sorted((case["cost_ratio"][BOUND], case["name"]) for case in cases if BOUND in case["cost_ratio"])
    if ratios:
        yield ""
        (least, _), (middle, _), (most, name) = ratios[0], ratios[len(ratios) // 2], ratios[-1]
        yield (
            f"Time of the busiest engine, comparison over baseline, in {len(ratios)} cases: median {middle:.2f}, "
            f"least {least:.2f}, most {most:.2f} ({_text(name)})."
        )


def _code(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{' '.join(text.split())}{fence}"


def _text(text: str) -> str:
    """Text that is no markup in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))
