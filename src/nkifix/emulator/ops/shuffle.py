"""Moving elements between places on chip that are no boxes: across partitions, or by an index tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import check_dtype, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import params
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.columns import undefined_rows
from nkifix.emulator.ops.operand import fit_mask, nothing, read, result, result_dtype, write_result
from nkifix.emulator.undefined import Undefined, refuse_undefined

_QUADRANT = 32
"""Partitions among which the Vector Engine shuffles."""

_UNMODIFIED = 255
"""Entry of a shuffle mask: this partition of the destination stays as it is."""

_CORE_PARTITIONS = 16
"""Partitions of one core of the GpSimd Engine."""

_GATHER_LENGTHS = (1, 2, 4, 8, 16, 32)
_GATHER_INDICES_MAX = 4096


def stream_shuffle(
    source: object, destination: object, order: object, *, dtype: object = None, mask: object = None
) -> None:
    """Partition i of each quadrant of 32 receives partition ``order[i]`` of the source's quadrant; 255: none."""
    operation = "nc_stream_shuffle"
    tensor, target = operand(operation, "src", source), operand(operation, "dst", destination)
    places = _shuffle_order(operation, order)
    if tensor.dtype != target.dtype or result_dtype(dtype, tensor.dtype) != target.dtype:
        raise KernelFault(
            "",
            f"{operation}: src is {numeric.dtype_name(tensor.dtype)}, dst {numeric.dtype_name(target.dtype)}",
            why="partitions are moved without a conversion",
            next_step="give both one dtype",
        )
    if math.prod(tensor.shape[1:]) != math.prod(target.shape[1:]):
        raise KernelFault(
            "",
            f"{operation}: src has shape {tensor.shape}, dst {target.shape}",
            why="both have the same number of elements per partition",
            next_step="slice them alike",
        )
    kept = fit_mask(mask, target.shape)
    if kept is False:
        return
    count = target.shape[0]
    taken = np.array([places[i % _QUADRANT] for i in range(count)])
    moved = taken != _UNMODIFIED
    origin = np.where(moved, taken + np.arange(count) // _QUADRANT * _QUADRANT, 0)
    if (origin >= tensor.shape[0]).any():
        first = int(np.argmax(origin >= tensor.shape[0]))
        raise KernelFault(
            "",
            f"{operation}: partition {first} of dst takes partition {int(origin[first])} of src, which has "
            f"{tensor.shape[0]}",
            why="the shuffle runs within each quadrant of 32 partitions",
            next_step="pass a source with all partitions that shuffle_mask names",
        )
    column = moved.reshape((count,) + (1,) * (target.ndim - 1))
    used = np.broadcast_to(column, target.shape) if kept is None else kept & column
    values, undefined = read(operation, "src", tensor)
    shuffled = values.reshape(tensor.shape[0], -1)[origin].reshape(target.shape)
    if undefined is not None:
        ids = undefined.ids.reshape(tensor.shape[0], -1)[origin].reshape(target.shape)
        undefined = Undefined(ids, undefined.origins)
    write_result(operation, target, lambda: shuffled, undefined=undefined, mask=used)


def _shuffle_order(operation: str, order: object) -> list[int]:
    entries = list(order) if isinstance(order, Sequence) else []
    legal = all(is_integer(entry) and (0 <= entry < _QUADRANT or entry == _UNMODIFIED) for entry in entries)
    if len(entries) != _QUADRANT or not legal:
        raise KernelFault(
            "",
            f"{operation}: shuffle_mask is a list of {_QUADRANT} numbers, each 0 to {_QUADRANT - 1} or {_UNMODIFIED}",
            next_step="give one source partition for every partition of a quadrant",
        )
    return [int(entry) for entry in entries]


def local_gather(source: object, index: object, length: Any = 1, valid: Any = None, *, mask: object = None) -> Tensor:
    """Runs of ``length`` elements that start at given free positions, the same for 16 partitions at a time.

    The indices of a core's 16 partitions, taken partition by partition first, apply to all 16 partitions of
    ``source``. The result has shape (P, *index free shape, 16, length); with ``valid`` indices per core, fewer
    than there are, (P, valid, length).
    """
    operation = "local_gather"
    tensor, positions = operand(operation, "src_buffer", source), operand(operation, "index", index)
    count = _check_gather(operation, tensor, positions, length, valid)
    run = int(length)
    partitions = tensor.shape[0]
    whole = count == _indices_per_core(positions)
    shape = (partitions, *positions.shape[1:], _CORE_PARTITIONS, run) if whole else (partitions, count, run)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, tensor.dtype)
    values, undefined = read(operation, "src_buffer", tensor)
    numbers, unknown = read(operation, "index", positions)
    if unknown is not None:
        refuse_undefined(unknown, operation=operation, happened="gathers by undefined indices")
    places = _gather_places(operation, numbers, count, run, math.prod(tensor.shape[1:]))

    def taken(elements: Any) -> Any:
        return np.take_along_axis(elements.reshape(partitions, -1), places, axis=1).reshape(shape)

    if undefined is not None:
        undefined = Undefined(taken(undefined.ids), undefined.origins)
    return result(
        operation, shape, tensor.dtype, lambda: taken(values), undefined=undefined, mask=kept, function=str(length)
    )


