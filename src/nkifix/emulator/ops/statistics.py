"""Mean and variance per partition, in two steps: statistics of pieces, and their aggregate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator import numeric, sums
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.columns import rows, undefined_rows
from nkifix.emulator.ops.operand import fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.undefined import Undefined


def piece(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """Count, mean and count * variance of the even elements of each partition, then of the odd ones: (P, 6).

    Elements count from 0 over the free dimensions, among those that the mask keeps. Default dtype: the data's.
    """
    operation = "bn_stats"
    tensor = operand(operation, "data", data)
    shape = (tensor.shape[0], 6)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "data", tensor, kept)

    def computed() -> Array:
        x = numeric.as_f32(values).reshape(shape[0], -1)
        taken = np.ones(x.shape, dtype=np.bool_) if kept is None else np.asarray(kept).reshape(x.shape)
        odd = (np.cumsum(taken, axis=1) - 1) % 2 == 1
        return np.concatenate([_statistics(x, taken & ~odd), _statistics(x, taken & odd)], axis=1)

    return _per_partition(operation, tensor, shape, target, computed, undefined, kept)


def _statistics(x: Array, taken: Array) -> Array:
    """Count, mean and count * variance of the taken elements of each row, (P, 3)."""
    count = taken.sum(axis=1).astype(F32)
    divisor = np.maximum(count, np.float32(1))
    mean = sums.sum_last_axes(np.where(taken, x, np.float32(0)), 1) / divisor
    deviation = np.where(taken, x - mean[:, None], np.float32(0))
    return np.stack([count, mean, sums.sum_last_axes(deviation * deviation, 1)], axis=1)


def aggregate(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """Mean and variance of all elements that triples (count, mean, count * variance) stand for: (P, 2)."""
    operation = "bn_aggr"
    tensor = operand(operation, "data", data)
    size = math.prod(tensor.shape[1:])
    if size % 3:
        raise KernelFault(
            "",
            f"{operation}: {size} elements per partition are no triples",
            why="it takes count, mean and count * variance of each piece",
            next_step="pass the output of nisa.bn_stats, whole",
        )
    shape = (tensor.shape[0], 2)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "data", tensor, kept)

    def computed() -> Array:
        x = numeric.as_f32(values)
        if kept is not None:
            x = np.where(kept, x, np.float32(0))  # a piece of no elements changes nothing
        count, mean, spread = np.moveaxis(x.reshape(shape[0], -1, 3), 2, 0)
        total = sums.sum_last_axes(count, 1)
        overall = sums.sum_last_axes(count * mean, 1) / total
        between = count * np.square(mean - overall[:, None])
        return np.stack([overall, sums.sum_last_axes(spread + between, 1) / total], axis=1)

    return _per_partition(operation, tensor, shape, target, computed, undefined, kept)


def _per_partition(
    operation: str,
    data: Tensor,
    shape: tuple[int, ...],
    target: np.dtype[Any],
    compute: Any,
    undefined: Undefined | None,
    kept: Any,
) -> Tensor:
    spoiled = undefined_rows(undefined, kept, data.shape)
    if spoiled is not None:
        spoiled = Undefined(np.broadcast_to(spoiled.ids, shape), spoiled.origins)
    used = rows(kept, data.ndim)
    mask = None if used is None or used.all() else np.broadcast_to(used[:, None], shape)
    return result(operation, shape, target, compute, undefined=spoiled, mask=mask)
