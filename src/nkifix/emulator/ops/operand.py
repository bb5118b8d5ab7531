"""What every operation does with its operands and its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from nkifix.emulator import numeric, observe
from nkifix.emulator.affine import Mask, broadcast, evaluate_mask
from nkifix.emulator.checks import check_partitions, check_static, chosen_engine, operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import Layout, Role, kind_of
from nkifix.emulator.location import kernel_location
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Compute, Space, Storage, Tensor
from nkifix.emulator.numeric import Array, Number
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Origin, Undefined

Scalar: tuple[type[Any], ...] = (bool, int, float, np.bool_, np.integer, np.floating, *numeric.SCALARS_OF_ML_DTYPES)
"""Types of compile-time numbers that operations take in place of a tile."""


class Assignable:
    """What an operation gives in place of a tile where its result depends on the tensor that it is assigned to."""

    def assign_to(self, destination: Tensor) -> None:
        """Do what ``destination[...] = self`` stands for."""
        raise NotImplementedError


def fit_mask(mask: object, shape: tuple[int, ...]) -> Mask:
    """Evaluate a ``mask=`` argument for a result of ``shape``; an array comes back in that shape."""
    kept = evaluate_mask(mask)
    if kept is None or kept is False or kept.shape == shape:
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
    return fetch(operation, operand(operation, name, value), mask)


def fetch(operation: str, tensor: Tensor, mask: Mask = None) -> tuple[Array, Undefined | None]:
    """:func:`read`, of an operand that was found legal."""
    storage, layout = tensor.storage, tensor.layout
    if tensor.offset or layout.kind.is_result:
        declare.used(operation, tensor)
    undefined = None
    if storage.is_plain and tensor.gather is None:
        values = tensor._values() if program().computes else layout.blank
    elif not program().computes and tensor.is_plainly_defined():
        values = layout.blank
    else:
        values, undefined = tensor.read(mask)
    watching = observe.observer()
    if watching is not None:
        watching.read(tensor, None if mask is None else observe.kept_box(mask, tensor.shape))
    if undefined is not None:
        undefined.note_read(operation)
    return values, undefined


class Result(NamedTuple):
    """What the form of an instruction says of its result, a new tile.

    Attributes
    ----------
    function:
        What is computed, where a cost depends on it.
    """

    operation: str
    engine: Engine
    layout: Layout
    function: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tile."""
        return self.layout.shape


def planned_result(
    operation: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    space: Space = Space.SBUF,
    engine: Engine | None = None,
    function: str = "",
) -> Result:
    """A tile of ``shape``, auto-placed in ``space``, that ``engine`` (or the first that can) makes."""
    check_partitions(shape[0], f"the result of {operation}")
    chosen = chosen_engine(operation, engine)
    role: Role = "moved" if chosen is Engine.DMA else "computed"
    kind = kind_of(shape, dtype, space, 0, role, in_f32=program().launch.in_f32)
    return Result(operation, chosen, kind.whole, function)


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
    """A new tile of ``shape`` with the values of ``compute()``, now: :func:`made` of a :func:`planned_result`."""
    plan = planned_result(operation, shape, dtype, space=space, engine=engine, function=function)
    tile = made(plan, lambda _: compute(), undefined=undefined, mask=mask, others=others)
    tile.storage.settle()
    return tile


def made(
    plan: Result,
    compute: Compute,
    *,
    undefined: Undefined | None = None,
    mask: Mask = None,
    others: Sequence[Tensor] = (),
) -> Tensor:
    """A new tile with the values of ``compute``, rounded once to its dtype.

    They may be computed later, when the tile is read or assigned, but before anything is written that they depend on.
    Elements that ``mask`` drops are undefined, and stay out of whatever the tile is assigned to; where it drops all of
    them, nothing is computed. ``others`` are what the instruction writes besides.
    """
    current = program()
    around = current.nest
    if around.awaited is not None:
        around.awaited.settle()
        around.awaited = None
    storage = Storage.of_result(plan.layout.kind, compute if current.computes and mask is not False else None, around)
    tensor = current.tensor_type._of(storage, plan.layout, 0, None, mask)
    if mask is not False:
        if observe.observer() is not None:
            _note(plan.operation, plan.engine, tensor, plan.function, mask, others)
        if undefined is None and mask is None and current.postpones:
            around.awaited = storage if current.computes else None
            return tensor
        storage.settle()
    _leave_undefined(plan.operation, tensor, undefined, mask)
    return tensor


