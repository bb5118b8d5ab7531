"""Instructions of the Vector Engine, some of which other engines execute too."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import functions, legality
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.isa.arguments import chosen, command
from nkifix.emulator.frontends.legacy.isa.constants import engine as engines
from nkifix.emulator.frontends.legacy.isa.constants import fp32
from nkifix.emulator.frontends.legacy.isa.constants import reduce_cmd as commands
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import copies, generate, reduce, search, select, shuffle, statistics, vector

__all__ = [
    "bn_aggr",
    "bn_stats",
    "max8",
    "memset",
    "nc_find_index8",
    "nc_match_replace8",
    "nc_stream_shuffle",
    "range_select",
    "reciprocal",
    "scalar_tensor_tensor",
    "select_reduce",
    "tensor_copy",
    "tensor_copy_dynamic_dst",
    "tensor_copy_dynamic_src",
    "tensor_copy_predicated",
    "tensor_reduce",
    "tensor_scalar",
    "tensor_scalar_reduce",
    "tensor_tensor",
    "tensor_tensor_scan",
]


def tensor_tensor(
    data1: Any,
    data2: Any,
    op: Any,
    *,
    dtype: Any = None,
    mask: Any = None,
    engine: Any = engines.unknown,
    **kwargs: Any,
) -> Any:
    """``data1 op data2``, element by element."""
    refuse_unknown("nisa.tensor_tensor", kwargs)
    return vector.tensor_tensor(data1, data2, op, dtype=dtype, mask=mask, engine=chosen("tensor_tensor", engine))


def tensor_scalar(
    data: Any,
    op0: Any,
    operand0: Any,
    reverse0: bool = False,
    op1: Any = None,
    operand1: Any = None,
    reverse1: bool = False,
    *,
    dtype: Any = None,
    mask: Any = None,
    engine: Any = engines.unknown,
    **kwargs: Any,
) -> Any:
    """``(data op0 operand0) op1 operand1`` with numbers or one element per partition."""
    refuse_unknown("nisa.tensor_scalar", kwargs)
    return vector.tensor_scalar(
        data,
        op0,
        operand0,
        reverse0,
        op1,
        operand1,
        reverse1,
        dtype=dtype,
        mask=mask,
        engine=chosen("tensor_scalar", engine),
    )


def scalar_tensor_tensor(
    *,
    data: Any,
    op0: Any,
    operand0: Any,
    op1: Any,
    operand1: Any,
    reverse0: bool = False,
    reverse1: bool = False,
    dtype: Any = None,
    mask: Any = None,
    **kwargs: Any,
) -> Any:
    """``(data op0 operand0) op1 operand1`` with a number or column first, then a tile."""
    refuse_unknown("nisa.scalar_tensor_tensor", kwargs)
    return vector.scalar_tensor_tensor(
        data, op0, operand0, op1, operand1, reverse0=reverse0, reverse1=reverse1, dtype=dtype, mask=mask
    )


def tensor_scalar_reduce(
    *,
    data: Any,
    op0: Any,
    operand0: Any,
    reduce_op: Any,
    reduce_res: Any,
    reverse0: bool = False,
    dtype: Any = None,
    mask: Any = None,
    **kwargs: Any,
) -> Any:
    """``data op0 operand0``, reduced over the free dimensions into ``reduce_res``."""
    refuse_unknown("nisa.tensor_scalar_reduce", kwargs)
    if reverse0:
        raise KernelFault(
            "",
            "tensor_scalar_reduce: reverse0 is documented as not supported yet",
            next_step="use nisa.tensor_scalar with reverse0=True, and nisa.tensor_reduce",
        )
    return vector.tensor_scalar_reduce(data, op0, operand0, reduce_op, reduce_res, dtype=dtype, mask=mask)


def tensor_tensor_scan(
    data0: Any,
    data1: Any,
    initial: Any,
    op0: Any,
    op1: Any,
    reverse0: bool = False,
    reverse1: bool = False,
    *,
    dtype: Any = None,
    mask: Any = None,
    **kwargs: Any,
) -> Any:
    """``r[i] = (data0[i] op0 r[i - 1]) op1 data1[i]`` in each partition."""
    refuse_unknown("nisa.tensor_tensor_scan", kwargs)
    return vector.tensor_tensor_scan(
        data0, data1, initial, op0, op1, reverse0=reverse0, reverse1=reverse1, dtype=dtype, mask=mask
    )


def tensor_reduce(
    op: Any,
    data: Any,
    axis: Any,
    *,
    mask: Any = None,
    dtype: Any = None,
    negate: bool = False,
    keepdims: bool = False,
    **kwargs: Any,
) -> Any:
    """Reduce over trailing free dimensions."""
    refuse_unknown("nisa.tensor_reduce", kwargs)
    name = functions.operation_name(op, functions.REDUCTION_NAMES, "op")
    if negate and functions.REDUCTIONS[name].bits:
        raise KernelFault("", f"tensor_reduce: negate with {name}, which works on bits", next_step="leave negate out")
    return reduce.reduce_free(name, data, axis, dtype=dtype, mask=mask, negate=negate, keepdims=keepdims)


def reciprocal(data: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``1 / data``."""
    refuse_unknown("nisa.reciprocal", kwargs)
    return vector.reciprocal(data, dtype=dtype, mask=mask)


