"""The Vector Engine's arithmetic on tiles, parts of which the Scalar and GpSimd engines do too."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nkifix.emulator import functions, legality, numeric
from nkifix.emulator.actions import Shared, shared_values
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_memories, check_same_partitions, chosen_engine, operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import INTEGERS, Array
from nkifix.emulator.ops import alu
from nkifix.emulator.ops.alu import Step
from nkifix.emulator.ops.columns import (
    column,
    column_destination,
    reduce_rows,
    undefined_rows,
    write_column,
)
from nkifix.emulator.ops.operand import (
    broadcast_shape,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.undefined import Undefined, merge


def tensor_tensor(
    data1: object,
    data2: object,
    op: object,
    *,
    dtype: object = None,
    mask: object = None,
    engine: Engine | None = None,
) -> Tensor:
    """``data1 op data2`` on two tiles with the same partitions; default dtype: their promotion.

    Powers, and sums and products of integers, run on GpSimd, the latter exactly. ``data2`` has as many
    elements per partition as ``data1``, or a shape that broadcasts to it.
    """
    operation = "tensor_tensor"
    a, b = operand(operation, "data1", data1), operand(operation, "data2", data2)
    check_same_partitions(operation, a, b, broadcast=False)
    name = alu.operator_name(op, "op")
    target = result_dtype(dtype, numeric.promote(a.dtype, b.dtype))
    bits = alu.check_kind(operation, (name,), (a.dtype, b.dtype, target))
    integers = name in functions.EXACT_ON_INTEGERS and a.dtype in INTEGERS and b.dtype in INTEGERS
    chosen = chosen_engine(operation, engine or (Engine.GPSIMD if integers or name == "power" else Engine.VECTOR))
    if not (integers and chosen is Engine.GPSIMD):
        alu.check_engine(operation, chosen, (name,))
    check_memories(operation, chosen, data1=a, data2=b)
    shape = _paired_shape(operation, a, b)
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    (x, x_undefined), (y, y_undefined) = (
        _paired(operation, n, t, shape, kept) for n, t in (("data1", a), ("data2", b))
    )

    def computed() -> Array:
        if bits:
            work = functions.working_dtype(name, a.dtype, b.dtype)
            return alu.apply((Step(name, y.astype(work)),), x.astype(work), bits=True, target=target)
        if integers and chosen is Engine.GPSIMD:
            work = functions.working_dtype(name, a.dtype, b.dtype)
            return functions.BINARY[name](x.astype(work), y.astype(work))
        return alu.apply((Step(name, y),), x, bits=False, target=target)

    unknown = merge(shape, (x_undefined, None if name in alu.UNARY else y_undefined))
    return result(operation, shape, target, computed, undefined=unknown, mask=kept, engine=chosen, function=name)


def _paired_shape(operation: str, a: Tensor, b: Tensor) -> tuple[int, ...]:
    if math.prod(a.shape) == math.prod(b.shape):
        return a.shape
    return broadcast_shape(operation, a.shape, b.shape)


def _paired(
    operation: str, name: str, tile: Tensor, shape: tuple[int, ...], kept: Mask
) -> tuple[Array, Undefined | None]:
    """An operand's elements, in a shape that broadcasts to the result's."""
    whole = math.prod(tile.shape) == math.prod(shape)
    used = kept.reshape(tile.shape) if whole and isinstance(kept, np.ndarray) else None
    values, undefined = read(operation, name, tile, used)
    if not whole:
        values = np.broadcast_to(values, shape)
        return values, None if undefined is None else Undefined(
            np.broadcast_to(undefined.ids, shape), undefined.origins
        )
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(shape), undefined.origins)
    return values.reshape(shape), undefined


def tensor_scalar(
    data: object,
    op0: object,
    operand0: object,
    reverse0: bool = False,
    op1: object = None,
    operand1: object = None,
    reverse1: bool = False,
    *,
    dtype: object = None,
    mask: object = None,
    engine: Engine | None = None,
) -> Tensor:
    """``(data op0 operand0) op1 operand1`` with numbers or one element per partition; default dtype: the data's."""
    operation = "tensor_scalar"
    tensor = operand(operation, "data", data)
    if (op1 is None) != (operand1 is None):
        raise KernelFault("", f"{operation}: op1 and operand1 are given together, or neither", next_step="give both")
    names = [alu.operator_name(op, f"op{i}") for i, op in enumerate((op0, op1)) if op is not None]
    target = result_dtype(dtype, tensor.dtype)
    bits = alu.check_kind(operation, names, (tensor.dtype, target))
    chosen = _scalar_chain_engine(operation, names, engine)
    check_memories(operation, chosen, data=tensor, operand0=operand0, operand1=operand1)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    given = zip(names, (operand0, operand1), (reverse0, reverse1), strict=False)
    steps = [_step(operation, i, *one, tensor, kept) for i, one in enumerate(given)]
    unknown = merge(tensor.shape, (undefined, *(step.undefined for step in steps)))

    def computed() -> Array:
        return alu.apply(steps, values, bits=bits, target=target)

    return result(
        operation, tensor.shape, target, computed, undefined=unknown, mask=kept, engine=chosen, function="+".join(names)
    )


