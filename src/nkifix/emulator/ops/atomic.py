"""Read-modify-write of HBM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nkifix.emulator import functions, loops
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_location
from nkifix.emulator.machine import reads
from nkifix.emulator.memory import Gather, Tensor
from nkifix.emulator.numeric import Array, as_f32
from nkifix.emulator.ops.operand import Scalar, broadcast_shape, fit_mask, read, write_result
from nkifix.emulator.undefined import Undefined, refuse_undefined


def atomic_rmw(destination: object, value: object, op: object, *, mask: object = None) -> None:
    """``destination = destination + value`` in HBM, where the destination's index is known only at run time.

    An element that is named several times receives every value, in row-major order, each sum rounded to its
    dtype.

    Raises
    ------
    KernelFault
        For another operator than addition, or an index that is known when the kernel is compiled.
    UndefinedReadFault
        Where an element that the mask keeps is undefined, on either side.
    """
    operation = "atomic_rmw"
    functions.operation_name(op, ("add",), "op")
    target = operand(operation, "dst", destination)
    if target.gather is None or not target.gather.indirect:
        raise KernelFault(
            "",
            f"{operation}: dst is indexed by compile-time indices only",
            why="it is documented for indirect indices, those with a tile among them",
            next_step="nl.load the elements, nl.add, and nl.store them",
        )
    kept = fit_mask(mask, target.shape)
    if target.storage.is_input and target.storage.first_write is None:
        target.storage.first_write = kernel_location()
    addend = _addend(operation, value, target.shape, kept)
    if kept is not False:
        target.check_bounds(kept)
        loops.reduce(target.storage, lambda: add_into(operation, target, addend, kept))


def _addend(operation: str, value: object, shape: tuple[int, ...], kept: Mask) -> Array:
    if isinstance(value, Scalar):
        return np.full(shape, value, dtype=np.float32)
    tile = operand(operation, "value", value)
    if broadcast_shape(operation, tile.shape, shape) != shape:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"{operation}: a tile of shape {tile.shape} does not fit into {shape}",
            next_step="index the destination with the tile's shape",
        )
    values, undefined = read(operation, "value", tile, kept if tile.shape == shape else None)
    if undefined is not None:
        _refuse(operation, np.broadcast_to(undefined.ids, shape), undefined, kept)
    return np.array(np.broadcast_to(as_f32(values), shape))


def _refuse(operation: str, ids: npt.NDArray[np.uint8], undefined: Undefined, kept: Mask) -> None:
    used = ids if kept is None else np.where(kept, ids, np.uint8(0))
    refuse_undefined(Undefined(used, undefined.origins), operation=operation, happened="adds undefined elements in HBM")


def add_into(operation: str, target: Tensor, addend: Array, kept: Mask) -> None:
    """Add in place, through an indirect view, each sum rounded to the target's dtype."""
    gather, storage = target.gather, target.storage
    assert gather is not None
    reads(target)
    _, undefined = target.read(kept)
    if undefined is not None:
        _refuse(operation, undefined.ids, undefined, kept)
    chosen = gather.in_bounds if kept is None else gather.in_bounds & kept
    address, numbers = gather.address[chosen], addend[chosen]
    turn = _turns(address)
    for number in range(int(turn.max(initial=-1)) + 1):
        places, added = address[turn == number], numbers[turn == number]
        named = Gather(places, np.ones(places.shape, dtype=np.bool_), "", indirect=True)
        once = type(target)._new(storage, places.shape, (1,), 0, None, gather=named)
        held = as_f32(storage.flat()[places])
        if number == 0:
            write_result(operation, once, lambda held=held, added=added: held + added)  # type: ignore[misc]
        else:
            once.write(held + added, None)


def _turns(address: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each address occurred before."""
    order = np.argsort(address, kind="stable")
    in_order = address[order]
    begins = np.concatenate(([True], in_order[1:] != in_order[:-1])) if len(address) else np.ones(0, dtype=bool)
    places = np.arange(len(address))
    turns = np.empty_like(places)
    turns[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return turns
