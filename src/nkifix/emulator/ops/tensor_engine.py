"""The Tensor Engine: matrix multiplication and transposition."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nkifix.emulator import numeric
from nkifix.emulator.affine import Mask
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.operand import fit_mask, nothing, read, result, result_dtype
from nkifix.emulator.undefined import Undefined, merge, reduced, refuse_undefined


def matmul(stationary: object, moving: object, *, mask: object = None) -> Tensor:
    """``stationary.T @ moving``: (K, M) and (K, N) in SBUF give (M, N) float32 in PSUM.

    The contraction runs over the partitions, in float32. Limits: K <= 128, M <= 128, N <= 512.
    """
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
    shape = (left.shape[1], *right.shape[1:])
    kept = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, F32, Space.PSUM)
    left_values, left_undefined = read(operation, "stationary", left)
    right_values, right_undefined = read(operation, "moving", right)
    undefined = None
    if left_undefined is not None or right_undefined is not None:
        undefined = _contracted(left, right, left_undefined, right_undefined, shape, kept)

    def product() -> Array:
        # Contiguous operands whatever the views' strides: BLAS then sees one layout, and gives one answer.
        a = np.ascontiguousarray(numeric.as_f32(left_values))
        b = np.ascontiguousarray(numeric.as_f32(right_values)).reshape(right.shape[0], -1)
        if np.may_share_memory(a, b):
            b = b.copy()  # some versions of numpy multiply a matrix by itself in another order
        multiplied: Array = np.matmul(a.T, b).reshape(shape)
        return multiplied

    return result(operation, shape, F32, product, undefined=undefined, mask=kept, space=Space.PSUM)


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
    values, undefined = flipped.read()
    in_sbuf = result("copy", flipped.shape, flipped.dtype, lambda: values, undefined=undefined)
    return matmul(in_sbuf, y, mask=mask)


def transpose(data: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """(P, F) in SBUF to (F, P) in PSUM, both at most 128; exact. Several free dimensions count as one."""
    operation = "nc_transpose"
    tensor = operand(operation, "data", data)
    partitions = tensor.shape[0]
    shape = (math.prod(tensor.shape[1:]), partitions)
    target = result_dtype(dtype, tensor.dtype)
    kept: Mask = fit_mask(mask, shape)
    if kept is False:
        return nothing(operation, shape, target, Space.PSUM)
    used = None if kept is None else kept.T.reshape(tensor.shape)
    values, undefined = read(operation, "data", tensor, used)
    flipped = None if undefined is None else Undefined(undefined.ids.reshape(partitions, -1).T, undefined.origins)

    def turned() -> Array:
        return values.reshape(partitions, -1).T

    return result(operation, shape, target, turned, undefined=flipped, mask=kept, space=Space.PSUM)
