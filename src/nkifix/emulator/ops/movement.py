"""DMA: between HBM and SBUF, in any direction."""

from __future__ import annotations

import math
from functools import partial
from typing import cast

import numpy as np

from nkifix.emulator import loops, numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_location
from nkifix.emulator.machine import planned, reads
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.atomic import add_into
from nkifix.emulator.ops.operand import (
    Result,
    Scalar,
    broadcast_shape,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result,
    result_dtype,
    write_result,
)
from nkifix.emulator.undefined import Undefined, merge, refuse_undefined


def load(source: object, *, dtype: object = None, mask: object = None, skip_out_of_bounds: bool = False) -> Tensor:
    """A tile in SBUF with the elements of an HBM view; dimension 0 becomes the partition dimension.

    A view of one dimension loads as (P, 1), one with no dimension left as (1, 1). With ``skip_out_of_bounds``,
    elements whose run-time index lies outside count as masked off.
    """
    operation = "load"
    plan = planned(_plan_load, (source,), dtype)
    tensor, shape = cast(Tensor, source), plan.shape
    kept = fit_mask(mask, shape)
    if skip_out_of_bounds:
        kept = _in_bounds(tensor, kept)
    if kept is False:
        return nothing(operation, shape, plan.layout.kind.dtype)
    reads(tensor)
    values, undefined = fetch(operation, tensor, kept)
    return made(plan, partial(_loaded, values, shape), undefined=undefined, mask=kept)


def _loaded(values: Array, shape: tuple[int, ...], _: Array | None) -> Array:
    return values.reshape(shape)


def _plan_load(source: object, dtype: object) -> Result:
    operation = "load"
    tensor = operand(operation, "src", source)
    shape = (*tensor.shape, 1, 1)[: max(2, tensor.ndim)]
    check_partitions(shape[0], f"the tile of {operation}")
    return planned_result(operation, shape, result_dtype(dtype, tensor.dtype))


def _in_bounds(tensor: Tensor, kept: Mask) -> Mask:
    """The mask, without elements whose run-time index lies outside of the tensor."""
    gather = tensor.gather
    if gather is None or not gather.indirect or gather.in_bounds.all() or kept is False:
        return kept
    inside = gather.in_bounds
    if gather.undefined_index is not None:
        inside = inside | (gather.undefined_index.ids != 0)  # an index without a value is no index outside
    return inside if kept is None else inside & kept


def store(destination: object, value: object, *, mask: object = None) -> None:
    """Write a tile (or a number) into an HBM view, rounded once to its dtype.

    Raises
    ------
    UndefinedReadFault
        Where an element that the mask keeps is undefined.
    """
    operation = "store"
    target = operand(operation, "dst", destination)
    kept: Mask = fit_mask(mask, target.shape)
    if target.storage.is_input and target.storage.first_write is None:
        target.storage.first_write = kernel_location()
    if isinstance(value, Scalar):
        write_result(operation, target, lambda: value, mask=kept)
        return
    source = operand(operation, "value", value)
    # An HBM view with a single row may have lost its first dimension to an integer index.
    shape = source.shape if target.ndim == source.ndim else source.shape[source.ndim - target.ndim :]
    if math.prod(shape) != math.prod(source.shape) or broadcast_shape(operation, shape, target.shape) != target.shape:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"{operation}: a tile of shape {source.shape} does not fit into {target.shape}",
            next_step="index the destination with the tile's shape",
        )
    if kept is False:
        return
    # Elements that the mask drops need not exist in the tile either.
    one_to_one = math.prod(source.shape) == math.prod(target.shape)
    used = kept.reshape(source.shape) if kept is not None and one_to_one else None
    values, undefined = read(operation, "value", source, used)
    if undefined is not None:
        ids = np.broadcast_to(undefined.ids.reshape(shape), target.shape)
        if kept is not None:
            ids = np.where(kept, ids, np.uint8(0))
        refuse_undefined(
            Undefined(ids, undefined.origins), operation=operation, happened="writes undefined elements to HBM"
        )
    write_result(operation, target, lambda: values if values.shape == shape else values.reshape(shape), mask=kept)


TRANSPOSITIONS = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}
"""Rank -> the permutation that the DMA engines carry out (``nisa.dma_transpose``)."""


