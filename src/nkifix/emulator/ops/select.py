"""Selecting between values: by an affine predicate, by a range of positions, or by a tile of flags."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nkifix.emulator import functions, numeric
from nkifix.emulator.affine import Mask, Predicate, is_integer
from nkifix.emulator.checks import (
    check_dtype,
    check_memories,
    check_same_extent,
    check_same_shape,
    chosen_engine,
    operand,
)
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import params, planned, program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops import accumulators
from nkifix.emulator.ops.accumulators import ReduceCommand
from nkifix.emulator.ops.columns import column, column_destination
from nkifix.emulator.ops.operand import (
    Result,
    Scalar,
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


def affine_select(
    predicate: object, data: object, otherwise: object, *, dtype: object = None, mask: object = None
) -> Tensor:
    """``data`` where the affine comparison holds, the number ``otherwise`` elsewhere."""
    operation = "affine_select"
    plan = planned(_plan_affine_select, (data,), dtype)
    tensor = cast(Tensor, data)
    _check_affine(operation, predicate, tensor, otherwise)
    if tensor.space is Space.PSUM:
        program().warn_of_code(
            "gpsimd-psum", "affine_select reads PSUM, which GpSimd cannot reach: the compiler adds a copy"
        )
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, plan.layout.kind.dtype)
    values, undefined = fetch(operation, tensor, kept)
    chosen = None if undefined is None else fit_mask(predicate, tensor.shape)
    if undefined is not None and chosen is not None:
        undefined = (
            None if chosen is False else Undefined(np.where(chosen, undefined.ids, np.uint8(0)), undefined.origins)
        )
    comparison = cast(Predicate, predicate)
    compute = partial(_selected, values, comparison, np.float32(cast(float, otherwise)))
    # Whether the predicate does anything: what a picture of the mask, as executed, needs to know.
    return made(plan._replace(function=comparison.effect), compute, undefined=undefined, mask=kept)


def _plan_affine_select(data: object, dtype: object) -> Result:
    operation = "affine_select"
    tensor = operand(operation, "on_true_tile", data)
    target = result_dtype(dtype, tensor.dtype)
    check_dtype(operation, "dtype", target)
    return planned_result(operation, tensor.shape, target)


def _check_affine(operation: str, predicate: object, tensor: Tensor, otherwise: object) -> None:
    if not isinstance(predicate, Predicate) or len(predicate.terms) != 1:
        raise KernelFault(
            "err_unsupported_expression_in_mask",
            f"{operation}: pred must be one affine comparison, got {type(predicate).__name__}",
            why="the instruction evaluates a single affine expression per element",
            next_step="select twice for two conditions",
        )
    if predicate.shape != tensor.shape:
        raise KernelFault(
            "",
            f"{operation}: pred has shape {predicate.shape}, the tile {tensor.shape}",
            why="predicate, tile and result have one shape",
            next_step="use indices of the whole tile, with a term of each dimension: i_p * 0 + i_f >= 3",
        )
    if not isinstance(otherwise, Scalar):
        raise KernelFault("", f"{operation}: on_false_value must be a number, got {type(otherwise).__name__}")


def _selected(values: Array, predicate: Predicate, otherwise: np.float32, out: Array | None) -> Array:
    chosen = predicate.now()
    if chosen is None:
        return values
    if out is None or np.may_share_memory(out, values):
        out = np.empty(values.shape, dtype=F32)
    out.fill(otherwise)
    if chosen is not False:
        numeric.copy_cast(out, values, chosen)
    return out


def range_select(
    data: object,
    comparisons: Sequence[str],
    bounds: Sequence[object],
    *,
    start: Any,
    otherwise: float,
    command: ReduceCommand,
    reduce_into: object,
    dtype: object = None,
    mask: object = None,
) -> Tensor:
    """``data`` where ``start`` + its free position stands in both relations to the bounds, ``otherwise`` elsewhere.

    ``comparisons`` are two names of :data:`legality.COMPARISONS`, ``bounds`` float32 tiles (P, 1). The maximum
    over the free dimensions goes through the Vector Engine's accumulator registers.
    """
    operation = "range_select"
    tensor = operand(operation, "on_true_tile", data)
    target = result_dtype(dtype, tensor.dtype)
    destination = None if reduce_into is None else column_destination(operation, "reduce_res", reduce_into, tensor)
    _check_read_out(operation, command, destination)
    _check_countable(operation, start, math.prod(tensor.shape[1:]))
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "on_true_tile", tensor, kept)
    limits = [
        column(operation, f"bound{i}", _tile_only(operation, i, bound), tensor, kept) for i, bound in enumerate(bounds)
    ]
    unknown = merge(tensor.shape, (undefined, *(part for _, part in limits)))

    def selected() -> Array:
        position = start + np.arange(math.prod(tensor.shape[1:]), dtype=F32).reshape(1, *tensor.shape[1:])
        first, second = (
            functions.ARITHMETIC[name](position, limit) for name, (limit, _) in zip(comparisons, limits, strict=True)
        )
        return np.where((first != 0) & (second != 0), numeric.as_f32(values), np.float32(otherwise))

    once = functools.cache(selected)
    made = result(
        operation,
        tensor.shape,
        target,
        once,
        undefined=unknown,
        mask=kept,
        others=() if destination is None else (destination,),
    )
    _accumulate_maximum(operation, command, once, tensor, unknown, kept, destination)
    return made


def _tile_only(operation: str, number: int, bound: object) -> object:
    if isinstance(bound, Scalar):
        raise KernelFault(
            "", f"{operation}: bound{number} must be a float32 tile with one element per partition, got a number"
        )
    return bound


_COUNTABLE = 2**24
"""Float32 holds every whole number up to here."""


def _check_countable(operation: str, start: Any, size: int) -> None:
    if not is_integer(start):
        raise KernelFault("", f"{operation}: range_start must be a whole number, got {start!r}")
    last = int(start) + size - 1
    if abs(int(start)) > _COUNTABLE or abs(last) > _COUNTABLE:
        raise KernelFault(
            "",
            f"{operation}: positions {start} to {last} go beyond 2**24",
            why="positions are compared with the bounds in float32",
            next_step="subtract an offset from range_start and from the bounds",
        )


def select_reduce(
    destination: object,
    predicate: object,
    on_true: object,
    on_false: object,
    *,
    command: ReduceCommand,
    reduce_into: object,
    reverse: bool = False,
    dtype: object = None,
    mask: object = None,
) -> None:
    """Write ``on_true`` where ``predicate`` is not 0 (with ``reverse``, where it is 0), else ``on_false``.

    ``on_false`` is a number or has one element per partition. The maximum over the free dimensions goes
    through the Vector Engine's accumulator registers.
    """
    operation = "select_reduce"
    target = operand(operation, "dst", destination)
    tensor = operand(operation, "on_true", on_true)
    condition = operand(operation, "predicate", predicate)
    check_same_shape(operation, dst=target, on_true=tensor, predicate=condition)
    check_memories(operation, chosen_engine(operation), on_true=tensor, predicate=condition)
    reduced_into = None if reduce_into is None else column_destination(operation, "reduce_res", reduce_into, tensor)
    _check_read_out(operation, command, reduced_into)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return
    rounded = result_dtype(dtype, target.dtype)
    flags = read_condition(operation, condition, kept, reverse)
    values, undefined = read(operation, "on_true", tensor, kept)
    other, other_undefined = column(operation, "on_false", on_false, tensor, kept)
    unknown = merge(tensor.shape, (_where(flags, undefined), _where(~flags, other_undefined)))

    @functools.cache
    def selected() -> Array:
        return np.where(flags, numeric.as_f32(values), other.astype(F32))

    write_result(
        operation,
        target,
        lambda: numeric.cast(selected(), rounded),
        undefined=unknown,
        mask=kept,
        others=() if reduced_into is None else (reduced_into,),
    )
    _accumulate_maximum(operation, command, selected, tensor, unknown, kept, reduced_into)


def _where(chosen: npt.NDArray[np.bool_], undefined: Undefined | None) -> Undefined | None:
    if undefined is None:
        return None
    return Undefined(np.where(chosen, undefined.ids, np.uint8(0)), undefined.origins)


def _check_read_out(operation: str, command: ReduceCommand, destination: Tensor | None) -> None:
    if command is ReduceCommand.idle and destination is not None:
        raise KernelFault(
            "",
            f"{operation}: reduce_res is given, but reduce_cmd is idle",
            why="an idle instruction accumulates nothing, and may change the registers",
            next_step="pass reduce_cmd=nisa.reduce_cmd.reset_reduce",
        )


def _accumulate_maximum(
    operation: str,
    command: ReduceCommand,
    compute: Callable[[], Array],
    data: Tensor,
    undefined: Undefined | None,
    kept: Mask,
    destination: Tensor | None,
) -> None:
    if command is ReduceCommand.idle:
        accumulators.registers(Engine.VECTOR).lose(slice(0, data.shape[0]))
        return
    accumulators.accumulate(operation, Engine.VECTOR, command, "max", compute, data.shape, undefined, kept)
    if destination is not None:
        accumulators.read_out(Engine.VECTOR, destination, kept, data.ndim)


def read_condition(operation: str, condition: Tensor, kept: Mask, reverse: bool = False) -> npt.NDArray[np.bool_]:
    """Which elements of a tile are true, not 0.

    Raises
    ------
    UndefinedReadFault
        Where a kept element was never given a value.
    """
    values, undefined = read(operation, "predicate", condition, kept)
    if undefined is not None:
        ids = undefined.ids if kept is None else np.where(kept, undefined.ids, np.uint8(0))
        refuse_undefined(
            Undefined(ids, undefined.origins), operation=operation, happened="selects by undefined elements"
        )
    if not params().arithmetic:
        return np.ones(condition.shape, dtype=np.bool_)
    flags: npt.NDArray[np.bool_] = np.asarray(values) != 0
    return ~flags if reverse else flags


def copy_predicated(
    source: object,
    destination: object,
    predicate: object,
    *,
    dtype: object = None,
    reverse: bool = False,
    mask: object = None,
) -> None:
    """Write a tile or a number where ``predicate`` is not 0 (with ``reverse``, where it is 0)."""
    operation = "tensor_copy_predicated"
    target = operand(operation, "dst", destination)
    condition = operand(operation, "predicate", predicate)
    check_same_extent(operation, dst=target, predicate=condition)
    if not isinstance(source, Scalar):
        tensor = operand(operation, "src", source)
        check_same_extent(operation, dst=target, src=tensor)
        check_memories(operation, chosen_engine(operation), src=tensor, predicate=condition)
    given = target.dtype if isinstance(source, Scalar) else tensor.dtype
    if given != target.dtype or result_dtype(dtype, given) != target.dtype:
        raise KernelFault(
            "",
            f"{operation}: src is {numeric.dtype_name(given)}, dst {numeric.dtype_name(target.dtype)}",
            why="the instruction moves elements without a conversion",
            next_step="give both one dtype",
        )
    kept = fit_mask(mask, target.shape)
    if kept is False:
        return
    used = None if kept is None else kept.reshape(condition.shape)
    flags = read_condition(operation, condition, used, reverse).reshape(target.shape)
    chosen = flags if kept is None else flags & kept
    if isinstance(source, Scalar):
        write_result(operation, target, lambda: source, mask=chosen)
        return
    values, undefined = read(operation, "src", tensor, chosen.reshape(tensor.shape))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(target.shape), undefined.origins)
    write_result(operation, target, lambda: values.reshape(target.shape), undefined=undefined, mask=chosen)
