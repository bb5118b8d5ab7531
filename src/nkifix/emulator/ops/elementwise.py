"""Element-by-element operations of the Vector, Scalar and GpSimd engines."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from nkifix.emulator import functions, loops, numeric, observe
from nkifix.emulator.actions import may_warn
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import BOOL, F32, Array
from nkifix.emulator.ops.copies import copy as copy
from nkifix.emulator.ops.operand import (
    Result,
    Scalar,
    assign,
    broadcast_shape,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.ops.ranges import warn_of_invalid_input
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Undefined, merge


def binary(
    name: str, a: object, b: object, *, dtype: object = None, mask: object = None, broadcast_partitions: bool = True
) -> Tensor:
    """``a name b`` on two tiles, or a tile and a number; float32 arithmetic, one rounding.

    Sums and products of integers are exact, bit operations take integers only. Default dtype: the promotion
    of both operands.
    """
    plan = planned(_plan_binary, (a, b), name, dtype, broadcast_partitions)
    kept = fit_mask(mask, plan.result.shape)
    if kept is False:
        return nothing(name, plan.result.shape, plan.result.layout.kind.dtype)
    return _combine(plan, a, b, kept)


class _Plan(NamedTuple):
    """A function of two operands.

    Attributes
    ----------
    work:
        The dtype that is computed in.
    """

    result: Result
    work: np.dtype[Any]


def _plan_binary(a: object, b: object, name: str, dtype: object, broadcast_partitions: bool) -> _Plan:
    shape, promoted = _common(name, a, b, broadcast_partitions)
    if dtype is None and name in functions.BITWISE and promoted == F32:
        # int32 with uint32 promotes to float32, which cannot hold their bits.
        promoted = functions.working_dtype(name, *_dtypes(a, b))
    work = functions.working_dtype(name, *_dtypes(a, b))
    return _Plan(planned_result(name, shape, result_dtype(dtype, promoted)), work)


def _common(name: str, a: object, b: object, broadcast_partitions: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and default dtype of a result."""
    tensors = [operand(name, "operand", x) for x in (a, b) if not isinstance(x, Scalar)]
    if not tensors:
        raise KernelFault("", f"{name} needs at least one tile, got two numbers")
    check_same_partitions(name, *tensors, broadcast=broadcast_partitions)
    return broadcast_shape(name, *(t.shape for t in tensors)), numeric.promote(*_dtypes(a, b))


def _dtypes(*operands: object) -> list[np.dtype[Any]]:
    return [x.dtype if isinstance(x, Tensor) else numeric.scalar_dtype(x) for x in operands]


def combine(name: str, a: Tensor, b: Tensor, dtype: np.dtype[Any], kept: Mask) -> Tensor:
    """:func:`binary` on two tiles of one partition count, with an evaluated mask."""
    return _combine(planned(_plan_binary, (a, b), name, dtype, False), a, b, kept)


def _combine(plan: _Plan, a: object, b: object, kept: Mask) -> Tensor:
    name = plan.result.operation
    (x, x_undefined), (y, y_undefined) = (
        fetch(name, one, kept) if isinstance(one, Tensor) else (np.asarray(one), None) for one in (a, b)
    )
    undefined = None
    if x_undefined is not None or y_undefined is not None:
        undefined = merge(plan.result.shape, (x_undefined, y_undefined))
    return made(plan.result, partial(_combined, name, plan.work, x, y), undefined=undefined, mask=kept)


def _combined(name: str, work: np.dtype[Any], x: Array, y: Array, out: Array | None) -> Array:
    pair = (x.astype(work, copy=False), y.astype(work, copy=False))
    return functions.apply(functions.BINARY[name], *pair, out=out if work is F32 else None)


