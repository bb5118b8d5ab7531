"""Tiles made from compile-time values."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import AffineIndex, is_integer
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import Scalar, fit_mask, nothing, result


def memset(shape: Any, value: object, dtype: object, *, mask: object = None, engine: Engine | None = None) -> Tensor:
    """A tile in SBUF with every element set to a number; its first dimension is the partition dimension."""
    operation = "memset"
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if len(sizes) < 2 or not all(is_integer(size) and size > 0 for size in sizes):
        raise KernelFault(
            "",
            f"{operation}: a tile's shape has two or more positive whole numbers, got {shape!r}",
            next_step="add a free dimension of 1: (128, 1)",
        )
    if not isinstance(value, Scalar):
        raise KernelFault("", f"{operation}: value is a compile-time number, got {type(value).__name__}")
    plain = tuple(int(size) for size in sizes)
    target = numeric.storage_dtype(dtype)
    kept = fit_mask(mask, plain)
    if kept is False:
        return nothing(operation, plain, target)
    return result(
        operation,
        plain,
        target,
        lambda: np.broadcast_to(np.asarray(value), plain),
        mask=kept,
        engine=engine,
        function="" if value else "zero",
    )


def iota(expression: object, dtype: object, *, mask: object = None) -> Tensor:
    """A tile in SBUF with the values of an affine expression of index ranges, in its shape.

    The values are computed as 32-bit integers and then rounded to ``dtype``.
    """
    operation = "iota"
    if not isinstance(expression, AffineIndex):
        raise KernelFault(
            "",
            f"{operation}: expr is an affine expression of nl.arange or nl.mgrid, got {type(expression).__name__}",
            next_step="nisa.iota(nl.arange(n)[None, :], dtype=nl.int32)",
        )
    if len(expression.shape) < 2:
        raise KernelFault(
            "err_1d_arange_not_supported",
            f"{operation}: expr has shape {expression.shape}",
            why="a tile has a partition and a free dimension",
            next_step="write nl.arange(n)[:, None] or nl.arange(n)[None, :]",
        )
    low, high = expression.bounds()
    limits = np.iinfo(np.int32)
    if low < limits.min or high > limits.max:
        raise KernelFault("", f"{operation}: values {low} to {high} are no 32-bit integers")
    shape = expression.shape
    target = numeric.storage_dtype(dtype)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)

    def counted() -> Array:
        return np.broadcast_to(expression.values().astype(np.int32), shape)

    return result(operation, shape, target, counted, mask=kept)