def bn_stats(data: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Count, mean and count * variance of the even and of the odd elements."""
    refuse_unknown("nisa.bn_stats", kwargs)
    return statistics.piece(data, dtype=dtype, mask=mask)


def bn_aggr(data: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Mean and variance, from the output of :func:`bn_stats`."""
    refuse_unknown("nisa.bn_aggr", kwargs)
    return statistics.aggregate(data, dtype=dtype, mask=mask)


def max8(*, src: Any, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """The 8 largest elements of each partition."""
    refuse_unknown("nisa.max8", kwargs)
    return search.largest8(src, dtype=dtype, mask=mask)


def nc_find_index8(*, data: Any, vals: Any, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Where each of 8 values occurs first in its partition."""
    refuse_unknown("nisa.nc_find_index8", kwargs)
    return search.find8(data, vals, dtype=dtype, mask=mask)


def nc_match_replace8(
    *, data: Any, vals: Any, imm: Any, dst_idx: Any = None, mask: Any = None, dtype: Any = None, **kwargs: Any
) -> Any:
    """``data`` with the first occurrence of each of 8 values replaced by ``imm``."""
    refuse_unknown("nisa.nc_match_replace8", kwargs)
    return search.replace8(data, vals, imm, positions_into=dst_idx, dtype=dtype, mask=mask)


def range_select(
    *,
    on_true_tile: Any,
    comp_op0: Any,
    comp_op1: Any,
    bound0: Any,
    bound1: Any,
    reduce_cmd: Any = commands.idle,
    reduce_res: Any = None,
    reduce_op: Any = np.amax,
    range_start: Any = 0,
    on_false_value: Any = fp32.min,
    mask: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Any:
    """Keep elements whose position compares with two bounds as asked."""
    operation = "range_select"
    refuse_unknown(f"nisa.{operation}", kwargs)
    functions.operation_name(reduce_op, ("max",), "reduce_op")
    if np.float32(on_false_value) != np.float32(fp32.min):
        raise KernelFault(
            "",
            f"{operation}: on_false_value={on_false_value!r}",
            why="the instruction fills in the most negative float32, nothing else",
            next_step="leave it out, or pass nl.fp32.min",
        )
    names = [
        functions.operation_name(op, legality.COMPARISONS, argument)
        for op, argument in ((comp_op0, "comp_op0"), (comp_op1, "comp_op1"))
    ]
    return select.range_select(
        on_true_tile,
        names,
        (bound0, bound1),
        start=range_start,
        otherwise=fp32.min,
        command=command(operation, reduce_cmd),
        reduce_into=reduce_res,
        dtype=dtype,
        mask=mask,
    )


def select_reduce(
    *,
    dst: Any,
    predicate: Any,
    on_true: Any,
    on_false: Any,
    reduce_res: Any = None,
    reduce_cmd: Any = commands.idle,
    reduce_op: Any = np.amax,
    reverse_pred: bool = False,
    mask: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> None:
    """Write ``on_true`` or ``on_false`` into ``dst``, as ``predicate`` says, and reduce to the maximum."""
    operation = "select_reduce"
    refuse_unknown(f"nisa.{operation}", kwargs)
    functions.operation_name(reduce_op, ("max",), "reduce_op")
    select.select_reduce(
        dst,
        predicate,
        on_true,
        on_false,
        command=command(operation, reduce_cmd),
        reduce_into=reduce_res,
        reverse=reverse_pred,
        dtype=dtype,
        mask=mask,
    )


def memset(
    shape: Any, value: Any, dtype: Any, *, mask: Any = None, engine: Any = engines.unknown, **kwargs: Any
) -> Any:
    """A tile of one number."""
    refuse_unknown("nisa.memset", kwargs)
    return generate.memset(shape, value, dtype, mask=mask, engine=chosen("memset", engine))


def nc_stream_shuffle(
    src: Any, dst: Any, shuffle_mask: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any
) -> None:
    """Move partitions within each quadrant of 32."""
    refuse_unknown("nisa.nc_stream_shuffle", kwargs)
    shuffle.stream_shuffle(src, dst, shuffle_mask, dtype=dtype, mask=mask)


def tensor_copy(src: Any, *, mask: Any = None, dtype: Any = None, engine: Any = engines.unknown, **kwargs: Any) -> Any:
    """A copy on chip."""
    operation = "tensor_copy"
    refuse_unknown(f"nisa.{operation}", kwargs)
    return copies.copy(src, dtype=dtype, mask=mask, engine=chosen(operation, engine), operation=operation)


def tensor_copy_dynamic_src(
    src: Any, *, mask: Any = None, dtype: Any = None, engine: Any = engines.unknown, **kwargs: Any
) -> Any:
    """A copy of a tile whose offset is known only at run time."""
    operation = "tensor_copy_dynamic_src"
    refuse_unknown(f"nisa.{operation}", kwargs)
    return copies.copy(src, dtype=dtype, mask=mask, engine=chosen(operation, engine), operation=operation)


def tensor_copy_dynamic_dst(
    *, dst: Any, src: Any, mask: Any = None, dtype: Any = None, engine: Any = engines.unknown, **kwargs: Any
) -> None:
    """A copy to a place whose offset is known only at run time."""
    operation = "tensor_copy_dynamic_dst"
    refuse_unknown(f"nisa.{operation}", kwargs)
    copies.copy_into(dst, src, dtype=dtype, mask=mask, engine=chosen(operation, engine))


def tensor_copy_predicated(
    *,
    src: Any,
    dst: Any,
    predicate: Any,
    reverse_pred: bool = False,
    mask: Any = None,
    dtype: Any = None,
    **kwargs: Any,
) -> None:
    """Copy where ``predicate`` is true, and leave the rest of ``dst`` alone."""
    refuse_unknown("nisa.tensor_copy_predicated", kwargs)
    select.copy_predicated(src, dst, predicate, dtype=dtype, reverse=reverse_pred, mask=mask)
