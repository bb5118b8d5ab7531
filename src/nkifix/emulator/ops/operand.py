"""What every operation does with its operands and its result."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nkifix.emulator import numeric, observe
from nkifix.emulator.affine import Mask, evaluate_mask
from nkifix.emulator.checks import check_partitions, check_static, chosen_engine, operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_location
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import Array, Number
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Origin, Undefined

Scalar: tuple[type[Any], ...] = (bool, int, float, np.bool_, np.integer, np.floating, *numeric.SCALARS_OF_ML_DTYPES)
"""Types of compile-time numbers that operations take in place of a tile."""


class Assignable(ABC):
    """What an operation gives in place of a tile where its result depends on the tensor that it is assigned to."""

    @abstractmethod
    def assign_to(self, destination: Tensor) -> None:
        """Do what ``destination[...] = self`` stands for."""


def fit_mask(mask: object, shape: tuple[int, ...]) -> Mask:
    """Evaluate a ``mask=`` argument for a result of ``shape``; an array comes back in that shape."""
    kept = evaluate_mask(mask)
    if kept is None or kept is False:
        return kept
    try:
        return np.broadcast_to(kept, shape)
    except ValueError:
        raise KernelFault(
            "",
            f"a mask of shape {np.shape(kept)} does not fit a tile of shape {shape}",
            next_step="build the mask from indices with the tile's dimensions",
        ) from None


def read(operation: str, name: str, value: object, mask: Mask = None) -> tuple[Array, Undefined | None]:
    """The elements of a legal operand, and which are undefined (noting the first reader)."""
    tensor = operand(operation, name, value)
    declare.used(operation, tensor)
    values, undefined = tensor.read(mask)
    watching = observe.observer()
    if watching is not None:
        watching.read(tensor, observe.kept_box(mask, tensor.shape))
    if undefined is not None:
        undefined.note_read(operation)
    return values, undefined


def result(
    operation: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compute: Callable[[], Array],
    *,
    undefined: Undefined | None = None,
    mask: Mask = None,
    space: Space = Space.SBUF,
    engine: Engine | None = None,
    function: str = "",
    others: Sequence[Tensor] = (),
) -> Tensor:
    """A new tile of ``shape`` with the values of ``compute()`` (rounded once to ``dtype``), auto-placed in ``space``.

    Elements that ``mask`` drops are undefined, and stay out of whatever the tile is assigned to; where it
    drops all of them, nothing is computed. ``function`` says what is computed where a cost depends on it,
    ``others`` what the instruction writes besides.
    """
    check_partitions(shape[0], f"the result of {operation}")
    chosen = chosen_engine(operation, engine)
    current = program()
    storage = Storage(shape, dtype, space, partition_axis=0, in_f32=current.launch.in_f32)
    storage.by_engine = chosen is not Engine.DMA
    tensor = current.tensor_type._whole(storage, result_mask=mask)
    if mask is not False:
        _note(operation, chosen, tensor, function, mask, others)
        if program().launch.params.arithmetic:
            storage.put(storage.array(), compute())
    if undefined is not None:
        storage.undefined = Undefined(np.array(undefined.ids, order="C"), undefined.origins)
        storage.undefined_count = int(np.count_nonzero(undefined.ids != 0))
    if mask is not None:
        location = kernel_location()
        origin = Origin(lambda: f"the masked-off part of {operation} at {location}")
        if isinstance(mask, bool):
            storage.undefined = Undefined.everywhere(shape, origin)
            storage.undefined_count = math.prod(shape)
        else:
            tensor._update_ids(Undefined.everywhere(shape, origin), ~mask)
    return tensor


def write_result(
    operation: str,
    destination: Tensor,
    compute: Callable[[], Array | Number],
    *,
    undefined: Undefined | None = None,
    mask: Mask = None,
    engine: Engine | None = None,
    function: str = "",
    others: Sequence[Tensor] = (),
) -> None:
    """Write ``compute()`` into a destination that the kernel gave (``dst=``), where ``mask`` keeps it."""
    chosen = chosen_engine(operation, engine)
    if mask is not False:
        _note(operation, chosen, destination, function, mask, others)
        destination.write(compute() if program().launch.params.arithmetic else None, undefined, mask)


def _note(
    operation: str, engine: Engine, written: Tensor, function: str, mask: Mask, others: Sequence[Tensor] = ()
) -> None:
    watching = observe.observer()
    if watching is not None:
        kept = observe.kept_box(mask, written.shape)
        watching.executed(operation, engine, written, function=function, kept=kept, others=others)


def nothing(operation: str, shape: tuple[int, ...], dtype: np.dtype[Any], space: Space = Space.SBUF) -> Tensor:
    """The result of an operation whose mask drops every element: nothing is computed."""
    return result(operation, shape, dtype, lambda: np.zeros(shape, dtype=np.float32), mask=False, space=space)


def result_dtype(dtype: object, default: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype asked for, or the operation's default."""
    return default if dtype is None else numeric.storage_dtype(dtype)


def broadcast_shape(operation: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of operands."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise KernelFault("", f"{operation}: shapes {listed} do not fit together") from None


def assign(destination: Tensor, value: object) -> None:
    """``destination[...] = value``.

    Raises
    ------
    KernelFault
        ``err_store_dst_shape_smaller_than_other_shape`` where the value is larger,
        ``err_unsupported_memory`` for HBM on either side.
    """
    if not destination.space.on_chip:
        raise KernelFault(
            "err_unsupported_memory",
            f"{destination.storage.describe()} is in HBM and cannot be assigned to",
            why="engines write SBUF and PSUM; HBM is written by DMA",
            next_step="nl.store(hbm[...], tile)",
        )
    if isinstance(value, Assignable):
        value.assign_to(destination)
        return
    check_static("assignment", "destination", destination)
    declare.check_assigned(destination, value)
    if isinstance(value, Scalar):
        write_result("memset", destination, lambda: value, function="" if value else "zero")
        return
    source = operand("assignment", "value", value)
    if _same_view(source, destination):
        return  # what `tile[...] += x` assigns back
    shape = broadcast_shape("assignment", destination.shape, source.shape)
    if shape != destination.shape:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"a value of shape {source.shape} does not fit into {destination.shape}",
            why="an assignment broadcasts the value, never the destination",
            next_step="index the destination with the value's shape",
        )
    mask = source.result_mask
    values, undefined = source.read(mask)
    watching = observe.observer()
    if watching is not None and mask is not False:
        watching.assigned(source, destination)
    if undefined is not None:
        undefined = _only_kept(undefined, mask, shape)
    destination.write(values if program().launch.params.arithmetic else None, undefined, mask)


def _only_kept(undefined: Undefined, mask: Mask, shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness of the elements that are written; what the mask drops is not."""
    ids = np.broadcast_to(undefined.ids, shape)
    if mask is not None:
        ids = np.where(mask, ids, np.uint8(0))
    return Undefined(ids, undefined.origins) if ids.any() else None


def _same_view(a: Tensor, b: Tensor) -> bool:
    same_place = a.storage is b.storage and a.offset == b.offset and (a.gather is None) == (b.gather is None)
    return same_place and a.shape == b.shape and a.strides == b.strides
