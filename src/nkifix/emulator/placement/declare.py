"""Declaring tensors on chip: what a declaration may ask for, and what direct allocation forbids elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import NoReturn

import numpy as np

from nkifix.emulator import footprint
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.hardware import CoreLimits
from nkifix.emulator.legality import row
from nkifix.emulator.location import EMULATOR_DIR, kernel_location
from nkifix.emulator.machine import Program, enforces, program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.placement.arena import Memory
from nkifix.emulator.placement.plan import Place, Plan

DIRECT_NEXT_STEP = "declare it with ncc.sbuf.alloc or mod_alloc (ncc.psum in PSUM), and assign into it"


@dataclass(eq=False)
class Arena:
    """What a program's declarations amount to.

    Attributes
    ----------
    direct:
        Where the first directly allocated tensor was declared; empty while there is none.
    breaches:
        By rule, the first thing that a directly allocated kernel must not do: refused once it is one.
    seen:
        How often each declaration was executed in the running iteration.
    """

    direct: str = ""
    memories: dict[Space, Memory] = field(default_factory=dict)
    breaches: dict[str, Callable[[], KernelFault]] = field(default_factory=dict)
    iteration: object = None
    seen: dict[object, int] = field(default_factory=dict)

    def memory(self, space: Space, limits: CoreLimits) -> Memory:
        """SBUF or PSUM."""
        if space not in self.memories:
            row_bytes = capacity(space, limits)
            keeps = not enforces("overwritten-tensor")
            self.memories[space] = Memory(limits.partition_max, row_bytes, keeps_bytes=keeps)
        return self.memories[space]


def capacity(space: Space, limits: CoreLimits) -> int:
    """Bytes per partition that a kernel's tensors can have."""
    return limits.sbuf_usable_bytes if space is Space.SBUF else limits.psum_banks * limits.psum_bank_bytes


def _arena(current: Program) -> Arena:
    if current.arena is None:
        current.arena = Arena()
    assert isinstance(current.arena, Arena)
    return current.arena


def requested(buffer: object) -> tuple[object, Plan | None]:
    """A ``buffer=`` argument as a memory, and the direct allocation where it is one.

    A module stands for its ``auto_alloc()`` (``buffer=ncc.sbuf``). Inside of ``force_auto_alloc``, direct
    allocations are automatic ones.
    """
    if isinstance(buffer, ModuleType):
        automatic: Callable[[], object] | None = getattr(buffer, "auto_alloc", None)
        buffer = buffer if automatic is None else automatic()
    if not isinstance(buffer, Plan):
        return buffer, None
    return buffer.space, None if program().launch.force_automatic else buffer


def declared(storage: Storage, plan: Plan | None) -> None:
    """Check a tensor that the kernel has just declared, no output, and put it where ``plan`` says.

    Raises
    ------
    KernelFault
        ``on-chip-capacity`` for a tile that no partition holds; for a direct allocation also
        ``partition-start``, ``psum-bank``, ``allocation-alignment`` and what was done before that a
        directly allocated kernel must not do.
    """
    if not storage.space.on_chip:
        refused_beside_direct("allocated-kernel-hbm", f"{storage.describe()} is in HBM and no output", _HBM)
        return
    kind = storage.kind
    if kind.partition_axis:
        _refuse_block_dimensions(storage)
    partitions, row_bytes = kind.partitions, kind.row * kind.dtype.itemsize
    limit = capacity(storage.space, program().launch.limits)
    if row_bytes > limit:
        _refuse_capacity(f"a tile of {storage.describe()} has {row_bytes} bytes per partition", storage, limit)
    if plan is None:
        if "mixed-allocation" not in _arena(program()).breaches:
            refused_beside_direct("mixed-allocation", f"{storage.describe()} is allocated automatically", _MIXED)
        if footprint.is_measured():
            footprint.lives(storage, _blocks(storage), row_bytes)
        return
    places = _places(storage, plan, partitions, row_bytes)
    footprint.lives(storage, frozenset((place.bank, place.byte) for place in places), row_bytes)


def _places(storage: Storage, plan: Plan, partitions: int, row_bytes: int) -> list[Place]:
    current = program()
    arena = _arena(current)
    if not arena.direct:
        arena.direct = kernel_location()
        for breach in arena.breaches.values():
            raise breach()
    places = _chosen_once(current, arena, storage, plan, partitions, row_bytes)
    limits = current.launch.limits
    bank_bytes = limits.psum_bank_bytes
    starts = [(place.partition, place.bank * bank_bytes + place.byte) for place in places]
    storage.placed = arena.memory(storage.space, limits).add(storage, starts)
    storage.is_plain = False
    return places


