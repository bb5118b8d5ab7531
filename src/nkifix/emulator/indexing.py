"""Turning ``tensor[...]`` into a view: strides where possible, a gather where not.

Source: "NKI programming model", tile indexing (Neuron SDK 2.26). Rules that the documents leave open are
listed in docs/fidelity.md, "Indexing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nkifix.emulator.affine import AffineIndex, is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Gather, Tensor


@dataclass(frozen=True)
class DynamicSlice:
    """``nl.ds(start, size)``: the elements start … start + size - 1 of a dimension."""

    start: int
    size: int

    def __post_init__(self) -> None:
        for name, value, least in (("start", self.start, None), ("size", self.size, 1)):
            if not is_integer(value) or (least is not None and value < least):
                raise KernelFault("", f"nl.ds takes whole numbers and a size of at least 1, got {name}={value!r}")


@dataclass(frozen=True)
class _Axis:
    """Address of one source dimension as an affine function of the result's dimensions."""

    const: int
    coeffs: dict[int, int]
    """Result dimension -> step."""
    low: int
    high: int


def view(tensor: Tensor, key: Any) -> Tensor:
    """The view ``tensor[key]``.

    Raises
    ------
    KernelFault
        For an index that the language does not have. An index out of bounds makes a view that raises
        when it is used, since the operation that uses it may mask it.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, Tensor) for part in parts):
        raise KernelFault(
            "",
            "indices that are known only at run time (a tensor as index) are not emulated yet",
            next_step="index with loop indices, nl.arange or nl.ds",
        )
    tensor.check_bounds(None)  # what reaches out of bounds can be masked where it is used, not indexed again
    if any(isinstance(part, AffineIndex) for part in parts):
        return _advanced(tensor, parts)
    return _basic(tensor, _expanded(parts, tensor.ndim))


def _expanded(parts: tuple[Any, ...], rank: int) -> list[Any]:
    """``parts`` with the ellipsis and missing trailing dimensions written out."""
    ellipses = sum(part is Ellipsis for part in parts)
    given = len(parts) - ellipses
    if ellipses > 1 or given > rank:
        raise KernelFault("", f"too many indices for a tensor of rank {rank}: {len(parts)}")
    missing = [slice(None)] * (rank - given)
    if not ellipses:
        return [*parts, *missing]
    cut = next(i for i, part in enumerate(parts) if part is Ellipsis)
    return [*parts[:cut], *missing, *parts[cut + 1 :]]


def _basic(tensor: Tensor, parts: list[Any]) -> Tensor:
    axes: list[_Axis] = []
    shape: list[int] = []
    partition_axis: int | None = None
    on_chip = tensor.partition_axis is not None
    for axis, (part, size) in enumerate(zip(parts, tensor.shape, strict=True)):
        start, step, extent = _slice_of(part, size, axis)
        is_partition = axis == tensor.partition_axis
        if extent is None and not is_partition:
            # An integer drops its dimension; on the partition dimension it leaves a row of one.
            axes.append(_Axis(start, {}, start, start))
            continue
        extent = 1 if extent is None else extent
        if is_partition:
            partition_axis = len(shape)
        axes.append(_Axis(start, {len(shape): step}, start, start + step * (extent - 1)))
        shape.append(extent)
    if on_chip and len(shape) < 2:
        # On-chip views keep rank 2, so that buf[:, i] is a (P, 1) column that can be written.
        shape.append(1)
    return _from_axes(tensor, axes, tuple(shape), partition_axis)


def _slice_of(part: Any, size: int, axis: int) -> tuple[int, int, int | None]:
    """Start, step and extent of one basic index; extent None for an integer."""
    if is_integer(part):
        return int(part), 1, None
    if isinstance(part, DynamicSlice):
        return int(part.start), 1, int(part.size)
    if isinstance(part, slice):
        start = 0 if part.start is None else part.start
        stop = size if part.stop is None else part.stop
        step = 1 if part.step is None else part.step
        if not (is_integer(start) and is_integer(stop) and is_integer(step)) or step < 1:
            raise KernelFault("", f"a slice takes whole numbers and a positive step, got {part} on dimension {axis}")
        if stop <= start:
            raise KernelFault("", f"the slice {part} of dimension {axis} (size {size}) is empty")
        return int(start), int(step), -(-(int(stop) - int(start)) // int(step))
    raise KernelFault(
        "",
        f"{part!r} is no index for dimension {axis}",
        next_step="use an integer, a slice, nl.ds, or nl.arange / nl.mgrid",
    )


def _advanced(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    if not all(isinstance(part, AffineIndex) or is_integer(part) for part in parts) or len(parts) != tensor.ndim:
        raise KernelFault(
            "err_unsupported_mixing_basic_advanced_tensor_indexing",
            "an index with nl.arange / nl.mgrid must give one such index (or an integer) per dimension",
            why=f"the tensor has {tensor.ndim} dimensions; slices and index ranges cannot be mixed",
            next_step="write nl.arange(n)[None, :] in place of the slice, or slices everywhere",
        )
    indices = [part if isinstance(part, AffineIndex) else AffineIndex(int(part), (), ()) for part in parts]
    rank = max(len(index.extents) for index in indices)
    if rank < 2:
        raise KernelFault(
            "err_1d_arange_not_supported",
            "a tile cannot be indexed by a one-dimensional nl.arange",
            why="a tile has a partition and a free dimension",
            next_step="write nl.arange(n)[:, None] and nl.arange(m)[None, :]",
        )
    space = sum(indices[1:], start=indices[0])
    shape = space.extents
    axes = []
    for index in indices:
        padding = rank - len(index.extents)
        coeffs = {padding + d: c for d, c in enumerate(index.coeffs) if c}
        axes.append(_Axis(index.const, coeffs, *index.bounds()))
    return _from_axes(tensor, axes, shape, None if tensor.partition_axis is None else 0)


def _from_axes(tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...], partition_axis: int | None) -> Tensor:
    if partition_axis is not None:
        _check_partition_walk(tensor, axes, shape, partition_axis)
    offset = tensor.offset
    strides = [0] * len(shape)
    for axis, stride in zip(axes, tensor.strides, strict=True):
        offset += axis.const * stride
        for dim, coeff in axis.coeffs.items():
            strides[dim] += coeff * stride
    gather = None
    if any(axis.low < 0 or axis.high >= size for axis, size in zip(axes, tensor.shape, strict=True)):
        gather = _gather(tensor, axes, shape)
    return type(tensor)._new(tensor.storage, shape, tuple(strides), offset, partition_axis, gather=gather)


def _check_partition_walk(tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...], partition_axis: int) -> None:
    """On chip, partitions are walked one by one and all alike ("Advanced tensor indexing", programming model)."""
    for number, axis in enumerate(axes):
        for dim, extent in enumerate(shape):
            step = axis.coeffs.get(dim, 0)
            if number == tensor.partition_axis:
                legal = step == (1 if dim == partition_axis else 0)
            else:
                legal = step == 0 or dim != partition_axis
            if extent > 1 and not legal:
                raise KernelFault(
                    "",
                    f"an index on chip walks the partitions in steps, or differently per partition: dimension {number}",
                    why="flexible indexing exists along the free dimensions only; partitions are taken one by one",
                    next_step="take consecutive partitions with the first dimension, or nisa.nc_transpose the tile",
                )


def _gather(tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...]) -> Gather:
    address = np.full(shape, tensor.offset, dtype=np.int64)
    in_bounds = np.ones(shape, dtype=np.bool_)
    reaches = []
    for number, (axis, size, stride) in enumerate(zip(axes, tensor.shape, tensor.strides, strict=True)):
        position = np.full((1,) * len(shape), axis.const, dtype=np.int64)
        for dim, coeff in axis.coeffs.items():
            line = coeff * np.arange(shape[dim], dtype=np.int64)
            position = position + line.reshape([extent if d == dim else 1 for d, extent in enumerate(shape)])
        if axis.low < 0 or axis.high >= size:
            reaches.append(f"dimension {number} has size {size}, the index runs over [{axis.low}, {axis.high}]")
            in_bounds &= (position >= 0) & (position < size)
        address += position * stride
    return Gather(np.where(in_bounds, address, 0), in_bounds, "; ".join(reaches))
