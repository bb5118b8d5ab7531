"""The Tensor Engine: matrix multiplication and transposition."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.actions import Moved
from nkifix.emulator.affine import Mask, is_integer
from nkifix.emulator.checks import check_free_size, check_same_partitions, chosen_engine, operand
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.indexing import MaskedOperand
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import (
    Result,
    fetch,
    fit_mask,
    made,
    nothing,
    planned_result,
    read,
    result,
    result_dtype,
)
from nkifix.emulator.placement import declare
from nkifix.emulator.undefined import Undefined, merge, reduced, refuse_undefined


def matmul(stationary: object, moving: object, *, mask: object = None) -> Tensor:
    """``stationary.T @ moving``: (K, M) and (K, N) in SBUF give (M, N) float32 in PSUM.

    The contraction runs over the partitions, in float32. Limits: K <= 128, M <= 128, N <= 512. Of a
    :class:`~nkifix.emulator.indexing.MaskedOperand`, partitions that drop out add nothing, and columns that do
    give no result.
    """
    operation = "nc_matmul"
    if mask is None and isinstance(stationary, Tensor) and isinstance(moving, Tensor):
        plan = planned(_plan_matmul, (stationary, moving))
        (a, a_undefined), (b, b_undefined) = fetch(operation, stationary), fetch(operation, moving)
        unknown = None
        if a_undefined is not None or b_undefined is not None:
            unknown = _contracted(stationary, moving, a_undefined, b_undefined, plan.shape, None)
        return made(plan, partial(_product, a, b), undefined=unknown)
    stationary, left_kept = _unmasked(stationary)
    moving, right_kept = _unmasked(moving)
    plan = planned(_plan_matmul, (stationary, moving))
    left, right, shape = cast(Tensor, stationary), cast(Tensor, moving), plan.shape
    kept = _result_mask(fit_mask(mask, shape), left_kept, right_kept, shape)
    if kept is False:
        return nothing(operation, shape, F32, Space.PSUM)
    left_values, left_undefined = _taking_part(operation, left, left_kept)
    right_values, right_undefined = _taking_part(operation, right, right_kept)
    undefined = None
    if left_undefined is not None or right_undefined is not None:
        undefined = _contracted(left, right, left_undefined, right_undefined, shape, kept)
    return made(plan, partial(_product, left_values, right_values), undefined=undefined, mask=kept)


def _plan_matmul(stationary: object, moving: object) -> Result:
    operation = "nc_matmul"
    left = operand(operation, "stationary", stationary)
    right = operand(operation, "moving", moving)
    if left.shape[0] != right.shape[0]:
        raise KernelFault(
            "err_num_partition_mismatch",
            f"{operation}: stationary has {left.shape[0]} partitions, moving {right.shape[0]}",
            why="the contraction runs over the partitions of both",
            next_step="give both operands the same partition count",
        )
    return planned_result(operation, (left.shape[1], *right.shape[1:]), F32, space=Space.PSUM)


def _product(left: Array, right: Array, out: Array | None) -> Array:
    # Contiguous operands whatever the views' strides: BLAS then sees one layout, and gives one answer.
    a = np.ascontiguousarray(numeric.as_f32(left))
    b = np.ascontiguousarray(numeric.as_f32(right))
    if b.ndim != 2:
        multiplied = _product(a, b.reshape(b.shape[0], -1), None)
        return multiplied.reshape(a.shape[1], *right.shape[1:])
    if (left is a or right is b) and np.may_share_memory(a, b):
        b = b.copy()  # some versions of numpy multiply a matrix by itself in another order
    # BLAS writes rows; into anything else numpy multiplies by itself, in another order.
    in_rows = out is not None and min(out.shape) > 1 and out.strides[-1] == out.itemsize
    product: Array = np.matmul(a.T, b, out=out if in_rows else None)
    return product


Kept = npt.NDArray[np.bool_]


def _unmasked(value: object) -> tuple[object, Kept | None]:
    return (value.tensor, value.kept) if isinstance(value, MaskedOperand) else (value, None)


def _result_mask(kept: Mask, left: Kept | None, right: Kept | None, shape: tuple[int, ...]) -> Mask:
    """``kept``, less the rows and columns whose operand drops out wholly."""
    if kept is False or (left is None and right is None):
        return kept
    rows = np.ones(shape[0], dtype=bool) if left is None else left.any(axis=0)
    columns = np.ones(shape[1:], dtype=bool) if right is None else right.any(axis=0)
    both: Kept = np.multiply.outer(rows, columns)
    both = both if kept is None else both & kept
    return None if both.all() else both


def _taking_part(operation: str, tensor: Tensor, kept: Kept | None) -> tuple[Array, Undefined | None]:
    values, undefined = fetch(operation, tensor, kept)
    if kept is None:
        return values, undefined
    if undefined is not None:
        undefined = Undefined(np.where(kept, undefined.ids, np.uint8(0)), undefined.origins)
    return np.where(kept, values, np.zeros((), dtype=values.dtype)), undefined


def _contracted(
    left: Tensor,
    right: Tensor,
    left_undefined: Undefined | None,
    right_undefined: Undefined | None,
    shape: tuple[int, ...],
    kept: Mask,
) -> Undefined | None:
    """Which results are wholly undefined; one that mixes defined and undefined products is refused."""
    depth = left.shape[0]
    known_left = _known(left_undefined, left.shape)
    known_right = _known(right_undefined, right.shape).reshape(depth, -1)
    defined_products = np.matmul(known_left.T, known_right).reshape(shape)
    mixed = (defined_products > 0) & (defined_products < depth)
    mixed = mixed if kept is None else mixed & kept
    free = tuple(range(1, len(shape)))
    for undefined, columns in ((left_undefined, mixed.any(axis=free)), (right_undefined, mixed.any(axis=0))):
        if undefined is not None:
            culprits = Undefined(np.where(columns, undefined.ids, np.uint8(0)), undefined.origins)
            refuse_undefined(culprits, operation="nc_matmul", happened="contracts undefined elements")
    columns_of_left = reduced(left_undefined, (0,), (shape[0],) + (1,) * len(free))
    columns_of_right = reduced(right_undefined, (0,), (1, *shape[1:]))
    spoiled = merge(shape, (columns_of_left, columns_of_right))
    assert spoiled is not None
    return Undefined(np.where(defined_products == 0, spoiled.ids, np.uint8(0)), spoiled.origins)


def _known(undefined: Undefined | None, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if undefined is None:
        return np.ones(shape, dtype=np.float32)
    known: npt.NDArray[np.float32] = (undefined.ids == 0).astype(np.float32)
    return known


def matmul_any(x: object, y: object, *, transpose_x: bool, mask: object = None) -> Tensor:
    """``x @ y`` with x (M, K), or with ``transpose_x`` (K, M); y (K, N). The former needs a transpose first."""
    if transpose_x:
        return matmul(x, y, mask=mask)
    flipped = transpose(x)
    values, undefined = read("copy", "data", flipped)
    in_sbuf = result("copy", flipped.shape, flipped.dtype, lambda: values, undefined=undefined)
    return matmul(in_sbuf, y, mask=mask)


def transpose(data: object, *, dtype: object = None, mask: object = None, engine: Engine | None = None) -> Tensor:
    """(P, F) to (F, P), exact; several free dimensions count as one. Default dtype: the data's.

    The Tensor Engine reads SBUF and writes PSUM, both sizes at most 128. The Vector Engine, which executes it
    where ``engine`` says so or the data is in PSUM, takes at most 32 x 32; its result is in SBUF.
    """
    operation = "nc_transpose"
    plan = planned(_plan_transpose, (data,), dtype, engine)
    tensor, shape = cast(Tensor, data), plan.shape
    kept: Mask = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, plan.layout.kind.dtype, plan.layout.kind.space)
    on_vector = plan.engine is Engine.VECTOR
    if not on_vector:
        declare.makes_identity(operation)
    used = None if kept is None else kept.T.reshape(tensor.shape)
    values, undefined = fetch("nc_transpose on Vector" if on_vector else operation, tensor, used)
    flipped = None if undefined is None else Undefined(undefined.ids.reshape(shape[1], -1).T, undefined.origins)
    turn = Moved if plan.layout.kind.dtype == tensor.dtype else partial
    return made(plan, turn(_turned, values), undefined=flipped, mask=kept)


def _plan_transpose(data: object, dtype: object, engine: Engine | None) -> Result:
    operation = "nc_transpose"
    in_psum = isinstance(data, Tensor) and data.space is Space.PSUM
    fits = in_psum and data.shape[0] <= 32 and math.prod(data.shape[1:]) <= 32  # type: ignore[attr-defined]
    chosen = chosen_engine(operation, engine or (Engine.VECTOR if fits else Engine.TENSOR))
    on_vector = chosen is Engine.VECTOR
    tensor = operand("nc_transpose on Vector" if on_vector else operation, "data", data)
    return planned_result(
        operation,
        (math.prod(tensor.shape[1:]), tensor.shape[0]),
        result_dtype(dtype, tensor.dtype),
        space=Space.SBUF if on_vector else Space.PSUM,
        engine=chosen,
    )


_PADDING = 16
"""Elements between the rows of a tile that is about to be transposed."""


def _turned(values: Array, out: Array | None) -> Array:
    partitions = values.shape[0]
    target = values.dtype if out is None else out.dtype
    # Columns of a tile whose rows lie a power of two apart fall into few lines of a cache: walking down them is slow.
    packed = np.empty((partitions, math.prod(values.shape[1:]) + _PADDING), dtype=target)[:, :-_PADDING]
    packed[...] = values.reshape(partitions, -1)  # a cast on the way through would be a slow one, element by element
    bits = f"u{target.itemsize}"  # moved as numbers: numpy moves elements of a dtype that is not its own one by one
    turned = packed.view(bits).T
    if out is None:
        return np.ascontiguousarray(turned).view(target)
    out.view(bits)[...] = turned
    return out


_TILE_MULTIPLE = 32
"""Rows and columns of the processing array come in groups of this size."""


def check_array_tile(operation: str, position: Any, size: Any, stationary: object) -> None:
    """Refuse a part of the processing array (``tile_position``, ``tile_size``) that a matmul cannot use."""
    if not position and not size:
        return
    if not position or not size:
        raise KernelFault(
            "",
            f"{operation}: tile_position={position!r} with tile_size={size!r}",
            why="part of the processing array is chosen by both, or by neither",
            next_step="pass both",
        )
    for name, pair in (("tile_position", position), ("tile_size", size)):
        legal = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_integer(one) for one in pair)
        if not legal or any(one % _TILE_MULTIPLE or one < 0 for one in pair):
            raise KernelFault(
                "",
                f"{operation}: {name}={pair!r}",
                why=f"it is (row, column), both whole multiples of {_TILE_MULTIPLE}",
                next_step="use 0, 32, 64 or 96 for a position, 32, 64 or 128 for a size",
            )
    _check_array_fit(operation, position, size, operand(operation, "stationary", stationary))


def _check_array_fit(operation: str, position: Any, size: Any, stationary: Tensor) -> None:
    limits = program().launch.limits
    if any(start + extent > limits.partition_max for start, extent in zip(position, size, strict=True)):
        raise KernelFault(
            "err_size_of_dimension_exceed_arch_limit",
            f"{operation}: a tile of {tuple(size)} at {tuple(position)} leaves the processing array",
            why=f"the array has {limits.partition_max} rows and columns",
            next_step="choose a position and a size that stay within it",
        )
    if stationary.shape[0] > size[0] or math.prod(stationary.shape[1:]) > size[1]:
        raise KernelFault(
            "",
            f"{operation}: stationary has shape {stationary.shape}, tile_size is {tuple(size)}",
            why="the stationary tile is held by that part of the processing array",
            next_step="choose a tile_size at least as large",
        )
    if limits.nc_version == 2 and tuple(size) == (_TILE_MULTIPLE, _TILE_MULTIPLE):
        raise KernelFault(
            "nc-version",
            f"{operation}: tile_size (32, 32) does not exist on NeuronCore-v2",
            why="there, rows and columns cannot both be 32",
            next_step="use (32, 64) or (64, 32)",
        )


def double_row_matmul(stationary: object, moving: object, *, mask: object = None) -> Tensor:
    """Sum over two rows: (K, 2, M) and (K, 2, N) in SBUF, 8-bit floats, give (M, N) float32 in PSUM."""
    operation = "nc_matmul double_row_gen3"
    chosen_engine(operation)
    left, right = operand(operation, "stationary", stationary), operand(operation, "moving", moving)
    for name, tile in (("stationary", left), ("moving", right)):
        if tile.ndim != 3 or tile.shape[1] != 2:
            raise KernelFault(
                "",
                f"{operation}: {name} must have shape (K, 2, size), got {tile.shape}",
                why="each partition holds two rows of the contraction",
                next_step="index it with nl.mgrid[0:K, 0:2, 0:size]",
            )
    limits = program().launch.limits
    check_free_size(f"{operation}: a row of stationary", left.shape[2:], limits.matmul_stationary_free_max)
    check_free_size(f"{operation}: a row of moving", right.shape[2:], limits.matmul_moving_free_max)
    check_same_partitions(operation, left, right, broadcast=False)
    shape = (left.shape[2], right.shape[2])
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing("nc_matmul", shape, F32, Space.PSUM)
    left_values, left_undefined = read(operation, "stationary", left)
    right_values, right_undefined = read(operation, "moving", right)
    for undefined in (left_undefined, right_undefined):
        if undefined is not None:
            refuse_undefined(undefined, operation="nc_matmul", happened="contracts undefined elements")

    def product() -> Array:
        # Two rows per partition are twice as many partitions.
        a = np.ascontiguousarray(numeric.as_f32(left_values)).reshape(-1, shape[0])
        b = np.ascontiguousarray(numeric.as_f32(right_values)).reshape(-1, shape[1])
        multiplied: Array = np.matmul(a.T, b)
        return multiplied

    return result("nc_matmul", shape, F32, product, mask=kept, space=Space.PSUM, function="double_row_gen3")