def _indices_per_core(index: Tensor) -> int:
    return math.prod(index.shape[1:]) * _CORE_PARTITIONS


def _check_gather(operation: str, source: Tensor, index: Tensor, length: Any, valid: Any) -> int:
    """Refuse sizes that the instruction does not take; how many indices each core uses."""
    if source.shape[0] != index.shape[0] or source.shape[0] % _CORE_PARTITIONS:
        raise KernelFault(
            "err_num_partition_mismatch",
            f"{operation}: src_buffer has {source.shape[0]} partitions, index {index.shape[0]}",
            why=f"both have the same number, a multiple of {_CORE_PARTITIONS}: each core serves {_CORE_PARTITIONS}",
            next_step="give both the same 16, 32, … partitions",
        )
    if not is_integer(length) or length not in _GATHER_LENGTHS:
        raise KernelFault("", f"{operation}: num_elem_per_idx is one of {_GATHER_LENGTHS}, got {length!r}")
    available = _indices_per_core(index)
    count: Any = available if valid is None else valid
    if not is_integer(count) or not 1 <= count <= min(available, _GATHER_INDICES_MAX):
        raise KernelFault(
            "",
            f"{operation}: {count!r} indices per core",
            why=f"a core takes 1 to {_GATHER_INDICES_MAX} of the {available} indices in its partitions",
            next_step="pass a smaller num_valid_indices",
        )
    return int(count)


def _gather_places(operation: str, index: Array, count: int, run: int, size: int) -> npt.NDArray[np.int64]:
    """Free position of every gathered element, (P, count * run)."""
    if not params().arithmetic:
        return np.zeros((index.shape[0], count * run), dtype=np.int64)
    per_core = index.astype(np.int64).reshape(-1, _CORE_PARTITIONS, math.prod(index.shape[1:]))
    starts = per_core.transpose(0, 2, 1).reshape(len(per_core), -1)[:, :count]
    places: npt.NDArray[np.int64] = (starts[:, :, None] + np.arange(run)).reshape(len(per_core), -1)
    if places.max() >= size:
        raise KernelFault(
            "err_tensor_access_out_of_bound",
            f"{operation}: element {int(places.max())} of {size} per partition",
            why="the result of such an access is undefined",
            next_step="keep indices (in elements of the flattened free dimensions) within the source",
        )
    return places.repeat(_CORE_PARTITIONS, axis=0)


def sequence_bounds(segments: object, *, dtype: object = None) -> Tensor:
    """For each element of (1, N) segment ids, where its segment begins and where it ends (excluded): (1, 2, N).

    Padding, id 0, gets N and -1. Ids and results are float32 or int32; default dtype: the ids'.
    """
    operation = "sequence_bounds"
    tensor = operand(operation, "segment_ids", segments)
    if tensor.shape[0] != 1 or tensor.ndim != 2:
        raise KernelFault(
            "",
            f"{operation}: segment_ids must have shape (1, N), got {tensor.shape}",
            next_step="pass one partition with one free dimension",
        )
    target = result_dtype(dtype, tensor.dtype)
    check_dtype(operation, "dtype", target)
    values, undefined = read(operation, "segment_ids", tensor)
    count = tensor.shape[1]
    shape = (1, 2, count)
    spoiled = undefined_rows(undefined, None, tensor.shape)
    if spoiled is not None:
        spoiled = Undefined(np.broadcast_to(spoiled.ids[:, :, None], shape), spoiled.origins)

    def computed() -> Array:
        return _bounds(operation, np.asarray(values)[0], spoiled is None).reshape(shape)

    return result(operation, shape, target, computed, undefined=spoiled)


def _bounds(operation: str, ids: Array, defined: bool) -> Array:
    if defined and (ids < 0).any():
        raise KernelFault("", f"{operation}: segment ids are not negative, got {ids.min()}")
    count = len(ids)
    changes = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    edges = np.concatenate([[0], changes, [count]])
    which = np.searchsorted(edges, np.arange(count), side="right") - 1
    padding = ids == 0
    bounds: Array = np.stack([np.where(padding, count, edges[which]), np.where(padding, -1, edges[which + 1])]).astype(
        F32 if ids.dtype == F32 else np.int32
    )
    return bounds
