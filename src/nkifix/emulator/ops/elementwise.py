"""Element-by-element operations of the Vector, Scalar and GpSimd engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask, Predicate
from nkifix.emulator.checks import check_dtype, check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import (
    Scalar,
    assign,
    broadcast_shape,
    fit_mask,
    fresh,
    masked_off,
    read,
    result_dtype,
)
from nkifix.emulator.undefined import Undefined, merge, reduced


def binary(
    name: str, a: object, b: object, *, dtype: object = None, mask: object = None, broadcast_partitions: bool = True
) -> Tensor:
    """``a name b`` on two tiles, or a tile and a number; float32 arithmetic, one rounding.

    Sums and products of integers are exact. Default dtype: the promotion of both operands.
    """
    shape, promoted = _common(name, a, b, broadcast_partitions)
    target = result_dtype(dtype, promoted)
    kept = fit_mask(mask, shape)
    if kept is False:
        return masked_off(name, shape, target)
    return _combine(name, a, b, shape, target, kept)


def _common(name: str, a: object, b: object, broadcast_partitions: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and default dtype of a result."""
    tensors = [operand(name, "operand", x) for x in (a, b) if not isinstance(x, Scalar)]
    if not tensors:
        raise KernelFault("", f"{name} needs at least one tile, got two numbers")
    check_same_partitions(name, *tensors, broadcast=broadcast_partitions)
    return broadcast_shape(name, *(t.shape for t in tensors)), numeric.promote(*_dtypes(a, b))


def _dtypes(*operands: object) -> list[np.dtype[Any]]:
    return [x.dtype if isinstance(x, Tensor) else numeric.scalar_dtype(x) for x in operands]


def _combine(name: str, a: object, b: object, shape: tuple[int, ...], target: np.dtype[Any], kept: Mask) -> Tensor:
    work = numeric.working_dtype(name, *_dtypes(a, b))
    values, undefined = [], []
    for x in (a, b):
        if isinstance(x, Tensor):
            data, unknown = read(name, "operand", x, kept)
            values.append(data.astype(work, copy=False))
            undefined.append(unknown)
        else:
            values.append(np.asarray(x).astype(work))
    computed = np.broadcast_to(numeric.BINARY[name](*values), shape)
    return fresh(name, computed, target, merge(shape, undefined), kept)


def unary(name: str, data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A function of one tile, by its name in :data:`numeric.ACTIVATIONS`. Default dtype: the tile's."""
    return activation(name, data, dtype=dtype, mask=mask, operation=name)


def copy(data: object, *, dtype: object = None, mask: object = None, operation: str = "copy") -> Tensor:
    """A copy in SBUF; bit-accurate where the dtype stays, else through float32."""
    tensor = operand(operation, "data", data)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return masked_off(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    return fresh(operation, values if target == values.dtype else numeric.as_f32(values), target, undefined, kept)


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
        return masked_off(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    factor, factor_undefined = _per_partition(operation, "scale", scale, tensor, kept)
    shift, shift_undefined = _per_partition(operation, "bias", bias, tensor, kept)
    # Contiguous whatever the view's strides: numpy's loops for strided operands may round otherwise.
    x = np.ascontiguousarray(numeric.as_f32(values))
    if factor is not None:
        x = x * factor
    if shift is not None:
        x = x + shift
    computed = numeric.ACTIVATIONS[name](x)
    unknown = merge(tensor.shape, (undefined, factor_undefined, shift_undefined))
    result = fresh(operation, computed, target, unknown, kept)
    if reduce_into is not None:
        _reduce_into(operation, reduce_into, computed, unknown, kept)
    return result


def _reduce_into(operation: str, where: Tensor, values: Array, undefined: Undefined | None, kept: Mask) -> None:
    if kept is not None:
        raise KernelFault("", f"{operation} with a mask that drops elements is not emulated yet")
    destination = operand(operation, "reduce_res", where)
    axes = tuple(range(1, values.ndim))
    shape = (values.shape[0], 1)
    if destination.shape != shape:
        raise KernelFault("", f"{operation}: reduce_res must have shape {shape}, got {destination.shape}")
    sums = numeric.sum_last_axes(values, 1).reshape(shape)
    destination.write(sums, reduced(undefined, axes, shape))


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
        return masked_off(operation, tensor.shape, target)
    values, undefined = read(operation, "on_true_tile", tensor, kept)
    chosen = fit_mask(predicate, tensor.shape)
    if chosen is None:
        return fresh(operation, values, target, undefined, kept)
    selected: npt.NDArray[np.float32] = np.empty(tensor.shape, dtype=F32)
    selected.fill(np.float32(otherwise))
    if isinstance(chosen, bool):
        return fresh(operation, selected, target, None, kept)
    numeric.copy_cast(selected, values, chosen)
    if undefined is not None:
        undefined = Undefined(np.where(chosen, undefined.ids, np.uint8(0)), undefined.origins)
    return fresh(operation, selected, target, undefined, kept)


def reduce_free(
    name: str,
    data: object,
    axis: Any,
    *,
    dtype: object = None,
    mask: object = None,
    negate: bool = False,
    operation: str = "tensor_reduce",
) -> Tensor:
    """Reduce by ``name`` over the trailing free dimensions ``axis`` in float32; the result keeps rank >= 2."""
    tensor = operand(operation, "data", data)
    axes = _free_axes(operation, axis, tensor.ndim)
    shape = tensor.shape[: axes[0]]
    shape = (*shape, 1) if len(shape) < 2 else shape
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return masked_off(operation, shape, target)
    if kept is not None:
        raise KernelFault("", f"{operation} with a mask that drops single elements is not emulated yet")
    values, undefined = read(operation, "data", tensor)
    computed = numeric.reduce_last_axes(numeric.as_f32(values), axes[0], name).reshape(shape)
    return fresh(operation, -computed if negate else computed, target, reduced(undefined, axes, shape))


def _free_axes(operation: str, axis: Any, rank: int) -> tuple[int, ...]:
    axes = tuple(sorted(int(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))))
    axes = tuple(sorted(a + rank if a < 0 else a for a in axes))
    if not axes or axes[0] < 1 or axes != tuple(range(axes[0], rank)):
        raise KernelFault(
            "",
            f"{operation}: axis {axis} of a rank-{rank} tile",
            why="the Vector Engine reduces the trailing free dimensions, without gaps, never the partitions",
            next_step="reduce axis 1 … last, or transpose first",
        )
    return axes


def accumulate(destination: Tensor, value: object) -> Tensor:
    """``destination += value``. On a PSUM tile that was never written, a matmul result starts from zero."""
    kept = value.result_mask if isinstance(value, Tensor) else None
    if kept is False:
        return destination
    shape, _ = _common("add", destination, value, broadcast_partitions=False)
    mask = kept if kept is None else np.broadcast_to(kept, shape)
    of_tensor_engine = isinstance(value, Tensor) and value.space is Space.PSUM and value.storage.auto_placed
    if destination.space is Space.PSUM and of_tensor_engine:
        _start_from_zero(destination, mask)
    assign(destination, _combine("add", destination, value, shape, destination.dtype, mask))
    return destination


def _start_from_zero(destination: Tensor, kept: Mask) -> None:
    """The first matmul of an accumulation group overwrites: undefined PSUM elements count as zero."""
    _, undefined = destination.read(kept)
    if undefined is not None:
        fresh_elements = undefined.ids != 0
        destination.write(0.0, None, fresh_elements if kept is None else fresh_elements & kept)