def _step(operation: str, number: int, name: str, value: object, reverse: bool, data: Tensor, kept: Mask) -> Step:
    if name in alu.UNARY:
        return Step(name, np.zeros(()))
    values, undefined = column(operation, f"operand{number}", value, data, kept)
    return Step(name, values, reverse, undefined)


def _scalar_chain_engine(operation: str, names: list[str], requested: Engine | None) -> Engine:
    """The engine of a ``tensor_scalar``: the requested one, or the first that has all its operators."""
    if requested is None:
        able = [
            engine
            for engine in (Engine.VECTOR, Engine.GPSIMD)
            if all(engine in legality.OPERATORS[name] for name in names)
        ]
        if not able:
            raise KernelFault(
                "engine-operation",
                f"{operation}: no engine has both {names[0]} and {names[-1]}",
                why="one instruction runs on one engine",
                next_step="use two instructions",
            )
        return chosen_engine(operation, able[0])
    chosen = chosen_engine(operation, requested)
    version = program().launch.limits.nc_version
    chain = (names[0], names[1] if len(names) > 1 else None)
    if chosen is Engine.SCALAR and (version < 3 or chain not in legality.SCALAR_ENGINE_CHAINS):
        raise KernelFault(
            "engine-operation",
            f"{operation}: the Scalar Engine of NeuronCore-v{version} does not compute {' then '.join(names)}",
            why="it has multiply then add, multiply, or add, from NeuronCore-v3 on",
            next_step="leave engine= out, or use nisa.activation with scale= and bias=",
        )
    alu.check_engine(operation, chosen, names)
    return chosen


def scalar_tensor_tensor(
    data: object,
    op0: object,
    operand0: object,
    op1: object,
    operand1: object,
    *,
    reverse0: bool = False,
    reverse1: bool = False,
    dtype: object = None,
    mask: object = None,
) -> Tensor:
    """``(data op0 operand0) op1 operand1``: a number or column first, then a tile of the data's shape."""
    operation = "scalar_tensor_tensor"
    tensor, other = operand(operation, "data", data), operand(operation, "operand1", operand1)
    check_same_partitions(operation, tensor, other, broadcast=False)
    if other.shape != tensor.shape:
        raise KernelFault(
            "",
            f"{operation}: operand1 has shape {other.shape}, data {tensor.shape}",
            why="both are read element by element",
            next_step="slice them to one shape; broadcast operand1 explicitly",
        )
    check_memories(operation, chosen_engine(operation), data=tensor, operand1=other)
    names = [alu.operator_name(op0, "op0"), alu.operator_name(op1, "op1")]
    target = result_dtype(dtype, tensor.dtype)
    bits = alu.check_kind(operation, names, (tensor.dtype, other.dtype, target))
    alu.check_engine(operation, Engine.VECTOR, names)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    first = _step(operation, 0, names[0], operand0, reverse0, tensor, kept)
    others, others_undefined = read(operation, "operand1", other, kept)
    steps = (first, Step(names[1], others, reverse1, others_undefined))
    unknown = merge(tensor.shape, (undefined, first.undefined, others_undefined))

    def computed() -> Array:
        return alu.apply(steps, values, bits=bits, target=target)

    return result(operation, tensor.shape, target, computed, undefined=unknown, mask=kept, function="+".join(names))


def tensor_scalar_reduce(
    data: object,
    op0: object,
    operand0: object,
    reduce_op: object,
    reduce_res: object,
    *,
    dtype: object = None,
    mask: object = None,
) -> Tensor:
    """``data op0 operand0``, and its reduction over the free dimensions, in float32, into ``reduce_res`` (P, 1)."""
    operation = "tensor_scalar_reduce"
    tensor = operand(operation, "data", data)
    name = alu.operator_name(op0, "op0", arithmetic_only=True)
    reduction = functions.operation_name(reduce_op, legality.FREE_REDUCTIONS, "reduce_op")
    alu.check_engine(operation, Engine.VECTOR, (name,))
    destination = column_destination(operation, "reduce_res", reduce_res, tensor)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    step = _step(operation, 0, name, operand0, False, tensor, kept)
    unknown = merge(tensor.shape, (undefined, step.undefined))
    once = Shared(partial(_applied, step, values, target))
    if program().computes:
        once.begin()  # before the reduction is written into what may be an operand
    spoiled = undefined_rows(unknown, kept, tensor.shape)
    write_column(destination, partial(_reduced, reduction, once, kept), spoiled, kept, tensor.ndim)
    plan = planned_result(operation, tensor.shape, target, function=f"{name}+{reduction}")
    return made(plan, partial(shared_values, once), undefined=unknown, mask=kept, others=(destination,))


