"""Reductions over free dimensions.

Elements that a mask drops take no part in a reduction; a result without any element that takes part is not
written. Work is in float32 (for bits: in the integers' own dtype), with one rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from nkifix.emulator import functions, numeric, views
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import planned
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import (
    Result,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.sums import sum_last_axes
from nkifix.emulator.undefined import Undefined, reduced

Combine = Callable[[Array, Mask], Array]
"""A row's result, of the elements and of which take part; over the trailing axes."""


def reduce_free(
    name: str,
    data: object,
    axis: Any,
    *,
    dtype: object = None,
    mask: object = None,
    negate: bool = False,
    keepdims: bool = False,
    operation: str = "tensor_reduce",
    anywhere: bool = False,
) -> Tensor:
    """Reduce by :data:`functions.REDUCTIONS` ``name`` over the trailing free dimensions ``axis``.

    The result keeps rank >= 2, and with ``keepdims`` the tile's rank. Default dtype: the tile's. With ``anywhere``,
    free dimensions before the last may stay: the compiler reads the tile in another order.
    """
    reduction = functions.REDUCTIONS[name]
    if mask is None:
        given = tuple(axis) if isinstance(axis, list) else axis
        plan = planned(_plan, (data,), name, given, dtype, keepdims, operation, anywhere)
        if plan is not None:
            tensor = cast(Tensor, data)
            values, undefined = fetch(operation, tensor)
            last = tuple(range(plan.keep, tensor.ndim))
            compute = partial(_combined, name, values, plan.work, plan.keep, negate, plan.result.shape)
            return made(plan.result, compute, undefined=reduced(undefined, last, plan.result.shape))
    tensor = operand(operation, "data", data)
    axes = free_axes(operation, axis, tensor.ndim, anywhere=anywhere)
    work = functions.working_dtype(name, tensor.dtype) if reduction.bits else F32

    def combined(values: Array, kept: Mask) -> Array:
        total = reduction.combine(_taking_part(values, kept, work, reduction.neutral), values.ndim - len(axes))
        return -total if negate else total

    if mask is not None and reduction.neutral is None and fit_mask(mask, tensor.shape) is not None:
        raise KernelFault(
            "",
            f"{operation} by {name} with a mask that drops elements",
            why="what remains would depend on which element comes first",
            next_step="reduce a slice instead",
        )
    target = result_dtype(dtype, tensor.dtype)
    return _reduce(operation, tensor, axes, combined, target, mask, keepdims, function=name)


class _Plan(NamedTuple):
    """A reduction without a mask over the last dimensions.

    Attributes
    ----------
    keep:
        How many dimensions stay.
    work:
        The dtype that is computed in.
    """

    result: Result
    keep: int
    work: np.dtype[Any]


def _plan(
    data: object, name: str, axis: Any, dtype: object, keepdims: bool, operation: str, anywhere: bool
) -> _Plan | None:
    """None where the dimensions that stay are not the first ones."""
    tensor = operand(operation, "data", data)
    axes = free_axes(operation, axis, tensor.ndim, anywhere=anywhere)
    keep = tensor.ndim - len(axes)
    if axes[0] != keep:
        return None
    work = functions.working_dtype(name, tensor.dtype) if functions.REDUCTIONS[name].bits else F32
    shape = _remaining(tensor.shape, axes, keepdims)
    planned_one = planned_result(operation, shape, result_dtype(dtype, tensor.dtype), function=name)
    return _Plan(planned_one, keep, work)


def _combined(
    name: str, values: Array, work: np.dtype[Any], keep: int, negate: bool, shape: tuple[int, ...], _: Array | None
) -> Array:
    total = functions.REDUCTIONS[name].combine(values.astype(work, copy=False), keep)
    return (-total if negate else total).reshape(shape)


