"""How far an answer may be from the oracle: a number that comes from the data, never from a hand.

budget = 2 x (largest error of an independent low-precision reference + rounding band), where the rounding
band is half a unit in the last place of the output's precision at the oracle's largest magnitude.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from nkifix.differential.cases import DTYPES, Array, Case
from nkifix.differential.oracle import Float64s, low_precision


def largest_error(answer: Array, truth: Float64s) -> float:
    """Largest absolute difference; infinite where the answer has a NaN or Inf, or another shape."""
    wide = answer.astype(np.float64)
    if wide.shape != truth.shape or not np.isfinite(wide).all():
        return float("inf")
    return float(np.max(np.abs(wide - truth), initial=0.0))


def rounding_band(case: Case, truth: Float64s) -> float:
    """Half a unit in the last place at the largest magnitude of ``truth``."""
    dtype = DTYPES["bfloat16"] if case.mixed_precision else DTYPES[case.dtype]
    return float(ml_dtypes.finfo(dtype).eps) / 2 * float(np.max(np.abs(truth), initial=0.0))


def budget(case: Case, q: Array, k: Array, v: Array, truth: Float64s) -> float:
    """The tolerance of ``case`` (see the module docstring)."""
    reference_error = largest_error(low_precision(case, q, k, v), truth)
    return 2 * (reference_error + rounding_band(case, truth))


def is_trivial(answer: Array) -> bool:
    """Whether an answer is constant: a kernel of zeros must never pass, however loose the budget."""
    return bool(answer.size == 0 or np.all(answer == answer.flat[0]))
