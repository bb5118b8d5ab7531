"""Instructions of the Scalar Engine."""

from __future__ import annotations

from typing import Any

from nkifix.emulator import functions
from nkifix.emulator.frontends.legacy.isa.arguments import command
from nkifix.emulator.frontends.legacy.isa.constants import reduce_cmd as commands
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import activation as activations
from nkifix.emulator.ops.activation import NO_REDUCTION, Reduction

__all__ = ["activation", "activation_reduce"]


def activation(
    op: Any,
    data: Any,
    *,
    bias: Any = None,
    scale: Any = 1.0,
    reduce_op: Any = None,
    reduce_res: Any = None,
    reduce_cmd: Any = commands.idle,
    mask: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Any:
    """``op(data * scale + bias)``, and what the accumulator registers do with the result."""
    operation = "activation"
    refuse_unknown(f"nisa.{operation}", kwargs)
    asked = command(operation, reduce_cmd)
    plain = asked is commands.idle and reduce_res is None and reduce_op is None
    return activations.activation(
        functions.operation_name(op, functions.ACTIVATION_NAMES, "op"),
        data,
        bias=bias,
        scale=scale,
        dtype=dtype,
        mask=mask,
        reduction=NO_REDUCTION if plain else _reduction(asked, reduce_op, reduce_res),
    )


def activation_reduce(
    op: Any,
    data: Any,
    *,
    reduce_op: Any,
    reduce_res: Any,
    bias: Any = None,
    scale: Any = 1.0,
    mask: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Any:
    """:func:`activation` with ``reset_reduce``, the registers read out into ``reduce_res``."""
    refuse_unknown("nisa.activation_reduce", kwargs)
    return activations.activation(
        functions.operation_name(op, functions.ACTIVATION_NAMES, "op"),
        data,
        bias=bias,
        scale=scale,
        dtype=dtype,
        mask=mask,
        operation="activation_reduce",
        reduction=Reduction(
            command=commands.reset_reduce,
            name=functions.operation_name(reduce_op, functions.REDUCTION_NAMES, "reduce_op"),
            destination=reduce_res,
            read_out=True,
        ),
    )


def _reduction(asked: commands, reduce_op: Any, reduce_res: Any) -> Reduction:
    name = None if reduce_op is None else functions.operation_name(reduce_op, functions.REDUCTION_NAMES, "reduce_op")
    return Reduction(command=asked, name=name, destination=reduce_res)
