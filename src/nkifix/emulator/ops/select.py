"""Selecting between a tile and a value by a predicate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.affine import Predicate
from nkifix.emulator.checks import check_dtype, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import (
    Scalar,
    fit_mask,
    nothing,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.undefined import Undefined


def affine_select(
    predicate: object, data: object, otherwise: object, *, dtype: object = None, mask: object = None
) -> Tensor:
    """``data`` where the affine comparison holds, the number ``otherwise`` elsewhere."""
    operation = "affine_select"
    tensor = operand(operation, "on_true_tile", data)
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
    if tensor.space is Space.PSUM:
        program().warn("gpsimd-psum", "affine_select reads PSUM, which GpSimd cannot reach: the compiler adds a copy")
    target = result_dtype(dtype, tensor.dtype)
    check_dtype(operation, "dtype", target)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "on_true_tile", tensor, kept)
    chosen = fit_mask(predicate, tensor.shape)
    if undefined is not None and chosen is not None:
        undefined = (
            None if chosen is False else Undefined(np.where(chosen, undefined.ids, np.uint8(0)), undefined.origins)
        )

    def selected() -> Array:
        if chosen is None:
            return values
        picked: npt.NDArray[np.float32] = np.empty(tensor.shape, dtype=F32)
        picked.fill(np.float32(otherwise))
        if chosen is not False:
            numeric.copy_cast(picked, values, chosen)
        return picked

    return result(operation, tensor.shape, target, selected, undefined=undefined, mask=kept)
