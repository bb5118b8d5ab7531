"""The Scalar Engine: a function of ``data * scale + bias``, and its sum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import (
    Scalar,
    fit_mask,
    nothing,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.undefined import Undefined, merge, reduced


def activation(
    name: str,
    data: object,
    *,
    bias: object = None,
    scale: object = 1.0,
    dtype: object = None,
    mask: object = None,
    operation: str = "activation",
    reduce_into: Tensor | None = None,
) -> Tensor:
    """``f(data * scale + bias)`` in float32, one rounding; default dtype: the data's.

    ``name`` is the function's in :data:`numeric.ACTIVATIONS`. ``scale`` is a number or a (P, 1) float32 tile,
    ``bias`` None, a number or a (P, 1) tile of a floating dtype. ``reduce_into`` (P, 1) receives the sum over
    the free dimensions of the unrounded float32 values.
    """
    tensor = operand(operation, "data", data)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    factor, factor_undefined = _per_partition(operation, "scale", scale, tensor, kept)
    shift, shift_undefined = _per_partition(operation, "bias", bias, tensor, kept)

    def computed() -> Array:
        # Contiguous whatever the view's strides: numpy's loops for strided operands may round otherwise.
        x = np.ascontiguousarray(numeric.as_f32(values))
        if factor is not None:
            x = x * factor
        if shift is not None:
            x = x + shift
        return numeric.ACTIVATIONS[name](x)

    unknown = merge(tensor.shape, (undefined, factor_undefined, shift_undefined))
    if reduce_into is None:
        return result(operation, tensor.shape, target, computed, undefined=unknown, mask=kept)
    once = functools.cache(computed)
    made = result(operation, tensor.shape, target, once, undefined=unknown, mask=kept)
    _reduce_into(operation, reduce_into, once, tensor.shape, unknown, kept)
    return made


def _reduce_into(
    operation: str,
    where: Tensor,
    values: Callable[[], Array],
    shape: tuple[int, ...],
    undefined: Undefined | None,
    kept: Mask,
) -> None:
    if kept is not None:
        raise KernelFault("", f"{operation} with a mask that drops elements is not emulated yet")
    destination = operand(operation, "reduce_res", where)
    column = (shape[0], 1)
    if destination.shape != column:
        raise KernelFault("", f"{operation}: reduce_res must have shape {column}, got {destination.shape}")
    unknown = reduced(undefined, tuple(range(1, len(shape))), column)
    destination.write(numeric.sum_last_axes(values(), 1).reshape(column), unknown)


def _per_partition(operation: str, name: str, value: object, data: Tensor, kept: Mask) -> tuple[Any, Undefined | None]:
    """A bias or scale: None where it changes nothing, a float32 number, or a (P, 1, …) array."""
    if isinstance(value, Scalar) or value is None:
        neutral = 0.0 if name == "bias" else 1.0
        number = neutral if value is None else float(value)
        return (None if number == neutral else np.float32(number)), None
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
    if tensor.dtype not in numeric.FLOATS:
        raise KernelFault(
            "err_activation_bias_invalid_type",
            f"{operation}: bias must be float32, float16 or bfloat16, got {tensor.dtype}",
            next_step="cast it: nl.copy(bias, dtype=nl.float32)",
        )
    used = None if kept is None else np.any(kept, axis=tuple(range(1, data.ndim))).reshape(tensor.shape)
    values, undefined = read(operation, name, tensor, used)
    column = numeric.as_f32(values).reshape((data.shape[0],) + (1,) * (data.ndim - 1))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(column.shape), undefined.origins)
    return column, undefined
