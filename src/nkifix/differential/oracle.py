"""What attention should answer: in float64, and in an independent low-precision reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
) -> tuple[Any, Any, Any]:
    """Textbook attention before it is normalised (b, h, seq_q, d), and the largest score and the sum of the weights
    of each row (b, h, seq_q, 1); ``narrow`` rounds matmul operands. The sum of a row with no key is zero.
    """
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
    return np.matmul(narrow(weights), values), peak, total


def exact(case: Case, q: Array, k: Array, v: Array) -> Float64s:
    """The oracle: attention in float64 on the inputs as given.

    Returns
    -------
    numpy.ndarray
        (batch, heads, seq_q, head_dim) float64; rows of queries that see no key are zero.
    """
    mixed, _, total = _attention(case, q, k, v, np.float64, lambda x: x, lambda x: x * case.scale)
    result: Float64s = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
    return result


@dataclass(frozen=True)
class Reference:
    """What an independent low-precision implementation answers.

    Attributes
    ----------
    output:
        (batch, heads, seq_q, head_dim), of the query's dtype.
    normaliser_band:
        (batch, heads, seq_q): the relative error that half a unit in the last place of the largest score, of the
        logarithm and of the log-sum-exp, all in float32, may cause. Which way those round in a row is luck.
    """

    output: Array
    normaliser_band: Float64s


def reference(case: Case, q: Array, k: Array, v: Array) -> Reference:
    """Textbook attention, untiled, with the roundings that the contract documents.

    Mixed precision rounds q, q * scale, k, v and the weights to bfloat16 and keeps sums in float32;
    otherwise operands are rounded to the input dtype. The sum of the weights is kept as a log-sum-exp in float32,
    and the output normalised by an exponential, whatever the dtype. The output has the query's dtype.
    """
    operand = DTYPES["bfloat16"] if case.mixed_precision else DTYPES[case.dtype]

    def narrow(x: Array) -> Array:
        return x.astype(operand).astype(np.float32)

    def scaled(x: Array) -> Array:
        return narrow(x * np.float32(case.scale))

    mixed, peak, total = _attention(case, q, k, v, np.float32, narrow, scaled)
    logarithm = np.log(total, out=np.zeros_like(total), where=total > 0)
    largest = np.where(total > 0, peak, np.float32(0))
    log_sum_exp = largest + logarithm
    normalised = np.where(total > 0, mixed * np.exp(peak - log_sum_exp), np.float32(0))
    band = sum(np.spacing(np.abs(x))[..., 0].astype(np.float64) for x in (largest, logarithm, log_sum_exp)) / 2
    return Reference(normalised.astype(operand).astype(DTYPES[case.dtype]), band)


def low_precision(case: Case, q: Array, k: Array, v: Array) -> Array:
    """The output of :func:`reference`."""
    return reference(case, q, k, v).output
