"""One value per partition: operands that broadcast along the free dimensions, and results of reducing them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nkifix.emulator import functions, numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_column, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import kind_of
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import Scalar, read
from nkifix.emulator.undefined import Undefined, reduced


def column(operation: str, name: str, value: object, data: Tensor, kept: Mask = None) -> tuple[Array, Undefined | None]:
    """A number, or one element per partition of ``data``: values that broadcast to it, and which are undefined.

    Raises
    ------
    KernelFault
        ``err_num_partition_mismatch``, or where a tile has more than one element per partition.
    """
    if isinstance(value, Scalar):
        return np.asarray(value), None
    tile = operand(operation, name, value)
    check_column(operation, name, tile, data.shape[0])
    used = rows(kept, data.ndim)
    values, undefined = read(operation, name, tile, None if used is None else used.reshape(tile.shape))
    shape = (data.shape[0],) + (1,) * (data.ndim - 1)
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(shape), undefined.origins)
    return values.reshape(shape), undefined


def rows(kept: Mask, rank: int) -> Any:
    """Which partitions an array mask keeps something of; None for all."""
    return None if kept is None or kept is False else np.any(kept, axis=tuple(range(1, rank)))


def reduce_rows(name: str, values: Array, kept: Mask) -> Array:
    """One value per partition, reduced by :data:`functions.REDUCTIONS` ``name``; masked elements take no part."""
    reduction = functions.REDUCTIONS[name]
    wide = values if reduction.bits else numeric.as_f32(values)
    if isinstance(kept, np.ndarray):
        if reduction.neutral is None:
            raise KernelFault(
                "",
                f"a reduction by {name} with a mask that drops single elements",
                why="nothing can stand in for a dropped element: x - y - z has no neutral element",
                next_step="slice the tile instead of masking it",
            )
        wide = np.where(kept, wide, np.asarray(reduction.neutral, dtype=wide.dtype))
    return reduction.combine(wide, 1)


def undefined_rows(undefined: Undefined | None, kept: Mask, shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness of a reduction over the free dimensions, shape (P, 1): one kept undefined element spoils it."""
    if undefined is not None and isinstance(kept, np.ndarray):
        undefined = Undefined(np.where(kept, undefined.ids, np.uint8(0)), undefined.origins)
    spoiled = reduced(undefined, tuple(range(1, len(shape))), (shape[0], 1))
    return spoiled if spoiled is not None and spoiled.ids.any() else None


def column_destination(operation: str, name: str, value: object, data: Tensor) -> Tensor:
    """``value`` as a tile that receives one element per partition of ``data``."""
    tile = operand(operation, name, value)
    check_column(operation, name, tile, data.shape[0])
    return tile


def write_column(
    destination: Tensor, compute: Callable[[], Array], undefined: Undefined | None, kept: Mask, rank: int
) -> None:
    """Write ``compute()``, one float32 element per partition, where the mask of the rank-``rank`` data keeps one.

    This is the second output of an instruction, which its first output tells the observer of.
    """
    used = rows(kept, rank)
    shape = destination.shape
    current = program()
    if kept is None and undefined is None and current.computes and isinstance(compute, partial):
        kind = kind_of(shape, F32, Space.SBUF, 0, "computed")
        column = Storage.of_result(kind, partial(_shaped, shape, compute.func, *compute.args), current.nest)
        destination.write(column, None)
        return
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(shape), undefined.origins)
    values = compute().reshape(shape) if program().computes else None
    destination.write(values, undefined, None if used is None else used.reshape(shape))


def _shaped(shape: tuple[int, ...], function: Callable[..., Array], *operands: Any) -> Array:
    """A computation that takes no memory to leave its result in."""
    return function(*operands[:-1]).reshape(shape)
