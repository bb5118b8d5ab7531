"""A comparison as one JSON-ready document; ``schema/comparison-1.json`` describes it."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

import nkifix
from nkifix.differential.cases import Array
from nkifix.differential.comparison import Compared, Side
from nkifix.differential.conditions import BOUND, Condition
from nkifix.differential.differences import Differences
from nkifix.differential.kernels import Crashed
from nkifix.differential.matrix import Refused
from nkifix.differential.oracle import Float64s
from nkifix.differential.references import Reference
from nkifix.differential.status import Meaning, Status, Verdict, verdict
from nkifix.emulator import Params

SCHEMA = "nkifix-comparison-1"
MAP_ROWS, MAP_COLUMNS = 64, 64
"""Cells of an error map at most; each shows the largest error in it."""

RowDocument = dict[str, Any]
"""One case of a comparison."""


class Document(TypedDict):
    """A whole comparison."""

    schema: str
    verdict: str
    exit_code: int
    complete: bool
    baseline: dict[str, Any]
    comparison: dict[str, Any]
    signature_differences: list[str]
    conditions: list[dict[str, Any]]
    environment: dict[str, Any]
    summary: dict[str, int]
    cases: list[RowDocument]


def document(
    baseline: Reference,
    comparison: Reference,
    params: Params,
    cases: Sequence[RowDocument],
    *,
    backend: str = "emulator",
    complete: bool = True,
    signature_differences: Sequence[str] = (),
    conditions: Sequence[Condition] = (),
) -> Document:
    """Put the results of all cases together, with the verdict first."""
    statuses = [Status[case["status"]] for case in cases]
    met = [{"text": one.text, "met_by": [case["name"] for case in cases if one.met_by(case)]} for one in conditions]
    decided = verdict(statuses, complete=complete)
    if decided is Verdict.MAY_REPLACE and any(one["met_by"] for one in met):
        decided = Verdict.DIFFERS
    counts = Counter(status.words for status in statuses)
    return {
        "schema": SCHEMA,
        "verdict": decided.words,
        "exit_code": decided.value,
        "complete": complete,
        "baseline": _kernel(baseline),
        "comparison": _kernel(comparison),
        "signature_differences": list(signature_differences),
        "conditions": met,
        "environment": {
            "backend": backend,
            "target": params.target,
            "nkifix": nkifix.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
        "summary": {status.words: counts[status.words] for status in Status if counts[status.words]},
        "cases": list(cases),
    }


def _kernel(reference: Reference) -> dict[str, Any]:
    return {
        "name": reference.name,
        "file": reference.file,
        "function": reference.function,
        "fixes": list(reference.fixes),
        "sha256": reference.digest,
    }


def row_document(compared: Compared, *, key: str) -> RowDocument:
    """One case as data."""
    case = compared.case
    return {
        "key": key,
        "name": case.name,
        "settings": {name: value for name, value in asdict(case).items() if name != "name"},
        "expected_refusal": compared.row.text if isinstance(compared.row, Refused) else None,
        "status": compared.status.name,
        "words": compared.status.words,
        "meaning": compared.status.meaning.value,
        "reason": compared.reason,
        "seconds": round(compared.seconds, 3),
        "differences": _differences(compared.differences),
        "reference_error": _number(compared.reference_error),
        "baseline": _side(compared.baseline, compared),
        "comparison": _side(compared.comparison, compared),
        "cost_ratio": _ratios(compared.baseline, compared.comparison),
    }


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity: it becomes the word."""
    return value if value is None or math.isfinite(value) else "infinite"


def _differences(gap: Differences | None) -> dict[str, Any] | None:
    if gap is None:
        return None
    return {
        "count": gap.count,
        "total": gap.total,
        "largest_absolute": _number(gap.largest_absolute),
        "largest_relative": _number(gap.largest_relative),
        "largest_ulp": gap.largest_ulp,
        "first": None if gap.first is None else list(gap.first),
    }


def _side(side: Side, compared: Compared) -> dict[str, Any]:
    crash = side.result if isinstance(side.result, Crashed) else None
    return {
        "crash": None if crash is None else {"words": crash.in_words(), "line": crash.line},
        "right": side.right,
        "fault": side.fault,
        "error": None if side.accuracy is None else _number(side.accuracy.error),
        "budget_spent": None if side.accuracy is None else _number(side.accuracy.spent),
        "poisoned_rows": side.poisoned_rows,
        "cost": _cost(side),
        "latency_us": _latency(side),
        "tiles": None if side.tiles is None else ["".join(map(str, row)) for row in side.tiles.tolist()],
        "error_map": _error_map(side.answer, compared.truth),
    }


def _cost(side: Side) -> dict[str, Any] | None:
    """Of a kernel that ran to its end."""
    if side.cost is None or side.crashed:
        return None
    busy = {name: seconds * 1e6 for name, seconds in side.cost.busy_seconds.items()}
    return {
        "cycles": dict(side.cost.cycles),
        "busy_us": busy,
        "bound_us": side.cost.bound_seconds * 1e6,
        "dma_bytes": side.cost.dma_bytes,
    }


def _latency(side: Side) -> dict[str, float] | None:
    if side.latency is None:
        return None
    return {f"p{percent}": side.latency.percentile(percent) for percent in (50, 90, 99)}


def _ratios(baseline: Side, comparison: Side) -> dict[str, float]:
    """Comparison over baseline: busy times of all engines, of DMA, and of the busiest; nothing where one crashed."""
    if baseline.cost is None or comparison.cost is None or baseline.crashed or comparison.crashed:
        return {}
    pairs = {BOUND: (comparison.cost.bound_seconds, baseline.cost.bound_seconds)}
    for name, seconds in baseline.cost.busy_seconds.items():
        pairs[name] = (comparison.cost.busy_seconds.get(name, 0.0), seconds)
    return {name: round(ours / theirs, 6) for name, (ours, theirs) in pairs.items() if theirs}


def _error_map(answer: Array | None, truth: Float64s | None) -> dict[str, Any] | None:
    """Largest error by (query, head_dim) over batch and heads, in at most 64 x 64 cells.

    A cell is a digit: 0 for none, 1 to 9 for ninths of the largest, ``x`` for an error without bounds.
    """
    if answer is None or truth is None or answer.shape != truth.shape:
        return None
    with np.errstate(all="ignore"):
        gap = np.abs(answer.astype(np.float64) - truth)
    gap[~np.isfinite(gap)] = np.inf
    flat = gap.max(axis=(0, 1))
    bands = np.array_split(flat, min(MAP_ROWS, flat.shape[0]), axis=0)
    columns = min(MAP_COLUMNS, flat.shape[1])
    cells = np.array([[cell.max() for cell in np.array_split(band, columns, axis=1)] for band in bands])
    largest = float(np.max(cells, initial=0.0, where=np.isfinite(cells)))
    return {"largest": largest, "rows": ["".join(_level(cell, largest) for cell in row) for row in cells.tolist()]}


def _level(error: float, largest: float) -> str:
    if not math.isfinite(error):
        return "x"
    return str(math.ceil(9 * error / largest)) if error else "0"


def failing(cases: Sequence[RowDocument]) -> list[RowDocument]:
    """The cases that decide against the comparison."""
    return [case for case in cases if case["meaning"] == Meaning.FAILS.value]