def _chosen_once(
    current: Program, arena: Arena, storage: Storage, plan: Plan, partitions: int, row_bytes: int
) -> list[Place]:
    """The places of a declaration, those of its first execution: a compiler sees a loop's body once.

    A kernel may count addresses up beside its declarations; in a loop (not an unrolled one), and in the other
    programs of the grid, that must not move the tensors.
    """
    key = _declaration(current, arena)
    kind = (storage.shape, storage.dtype)
    known: tuple[object, list[Place]] | None = current.launch.places.get(key)
    if known is not None and known[0] == kind:
        return known[1]
    assert storage.partition_axis is not None
    blocks = storage.shape[: storage.partition_axis]
    plan.check_counts(len(blocks))
    places = [plan.place(block, partitions, row_bytes) for block in np.ndindex(blocks)]
    for place in sorted(set(places)):
        _check_place(storage, place, partitions, row_bytes)
    current.launch.places[key] = (kind, places)
    return places


def _declaration(current: Program, arena: Arena) -> object:
    """What a declaration is known by in every iteration: its calls, its loops, and how often before it ran."""
    levels = current.nest.levels
    iteration = tuple(number for level in levels for number in (level.ordinal, level.step))[:-1]
    if arena.iteration != iteration:
        arena.iteration = iteration
        arena.seen.clear()
    site = (_call_sites(), tuple(level.step for level in levels[:-1]))
    count = arena.seen[site] = arena.seen.get(site, -1) + 1
    return site, count


