"""Reducing over the partitions, on GpSimd."""

from __future__ import annotations

import numpy as np

from nkifix.emulator import functions, legality, numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_memories, chosen_engine, operand
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops import alu
from nkifix.emulator.ops.operand import fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.undefined import Undefined, reduced, refuse_undefined


def reduce_partitions(op: object, data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """Reduce (P, …) over the partitions to (1, …), on GpSimd: sums and maxima in float32, or bits of integers.

    Partitions are taken one after another. Default dtype: the data's.

    Raises
    ------
    UndefinedReadFault
        Where undefined elements meet defined ones.
    """
    operation = "tensor_partition_reduce"
    tensor = operand(operation, "data", data)
    name = functions.operation_name(op, legality.PARTITION_REDUCTIONS, "op")
    check_memories(operation, chosen_engine(operation), data=tensor)
    target = result_dtype(dtype, tensor.dtype)
    alu.check_kind(operation, (name,), (tensor.dtype, target))
    shape = (1, *tensor.shape[1:])
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    reduction = functions.REDUCTIONS[name]
    spoiled = _spoiled_columns(operation, undefined, kept, tensor.shape)

    def reduced_values() -> Array:
        x = values.astype(functions.working_dtype(name, tensor.dtype)) if reduction.bits else numeric.as_f32(values)
        if kept is not None:
            x = np.where(kept, x, np.asarray(reduction.neutral).astype(x.dtype))
        return reduction.combine(np.moveaxis(x, 0, -1), x.ndim - 1).reshape(shape)

    remaining: Mask = None if kept is None else np.any(kept, axis=0, keepdims=True)
    if isinstance(remaining, np.ndarray) and remaining.all():
        remaining = None
    return result(operation, shape, target, reduced_values, undefined=spoiled, mask=remaining, function=name)


def _spoiled_columns(
    operation: str, undefined: Undefined | None, kept: Mask, shape: tuple[int, ...]
) -> Undefined | None:
    """Columns without any defined element; one that mixes defined and undefined elements is refused."""
    if undefined is None:
        return None
    taken = np.ones(shape, dtype=np.bool_) if kept is None or kept is False else kept
    ids = np.where(taken, undefined.ids, np.uint8(0))
    mixed = (ids != 0).any(axis=0) & ((ids == 0) & taken).any(axis=0)
    culprits = Undefined(np.where(mixed, ids, np.uint8(0)), undefined.origins)
    refuse_undefined(culprits, operation=operation, happened="reduces undefined elements together with defined ones")
    return reduced(Undefined(ids, undefined.origins), (0,), (1, *shape[1:]))
