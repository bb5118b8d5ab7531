"""Element-by-element operations of the Vector, Scalar and GpSimd engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops import activation
from nkifix.emulator.ops.operand import (
    Scalar,
    assign,
    broadcast_shape,
    fit_mask,
    nothing,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.undefined import merge


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
        return nothing(name, shape, target)
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
    unknown = merge(shape, undefined)
    return result(
        name,
        shape,
        target,
        lambda: np.broadcast_to(numeric.BINARY[name](*values), shape),
        undefined=unknown,
        mask=kept,
    )


def unary(name: str, data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A function of one tile, by its name in :data:`numeric.ACTIVATIONS`. Default dtype: the tile's."""
    return activation.activation(name, data, dtype=dtype, mask=mask, operation=name)


def copy(data: object, *, dtype: object = None, mask: object = None, operation: str = "copy") -> Tensor:
    """A copy in SBUF; bit-accurate where the dtype stays, else through float32."""
    tensor = operand(operation, "data", data)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)

    def copied() -> Array:
        return values if target == values.dtype else numeric.as_f32(values)

    return result(operation, tensor.shape, target, copied, undefined=undefined, mask=kept)


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
