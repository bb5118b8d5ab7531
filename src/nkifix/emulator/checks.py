"""Legality: which operand may live where, and how large it may be. Tables first, then their readers.

A row's source is the operand's description in the ``nki.isa`` / ``nki.language`` reference of Neuron SDK
2.26, unless the row says otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Tensor
from nkifix.emulator.numeric import BOOL, FLOATS, INTEGERS

_SBUF = frozenset({Space.SBUF})
_PSUM = frozenset({Space.PSUM})
_CHIP = _SBUF | _PSUM
_HBM = frozenset({Space.HBM, Space.PRIVATE_HBM, Space.SHARED_HBM})

ON_CHIP = _CHIP
"""Where an operand may live if its operation has no row in :data:`MEMORY`."""

MEMORY: dict[tuple[str, str], frozenset[Space]] = {
    ("load", "src"): _HBM,
    ("store", "dst"): _HBM,
    # SDK 2.26 release notes: store from PSUM, through a copy that the compiler adds.
    ("store", "value"): _CHIP,
    ("load_transpose2d", "src"): _HBM,
    ("dma_transpose", "src"): _HBM | _SBUF,
    ("nc_matmul", "stationary"): _SBUF,
    ("nc_matmul", "moving"): _SBUF,
    # The Tensor Engine reads SBUF; the Vector Engine's 32 x 32 form also reads PSUM.
    ("nc_transpose", "data"): _SBUF,
}
"""(operation, operand) -> memories it may live in."""

FREE_LIMITS: dict[tuple[str, str], str] = {
    ("nc_matmul", "stationary"): "matmul_stationary_free_max",
    ("nc_matmul", "moving"): "matmul_moving_free_max",
    ("nc_transpose", "data"): "pe_transpose_free_max",
}
"""(operation, operand) -> the field of ``CoreLimits`` that bounds its free size."""


_FLOATING = frozenset(FLOATS)
_UP_TO_16_BITS = frozenset(dtype for dtype in INTEGERS if dtype.itemsize < 4) | {BOOL}

DTYPES: dict[tuple[str, str], frozenset[np.dtype[Any]]] = {
    ("nc_matmul", "stationary"): _FLOATING,
    ("nc_matmul", "moving"): _FLOATING,
    ("affine_select", "on_true_tile"): _FLOATING | _UP_TO_16_BITS,
    ("affine_select", "dtype"): _FLOATING | _UP_TO_16_BITS,
}
"""(operation, operand) -> dtypes it may have; operands without a row take all that can be stored."""


def operand(operation: str, name: str, value: object) -> Tensor:
    """``value`` as an operand: a tensor, in a legal memory, whose first dimension is the partition one.

    Raises
    ------
    KernelFault
        ``err_nki_api_outside_of_nki_kernel``, ``err_unsupported_memory``,
        ``err_failed_to_infer_tile_from_local_tensor`` or ``err_size_of_dimension_exceed_arch_limit``.
    """
    limits = program().launch.limits
    if not isinstance(value, Tensor):
        raise KernelFault(
            "",
            f"{operation}: {name} must be a tensor, got {type(value).__name__}",
            next_step="pass a tile",
        )
    allowed = MEMORY.get((operation, name), ON_CHIP)
    if value.space not in allowed:
        places = " or ".join(sorted(space.value for space in allowed))
        raise KernelFault(
            "err_unsupported_memory",
            f"{operation}: {name} must be in {places}, got a tensor in {value.space.value}",
            why="the engine that executes it cannot reach that memory",
            next_step=_memory_advice(value, allowed),
        )
    if value.space.on_chip and value.partition_axis != 0:
        raise KernelFault(
            "err_failed_to_infer_tile_from_local_tensor",
            f"{operation}: {name} has block dimensions before its partition dimension, shape {value.shape}",
            why="an instruction works on one tile, whose first dimension is the partition dimension",
            next_step="index the block dimensions: tensor[i, :, :]",
        )
    check_dtype(operation, name, value.dtype)
    field = FREE_LIMITS.get((operation, name))
    if field is not None:
        check_free_size(f"{operation}: {name}", value.shape[1:], getattr(limits, field))
    return value


def _memory_advice(value: Tensor, allowed: frozenset[Space]) -> str:
    if not value.space.on_chip:
        return "load it first: nl.load(tensor[...])"
    return "copy it to SBUF first: nl.copy(tile)" if allowed & _SBUF else "store it first: nl.store(hbm[...], tile)"


def check_dtype(operation: str, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that the operation does not take."""
    allowed = DTYPES.get((operation, name))
    if allowed is not None and dtype not in allowed:
        raise KernelFault(
            "",
            f"{operation}: {name} is {dtype}",
            why=f"it may be {', '.join(sorted(map(str, allowed)))}",
            next_step="cast it first: nl.copy(tile, dtype=...)",
        )


def check_free_size(what: str, free_shape: tuple[int, ...], limit: int) -> None:
    """Refuse a tile whose free dimensions hold more than ``limit`` elements per partition."""
    size = math.prod(free_shape)
    if size > limit:
        raise KernelFault(
            "err_size_of_dimension_exceed_arch_limit",
            f"{what} has {size} elements per partition, the limit is {limit}",
            why="tile sizes are fixed in hardware",
            next_step=f"loop over pieces of {limit}",
        )


def check_partitions(count: int, what: str) -> None:
    """Refuse more partitions than the chip has."""
    limit = program().launch.limits.partition_max
    if count > limit:
        raise KernelFault(
            "err_num_partition_exceed_arch_limit",
            f"{what} has {count} partitions, the limit is {limit}",
            why="SBUF and PSUM have 128 partitions",
            next_step="make the partition dimension at most 128, and loop",
        )


def check_same_partitions(operation: str, *tensors: Tensor, broadcast: bool) -> None:
    """Refuse operands with different partition counts; with ``broadcast``, a single partition fits all.

    ``nl.add`` and its like broadcast partitions, the operators ``+ - * /`` do not ("NKI known issues").
    """
    counts = {tensor.shape[0] for tensor in tensors} - ({1} if broadcast else set())
    if len(counts) > 1:
        shapes = ", ".join(str(tensor.shape) for tensor in tensors)
        raise KernelFault(
            "err_num_partition_mismatch",
            f"{operation}: operands have different partition counts: {shapes}",
            why="an engine processes all operands partition by partition",
            next_step="slice or broadcast the operands to the same number of partitions",
        )
