"""The eight largest elements of each partition, and where given elements are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_dtype, check_same_extent, check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import params
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.columns import rows, undefined_rows
from nkifix.emulator.ops.operand import Scalar, fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.undefined import Undefined, merge

_COUNT = 8


def largest8(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """The 8 largest elements of each partition in descending order, (P, 8); default dtype: the data's."""
    operation = "max8"
    tensor = operand(operation, "src", data)
    shape = (tensor.shape[0], _COUNT)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    if isinstance(kept, np.ndarray) and (_flat(kept).sum(axis=1)[rows(kept, tensor.ndim)] < _COUNT).any():
        raise KernelFault(
            "",
            f"{operation}: the mask leaves less than {_COUNT} elements of a partition",
            why=f"the instruction reads at least {_COUNT} elements per partition",
            next_step="mask whole partitions, or leave more elements",
        )
    values, undefined = read(operation, "src", tensor, kept)

    def found() -> Array:
        x = _flat(numeric.as_f32(values))
        if kept is not None:
            x = np.where(_flat(kept), x, -np.inf)
        return np.sort(x, axis=1)[:, : -_COUNT - 1 : -1]

    spoiled = _whole_rows(undefined_rows(undefined, kept, tensor.shape), shape)
    return result(operation, shape, target, found, undefined=spoiled, mask=_row_mask(kept, tensor.ndim, shape))


def find8(data: object, sought: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """Position of the first occurrence of each of 8 values per partition, (P, 8) uint32 (or uint16).

    Positions count the free dimensions in row-major order. The mask applies to ``data``.
    """
    operation = "nc_find_index8"
    tensor, wanted = operand(operation, "data", data), operand(operation, "vals", sought)
    check_same_partitions(operation, tensor, wanted, broadcast=False)
    shape = (tensor.shape[0], _COUNT)
    target = result_dtype(dtype, np.dtype(np.uint32))
    check_dtype(operation, "dtype", target)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    wanted_values, wanted_undefined = read(operation, "vals", wanted)
    known = undefined_rows(undefined, kept, tensor.shape)
    spoiled = merge(shape, (_whole_rows(known, shape), _flat_undefined(wanted_undefined)))

    def found() -> Array:
        equal = _flat(numeric.as_f32(values))[:, None, :] == _flat(numeric.as_f32(wanted_values))[:, :, None]
        if kept is not None:
            equal &= _flat(kept)[:, None, :]
        missing = ~equal.any(axis=2)
        _refuse_missing(operation, missing, spoiled, rows(kept, tensor.ndim))
        places: Array = np.argmax(equal, axis=2).astype(np.uint32)
        return places

    return result(operation, shape, target, found, undefined=spoiled, mask=_row_mask(kept, tensor.ndim, shape))


def replace8(
    data: object,
    sought: object,
    replacement: object,
    *,
    positions_into: object = None,
    dtype: object = None,
    mask: object = None,
) -> Tensor:
    """``data`` with the first occurrence of each of 8 values per partition replaced, one value after another.

    ``positions_into`` (8 elements per partition, uint16 or uint32) receives where they were, counted over the
    free dimensions in row-major order. Default dtype: the data's. The mask applies to ``data``.
    """
    operation = "nc_match_replace8"
    tensor, wanted = operand(operation, "data", data), operand(operation, "vals", sought)
    check_same_partitions(operation, tensor, wanted, broadcast=False)
    if not isinstance(replacement, Scalar):
        raise KernelFault("", f"{operation}: imm must be a number, got {type(replacement).__name__}")
    destination = None if positions_into is None else operand(operation, "dst_idx", positions_into)
    if destination is not None:
        check_same_extent(operation, dst_idx=destination, vals=wanted)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    wanted_values, wanted_undefined = read(operation, "vals", wanted)
    known = undefined_rows(undefined, kept, tensor.shape)
    unsought = undefined_rows(wanted_undefined, None, wanted.shape)
    # Which element is replaced depends on all that the partition holds, and on all values.
    spoiled = merge((tensor.shape[0], 1), (known, unsought))
    replaced: list[Any] = []

    def exchanged() -> Array:
        x = _flat(numeric.as_f32(values)).copy()
        allowed = np.ones(x.shape, dtype=np.bool_) if kept is None else _flat(kept)
        places = _replace(operation, x, allowed, _flat(numeric.as_f32(wanted_values)), replacement, spoiled)
        replaced.append(places)
        return x.reshape(tensor.shape)

    made = result(
        operation,
        tensor.shape,
        target,
        exchanged,
        undefined=_whole_rows(spoiled, tensor.shape),
        mask=kept,
        others=() if destination is None else (destination,),
    )
    if destination is not None:
        found = replaced[0].reshape(destination.shape) if params().arithmetic else None
        kept_rows = _row_mask(kept, tensor.ndim, destination.shape)
        destination.write(found, _whole_rows(spoiled, destination.shape), kept_rows)
    return made


def _replace(
    operation: str,
    x: Array,
    allowed: npt.NDArray[np.bool_],
    wanted: Array,
    replacement: Any,
    spoiled: Undefined | None,
) -> npt.NDArray[np.uint32]:
    """Replace in ``x``; the positions found, (P, 8)."""
    partitions = np.arange(x.shape[0])
    places = np.zeros(wanted.shape, dtype=np.uint32)
    for number in range(wanted.shape[1]):
        equal = (x == wanted[:, number : number + 1]) & allowed
        missing = ~equal.any(axis=1)
        _refuse_missing(operation, missing[:, None], spoiled, allowed.any(axis=1))
        place = np.argmax(equal, axis=1)
        x[partitions[~missing], place[~missing]] = np.float32(replacement)
        places[:, number] = place
    return places


def _refuse_missing(operation: str, missing: npt.NDArray[np.bool_], spoiled: Undefined | None, used_rows: Any) -> None:
    """Refuse values that a partition does not hold: what the instruction then does is not documented."""
    counted = missing if spoiled is None else missing & (spoiled.ids == 0)
    if used_rows is not None:
        counted = counted & np.asarray(used_rows).reshape(-1, 1)
    if counted.any():
        raise KernelFault(
            "",
            f"{operation}: partition {int(np.argwhere(counted)[0][0])} does not hold a value that is looked for in it",
            why="the instruction's behaviour is undefined then",
            next_step="look for values that nisa.max8 took from the same tile",
        )


def _flat(values: Array) -> Array:
    return np.asarray(values).reshape(values.shape[0], -1)


def _flat_undefined(undefined: Undefined | None) -> Undefined | None:
    return None if undefined is None else Undefined(_flat(undefined.ids), undefined.origins)


def _whole_rows(undefined: Undefined | None, shape: tuple[int, ...]) -> Undefined | None:
    """A column's undefinedness, spread over the free dimensions."""
    if undefined is None:
        return None
    column = undefined.ids.reshape((shape[0],) + (1,) * (len(shape) - 1))
    return Undefined(np.broadcast_to(column, shape), undefined.origins)


def _row_mask(kept: Mask, rank: int, shape: tuple[int, ...]) -> Mask:
    """A result's mask: the partitions that the data's mask keeps something of; None for all."""
    used = rows(kept, rank)
    if used is None or used.all():
        return None
    mask: npt.NDArray[np.bool_] = np.broadcast_to(used.reshape((-1,) + (1,) * (len(shape) - 1)), shape)
    return mask
