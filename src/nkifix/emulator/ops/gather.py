"""Gathering elements by indices that are known only at run time."""

from __future__ import annotations

import numpy as np

from nkifix.emulator.checks import check_same_partitions, operand
from nkifix.emulator.location import kernel_location
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array, as_f32
from nkifix.emulator.ops.operand import fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.undefined import Origin, Undefined, merge


def gather_flattened(data: object, indices: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """Per partition, the elements of ``data`` (its free dimensions as one row) at ``indices``, in their shape.

    An index out of bounds gives an undefined element. Default dtype: the data's.
    """
    operation = "gather_flattened"
    source, places = operand(operation, "data", data), operand(operation, "indices", indices)
    check_same_partitions(operation, source, places, broadcast=False)
    target = result_dtype(dtype, source.dtype)
    kept = fit_mask(mask, places.shape)
    if kept is False:
        return nothing(operation, places.shape, target)
    values, undefined = read(operation, "data", source)
    numbers, unknown_index = read(operation, "indices", places, kept)
    partitions = source.shape[0]
    rows = values.reshape(partitions, -1)
    index = numbers.reshape(partitions, -1).astype(np.int64)
    outside = index >= rows.shape[1]
    held = np.where(outside, 0, index)

    def gathered() -> Array:
        taken = np.take_along_axis(rows, held, axis=1).reshape(places.shape)
        return taken if target == source.dtype else as_f32(taken)

    parts = [unknown_index]
    if undefined is not None:
        ids = np.take_along_axis(undefined.ids.reshape(partitions, -1), held, axis=1)
        parts.append(Undefined(np.where(outside, np.uint8(0), ids).reshape(places.shape), undefined.origins))
    if outside.any():
        location = kernel_location()
        beyond = Origin(lambda: f"what {operation} at {location} finds at an index out of bounds")
        parts.append(Undefined(outside.astype(np.uint8).reshape(places.shape), (beyond,)))
    unknown = merge(places.shape, parts)
    return result(operation, places.shape, target, gathered, undefined=unknown, mask=kept)
