"""Views of a tensor in another shape, without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape that a kernel gave, as positive whole numbers.

    Raises
    ------
    KernelFault
        For anything else.
    """
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(is_integer(size) and size > 0 for size in sizes):
        raise KernelFault("", f"a shape is made of positive whole numbers, got {shape!r}")
    return tuple(int(size) for size in sizes)


def reshape(tensor: Tensor, shape: Any) -> Tensor:
    """The elements in row-major order, in another shape; on chip, the partition dimension stays.

    Raises
    ------
    KernelFault
        Where the number of elements or the partition dimension changes, or where only a copy has that shape.
    """
    sizes = shape_of(shape)
    _refuse_indirect(tensor, "reshaped")
    if math.prod(sizes) != math.prod(tensor.shape):
        raise KernelFault("", f"{tensor.shape} cannot be reshaped to {sizes}: the number of elements differs")
    axis = None if tensor.partition_axis is None else _moved_partition_axis(tensor, sizes)
    values = tensor._values()
    turned = values.reshape(sizes)
    if not np.may_share_memory(values, turned):
        raise KernelFault(
            "",
            f"a view of shape {tensor.shape} cannot be reshaped to {sizes} in place",
            why="its elements do not lie side by side, and a reshape copies nothing",
            next_step="copy it first (nl.copy), or index it in the shape that you want",
        )
    strides = tuple(step // turned.itemsize for step in turned.strides)
    return type(tensor)._new(tensor.storage, sizes, strides, tensor.offset, axis)


def _moved_partition_axis(tensor: Tensor, sizes: tuple[int, ...]) -> int:
    """Where the partition dimension is in the new shape."""
    axis = tensor.partition_axis
    assert axis is not None
    blocks = math.prod(tensor.shape[:axis])
    for place in range(len(sizes) - 1):
        if math.prod(sizes[:place]) == blocks and sizes[place] == tensor.shape[axis]:
            return place
    raise KernelFault(
        "",
        f"{tensor.shape} on chip cannot be reshaped to {sizes}",
        why=f"the partition dimension of {tensor.shape[axis]}, and a free one after it, must stay",
        next_step="reshape the free dimensions only; nisa.nc_transpose changes partitions",
    )


def broadcast(tensor: Tensor, shape: Any) -> Tensor:
    """A view that repeats dimensions of extent 1; the rank stays on chip, and may grow in HBM.

    Raises
    ------
    KernelFault
        Where the shapes do not fit together.
    """
    sizes = shape_of(shape)
    _refuse_indirect(tensor, "broadcast")
    added = len(sizes) - tensor.ndim
    fits = added == 0 or (added > 0 and tensor.partition_axis is None)
    if not fits or any(old not in (1, new) for old, new in zip(tensor.shape, sizes[added:], strict=True)):
        raise KernelFault(
            "",
            f"a tensor of shape {tensor.shape} cannot be broadcast to {sizes}",
            why="dimensions of extent 1 are repeated, all others stay",
        )
    kept = zip(tensor.shape, sizes[added:], tensor.strides, strict=True)
    strides = (*(0 for _ in range(added)), *(step if old == new else 0 for old, new, step in kept))
    return type(tensor)._new(tensor.storage, sizes, strides, tensor.offset, tensor.partition_axis)


def expand_dims(tensor: Tensor, axis: Any) -> Tensor:
    """A view with a new dimension of extent 1 at each position of ``axis``, counted in the new shape.

    Raises
    ------
    KernelFault
        For a position in front of a tile's partition dimension, or beyond the last.
    """
    given: Sequence[Any] = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = tensor.ndim + len(given)
    places = {int(place) + rank if place < 0 else int(place) for place in given if is_integer(place)}
    first = 0 if tensor.partition_axis is None else tensor.partition_axis + 1
    if len(places) != len(given) or not all(first <= place < rank for place in places):
        raise KernelFault(
            "",
            f"expand_dims: axis {axis!r} for a tensor of shape {tensor.shape}",
            why="new dimensions come after the partition dimension",
            next_step=f"use positions from {first} to {rank - 1}",
        )
    _refuse_indirect(tensor, "expanded")
    old = iter(zip(tensor.shape, tensor.strides, strict=True))
    dims = [(1, 0) if place in places else next(old) for place in range(rank)]
    shape, strides = tuple(extent for extent, _ in dims), tuple(step for _, step in dims)
    return type(tensor)._new(tensor.storage, shape, strides, tensor.offset, tensor.partition_axis)


def permuted(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    """The same elements with the dimensions in another order; a tile's partition dimension stays the first."""
    _refuse_indirect(tensor, "permuted")
    shape, strides = tuple(tensor.shape[d] for d in order), tuple(tensor.strides[d] for d in order)
    return type(tensor)._new(tensor.storage, shape, strides, tensor.offset, tensor.partition_axis)


def _refuse_indirect(tensor: Tensor, done: str) -> None:
    tensor.check_bounds(None)
    if tensor.gather is not None:
        raise KernelFault(
            "",
            f"a view whose index is known only at run time cannot be {done}",
            next_step="load it, or copy it, first",
        )