def load_transposed(operation: str, source: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A tile in SBUF whose first and last dimensions are exchanged: the DMA engines transpose on the way."""
    tensor = operand(operation, "src", source)
    if tensor.ndim not in TRANSPOSITIONS:
        raise KernelFault(
            "",
            f"{operation}: a view of rank 2 or more is transposed, got shape {tensor.shape}",
            next_step="slice its rows",
        )
    axes = TRANSPOSITIONS[tensor.ndim]
    shape = tuple(tensor.shape[axis] for axis in axes)
    check_partitions(shape[0], f"the tile of {operation}")
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    reads(tensor)
    # Each permutation is its own inverse.
    values, undefined = read(operation, "src", tensor, None if kept is None else kept.transpose(axes))
    flipped = None if undefined is None else Undefined(undefined.ids.transpose(axes), undefined.origins)
    return result(operation, shape, target, lambda: values.transpose(axes), undefined=flipped, mask=kept)


def copy(
    source: object,
    destination: object,
    *,
    accumulate: bool = False,
    skip_out_of_bounds: bool = False,
    mask: object = None,
) -> None:
    """Copy between any two places in HBM and SBUF, rounded once to the destination's dtype.

    With ``accumulate``, the elements are added to those of the destination. With ``skip_out_of_bounds``,
    elements with a run-time index outside of either tensor are left alone.

    Raises
    ------
    KernelFault
        ``err_store_dst_shape_smaller_than_other_shape`` where the shapes differ,
        ``err_tensor_access_out_of_bound``.
    UndefinedReadFault
        Where an undefined element would reach HBM.
    """
    operation = "dma_copy"
    tensor, target = operand(operation, "src", source), operand(operation, "dst", destination)
    if _extents(tensor) != _extents(target):
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"{operation}: src has shape {tensor.shape}, dst {target.shape}",
            why="a copy moves element by element",
            next_step="index both to one shape",
        )
    kept = fit_mask(mask, target.shape)
    if target.storage.is_input and target.storage.first_write is None:
        target.storage.first_write = kernel_location()
    if skip_out_of_bounds:
        kept = _in_bounds(target, kept)
        seen = None if kept is None or kept is False else kept.reshape(tensor.shape)
        kept = _reshaped(_in_bounds(tensor, False if kept is False else seen), target.shape)
    if kept is False:
        return
    reads(tensor)
    values, undefined = read(operation, "src", tensor, _reshaped(kept, tensor.shape))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(target.shape), undefined.origins)
        if not target.space.on_chip:
            _refuse_undefined_in_hbm(operation, undefined, kept)
    if accumulate:
        _add(operation, target, numeric.as_f32(values).reshape(target.shape), undefined, kept)
        return
    write_result(operation, target, lambda: values.reshape(target.shape), undefined=undefined, mask=kept)


def _extents(tensor: Tensor) -> tuple[int, ...]:
    """The shape without dimensions of one: an HBM view may have lost them to integer indices."""
    return tuple(size for size in tensor.shape if size != 1)


def _reshaped(kept: Mask, shape: tuple[int, ...]) -> Mask:
    return kept.reshape(shape) if isinstance(kept, np.ndarray) else kept


def _refuse_undefined_in_hbm(operation: str, undefined: Undefined, kept: Mask) -> None:
    ids = undefined.ids if kept is None else np.where(kept, undefined.ids, np.uint8(0))
    refuse_undefined(
        Undefined(ids, undefined.origins), operation=operation, happened="writes undefined elements to HBM"
    )


def _add(operation: str, target: Tensor, addend: Array, undefined: Undefined | None, kept: Mask) -> None:
    target.check_bounds(kept)
    if target.gather is not None and target.gather.indirect and not target.space.on_chip:
        loops.reduce(target.storage, lambda: add_into(operation, target, addend, kept))
        return
    reads(target)
    held, held_undefined = read(operation, "dst", target, kept)
    unknown = merge(target.shape, (held_undefined, undefined))
    if unknown is not None and not target.space.on_chip:
        _refuse_undefined_in_hbm(operation, unknown, kept)
    write_result(operation, target, lambda: numeric.as_f32(held) + addend, undefined=unknown, mask=kept)
