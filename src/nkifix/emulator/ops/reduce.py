"""Reductions over free dimensions."""

from __future__ import annotations

from typing import Any

from nkifix.emulator import numeric
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import (
    fit_mask,
    nothing,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.undefined import reduced


def reduce_free(
    name: str,
    data: object,
    axis: Any,
    *,
    dtype: object = None,
    mask: object = None,
    negate: bool = False,
    operation: str = "tensor_reduce",
) -> Tensor:
    """Reduce by ``name`` over the trailing free dimensions ``axis`` in float32; the result keeps rank >= 2."""
    tensor = operand(operation, "data", data)
    axes = _free_axes(operation, axis, tensor.ndim)
    shape = tensor.shape[: axes[0]]
    shape = (*shape, 1) if len(shape) < 2 else shape
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    if kept is not None:
        raise KernelFault("", f"{operation} with a mask that drops single elements is not emulated yet")
    values, undefined = read(operation, "data", tensor)

    def computed() -> Array:
        total = numeric.reduce_last_axes(numeric.as_f32(values), axes[0], name).reshape(shape)
        return -total if negate else total

    return result(operation, shape, target, computed, undefined=reduced(undefined, axes, shape))


def _free_axes(operation: str, axis: Any, rank: int) -> tuple[int, ...]:
    axes = tuple(sorted(int(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))))
    axes = tuple(sorted(a + rank if a < 0 else a for a in axes))
    if not axes or axes[0] < 1 or axes != tuple(range(axes[0], rank)):
        raise KernelFault(
            "",
            f"{operation}: axis {axis} of a rank-{rank} tile",
            why="the Vector Engine reduces the trailing free dimensions, without gaps, never the partitions",
            next_step="reduce axis 1 … last, or transpose first",
        )
    return axes
