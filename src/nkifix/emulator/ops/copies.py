"""Copies on chip."""

from __future__ import annotations

from functools import partial
from typing import cast

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_memories, check_same_extent, chosen_engine, operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import (
    Result,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result_dtype,
    write_result,
)
from nkifix.emulator.undefined import Undefined


def copy(
    source: object,
    *,
    dtype: object = None,
    mask: object = None,
    engine: Engine | None = None,
    operation: str = "copy",
) -> Tensor:
    """A copy in SBUF; bit-accurate where the dtype stays, else through float32.

    The Scalar Engine of NeuronCore-v2 goes through float32 in any case.
    """
    plan = planned(_plan, (source,), dtype, engine, operation)
    tensor, target = cast(Tensor, source), plan.layout.kind.dtype
    kept = fit_mask(mask, plan.shape)
    if kept is False:
        return nothing(operation, plan.shape, target)
    values, undefined = fetch(operation, tensor, kept)
    exact = target == tensor.dtype and _is_exact(plan.engine)
    return made(plan, partial(_copied, values, exact), undefined=undefined, mask=kept)


def _plan(source: object, dtype: object, engine: Engine | None, operation: str) -> Result:
    tensor = operand(operation, "src", source)
    chosen = chosen_engine(operation, engine)
    check_memories(operation, chosen, src=tensor)
    return planned_result(operation, tensor.shape, result_dtype(dtype, tensor.dtype), engine=chosen)


def _copied(values: Array, exact: bool, _: Array | None) -> Array:
    return values if exact else numeric.as_f32(values)


def _is_exact(engine: Engine) -> bool:
    return engine is not Engine.SCALAR or program().launch.limits.nc_version > 2


def copy_into(
    destination: object,
    source: object,
    *,
    dtype: object = None,
    mask: object = None,
    engine: Engine | None = None,
    operation: str = "tensor_copy_dynamic_dst",
) -> None:
    """Copy a tile to a place on chip whose offset may be known only at run time.

    ``dtype``, the destination's where None, is what the values are rounded to on the way.
    """
    target, tensor = operand(operation, "dst", destination), operand(operation, "src", source)
    check_same_extent(operation, dst=target, src=tensor)
    chosen = chosen_engine(operation, engine)
    check_memories(operation, chosen, dst=target, src=tensor)
    rounded = result_dtype(dtype, target.dtype)
    kept: Mask = fit_mask(mask, target.shape)
    if kept is False:
        return
    values, undefined = read(operation, "src", tensor, None if kept is None else kept.reshape(tensor.shape))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(target.shape), undefined.origins)
    exact = target.dtype == tensor.dtype == rounded and _is_exact(chosen)

    def copied() -> Array:
        numbers = values if exact else numeric.cast(numeric.as_f32(values), rounded)
        return numbers.reshape(target.shape)

    write_result(operation, target, copied, undefined=undefined, mask=kept, engine=chosen)