def _applied(step: Step, values: Array, target: np.dtype[Any]) -> Array:
    return alu.apply((step,), values, bits=False, target=target)


def _reduced(reduction: str, once: Shared, kept: Mask) -> Array:
    return reduce_rows(reduction, once(), kept)


def tensor_tensor_scan(
    data0: object,
    data1: object,
    initial: object,
    op0: object,
    op1: object,
    *,
    reverse0: bool = False,
    reverse1: bool = False,
    dtype: object = None,
    mask: object = None,
) -> Tensor:
    """``r[i] = (data0[i] op0 r[i - 1]) op1 data1[i]`` along the free dimensions, with ``r[-1] = initial``.

    The running value stays in float32. Elements that the mask drops are stepped over.
    """
    operation = "tensor_tensor_scan"
    a, b = operand(operation, "data0", data0), operand(operation, "data1", data1)
    check_same_partitions(operation, a, b, broadcast=False)
    if math.prod(a.shape) != math.prod(b.shape):
        raise KernelFault(
            "",
            f"{operation}: data0 has shape {a.shape}, data1 {b.shape}",
            why="both have the same number of elements per partition",
            next_step="slice them to one shape",
        )
    check_memories(operation, chosen_engine(operation), data0=a, data1=b)
    names = (alu.operator_name(op0, "op0", arithmetic_only=True), alu.operator_name(op1, "op1", arithmetic_only=True))
    alu.check_engine(operation, Engine.VECTOR, names)
    shape = a.shape
    target = result_dtype(dtype, numeric.promote(a.dtype, b.dtype))
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    x, x_undefined = _paired(operation, "data0", a, shape, kept)
    y, y_undefined = _paired(operation, "data1", b, shape, kept)
    start, start_undefined = column(operation, "initial", initial, a, kept)
    unknown = _from_there_on(merge(shape, (x_undefined, y_undefined, start_undefined)), kept)

    def scanned() -> Array:
        first = np.broadcast_to(start.reshape(-1, 1).astype(np.float32), (shape[0], 1))
        keep = None if kept is None else np.asarray(kept).reshape(shape[0], -1)
        step = functools.partial(_scan_step, names, (reverse0, reverse1))
        return _scan(step, _flat(x), _flat(y), first[:, 0], keep).reshape(shape)

    return result(operation, shape, target, scanned, undefined=unknown, mask=kept, function="+".join(names))


def _flat(values: Array) -> Array:
    return numeric.as_f32(values).reshape(values.shape[0], -1)


def _scan_step(names: tuple[str, str], reverse: tuple[bool, bool], x: Array, y: Array, before: Array) -> Array:
    inner = alu.apply((Step(names[0], before, reverse[0]),), x, bits=False, target=numeric.F32)
    return alu.apply((Step(names[1], y, reverse[1]),), inner, bits=False, target=numeric.F32)


def _scan(step: Callable[..., Array], x: Array, y: Array, state: Array, kept: Any) -> Array:
    out = np.empty_like(x)
    for i in range(x.shape[1]):
        after = step(x[:, i], y[:, i], state)
        state = after if kept is None else np.where(kept[:, i], after, state)
        out[:, i] = state
    return out


def _from_there_on(undefined: Undefined | None, kept: Mask) -> Undefined | None:
    """An undefined element spoils all that follow it in its partition."""
    if undefined is None:
        return None
    ids = undefined.ids if kept is None else np.where(kept, undefined.ids, np.uint8(0))
    spread = np.maximum.accumulate(ids.reshape(ids.shape[0], -1), axis=1).reshape(ids.shape)
    return Undefined(spread, undefined.origins)


def reciprocal(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """``1 / data`` in float32; default dtype: the data's."""
    operation = "reciprocal"
    tensor = operand(operation, "data", data)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)

    def inverted() -> Array:
        return functions.UNARY["reciprocal"](numeric.as_f32(values))

    return result(operation, tensor.shape, target, inverted, undefined=undefined, mask=kept)
