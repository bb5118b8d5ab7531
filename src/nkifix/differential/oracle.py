"""What attention should answer: in float64, and in an independent low-precision reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nkifix.differential.cases import DTYPES, Array, Case

Float64s = npt.NDArray[np.float64]


def _attention(
    case: Case,
    q: Array,
    k: Array,
    v: Array,
    work: type[np.float32] | type[np.float64],
    narrow: Callable[[Array], Array],
    scaled: Callable[[Array], Array],
) -> Any:
    """Textbook attention (b, h, seq_q, d); ``narrow`` rounds matmul operands. A row with no key is zero."""
    shared = case.heads // case.kv_heads
    values = np.swapaxes(v, 2, 3) if case.config.get("should_transpose_v", False) else v
    queries = scaled(narrow(q.astype(work)))
    keys = np.repeat(narrow(k.astype(work)), shared, axis=1)
    values = np.repeat(narrow(values.astype(work)), shared, axis=1)
    visible = case.visible()
    scores = np.where(visible, np.matmul(np.swapaxes(queries, 2, 3), keys), -np.inf)
    peak = np.max(scores, axis=-1, keepdims=True, initial=np.finfo(work).min)
    weights = np.where(visible, np.exp(scores - peak), 0.0).astype(work)
    total = np.sum(weights, axis=-1, keepdims=True)
    mixed = np.matmul(narrow(weights), values)
    return np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)


def exact(case: Case, q: Array, k: Array, v: Array) -> Float64s:
    """The oracle: attention in float64 on the inputs as given.

    Returns
    -------
    numpy.ndarray
        (batch, heads, seq_q, head_dim) float64; rows of queries that see no key are zero.
    """
    result: Float64s = _attention(case, q, k, v, np.float64, lambda x: x, lambda x: x * case.scale)
    return result


def low_precision(case: Case, q: Array, k: Array, v: Array) -> Array:
    """The reference: textbook attention, untiled, with the roundings that the contract documents.

    Mixed precision rounds q, q * scale, k, v and the weights to bfloat16 and keeps sums in float32;
    otherwise operands are rounded to the input dtype. The output has the query's dtype.
    """
    operand = DTYPES["bfloat16"] if case.mixed_precision else DTYPES[case.dtype]

    def narrow(x: Array) -> Array:
        return x.astype(operand).astype(np.float32)

    def scaled(x: Array) -> Array:
        return narrow(x * np.float32(case.scale))

    result = _attention(case, q, k, v, np.float32, narrow, scaled)
    rounded: Array = result.astype(operand).astype(DTYPES[case.dtype])
    return rounded
