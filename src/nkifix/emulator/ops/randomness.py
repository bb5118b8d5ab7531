"""Random numbers. The generator is numpy's Philox, not the device's: numbers differ from hardware's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import Scalar, fit_mask, nothing, read, result
from nkifix.emulator.undefined import Undefined, merge, refuse_undefined
from nkifix.emulator.views import shape_of


def seed_random(seed: object, *, mask: object = None) -> None:
    """Seed the program's generator with a number or the first element of a tile.

    ``mask`` has one element, as the seed has; dropped, nothing happens.
    """
    shape = seed.shape if isinstance(seed, Tensor) else (1, 1)
    kept = fit_mask(mask, shape)
    if kept is False or (kept is not None and not kept.flat[0]):
        return
    if isinstance(seed, Tensor) and seed.dtype in numeric.INTEGERS:
        values, undefined = read("random_seed", "seed", seed)
        if undefined is not None:
            refuse_undefined(undefined, operation="random_seed", happened="uses an undefined seed")
        seed = int(values.flat[0])
    if not is_integer(seed):
        raise KernelFault("", f"a seed is a whole number or an integer tile, got {type(seed).__name__}")
    program().random = np.random.Generator(np.random.Philox(int(seed) & 0xFFFFFFFF))  # type: ignore[call-overload]


def _generator() -> np.random.Generator:
    current = program()
    if current.random is None:
        current.random = np.random.Generator(np.random.Philox(0))
    return current.random


def uniform(shape: Any, dtype: object) -> Tensor:
    """A tile of numbers from [0, 1), evenly spread."""
    sizes = shape_of(shape)
    if len(sizes) < 2:
        raise KernelFault(
            "",
            f"a tile needs a partition and a free dimension, got shape {sizes}",
            next_step="add a free dimension of 1: (128, 1)",
        )
    target = numeric.storage_dtype(dtype)
    numbers = _generator().random(sizes, dtype=np.float32)
    return result("rand", sizes, target, lambda: numbers)


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
    survives = _generator().random(tensor.shape, dtype=np.float32) >= probability
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
