"""Faults planted in a right kernel, one at a time: the case set ``quick`` reports each as differing."""

from __future__ import annotations

from pathlib import Path

import pytest

from nkifix.differential.comparison import Compared, Row, case_of, compare
from nkifix.differential.kernels import LoadedKernel, loaded
from nkifix.differential.selection import choose
from nkifix.differential.status import Meaning, Status

SOURCE = (Path(__file__).parents[2] / "vendored_kernel" / "kernel.py").read_text(encoding="utf-8")

CAUSAL_EDGE = "pred=(q0 + band.high + row >= k0 + start + column)"
WINDOW_EDGE = "pred=(k0 + start + column >= q0 + band.low + row)"
SMALL = "core tile 2"
"""Part of the name of a small causal case of several key tiles."""

FAULTS = {
    # masking: text, its fault, and part of the name of a case that is likely to show it
    "causal edge one key early": (CAUSAL_EDGE, CAUSAL_EDGE.replace(">=", ">"), SMALL),
    "causal edge one key late": (CAUSAL_EDGE, CAUSAL_EDGE.replace("row >=", "row + 1 >="), SMALL),
    "causal edge ignores the chunk": (
        CAUSAL_EDGE,
        CAUSAL_EDGE.replace("start + ", ""),
        "default call, 640 queries, 1024 keys",
    ),
    "causal edge not masked": ("if band.cut_above(q0, k0 + start, width):", "if False:", SMALL),
    "window one key short": (WINDOW_EDGE, WINDOW_EDGE.replace(">=", ">"), "window (127, -1)"),
    "window not masked": ("if band.cut_below(q0, rows, k0 + start):", "if False:", "window (127, -1)"),
    "mask too mild for large logits": ("HIDDEN = nl.fp32.min", "HIDDEN = -9984.0", "very negative logits"),
    "masked scores become zero": ("on_false_value=HIDDEN", "on_false_value=0.0", SMALL),
    "keyless rows keep what they have": ("if keyless is not None:", "if False:", "more queries than keys"),
    # scaling
    "no default scale": ("shapes.head_dim**-0.5 if softmax_scale is None", "1.0 if softmax_scale is None", SMALL),
    "scale of zero taken for none": ("if softmax_scale is None else", "if not softmax_scale else", "full, scale 0.0"),
    "queries not scaled": ("dtype=query.dtype), scale)", "dtype=query.dtype), 1.0)", SMALL),
    "negative scale taken for positive": (
        "if softmax_scale is None else softmax_scale",
        "if softmax_scale is None else abs(softmax_scale)",
        "scale -0.5",
    ),
    # softmax state
    "old output does not decay": (
        "nl.multiply(output, nisa.activation(np.exp, previous, bias=minus_peak, scale=-1.0))",
        "nl.copy(output)",
        SMALL,
    ),
    "old sum of weights does not decay": (
        "nisa.activation(np.exp, minus_lse, bias=minus_peak, scale=-1.0)",
        "nisa.activation(np.exp, minus_peak, bias=minus_peak, scale=-1.0)",
        SMALL,
    ),
    "new sum of weights left out": ("np.log, carried, bias=total", "np.log, carried, bias=carried", SMALL),
    "peak not subtracted": (
        "minus_peak, q0, k0, rows, n_keys, band)\n    for block",
        "nl.multiply(minus_peak, 0.0), q0, k0, rows, n_keys, band)\n    for block",
        SMALL,
    ),
    "peak of the last key tile alone": (
        "nl.minimum(previous, minus_highest)",
        "nl.copy(minus_highest)",
        "large queries",
    ),
    "not normalised": (
        "nl.multiply(output, nisa.activation(np.exp, minus_peak, bias=minus_lse, scale=-1.0))",
        "nl.copy(output)",
        SMALL,
    ),
    "every key tile begins anew": ("if k0 <= 0:", "if k0 >= 0:", SMALL),
    # tiling
    "keys behind the last tile dropped": ("    if seq_k % size:\n", "    if False:\n", "full, 200 queries, 729 keys"),
    "queries behind the last tile dropped": (
        "tail = shapes.seq_q % TILE_QUERIES",
        "tail = 0",
        "200 queries, 729 keys",
    ),
    "every query tile is the first": ("start = q0 + i * TILE_QUERIES", "start = q0", SMALL),
    "every block of V is the first": (
        "values[block, nl.ds(0, width), :], transpose_x",
        "values[0, nl.ds(0, width), :], transpose_x",
        SMALL,
    ),
    # layout
    "query heads of another kv head": (
        "first = kv_head * shared",
        "first = (shapes.kv_heads - 1 - kv_head) * shared",
        "4/2 heads",
    ),
    "first kv head for all": ("k_head = k[batch, kv_head]", "k_head = k[batch, 0]", "4/2 heads"),
    "first batch entry for all": ("v_head = v[batch, kv_head]", "v_head = v[0, kv_head]", "2 x 4/2 heads"),
    "transposed V from the tile's start": (
        "nl.load_transpose2d(v_head[:, place]",
        "nl.load_transpose2d(v_head[:, nl.ds(k0, width)]",
        "V transposed",
    ),
    # dtype
    "operands always bfloat16": (
        "dtype = nl.bfloat16 if mixed_precision else q.dtype",
        "dtype = nl.bfloat16",
        "float32, unmixed",
    ),
    "running sum and maximum in bfloat16": (
        "nl.full(column, -HIDDEN, dtype=np.float32",
        "nl.full(column, -HIDDEN, dtype=nl.bfloat16",
        SMALL,
    ),
    "running output in bfloat16": (
        "nl.zeros((n_heads, count, nl.par_dim(TILE_QUERIES), head_dim), dtype=np.float32",
        "nl.zeros((n_heads, count, nl.par_dim(TILE_QUERIES), head_dim), dtype=nl.bfloat16",
        "float32, unmixed",
    ),
    "answer in another dtype": (
        "dtype=q.dtype, buffer=nl.shared_hbm",
        "dtype=nl.bfloat16, buffer=nl.shared_hbm",
        "float32",
    ),
}
"""Fault -> text of the kernel, what is planted in its place, and part of the name of cases to try first."""


def first_failing(intact: LoadedKernel, faulty: LoadedKernel, first: str) -> Compared | None:
    """The first case of ``quick`` that fails, in an order that tries ``first`` first, small ones before large ones."""

    def rank(row: Row) -> tuple[bool, int]:
        case = case_of(row)
        return first not in case.name, case.batch * case.heads * case.seq_q * case.seq_k

    found = (compare(row, intact, faulty) for row in sorted(choose("quick"), key=rank))
    return next((one for one in found if one.status.meaning is Meaning.FAILS), None)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_reported(fault: str) -> None:
    text, planted, first = FAULTS[fault]
    assert text in SOURCE
    with loaded({"intact": SOURCE.encode(), "faulty": SOURCE.replace(text, planted).encode()}) as kernels:
        found = first_failing(kernels["intact"], kernels["faulty"], first)
    assert found is not None
    assert first in found.case.name  # or the test wastes time


def test_kernel_without_a_fault_is_not_reported() -> None:
    rows = choose("quick", only=[SMALL, "window (127, -1)", "no grid"])
    with loaded(
        {"intact": SOURCE.encode(), "same": SOURCE.replace("Flash attention", "Attention").encode()}
    ) as kernels:
        statuses = [compare(row, kernels["intact"], kernels["same"]).status for row in rows]
    assert set(statuses) == {Status.IDENTICAL, Status.REFUSED}