def _leave_undefined(operation: str, tensor: Tensor, undefined: Undefined | None, mask: Mask) -> None:
    """Note which elements of a new tile are undefined: those that the operands leave so, and what the mask drops."""
    storage, shape = tensor.storage, tensor.shape
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
        destination.write(compute() if program().computes else None, undefined, mask)


def _note(
    operation: str, engine: Engine, written: Tensor, function: str, mask: Mask, others: Sequence[Tensor] = ()
) -> None:
    watching = observe.observer()
    if watching is not None:
        kept = None if mask is None else observe.kept_box(mask, written.shape)
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
        return broadcast(*shapes)
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
    if type(value) is not type(destination):
        _check_destination(destination)
        if isinstance(value, Assignable):
            value.assign_to(destination)
            return
        check_static("assignment", "destination", destination)
        if isinstance(value, Scalar):
            write_result("memset", destination, lambda: value, function="" if value else "zero")
            return
    shape = planned(_plan_assignment, (destination, value))
    source = cast(Tensor, value)
    if source.storage is destination.storage and _same_view(source, destination):
        return  # what `tile[...] += x` assigns back
    declare.check_assigned(destination, source)
    mask = source.result_mask
    values: Array | Storage | None = None
    undefined = None
    computes = program().computes
    if source.storage.is_awaited and source.layout.shape == shape and _can_move(source, destination):
        values = source.storage
    elif computes or not source.is_plainly_defined():
        values, undefined = source.read(mask)
    watching = observe.observer()
    if watching is not None and mask is not False:
        watching.assigned(source, destination)
    if undefined is not None:
        undefined = _only_kept(undefined, mask, shape)
    destination.write(values if computes else None, undefined, mask)


def _can_move(source: Tensor, destination: Tensor) -> bool:
    """Whether a whole result may be computed into its destination alone: it is found there as long as need be."""
    kind = source.layout.kind
    return source.layout is kind.whole and destination.layout.kind.holds(kind) and destination.storage.placed is None


def _check_destination(destination: Tensor) -> None:
    if not destination.space.on_chip:
        raise KernelFault(
            "err_unsupported_memory",
            f"{destination.storage.describe()} is in HBM and cannot be assigned to",
            why="engines write SBUF and PSUM; HBM is written by DMA",
            next_step="nl.store(hbm[...], tile)",
        )


def _plan_assignment(destination: Tensor, value: object) -> tuple[int, ...]:
    """Check an assignment; the shape of the destination."""
    _check_destination(destination)
    check_static("assignment", "destination", destination)
    source = operand("assignment", "value", value)
    shape = broadcast_shape("assignment", destination.shape, source.shape)
    if shape != destination.shape:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"a value of shape {source.shape} does not fit into {destination.shape}",
            why="an assignment broadcasts the value, never the destination",
            next_step="index the destination with the value's shape",
        )
    return shape


def _only_kept(undefined: Undefined, mask: Mask, shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness of the elements that are written; what the mask drops is not."""
    ids = np.broadcast_to(undefined.ids, shape)
    if mask is not None:
        ids = np.where(mask, ids, np.uint8(0))
    return Undefined(ids, undefined.origins) if ids.any() else None


def _same_view(a: Tensor, b: Tensor) -> bool:
    same_place = a.storage is b.storage and a.offset == b.offset and (a.gather is None) == (b.gather is None)
    return same_place and a.shape == b.shape and a.strides == b.strides
