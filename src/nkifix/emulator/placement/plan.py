"""Which physical place each logical block of a tensor gets: the formulas of direct allocation."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.memory import Space
from nkifix.emulator.symbols import Affine

Block = tuple[int, ...]
"""Index of a block: one number per block dimension."""


class Place(NamedTuple):
    """Where a block starts.

    Attributes
    ----------
    bank:
        PSUM bank; 0 in SBUF.
    partition:
        First partition.
    byte:
        First byte within each partition, in PSUM within the bank.
    """

    bank: int
    partition: int
    byte: int


@dataclass(frozen=True)
class Plan:
    """A directly allocated ``buffer=``.

    Attributes
    ----------
    space:
        SBUF or PSUM.
    compute:
        What the kernel's or a built-in function answers. It is called with the documented names of its
        parameters, ``idx``, ``pdim_size`` and ``fdim_size``: shipped kernels bind others by name.
    counts:
        Numbers of physical tiles by argument name; each is empty, or as long as there are block dimensions.
    """

    space: Space
    compute: Callable[..., Any]
    counts: tuple[tuple[str, Block], ...] = ()

    def place(self, block: Block, partitions: int, row_bytes: int) -> Place:
        """Where ``block`` starts.

        Raises
        ------
        KernelFault
            Where the kernel's function answers anything but as many whole numbers as documented.
        """
        answer = self.compute(idx=block, pdim_size=partitions, fdim_size=row_bytes)
        names = ("bank_id", "start_partition", "byte_addr") if self.space is Space.PSUM else _IN_SBUF
        whole = isinstance(answer, (tuple, list)) and len(answer) == len(names)
        if not whole or not all(map(_is_static, answer)):
            raise KernelFault(
                "",
                f"{self.space.value}.alloc: the function answered {answer!r} for block {block}",
                why="addresses are compile-time constants, and an index of a running loop is none",
                next_step=f"return ({', '.join(names)}), whole numbers that are not negative",
            )
        return Place(*(0,) * (3 - len(answer)), *map(int, answer))

    def check_counts(self, blocks: int) -> None:
        """Refuse numbers of physical tiles that do not match the tensor's number of block dimensions."""
        for name, count in self.counts:
            # A tensor without block dimensions is one tile, and shipped kernels pass (1,) and (2,) for it.
            if count and blocks and len(count) != blocks:
                raise KernelFault(
                    "",
                    f"{self.space.value}.mod_alloc: {name}={count} for a tensor with {blocks} block dimension(s)",
                    why="each number belongs to one block dimension",
                    next_step="give one number per dimension before the partition dimension, or ()",
                )


_IN_SBUF = ("start_partition", "byte_addr")


def _is_static(value: object) -> bool:
    return is_integer(value) and not isinstance(value, Affine) and int(value) >= 0  # type: ignore[call-overload]


def by_function(space: Space, function: object) -> Plan:
    """``sbuf.alloc(function)`` and ``psum.alloc(function)``."""
    parameters = ("idx", "pdim_size", "fdim_size")
    try:
        inspect.signature(function).bind(**dict.fromkeys(parameters))  # type: ignore[arg-type]
    except TypeError:
        raise KernelFault(
            "",
            f"{space.value}.alloc: {function!r} is no function of {', '.join(parameters)}",
            why="it is called with these names",
            next_step="def place(idx, pdim_size, fdim_size): ...",
        ) from None
    assert callable(function)
    return Plan(space, function)


def modulo_sbuf(base_addr: object, base_partition: object, num_par_tiles: object, num_free_tiles: object) -> Plan:
    """``sbuf.mod_alloc``: block i lies in physical tile i modulo the number of tiles, in each dimension."""
    operation = "sbuf.mod_alloc"
    address = _number(operation, "base_addr", base_addr)
    partition = _number(operation, "base_partition", base_partition, only=(0,))
    along_partitions = _counts(operation, "num_par_tiles", num_par_tiles)
    along_bytes = _counts(operation, "num_free_tiles", num_free_tiles)

    def place(idx: Block, pdim_size: int, fdim_size: int) -> tuple[int, int]:
        return (
            partition + _tile(idx, along_partitions) * pdim_size,
            address + _tile(idx, along_bytes) * fdim_size,
        )

    return Plan(Space.SBUF, place, (("num_par_tiles", along_partitions), ("num_free_tiles", along_bytes)))


def modulo_psum(
    base_bank: object,
    base_addr: object,
    base_partition: object,
    num_bank_tiles: object,
    num_par_tiles: object,
    num_free_tiles: object,
) -> Plan:
    """``psum.mod_alloc``: as in SBUF, over banks. A bank holds one tile, from its first byte and partition 0."""
    operation = "psum.mod_alloc"
    bank = _number(operation, "base_bank", base_bank)
    address = _number(operation, "base_addr", base_addr, only=(0,))
    partition = _number(operation, "base_partition", base_partition, only=(0,))
    banks = _counts(operation, "num_bank_tiles", num_bank_tiles)
    down = _counts(operation, "num_par_tiles", num_par_tiles, ones=True)
    along = _counts(operation, "num_free_tiles", num_free_tiles, ones=True)

    def place(idx: Block, pdim_size: int, fdim_size: int) -> tuple[int, int, int]:
        return (
            bank + _tile(idx, banks),
            partition + _tile(idx, down) * pdim_size,
            address + _tile(idx, along) * fdim_size,
        )

    counts = (("num_bank_tiles", banks), ("num_par_tiles", down), ("num_free_tiles", along))
    return Plan(Space.PSUM, place, counts)


def _tile(block: Block, counts: Block) -> int:
    """Number of the physical tile of ``block``: its index modulo ``counts``, counted row by row."""
    number = 0
    for index, count in zip(block, counts):  # noqa: B905  no counts: one tile; no blocks: the first tile
        number = number * count + index % count
    return number


def _number(operation: str, name: str, value: object, only: Sequence[int] | None = None) -> int:
    if not _is_static(value) or (only is not None and value not in only):
        raise KernelFault(
            "",
            f"{operation}: {name}={value!r}",
            why="it must be 0 in this release" if only else "it is a compile-time whole number, not negative",
            next_step=f"leave {name} out" if only else f"{name}=0, or any other number that no loop index is part of",
        )
    return int(value)  # type: ignore[call-overload,no-any-return]


def _counts(operation: str, name: str, value: object, *, ones: bool = False) -> Block:
    counts = value if isinstance(value, (tuple, list)) else None
    if counts is None or not all(_is_static(count) and count > 0 for count in counts):
        raise KernelFault(
            "",
            f"{operation}: {name}={value!r}",
            why="it is a tuple of positive whole numbers, one per block dimension",
            next_step=f"{name}=(2,)",
        )
    if ones and math.prod(counts) != 1:
        raise KernelFault(
            "",
            f"{operation}: {name}={value!r}",
            why="a PSUM bank holds one physical tile in this release",
            next_step=f"leave {name} out, and spread the blocks over banks: num_bank_tiles",
        )
    return tuple(map(int, counts))