def _remaining(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """Shape of a result: rank 2 at least, or all dimensions."""
    if keepdims:
        return tuple(1 if dim in axes else extent for dim, extent in enumerate(shape))
    rest = tuple(extent for dim, extent in enumerate(shape) if dim not in axes)
    return (*rest, 1) if len(rest) < 2 else rest


def mean(data: object, axis: Any, *, dtype: object = None, mask: object = None, keepdims: bool = False) -> Tensor:
    """The average over ``axis``: the sum, divided by the number of elements that take part.

    Default dtype: the tile's, float32 for integers.
    """
    operation = "mean"
    tensor = operand(operation, "data", data)
    axes = free_axes(operation, axis, tensor.ndim)
    target = result_dtype(dtype, tensor.dtype if tensor.dtype in numeric.FLOATS else F32)

    def averaged(values: Array, kept: Mask) -> Array:
        return _average(_taking_part(values, kept, F32, -0.0), kept, axes)

    return _reduce(operation, tensor, axes, averaged, target, mask, keepdims)


def var(data: object, axis: Any, *, dtype: object = None, mask: object = None) -> Tensor:
    """The mean squared distance from the mean over ``axis``. Default dtype: the tile's."""
    operation = "var"
    tensor = operand(operation, "data", data)
    axes = free_axes(operation, axis, tensor.ndim)

    def spread(values: Array, kept: Mask) -> Array:
        numbers = numeric.as_f32(values)
        centre = _average(_taking_part(values, kept, F32, -0.0), kept, axes)
        distance = numbers - centre.reshape(centre.shape + (1,) * len(axes))
        return _average(_taking_part(np.square(distance), kept, F32, -0.0), kept, axes)

    return _reduce(operation, tensor, axes, spread, result_dtype(dtype, tensor.dtype), mask, keepdims=False)


def _average(numbers: Array, kept: Mask, axes: tuple[int, ...]) -> Array:
    """Of float32 ``numbers``, neutral where they are not kept."""
    count: Any = math.prod(numbers.shape[axes[0] :]) if kept is None else np.count_nonzero(kept, axis=axes)
    average: Array = sum_last_axes(numbers, axes[0]) / np.asarray(count, dtype=F32)
    return average


def _taking_part(values: Array, kept: Mask, work: np.dtype[Any], neutral: float | None) -> Array:
    """``values`` in the working dtype, with what changes no result in place of those that are not kept."""
    numbers = values.astype(work, copy=False)
    if kept is None:
        return numbers
    assert neutral is not None
    return np.where(kept, numbers, np.asarray(neutral).astype(work))


def _reduce(
    operation: str,
    tensor: Tensor,
    axes: tuple[int, ...],
    combine: Combine,
    target: np.dtype[Any],
    mask: object,
    keepdims: bool,
    function: str = "",
) -> Tensor:
    shape = _remaining(tensor.shape, axes, keepdims)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    if axes[-1] != tensor.ndim - 1 or axes[0] != tensor.ndim - len(axes):
        order = (*(dim for dim in range(tensor.ndim) if dim not in axes), *axes)
        tensor = views.permuted(tensor, order)
        kept = kept if kept is None else np.transpose(kept, order)
    last = tuple(range(tensor.ndim - len(axes), tensor.ndim))
    values, undefined = read(operation, "data", tensor, kept)
    if undefined is not None and kept is not None:
        undefined = Undefined(np.where(kept, undefined.ids, np.uint8(0)), undefined.origins)
    return result(
        operation,
        shape,
        target,
        lambda: combine(values, kept).reshape(shape),
        undefined=reduced(undefined, last, shape),
        mask=None if kept is None else np.any(kept, axis=last).reshape(shape),
        function=function,
    )


def free_axes(operation: str, axis: Any, rank: int, *, anywhere: bool = False) -> tuple[int, ...]:
    """``axis`` as the trailing free dimensions that it names, or any free ones.

    Raises
    ------
    KernelFault
        For the partition dimension; unless ``anywhere``, for a gap or dimensions that are not the last ones.
    """
    axes = tuple(sorted(int(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))))
    axes = tuple(sorted(a + rank if a < 0 else a for a in axes))
    trailing = bool(axes) and axes == tuple(range(axes[0], rank))
    free = bool(axes) and axes[0] >= 1 and axes[-1] < rank and len(set(axes)) == len(axes)
    if not free or not (trailing or anywhere):
        raise KernelFault(
            "",
            f"{operation}: axis {axis} of a rank-{rank} tile",
            why="the Vector Engine reduces the trailing free dimensions, without gaps, never the partitions",
            next_step="reduce axis 1 … last, or transpose first",
        )
    return axes
