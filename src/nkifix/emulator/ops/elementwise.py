"""Element-by-element operations of the Vector, Scalar and GpSimd engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import functions, loops, numeric, observe
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import check_same_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import BOOL, F32, Array
from nkifix.emulator.ops.copies import copy as copy
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
from nkifix.emulator.ops.ranges import warn_of_invalid_input
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Undefined, merge


def binary(
    name: str, a: object, b: object, *, dtype: object = None, mask: object = None, broadcast_partitions: bool = True
) -> Tensor:
    """``a name b`` on two tiles, or a tile and a number; float32 arithmetic, one rounding.

    Sums and products of integers are exact, bit operations take integers only. Default dtype: the promotion
    of both operands.
    """
    shape, promoted = _common(name, a, b, broadcast_partitions)
    if dtype is None and name in functions.BITWISE and promoted == F32:
        # int32 with uint32 promotes to float32, which cannot hold their bits.
        promoted = functions.working_dtype(name, *_dtypes(a, b))
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


def combine(name: str, a: Tensor, b: Tensor, dtype: np.dtype[Any], kept: Mask) -> Tensor:
    """:func:`binary` on two tiles of one partition count, with an evaluated mask."""
    shape, _ = _common(name, a, b, broadcast_partitions=False)
    return _combine(name, a, b, shape, dtype, kept)


def _combine(name: str, a: object, b: object, shape: tuple[int, ...], target: np.dtype[Any], kept: Mask) -> Tensor:
    work = functions.working_dtype(name, *_dtypes(a, b))
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
        lambda: np.broadcast_to(functions.BINARY[name](*values), shape),
        undefined=unknown,
        mask=kept,
    )


def unary(name: str, data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """A function of one tile, by its name in :data:`functions.UNARY`. Default dtype: the tile's."""
    tensor = operand(name, "data", data)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(name, tensor.shape, target)
    values, undefined = read(name, "data", tensor, kept)
    if name in functions.ACTIVATIONS and name not in _ALSO_ON_VECTOR_ENGINE:
        declare.needs_bias(name)

    def computed() -> Array:
        # Contiguous whatever the view's strides: numpy's loops for strided operands may round otherwise.
        x = np.ascontiguousarray(numeric.as_f32(values))
        if name in _ONLY_ON_SCALAR_ENGINE:
            warn_of_invalid_input(name, x, undefined, kept)
        return functions.UNARY[name](x)

    return result(name, tensor.shape, target, computed, undefined=undefined, mask=kept)


_ALSO_ON_VECTOR_ENGINE = frozenset({"abs", "reciprocal"})
"""Activation functions that another engine computes, which needs no bias."""

_ONLY_ON_SCALAR_ENGINE = frozenset({"arctan", "log", "sin", "sqrt"})
"""Functions with a valid range that no other engine computes: reciprocal and rsqrt have a second home."""


def invert(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """The complement of an integer tile's bits. Default dtype: the tile's."""
    operation = "invert"
    tensor = operand(operation, "data", data)
    if tensor.dtype == BOOL:
        raise KernelFault(
            "",
            f"{operation} of a bool tile",
            why="the compiler gives wrong results for it (NKI known issues)",
            next_step="use nl.logical_not, or an int8 tile",
        )
    functions.working_dtype(operation, tensor.dtype)
    target = result_dtype(dtype, tensor.dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    return result(operation, tensor.shape, target, lambda: np.invert(values), undefined=undefined, mask=kept)


def where(condition: object, x: object, y: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """``x`` (a tile) where ``condition`` (a tile) is not zero, ``y`` (a tile or a number) elsewhere."""
    operation = "where"
    tests, chosen = operand(operation, "condition", condition), operand(operation, "x", x)
    tensors = [tests, chosen] if isinstance(y, Scalar) else [tests, chosen, operand(operation, "y", y)]
    check_same_partitions(operation, *tensors, broadcast=True)
    shape = broadcast_shape(operation, *(tensor.shape for tensor in tensors))
    target = result_dtype(dtype, numeric.promote(*_dtypes(chosen, y)))
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target)
    truth, truth_undefined = read(operation, "condition", tests, kept)
    holds = np.broadcast_to(truth != 0, shape)
    first, first_undefined = read(operation, "x", chosen, kept)
    second, second_undefined = (np.asarray(y), None) if isinstance(y, Scalar) else read(operation, "y", y, kept)
    unknown = merge(
        shape, (truth_undefined, _where(first_undefined, holds, shape), _where(second_undefined, ~holds, shape))
    )

    def selected() -> Array:
        return np.where(holds, numeric.as_f32(first), numeric.as_f32(second))

    return result(operation, shape, target, selected, undefined=unknown, mask=kept)


def _where(undefined: Undefined | None, chosen: Array, shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness of the elements that are chosen."""
    if undefined is None:
        return None
    ids = np.where(chosen, np.broadcast_to(undefined.ids, shape), np.uint8(0))
    return Undefined(ids, undefined.origins)


def accumulate(destination: Tensor, value: object) -> Tensor:
    """``destination += value``. On a PSUM tile that was never written, a matmul result starts from zero."""
    if isinstance(value, Tensor) and loops.must_wait(destination.storage):
        value = value.snapshot()
    loops.reduce(destination.storage, lambda: _accumulate(destination, value))
    return destination


def combine_into(name: str, destination: Tensor, value: object) -> Tensor:
    """``destination = destination name value``, in place: ``-=``, ``*=`` and their like."""
    kept = value.result_mask if isinstance(value, Tensor) else None
    if kept is not False:
        shape, _ = _common(name, destination, value, broadcast_partitions=False)
        mask = kept if kept is None else np.broadcast_to(kept, shape)
        assign(destination, _combine(name, destination, value, shape, destination.dtype, mask))
    return destination


def _accumulate(destination: Tensor, value: object) -> None:
    kept = value.result_mask if isinstance(value, Tensor) else None
    if kept is False:
        return
    shape, _ = _common("add", destination, value, broadcast_partitions=False)
    mask = kept if kept is None else np.broadcast_to(kept, shape)
    of_tensor_engine = isinstance(value, Tensor) and value.space is Space.PSUM and value.storage.auto_placed
    if destination.space is Space.PSUM and of_tensor_engine:
        assert isinstance(value, Tensor)
        _accumulate_in_psum(destination, value, mask)
        return
    assign(destination, _combine("add", destination, value, shape, destination.dtype, mask))


def _accumulate_in_psum(destination: Tensor, product: Tensor, kept: Mask) -> None:
    """PSUM adds a matmul's result to what it holds: no instruction beside the matmul itself."""
    _start_from_zero(destination, kept)
    watching = observe.observer()
    if watching is not None:
        watching.assigned(product, destination)
    values, undefined = product.read(kept)
    held, unknown = destination.read(kept)
    total = numeric.as_f32(held) + numeric.as_f32(values) if program().launch.params.arithmetic else None
    destination.write(total, merge(destination.shape, (unknown, undefined)), kept)


def _start_from_zero(destination: Tensor, kept: Mask) -> None:
    """The first matmul of an accumulation group overwrites: undefined PSUM elements count as zero."""
    _, undefined = destination.read(kept)
    if undefined is not None:
        fresh_elements = undefined.ids != 0
        destination.write(0.0, None, fresh_elements if kept is None else fresh_elements & kept)
