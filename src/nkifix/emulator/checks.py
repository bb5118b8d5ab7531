"""Refusing operands that an instruction does not take. What is legal stands in :mod:`nkifix.emulator.legality`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nkifix.emulator import legality
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import enforces, program
from nkifix.emulator.memory import Space, Tensor


def operand(operation: str, name: str, value: object) -> Tensor:
    """``value`` as an operand: a tensor, in a legal memory, whose first dimension is the partition one.

    Raises
    ------
    KernelFault
        ``err_nki_api_outside_of_nki_kernel``, ``err_unsupported_memory``,
        ``err_failed_to_infer_tile_from_local_tensor``, ``err_exceed_max_supported_dimension``,
        ``err_size_of_dimension_exceed_arch_limit``, or for a tensor as index
        ``err_indirect_indices_are_not_supported_with_nki_api`` or
        ``err_copy_dynamic_indirect_indices_not_natively_supported``.
    """
    accepted = program().launch.accepted
    known: tuple[object, ...] = ()
    if isinstance(value, Tensor) and value.gather is None:
        known = (operation, name, value.layout)  # everything that is checked here depends on these alone
        if known in accepted:
            return value
    if not isinstance(value, Tensor):
        raise KernelFault(
            "",
            f"{operation}: {name} must be a tensor, got {type(value).__name__}",
            next_step="pass a tile",
        )
    legal = legality.row(operation).operands.get(name, legality.ANY_TILE)
    # A result that no declared buffer has taken yet is placed by the compiler, where its reader reaches it.
    movable = value.storage.auto_placed and Space.SBUF in legal.memory
    if value.space not in legal.memory and not movable:
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
    check_static(operation, name, value)
    check_dtype(operation, name, value.dtype)
    _check_size(operation, name, value, legal)
    if known:
        accepted.add(known)
    return value


def check_static(operation: str, name: str, value: Tensor) -> None:
    """Refuse a place that is known only at run time, where the operation does not take one.

    Raises
    ------
    KernelFault
        ``err_copy_dynamic_indirect_indices_not_natively_supported`` for assignments and copies, else
        ``err_indirect_indices_are_not_supported_with_nki_api``.
    """
    legal = legality.row(operation).operands.get(name, legality.ANY_TILE)
    if legal.indirect or value.gather is None or not value.gather.indirect:
        return
    if operation not in _COPIES:
        raise KernelFault(
            "err_indirect_indices_are_not_supported_with_nki_api",
            f"{operation}: {name} is indexed by a tensor, whose value is known only at run time",
            why="load, store, dma_copy and tensor_copy_dynamic_src / _dst resolve such an index",
            next_step="copy the elements with one of these first",
        )
    if enforces(_NO_DYNAMIC_COPY):
        raise KernelFault(
            _NO_DYNAMIC_COPY,
            f"{operation}: {name} is indexed by a tensor, whose value is known only at run time",
            why="assignments and plain copies read and write places that the compiler knows",
            next_step="nisa.tensor_copy_dynamic_src / tensor_copy_dynamic_dst on chip, nisa.dma_copy for HBM",
        )


_NO_DYNAMIC_COPY = "err_copy_dynamic_indirect_indices_not_natively_supported"
_COPIES = frozenset({"assignment", "copy", "tensor_copy"})


def _check_size(operation: str, name: str, value: Tensor, legal: legality.Operand) -> None:
    if legal.rank_max is not None and value.ndim > legal.rank_max:
        raise KernelFault(
            "err_exceed_max_supported_dimension",
            f"{operation}: {name} has {value.ndim} dimensions, the limit is {legal.rank_max}: shape {value.shape}",
            next_step=f"index it to {legal.rank_max} dimensions",
        )
    if legal.free_max is not None:
        limits = program().launch.limits
        most = legal.free_max if isinstance(legal.free_max, int) else getattr(limits, legal.free_max)
        check_free_size(f"{operation}: {name}", value.shape[1:], most)
    if legal.partition_max is not None and value.shape[0] > legal.partition_max:
        raise KernelFault(
            "err_size_of_dimension_exceed_arch_limit",
            f"{operation}: {name} has {value.shape[0]} partitions, the limit is {legal.partition_max}",
            why="tile sizes are fixed in hardware",
            next_step=f"loop over pieces of {legal.partition_max} partitions",
        )
    size = math.prod(value.shape[1:])
    if size < legal.free_min:
        raise KernelFault(
            "",
            f"{operation}: {name} has {size} elements per partition, at least {legal.free_min} are needed",
            next_step=f"pass a tile of {legal.free_min} or more elements per partition",
        )


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


def check_memories(operation: str, engine: Engine, **operands: object) -> None:
    """Refuse operands that ``engine`` cannot read together where they live.

    GpSimd does not reach PSUM, and some instructions read at most one operand from PSUM. This binds tensors
    that the kernel declared: results that nothing was assigned to are placed by the compiler, which moves them.

    Raises
    ------
    KernelFault
        ``err_unsupported_memory``.
    """
    in_psum = [name for name, value in operands.items() if _declared_in_psum(value)]
    if engine is Engine.GPSIMD and in_psum:
        raise KernelFault(
            "err_unsupported_memory",
            f"{operation}: {in_psum[0]} is in psum, which the GpSimd Engine cannot reach",
            why="GpSimd is not connected to PSUM",
            next_step="copy it to SBUF first: nl.copy(tile)",
        )
    pair = legality.row(operation).not_both_in_psum
    if pair is not None and set(pair) <= set(in_psum):
        raise KernelFault(
            "err_unsupported_memory",
            f"{operation}: {pair[0]} and {pair[1]} are both in psum",
            why="the instruction reads at most one of them from PSUM",
            next_step="copy one of them to SBUF first: nl.copy(tile)",
        )


def _declared_in_psum(value: object) -> bool:
    return isinstance(value, Tensor) and value.space is Space.PSUM and not value.storage.auto_placed


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


def check_column(operation: str, name: str, tensor: Tensor, partitions: int) -> None:
    """Refuse anything but one element per partition, for each of ``partitions`` partitions."""
    if tensor.shape[0] != partitions:
        raise KernelFault(
            "err_num_partition_mismatch",
            f"{operation}: {name} has {tensor.shape[0]} partitions, the data {partitions}",
            why="an engine processes all operands partition by partition",
            next_step=f"pass a tile of shape {(partitions, 1)}",
        )
    if math.prod(tensor.shape) != partitions:
        raise KernelFault(
            "",
            f"{operation}: {name} must have one element per partition, shape {(partitions, 1)}, got {tensor.shape}",
            next_step=f"slice it to {(partitions, 1)}",
        )


def check_same_shape(operation: str, **tensors: Tensor) -> None:
    """Refuse operands whose shapes differ."""
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        check_same_partitions(operation, *tensors.values(), broadcast=False)
        listed = ", ".join(f"{name} {tensor.shape}" for name, tensor in tensors.items())
        raise KernelFault("", f"{operation}: shapes differ: {listed}", next_step="slice them to one shape")


def check_same_extent(operation: str, **tensors: Tensor) -> None:
    """Refuse operands with different partition counts, or different numbers of elements per partition."""
    check_same_partitions(operation, *tensors.values(), broadcast=False)
    if len({math.prod(tensor.shape) for tensor in tensors.values()}) > 1:
        listed = ", ".join(f"{name} {tensor.shape}" for name, tensor in tensors.items())
        raise KernelFault(
            "",
            f"{operation}: numbers of elements per partition differ: {listed}",
            next_step="slice them to the same number of elements",
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
