"""Normalisations of rows, which the compiler makes of several instructions.

They are computed as a whole, in float32, and rounded once; documents do not name their instructions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import Scalar, broadcast_shape, fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.ops.reduce import free_axes
from nkifix.emulator.sums import sum_last_axes
from nkifix.emulator.undefined import Undefined, merge


def softmax(data: object, axis: Any, *, dtype: object, compute_dtype: object, mask: object) -> Tensor:
    """``exp(x - max) / sum``, both over ``axis``; elements that ``mask`` drops take no part.

    ``compute_dtype`` is another name of ``dtype`` (documented). Default dtype: the tile's.
    """
    operation = "softmax"
    tensor = operand(operation, "x", data)
    axes = free_axes(operation, axis, tensor.ndim)
    target = _dtype_asked_for(operation, tensor, dtype, compute_dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "x", tensor, kept)

    def computed() -> Array:
        x = numeric.as_f32(values)
        if kept is not None:
            x = np.where(kept, x, np.float32(-math.inf))
        weights = np.exp(x - np.max(x, axis=axes, keepdims=True))
        total = sum_last_axes(weights, axes[0]).reshape(tensor.shape[: axes[0]] + (1,) * len(axes))
        quotient: Array = weights / total
        return quotient

    spread = _over_rows(undefined, axes, kept)
    return result(operation, tensor.shape, target, computed, undefined=spread, mask=kept)


def rms_norm(
    data: object,
    weight: object,
    axis: Any,
    count: Any,
    epsilon: Any,
    *,
    dtype: object,
    compute_dtype: object,
    mask: object,
) -> Tensor:
    """``x / sqrt(sum(x * x) / count + epsilon) * weight``, the sum over ``axis``.

    Elements that ``mask`` drops take no part. Default dtype: the tile's.
    """
    operation = "rms_norm"
    tensor, factor = operand(operation, "x", data), operand(operation, "w", weight)
    axes = free_axes(operation, axis, tensor.ndim)
    check_same_partitions(operation, tensor, factor, broadcast=True)
    if broadcast_shape(operation, tensor.shape, factor.shape) != tensor.shape:
        raise KernelFault("", f"{operation}: a weight of shape {factor.shape} does not fit a tile of {tensor.shape}")
    if not is_integer(count) or count < 1 or not isinstance(epsilon, Scalar):
        raise KernelFault(
            "", f"{operation}: n is a positive whole number and epsilon a number, got n={count!r}, epsilon={epsilon!r}"
        )
    target = _dtype_asked_for(operation, tensor, dtype, compute_dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "x", tensor, kept)
    weights, weights_undefined = read(operation, "w", factor, kept)

    def computed() -> Array:
        x = numeric.as_f32(values)
        squares = np.square(x) if kept is None else np.where(kept, np.square(x), np.float32(0))
        total = sum_last_axes(squares, axes[0]).reshape(tensor.shape[: axes[0]] + (1,) * len(axes))
        size = np.sqrt(total / np.float32(count) + np.float32(epsilon))
        scaled: Array = x / size * numeric.as_f32(weights)
        return scaled

    unknown = merge(tensor.shape, (_over_rows(undefined, axes, kept), weights_undefined))
    return result(operation, tensor.shape, target, computed, undefined=unknown, mask=kept)


def _dtype_asked_for(operation: str, tensor: Tensor, dtype: object, compute_dtype: object) -> np.dtype[Any]:
    target = result_dtype(dtype if dtype is not None else compute_dtype, tensor.dtype)
    if dtype is not None and compute_dtype is not None and numeric.storage_dtype(compute_dtype) != target:
        raise KernelFault(
            "",
            f"{operation}: dtype={target} and compute_dtype={numeric.storage_dtype(compute_dtype)} differ",
            why="both set the dtype of the computation and of the result",
            next_step="give one of them",
        )
    return target


def _over_rows(undefined: Undefined | None, axes: tuple[int, ...], kept: Any) -> Undefined | None:
    """One undefined element that takes part spoils its row."""
    if undefined is None:
        return None
    ids = undefined.ids if kept is None else np.where(kept, undefined.ids, np.uint8(0))
    spoiled = np.broadcast_to(np.max(ids, axis=axes, keepdims=True), ids.shape)
    return Undefined(spoiled, undefined.origins) if spoiled.any() else None