def unary(name: str, data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A function of one tile, by its name in :data:`functions.UNARY`. Default dtype: the tile's."""
    plan = planned(_plan_unary, (data,), name, dtype)
    kept = fit_mask(mask, plan.shape)
    if kept is False:
        return nothing(name, plan.shape, plan.layout.kind.dtype)
    values, undefined = fetch(name, cast(Tensor, data), kept)
    if name in functions.ACTIVATIONS and name not in _ALSO_ON_VECTOR_ENGINE:
        declare.needs_bias(name)

    if name not in _ONLY_ON_SCALAR_ENGINE:
        return made(plan, partial(_applied, name, values), undefined=undefined, mask=kept)
    tile = made(plan, partial(_applied_within_range, name, values, undefined, kept), undefined=undefined, mask=kept)
    tile.storage.settle()  # where it warns, it does so on this line
    return tile


def _applied(name: str, values: Array, out: Array | None) -> Array:
    # Contiguous whatever the view's strides: numpy's loops for strided operands may round otherwise.
    return functions.apply(functions.UNARY[name], np.ascontiguousarray(numeric.as_f32(values)), out=out)


@may_warn
def _applied_within_range(
    name: str, values: Array, undefined: Undefined | None, kept: Mask, out: Array | None
) -> Array:
    x = np.ascontiguousarray(numeric.as_f32(values))
    warn_of_invalid_input(name, x, undefined, kept)
    return _applied(name, x, out)


def _plan_unary(data: object, name: str, dtype: object) -> Result:
    tensor = operand(name, "data", data)
    return planned_result(name, tensor.shape, result_dtype(dtype, tensor.dtype))


_ALSO_ON_VECTOR_ENGINE = frozenset({"abs", "reciprocal"})
"""Activation functions that another engine computes, which needs no bias."""

_ONLY_ON_SCALAR_ENGINE = frozenset({"arctan", "log", "sin", "sqrt"})
"""Functions with a valid range that no other engine computes: reciprocal and rsqrt have a second home."""


def invert(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """The complement of an integer tile's bits. Default dtype: the tile's."""
    operation = "invert"
    tensor = operand(operation, "data", data)
    if tensor.dtype == BOOL:
        raise KernelFault(
            "",
            f"{operation} of a bool tile",
            why="the compiler gives wrong results for it (NKI known issues)",
            next_step="use nl.logical_not, or an int8 tile",
        )
    functions.working_dtype(operation, tensor.dtype)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    return result(operation, tensor.shape, target, lambda: np.invert(values), undefined=undefined, mask=kept)


def where(condition: object, x: object, y: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """``x`` (a tile) where ``condition`` (a tile) is not zero, ``y`` (a tile or a number) elsewhere."""
    operation = "where"
    tests, chosen = operand(operation, "condition", condition), operand(operation, "x", x)
    tensors = [tests, chosen] if isinstance(y, Scalar) else [tests, chosen, operand(operation, "y", y)]
    check_same_partitions(operation, *tensors, broadcast=True)
    shape = broadcast_shape(operation, *(tensor.shape for tensor in tensors))
    target = result_dtype(dtype, numeric.promote(*_dtypes(chosen, y)))
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    truth, truth_undefined = read(operation, "condition", tests, kept)
    holds = np.broadcast_to(truth != 0, shape)
    first, first_undefined = read(operation, "x", chosen, kept)
    second, second_undefined = (np.asarray(y), None) if isinstance(y, Scalar) else read(operation, "y", y, kept)
    unknown = merge(
        shape, (truth_undefined, _where(first_undefined, holds, shape), _where(second_undefined, ~holds, shape))
    )

    def selected() -> Array:
        return np.where(holds, numeric.as_f32(first), numeric.as_f32(second))

    return result(operation, shape, target, selected, undefined=unknown, mask=kept)


def _where(undefined: Undefined | None, chosen: Array, shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness of the elements that are chosen."""
    if undefined is None:
        return None
    ids = np.where(chosen, np.broadcast_to(undefined.ids, shape), np.uint8(0))
    return Undefined(ids, undefined.origins)


def accumulate(destination: Tensor, value: object) -> Tensor:
    """``destination += value``. On a PSUM tile that was never written, a matmul result starts from zero."""
    if loops.must_wait(destination.storage):
        value = value.snapshot() if isinstance(value, Tensor) else value
        loops.reduce(destination.storage, lambda: _accumulate(destination, value))
    else:
        with loops.reducing():
            _accumulate(destination, value)
    return destination


def combine_into(name: str, destination: Tensor, value: object) -> Tensor:
    """``destination = destination name value``, in place: ``-=``, ``*=`` and their like."""
    kept = value.result_mask if isinstance(value, Tensor) else None
    if kept is not False:
        plan = planned(_plan_binary, (destination, value), name, destination.dtype, False)
        mask = kept if kept is None else np.broadcast_to(kept, plan.result.shape)
        assign(destination, _combine(plan, destination, value, mask))
    return destination


def _accumulate(destination: Tensor, value: object) -> None:
    kept = value.result_mask if isinstance(value, Tensor) else None
    if kept is False:
        return
    plan = planned(_plan_binary, (destination, value), "add", destination.dtype, False)
    mask = kept if kept is None else np.broadcast_to(kept, plan.result.shape)
    of_tensor_engine = isinstance(value, Tensor) and value.space is Space.PSUM and value.storage.auto_placed
    if destination.space is Space.PSUM and of_tensor_engine:
        assert isinstance(value, Tensor)
        _accumulate_in_psum(destination, value, mask)
        return
    assign(destination, _combine(plan, destination, value, mask))


def _accumulate_in_psum(destination: Tensor, product: Tensor, kept: Mask) -> None:
    """PSUM adds a matmul's result to what it holds: no instruction beside the matmul itself."""
    _start_from_zero(destination, kept)
    watching = observe.observer()
    if watching is not None:
        watching.assigned(product, destination)
    if not program().computes and product.is_plainly_defined() and destination.is_plainly_defined():
        destination.write(None, None, kept)
        return
    values, undefined = product.read(kept)
    held, unknown = destination.read(kept)
    x, y = numeric.as_f32(held), numeric.as_f32(values)
    if undefined is None and unknown is None and kept is None:
        total = Storage.of_result(product.layout.kind, partial(_added, x, y), program().nest)
        destination.write(total if program().computes else None, None)
        return
    destination.write(x + y if program().computes else None, merge(destination.shape, (unknown, undefined)), kept)


def _added(x: Array, y: Array, out: Array | None) -> Array:
    return functions.apply(np.add, x, y, out=out)


def _start_from_zero(destination: Tensor, kept: Mask) -> None:
    """The first matmul of an accumulation group overwrites: undefined PSUM elements count as zero."""
    if destination.is_plainly_defined():
        return
    _, undefined = destination.read(kept)
    if undefined is not None:
        fresh_elements = undefined.ids != 0
        destination.write(0.0, None, fresh_elements if kept is None else fresh_elements & kept)
