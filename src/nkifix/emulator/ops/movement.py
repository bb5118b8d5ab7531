"""DMA: between HBM and SBUF."""

from __future__ import annotations

import math

import numpy as np

from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_location
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops.operand import (
    Scalar,
    broadcast_shape,
    fit_mask,
    nothing,
    read,
    result,
    result_dtype,
    write_result,
)
from nkifix.emulator.undefined import Undefined, refuse_undefined


def load(source: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A tile in SBUF with the elements of an HBM view; dimension 0 becomes the partition dimension.

    A view with no dimension left (every index an integer) loads as (1, 1).
    """
    operation = "load"
    tensor = operand(operation, "src", source)
    if tensor.ndim == 1:
        raise KernelFault(
            "",
            f"{operation}: a tile needs a partition and a free dimension, got shape {tensor.shape}",
            why="insufficient rank: SBUF tiles have at least two dimensions",
            next_step="slice instead of indexing with an integer: hbm[i:i + 1, :]",
        )
    shape = tensor.shape or (1, 1)
    check_partitions(shape[0], f"the tile of {operation}")
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "src", tensor, kept)
    return result(operation, shape, target, lambda: values.reshape(shape), undefined=undefined, mask=kept)


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
    write_result(operation, target, lambda: values.reshape(shape), mask=kept)


def load_transposed(operation: str, source: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A (F, P) tile in SBUF from a (P, F) view: the DMA engines transpose on the way."""
    tensor = operand(operation, "src", source)
    if tensor.ndim != 2:
        raise KernelFault(
            "", f"{operation}: a view of rank 2 is transposed, got shape {tensor.shape}", next_step="slice its rows"
        )
    shape = (tensor.shape[1], tensor.shape[0])
    check_partitions(shape[0], f"the tile of {operation}")
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "src", tensor, None if kept is None else np.asarray(kept).T)
    flipped = None if undefined is None else Undefined(undefined.ids.T, undefined.origins)
    return result(operation, shape, target, lambda: values.T, undefined=flipped, mask=kept)
