"""Allocation and initialisation of tensors, and random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import check_free_size, check_partitions, operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import Scalar, fit_mask, nothing, read, result
from nkifix.emulator.undefined import Undefined, merge, refuse_undefined


class PartitionDimension(int):
    """A size marked as the partition dimension (``nl.par_dim``)."""


def allocate(shape: Sequence[Any], dtype: Any, space: object, *, name: str = "") -> Tensor:
    """A tensor whose elements are undefined.

    On chip, the partition dimension is the marked one, else the first; dimensions before it are block
    dimensions. In shared HBM, all programs of a launch get the same memory.
    """
    current = program()
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(is_integer(size) and size > 0 for size in sizes):
        raise KernelFault("", f"a shape is made of positive whole numbers, got {shape!r}")
    if not isinstance(space, Space):
        raise KernelFault("", f"buffer={space!r} is no memory", next_step="use nl.sbuf, nl.psum or nl.shared_hbm")
    stored = numeric.storage_dtype(dtype)
    plain = tuple(int(size) for size in sizes)
    if space is Space.SHARED_HBM:
        return current.tensor_type._whole(current.share(plain, stored, name))
    axis = _partition_axis(sizes, space) if space.on_chip else None
    storage = Storage(plain, stored, space, partition_axis=axis, name=name)
    storage.leave_undefined()
    return current.tensor_type._whole(storage)


def _partition_axis(sizes: tuple[Any, ...], space: Space) -> int:
    marked = [axis for axis, size in enumerate(sizes) if isinstance(size, PartitionDimension)]
    if len(marked) > 1:
        raise KernelFault("", "a tensor has one partition dimension, got several nl.par_dim")
    axis = marked[0] if marked else 0
    if len(sizes) - axis < 2:
        raise KernelFault(
            "",
            f"an on-chip tensor needs a partition and a free dimension, got shape {tuple(map(int, sizes))}",
            why="insufficient rank: SBUF and PSUM tensors have at least two dimensions",
            next_step="add a free dimension of 1: (128, 1)",
        )
    check_partitions(int(sizes[axis]), "an on-chip tensor")
    if space is Space.PSUM:
        limit = program().launch.limits.psum_free_max
        check_free_size("a PSUM tensor", tuple(int(size) for size in sizes[axis + 1 :]), limit)
    return axis


def filled(shape: Sequence[Any], value: object, dtype: Any, space: object, *, name: str = "") -> Tensor:
    """An on-chip tensor with every element set to a number."""
    if isinstance(space, Space) and not space.on_chip:
        raise KernelFault(
            "err_hbm_tensor_with_init_value_not_supported",
            f"a tensor in {space.value} cannot be created with a value",
            why="no engine writes HBM; a DMA copies into it",
            next_step="create it with nl.ndarray, and nl.store a tile into it",
        )
    if not isinstance(value, Scalar):
        raise KernelFault("", f"a fill value is a number, got {type(value).__name__}")
    tensor = allocate(shape, dtype, space, name=name)
    tensor.write(value, None)
    return tensor


def seed_random(seed: object) -> None:
    """Seed the program's generator with a number or the first element of a tile.

    The generator is numpy's Philox, not the device's: drop patterns differ from hardware's.
    """
    if isinstance(seed, Tensor) and seed.dtype in numeric.INTEGERS:
        values, undefined = read("random_seed", "seed", seed)
        if undefined is not None:
            refuse_undefined(undefined, operation="random_seed", happened="uses an undefined seed")
        seed = int(values.flat[0])
    if not is_integer(seed):
        raise KernelFault("", f"a seed is a whole number or an integer tile, got {type(seed).__name__}")
    program().random = np.random.Generator(np.random.Philox(int(seed) & 0xFFFFFFFF))  # type: ignore[call-overload]


def dropout(data: object, rate: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """``data`` with each element set to zero with probability ``rate`` (a number or a tile)."""
    operation = "dropout"
    tensor = operand(operation, "data", data)
    target = tensor.dtype if dtype is None else numeric.storage_dtype(dtype)
    kept = fit_mask(mask, tensor.shape)
    if kept is False:
        return nothing(operation, tensor.shape, target)
    values, undefined = read(operation, "data", tensor, kept)
    probability, rate_undefined = _probability(operation, rate, tensor)
    generator = program().random
    if generator is None:
        generator = program().random = np.random.Generator(np.random.Philox(0))
    survives = generator.random(tensor.shape, dtype=np.float32) >= probability
    unknown = merge(tensor.shape, (undefined, rate_undefined))

    def thinned() -> Array:
        return np.where(survives, numeric.as_f32(values), np.float32(0))

    return result(operation, tensor.shape, target, thinned, undefined=unknown, mask=kept)


def _probability(operation: str, rate: object, data: Tensor) -> tuple[Array, Undefined | None]:
    """A drop probability per partition, and which are undefined, in shapes that broadcast to the data's."""
    if isinstance(rate, Scalar):
        return np.array(rate, dtype=np.float32), None
    tile = operand(operation, "rate", rate)
    # nl.dropout documents a tile of one element, nisa.dropout one per partition; shipped kernels pass the latter.
    if tile.shape != (data.shape[0], 1) and math.prod(tile.shape) != 1:
        expected = f"a number, or a tile of one element or of shape {(data.shape[0], 1)}"
        raise KernelFault("", f"{operation}: rate must be {expected}, got shape {tile.shape}")
    values, undefined = read(operation, "rate", tile)
    shape = (-1, *(1 for _ in data.shape[1:]))
    if undefined is not None:
        undefined = Undefined(undefined.ids.reshape(shape), undefined.origins)
    return numeric.as_f32(values).reshape(shape), undefined
