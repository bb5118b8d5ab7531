"""How far an answer may be from the oracle: numbers that come from the data, never from a hand.

Every query row has a budget of its own, for rows differ a hundredfold: a query that sees one key answers with
a value of V, one that sees thousands with their mean, near zero. One number for all rows would be set by the
first kind and let a wrong mask pass in the second.

budget = 2 x (largest error of an independent low-precision reference in that row + rounding band), where the
rounding band is half a unit in the last place of the output's precision at the row's largest magnitude, and what
the roundings of the row's largest score and of its normaliser may add: which way they go is luck, and the reference
may have had more of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nkifix.differential.cases import Array, Case, DtypeName
from nkifix.differential.oracle import Float64s, Reference, reference

MANTISSA_BITS: dict[DtypeName, int] = {"bfloat16": 7, "float16": 10, "float32": 23}


@dataclass(frozen=True)
class Accuracy:
    """How one answer compares with the oracle.

    Attributes
    ----------
    error:
        Largest absolute difference.
    spent:
        Share of its budget that the worst row takes: up to 1.0 the answer is right.
    """

    error: float
    spent: float

    @property
    def right(self) -> bool:
        """Whether every row is within its budget."""
        return self.spent <= 1.0


def row_errors(answer: Array, truth: Float64s) -> Float64s:
    """Largest absolute difference in each query row (b, h, seq_q).

    A row with a NaN or Inf is infinitely wrong, and so is every row of an answer that has another shape.
    """
    if answer.shape != truth.shape:
        return np.full(truth.shape[:-1], np.inf)
    wide = answer.astype(np.float64)
    differences = np.abs(np.where(np.isfinite(wide), wide, np.inf) - truth)
    largest: Float64s = np.max(differences, axis=-1, initial=0.0)
    return largest


def largest_error(answer: Array, truth: Float64s) -> float:
    """Largest absolute difference; infinite where the answer has a NaN or Inf, or another shape."""
    return float(np.max(row_errors(answer, truth), initial=0.0))


def rounding_band(case: Case, truth: Float64s) -> Float64s:
    """Half a unit in the last place at the largest magnitude of each row of ``truth``."""
    precision: DtypeName = "bfloat16" if case.mixed_precision else case.dtype
    band: Float64s = 0.5 ** MANTISSA_BITS[precision] / 2 * np.max(np.abs(truth), axis=-1, initial=0.0)
    return band


def normaliser_band(answer: Reference, truth: Float64s) -> Float64s:
    """What the roundings of the normaliser may change at the largest magnitude of each row of ``truth``."""
    band: Float64s = answer.normaliser_band * np.max(np.abs(truth), axis=-1, initial=0.0)
    return band


def budget(case: Case, q: Array, k: Array, v: Array, truth: Float64s) -> Float64s:
    """The tolerance of each query row (b, h, seq_q) of ``case`` (see the module docstring)."""
    answer = reference(case, q, k, v)
    band = rounding_band(case, truth) + normaliser_band(answer, truth)
    return 2 * (row_errors(answer.output, truth) + band)


def accuracy(answer: Array, truth: Float64s, allowed: Float64s) -> Accuracy:
    """Hold ``answer`` against the oracle and the budget of each row."""
    errors = row_errors(answer, truth)
    # A row with no budget (a query that sees no key) must be met exactly.
    shares = np.divide(errors, allowed, out=np.where(errors > 0, np.inf, 0.0), where=allowed > 0)
    return Accuracy(float(np.max(errors, initial=0.0)), float(np.max(shares, initial=0.0)))


def is_trivial(answer: Array) -> bool:
    """Whether an answer is constant: a kernel of zeros must never pass, however loose the budget."""
    return bool(answer.size == 0 or np.all(answer == answer.flat[0]))
