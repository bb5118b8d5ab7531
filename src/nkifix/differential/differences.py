"""How two answers differ, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nkifix.differential.cases import Array


@dataclass(frozen=True)
class Differences:
    """Of two arrays of one shape.

    Attributes
    ----------
    count, total:
        Elements whose bytes differ, and all.
    largest_absolute, largest_relative:
        Largest absolute difference, and relative to the baseline's magnitude; infinite where only one is finite.
    largest_ulp:
        Largest distance in representable values of the baseline's dtype; None where the dtypes differ.
    first:
        Index of the first difference in row-major order; None where there is none.
    """

    count: int
    total: int
    largest_absolute: float
    largest_relative: float
    largest_ulp: int | None
    first: tuple[int, ...] | None

    @property
    def identical(self) -> bool:
        """Whether both hold the same bytes."""
        return self.count == 0


def differences(baseline: Array, comparison: Array) -> Differences | None:
    """Compare two answers; None where their shapes differ."""
    if baseline.shape != comparison.shape:
        return None
    same_dtype = baseline.dtype == comparison.dtype
    unequal = _unequal(baseline, comparison) if same_dtype else np.ones(baseline.shape, dtype=bool)
    a, b = baseline.astype(np.float64), comparison.astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(a - b)
        gap[~np.isfinite(gap)] = np.inf
        gap[~unequal | (a == b)] = 0.0
        relative = np.where(gap > 0, gap / np.abs(a), 0.0)
    places = np.argwhere(unequal)
    return Differences(
        count=len(places),
        total=baseline.size,
        largest_absolute=float(gap.max(initial=0.0)),
        largest_relative=float(relative.max(initial=0.0)),
        largest_ulp=int(np.abs(_ordered(baseline) - _ordered(comparison)).max(initial=0)) if same_dtype else None,
        first=tuple(int(i) for i in places[0]) if len(places) else None,
    )


def _bits(values: Array) -> npt.NDArray[np.int64]:
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    whole: npt.NDArray[np.int64] = np.ascontiguousarray(values).view(unsigned).astype(np.int64)
    return whole.reshape(values.shape)


def _unequal(a: Array, b: Array) -> npt.NDArray[np.bool_]:
    different: npt.NDArray[np.bool_] = _bits(a) != _bits(b)
    return different


def _ordered(values: Array) -> npt.NDArray[np.int64]:
    """Floats as integers in their order: neighbours differ by one, and both zeros are 0."""
    bits, sign = _bits(values), 1 << (8 * values.dtype.itemsize - 1)
    ordered: npt.NDArray[np.int64] = np.where(bits >= sign, sign - bits, bits)
    return ordered