def _call_sites() -> tuple[tuple[object, int], ...]:
    sites: list[tuple[object, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "nkifix.emulator.launch":
        if not frame.f_code.co_filename.startswith(EMULATOR_DIR):
            sites.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(sites)


def _check_place(storage: Storage, place: Place, partitions: int, row_bytes: int) -> None:
    limits = program().launch.limits
    what = f"{storage.describe()} starts at partition {place.partition}"
    check_start(what, place.partition, partitions)
    if storage.space is Space.PSUM:
        _check_psum(storage, place, row_bytes, limits)
        return
    if place.byte + row_bytes > limits.sbuf_usable_bytes:
        end = f"{storage.describe()} ends at byte {place.byte + row_bytes} of a partition"
        _refuse_capacity(end, storage, limits.sbuf_usable_bytes)
    if place.byte % limits.sbuf_min_align_bytes:
        raise KernelFault(
            "allocation-alignment",
            f"{storage.describe()} starts at byte {place.byte} of a partition",
            why=f"addresses in SBUF are multiples of {limits.sbuf_min_align_bytes}",
            next_step="round base_addr up: nl.tile_size.sbuf_min_align",
        )


def _check_psum(storage: Storage, place: Place, row_bytes: int, limits: CoreLimits) -> None:
    if place.bank >= limits.psum_banks:
        raise KernelFault(
            "psum-bank",
            f"{storage.describe()} is put into bank {place.bank}",
            why=f"PSUM has the banks 0 to {limits.psum_banks - 1}",
            next_step="take the bank modulo the number of banks: num_bank_tiles",
        )
    if place.byte or place.partition or row_bytes > limits.psum_bank_bytes:
        raise KernelFault(
            "psum-bank",
            f"{storage.describe()} takes the bytes {place.byte} to {place.byte + row_bytes} of a PSUM bank "
            f"from partition {place.partition}",
            why="a bank of 2 KiB holds one tile, which starts at its first byte and at partition 0",
            next_step="make tiles of at most 512 float32 elements per partition, and give each block a bank",
        )


def check_start(what: str, start: int, partitions: int) -> None:
    """Refuse a first partition from which an engine cannot reach so many.

    Raises
    ------
    KernelFault
        ``partition-start``. Legal are 0; 64 for at most 64 partitions; 32 and 96 for at most 32.
    """
    step = 128 if partitions > 64 else 64 if partitions > 32 else 32
    if start % step and enforces("partition-start"):
        starts = " or ".join(str(one) for one in range(0, 128, step))
        raise KernelFault(
            "partition-start",
            f"{what} and has {partitions} partition(s)",
            why=f"so many partitions are reached from partition {starts} only",
            next_step="start there, or move the data by DMA",
        )


def check_view_start(what: str, tensor: Tensor) -> None:
    """:func:`check_start` for an instruction's operand: a view onto part of a tensor's partitions."""
    if not tensor.offset or tensor.gather is not None or tensor.partition_axis != 0:
        return
    start = tensor.layout.first_partition(tensor.offset)
    if start:
        check_start(f"{what} starts at partition {start} of {tensor.storage.describe()}", start, tensor.shape[0])


def refused_beside_direct(rule: str, what: str, advice: tuple[str, str]) -> None:
    """Refuse what a directly allocated kernel must not do: now, or when it turns out to be one.

    ``advice`` is why, and what to do instead.
    """
    arena = _arena(program())
    if not arena.direct and rule in arena.breaches:
        return
    if not enforces(rule):
        return
    where = kernel_location()

    def fault() -> KernelFault:
        why = f"{advice[0]} (the kernel allocates directly, first at {arena.direct})"
        return KernelFault(rule, what, where=where, why=why, next_step=advice[1])

    if arena.direct:
        raise fault()
    arena.breaches[rule] = fault


def needs_bias(operation: str) -> None:
    """Refuse an activation without a bias tile in a directly allocated kernel."""
    advice = ("the compiler would need a tensor of zeros", "nisa.activation with a bias of zeros that the kernel made")
    refused_beside_direct("err_bias_tensor_must_be_specified_in_allocation", f"{operation} has no bias tile", advice)


def makes_identity(operation: str) -> None:
    """Refuse a transpose on the Tensor Engine in a directly allocated kernel."""
    advice = ("the compiler would need an identity matrix", "nisa.nc_matmul(tile, identity), with a loaded identity")
    rule = "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel"
    refused_beside_direct(rule, f"{operation} runs on the Tensor Engine", advice)


def check_assigned(destination: Tensor, value: object) -> None:
    """Refuse an engine's write that starts at a partition it cannot start at.

    DMA may, and so may a number: a documented example of ``nl.gather_flattened`` fills a tile row by row.
    """
    offset = destination.offset
    if (
        offset
        and destination.layout.first_partition(offset)
        and not (isinstance(value, Tensor) and value.storage.kind.role == "moved")
    ):
        check_view_start("the destination", destination)


def used(operation: str, tensor: Tensor) -> None:
    """Note that an instruction reads a tensor where it is: a result that was not assigned got a place of its own."""
    layout = tensor.layout
    if tensor.offset and layout.first_partition(tensor.offset) and Engine.DMA not in row(operation).engines:
        check_view_start(operation, tensor)
    storage = tensor.storage
    if not layout.kind.is_result or storage.in_footprint or not layout.kind.space.on_chip:
        return
    storage.in_footprint = True
    footprint.lives(storage, 1, storage.kind.row * storage.dtype.itemsize)
    rule = "mixed-allocation"
    if rule not in _arena(program()).breaches:
        refused_beside_direct(rule, f"{operation} reads a result that was assigned to no tensor", _MIXED)


def refuse_value(buffer: object) -> None:
    """Refuse a directly allocated tensor that is created with a value."""
    rule = "err_tensor_creation_on_scratchpad_with_init_value_not_supported"
    if requested(buffer)[1] is not None and enforces(rule):
        raise KernelFault(
            rule,
            "a directly allocated tensor is created with a value",
            why="nothing is executed where it is declared",
            next_step="create it with nl.ndarray, then assign the value: tensor[...] = 0.0",
        )


def _refuse_block_dimensions(storage: Storage) -> None:
    rule = "err_leading_dimension_of_tensor_must_be_partition"
    if enforces(rule):
        raise KernelFault(
            rule,
            f"{storage.describe()} has {storage.partition_axis} dimension(s) before its partition dimension",
            next_step="make a list of tensors, or move these dimensions behind the partition dimension",
        )


def _refuse_capacity(what: str, storage: Storage, limit: int) -> NoReturn:
    raise KernelFault(
        "on-chip-capacity",
        what,
        why=f"{storage.space.value.upper()} has {limit} bytes per partition for a kernel's tensors",
        next_step="make the tile smaller, and loop",
    )


def _blocks(storage: Storage) -> int:
    return math.prod(storage.shape[: storage.partition_axis])


_MIXED = ("the compiler then places nothing by itself: its tensors would collide with the kernel's", DIRECT_NEXT_STEP)
_HBM = ("it then has no memory but its outputs in HBM", "return it (nl.shared_hbm), or keep it in SBUF")
