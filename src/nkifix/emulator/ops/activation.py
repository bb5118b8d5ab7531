"""The Scalar Engine: a function of ``data * scale + bias``, and its sum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

from nkifix.emulator import functions, legality, numeric
from nkifix.emulator.actions import Shared, may_warn, shared_values
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import BF16, F16, F32, Array
from nkifix.emulator.ops import accumulators
from nkifix.emulator.ops.accumulators import ReduceCommand
from nkifix.emulator.ops.columns import column_destination, rows
from nkifix.emulator.ops.operand import (
    Result,
    Scalar,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    result_dtype,
)
from nkifix.emulator.ops.ranges import warn_of_invalid_input
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Undefined, merge


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """The reduction beside an activation.

    Attributes
    ----------
    command:
        What happens to the Scalar Engine's accumulator registers.
    name:
        How they accumulate, a name of :data:`functions.REDUCTIONS`; None where nothing is accumulated.
    destination:
        Tile (P, 1) that receives the registers afterwards.
    read_out:
        Whether there must be one.
    """

    command: ReduceCommand = ReduceCommand.idle
    name: str | None = None
    destination: object = None
    read_out: bool = False


NO_REDUCTION = Reduction()


def activation(
    name: str,
    data: object,
    *,
    bias: object = None,
    scale: object = 1.0,
    dtype: object = None,
    mask: object = None,
    operation: str = "activation",
    reduction: Reduction = NO_REDUCTION,
) -> Tensor:
    """``f(data * scale + bias)`` in float32, one rounding; default dtype: the data's.

    ``name`` is the function's in :data:`functions.UNARY`. ``scale`` is a number or a (P, 1) float32 tile,
    ``bias`` None, a number or a (P, 1) tile of float32, float16 or bfloat16. A reduction runs over the free
    dimensions of the unrounded float32 values that the mask keeps.

    Raises
    ------
    KernelFault
        ``err_activation_scale_scalar_or_vector``, ``err_activation_scale_invalid_type``,
        ``err_activation_bias_invalid_type``, ``err_num_partition_mismatch``.
    """
    plan = planned(_plan, (data,), name, dtype, operation)
    tensor = cast(Tensor, data)
    kept = fit_mask(mask, plan.shape)
    destination = None if reduction is NO_REDUCTION else _check_reduction(operation, reduction, tensor)
    if not isinstance(bias, Tensor):
        declare.needs_bias(operation)
    if kept is False:
        return nothing(operation, plan.shape, plan.layout.kind.dtype)
    values, undefined = fetch(operation, tensor, kept)
    factor, factor_undefined = _per_partition(operation, "scale", scale, tensor, kept)
    shift, shift_undefined = _per_partition(operation, "bias", bias, tensor, kept)
    unknown = merge(plan.shape, (undefined, factor_undefined, shift_undefined))
    compute = partial(_computed, name, values, factor, shift)
    if name in functions.VALID_INPUTS:
        compute = partial(_warning, name, values, factor, shift, unknown, kept)
    if reduction is NO_REDUCTION:
        tile = made(plan, compute, undefined=unknown, mask=kept)
        if name in functions.VALID_INPUTS:
            tile.storage.settle()  # where it warns, it does so on this line
        return tile
    once = Shared(partial(compute, None))
    if program().computes:
        once.begin()  # before a register is written into what may be an operand
    others = () if destination is None else (destination,)
    accumulators.accumulate(
        operation, Engine.SCALAR, reduction.command, reduction.name, once, plan.shape, unknown, kept
    )
    if destination is not None:
        accumulators.read_out(Engine.SCALAR, destination, kept, tensor.ndim)
    return made(plan, partial(shared_values, once), undefined=unknown, mask=kept, others=others)


def _plan(data: object, name: str, dtype: object, operation: str) -> Result:
    tensor = operand(operation, "data", data)
    return planned_result(operation, tensor.shape, result_dtype(dtype, tensor.dtype), function=name)


def _computed(name: str, values: Array, factor: Any, shift: Any, out: Array | None) -> Array:
    x = _argument(values, factor, shift)
    own = x if factor is not None or shift is not None else None
    return functions.apply(functions.UNARY[name], x, out=own if out is None else out)


def _argument(values: Array, factor: Any, shift: Any) -> Array:
    x = numeric.as_f32(values)
    factor, shift = _column(factor, x), _column(shift, x)
    if factor is not None:
        x = x * factor
    if shift is not None:
        x = x + shift if x is values else np.add(x, shift, out=x)
    # Contiguous whatever the view's strides: numpy's loops for strided operands may round otherwise.
    return np.ascontiguousarray(x)


def _column(given: Any, data: Array) -> Any:
    """A number, or one per partition as it broadcasts to the data, in float32; None as it is."""
    if not isinstance(given, np.ndarray):
        return given
    return numeric.as_f32(given).reshape((data.shape[0],) + (1,) * (data.ndim - 1))


@may_warn
def _warning(
    name: str, values: Array, factor: Any, shift: Any, unknown: Undefined | None, kept: Mask, out: Array | None
) -> Array:
    """:func:`_computed`, and a warning where an argument lies outside of the function's valid range."""
    x = _argument(values, factor, shift)
    warn_of_invalid_input(name, x, unknown, kept)
    return functions.apply(functions.UNARY[name], x, out=out)


