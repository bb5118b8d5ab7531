"""Reductions of float32 numbers in one frozen order, whatever numpy's version or the operand's layout.

Byte identity between kernels rests on these orders (docs/fidelity.md, "Sums").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nkifix.emulator.numeric import Array

F32Array = npt.NDArray[np.float32]


def sum_last_axes(values: F32Array, keep: int) -> F32Array:
    """Sum of float32 ``values`` over all axes after the first ``keep``.

    The reduced elements are laid out contiguously in row-major order and summed pairwise: a run of more than
    128 elements is cut in two near its middle (at a multiple of 8, the shorter part first); a run of 8 to
    128 goes round-robin into 8 accumulators that are combined as ((0+1)+(2+3))+((4+5)+(6+7)), and its last
    0 to 7 elements are added one by one; so is a run of less than 8.
    """
    return _pairwise(_rows(values, keep))


def product_last_axes(values: F32Array, keep: int) -> F32Array:
    """Product of float32 ``values`` over all axes after the first ``keep``.

    In row-major order, the first half times the second half, element by element, until one is left; a half
    that is one short is filled up with 1.
    """
    rows = _rows(values, keep)
    while rows.shape[-1] > 1:
        half = -(-rows.shape[-1] // 2)
        product = rows[..., :half].copy()
        product[..., : rows.shape[-1] - half] *= rows[..., half:]
        rows = product
    result: F32Array = rows[..., 0]
    return result


def fold_last_axes(function: np.ufunc, values: Array, keep: int) -> Array:
    """``values`` combined one after another, in row-major order, over all axes after the first ``keep``."""
    folded: Array = function.reduce(_rows(values, keep), axis=-1)
    return folded


def _rows(values: Array, keep: int) -> Array:
    if values.ndim == keep + 1 and values.strides[-1] == values.itemsize:
        return values  # each row lies in one piece: how far apart rows are changes no order
    rows: Array = np.ascontiguousarray(values).reshape(*values.shape[:keep], -1)
    return rows


_NUMPY_RUN = 4096
"""Longest run whose sum is left to numpy: some of its versions cut longer ones at their buffer's size."""


def _pairwise(rows: F32Array) -> F32Array:
    count = rows.shape[-1]
    if count > _NUMPY_RUN:
        half = count // 2
        half -= half % 8
        return _pairwise(rows[..., :half]) + _pairwise(rows[..., half:])
    result: F32Array = np.add.reduce(rows, axis=-1, dtype=np.float32)
    return result
