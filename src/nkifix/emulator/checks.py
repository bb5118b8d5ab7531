"""Refusing operands that an instruction does not take. What is legal stands in :mod:`nkifix.emulator.legality`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator import legality
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space, Tensor


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
    legal = legality.row(operation).operands.get(name, legality.ANY_TILE)
    if value.space not in legal.memory:
        places = " or ".join(sorted(space.value for space in legal.memory))
        raise KernelFault(
            "err_unsupported_memory",
            f"{operation}: {name} must be in {places}, got a tensor in {value.space.value}",
            why="the engine that executes it cannot reach that memory",
            next_step=_memory_advice(value, legal.memory),
        )
    if value.space.on_chip and value.partition_axis != 0:
        raise KernelFault(
            "err_failed_to_infer_tile_from_local_tensor",
            f"{operation}: {name} has block dimensions before its partition dimension, shape {value.shape}",
            why="an instruction works on one tile, whose first dimension is the partition dimension",
            next_step="index the block dimensions: tensor[i, :, :]",
        )
    check_dtype(operation, name, value.dtype)
    if legal.rank_max is not None and value.ndim > legal.rank_max:
        raise KernelFault(
            "err_exceed_max_supported_dimension",
            f"{operation}: {name} has {value.ndim} dimensions, the limit is {legal.rank_max}: shape {value.shape}",
            next_step=f"index it to {legal.rank_max} dimensions",
        )
    if legal.free_max is not None:
        check_free_size(f"{operation}: {name}", value.shape[1:], getattr(limits, legal.free_max))
    return value


def chosen_engine(operation: str, requested: Engine | None = None) -> Engine:
    """The engine that executes ``operation``: the requested one, or the first that can.

    Raises
    ------
    KernelFault
        Where the NeuronCore does not have the instruction, or that engine cannot execute it.
    """
    row = legality.row(operation)
    version = program().launch.limits.nc_version
    if version < row.nc_version_min:
        raise KernelFault(
            "nc-version",
            f"{operation} does not exist on NeuronCore-v{version}",
            why=f"the instruction came with NeuronCore-v{row.nc_version_min}",
            next_step="guard it with nisa.get_nc_version(), or run with the target trn2",
        )
    if requested is not None and requested not in row.engines:
        able = ", ".join(engine.value for engine in row.engines)
        raise KernelFault(
            "engine-operation",
            f"{operation} cannot run on the {requested.value} Engine",
            why=f"engines that execute it: {able}",
            next_step="leave engine= out, and the compiler chooses",
        )
    return requested or row.engines[0]


def _memory_advice(value: Tensor, allowed: frozenset[Space]) -> str:
    if not value.space.on_chip:
        return "load it first: nl.load(tensor[...])"
    return (
        "copy it to SBUF first: nl.copy(tile)" if Space.SBUF in allowed else "store it first: nl.store(hbm[...], tile)"
    )


def check_dtype(operation: str, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that the operation does not take."""
    allowed = legality.row(operation).operands.get(name, legality.ANY_TILE).dtypes
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