def _check_reduction(operation: str, reduction: Reduction, data: Tensor) -> Tensor | None:
    """The tile that receives the registers, if one does."""
    version = program().launch.limits.nc_version
    if reduction.name is not None and reduction.name not in legality.ACCUMULATIONS[version]:
        able = ", ".join(f"nl.{name}" for name in sorted(legality.ACCUMULATIONS[version]))
        raise KernelFault(
            "nc-version" if version == 2 else "",
            f"{operation}: the Scalar Engine of NeuronCore-v{version} does not accumulate with {reduction.name}",
            why=f"its registers accumulate with {able}",
            next_step="reduce with nisa.tensor_reduce on the Vector Engine",
        )
    if reduction.destination is None and not reduction.read_out:
        return None
    return column_destination(operation, "reduce_res", reduction.destination, data)


def _per_partition(operation: str, name: str, value: object, data: Tensor, kept: Mask) -> tuple[Any, Undefined | None]:
    """A bias or scale: None where it changes nothing, a float32 number, or a (P, 1) array."""
    if isinstance(value, Scalar) or value is None:
        neutral = 0.0 if name == "bias" else 1.0
        number = neutral if value is None else float(value)
        return (None if number == neutral else np.float32(number)), None
    column = planned(_plan_column, (value, data), operation, name)
    tensor = cast(Tensor, value)
    used = rows(kept, data.ndim)
    values, undefined = fetch(operation, tensor, None if used is None else used.reshape(tensor.shape))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(column), undefined.origins)
    return values, undefined


def _plan_column(value: object, data: Tensor, operation: str, name: str) -> tuple[int, ...]:
    """Check a bias or scale tile; the shape in which it broadcasts to the data."""
    tensor = operand(operation, name, value)
    if tensor.shape != (data.shape[0], 1):
        code = "err_activation_scale_scalar_or_vector" if name == "scale" else "err_num_partition_mismatch"
        raise KernelFault(
            code,
            f"{operation}: {name} must be a number or a tile of shape {(data.shape[0], 1)}, got {tensor.shape}",
            why="the Scalar Engine reads one value per partition",
            next_step=f"pass a [P, 1] tile as {name}",
        )
    if name == "scale" and tensor.dtype != F32:
        raise KernelFault("err_activation_scale_invalid_type", f"{operation}: scale is {tensor.dtype}, not float32")
    if tensor.dtype not in (F32, F16, BF16):
        raise KernelFault(
            "err_activation_bias_invalid_type",
            f"{operation}: bias must be float32, float16 or bfloat16, got {tensor.dtype}",
            next_step="cast it: nl.copy(bias, dtype=nl.float32)",
        )
    return (data.shape[0],) + (1,) * (data.ndim - 1)
