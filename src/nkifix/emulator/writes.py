"""Two parallel iterations, or two programs, that write one element.

A tensor remembers what each iteration of the parallel loops around it wrote, as boxes in its own dimensions. Boxes
that do not meet, the common case, cost a comparison; where they meet, the elements themselves are compared.

Source: error code ``err_unexpected_output_dependencies`` and ``nl.affine_range`` (Neuron SDK 2.26). Legal are
associative reductions (``+=``, ``nl.loop_reduce``, DMA that accumulates), and whatever lives inside one iteration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from nkifix.emulator.addresses import Box, Span, disjoint
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_position
from nkifix.emulator.traced import plain

if TYPE_CHECKING:
    from nkifix.emulator.loops import Level, Nest
    from nkifix.emulator.memory import Storage, Tensor

Kept: TypeAlias = "npt.NDArray[np.bool_] | None"


class Region:
    """Elements that one instruction wrote.

    Attributes
    ----------
    spans:
        A box around them, one span per dimension of the tensor.
    filled:
        Whether they are all of the box.
    position:
        File and line of the kernel that wrote them.
    key:
        Equal for two regions only where they are the same elements, written by the same line.
    """

    __slots__ = ("_kept", "_view", "filled", "key", "position", "spans")

    def __init__(self, tensor: Tensor, kept: Kept, position: tuple[str, int] | None = None) -> None:
        self.position = position or kernel_position()
        self._view: tuple[int, tuple[int, ...], tuple[int, ...]] | npt.NDArray[np.int64]
        self._kept = kept
        self.key: object = id(self)
        if tensor.gather is not None:
            chosen = tensor.gather.in_bounds if kept is None else tensor.gather.in_bounds & kept
            self._view = tensor.gather.address[chosen]
            self.spans, self.filled = tuple((0, size - 1, 1) for size in tensor.storage.shape), False
            self._kept = None
            return
        layout = tensor.layout
        offset = plain(tensor.offset)
        self._view = (offset, layout.shape, layout.strides)
        self.spans, self.filled = layout.box(offset)
        if kept is None:
            self.key = (offset, layout, self.position)
        else:
            self._kept, self.filled = np.array(kept), False

    def places(self) -> npt.NDArray[np.int64]:
        """Positions of the elements in the tensor's memory."""
        if isinstance(self._view, np.ndarray):
            return self._view
        offset, shape, strides = self._view
        places = np.full((1,) * len(shape), offset, dtype=np.int64)
        for dim, (extent, step) in enumerate(zip(shape, strides, strict=True)):
            line = step * np.arange(extent, dtype=np.int64)
            places = places + line.reshape((1,) * dim + (extent,) + (1,) * (len(shape) - dim - 1))
        return places.ravel() if self._kept is None else places[self._kept]

    def meets(self, other: Region) -> bool:
        """Whether some element belongs to both."""
        if any(_apart(mine, theirs) for mine, theirs in zip(self.spans, other.spans, strict=True)):
            return False
        if self.filled and other.filled:
            return True
        return bool(np.isin(self.places(), other.places()).any())


def _apart(a: Span, b: Span) -> bool:
    """Whether two spans share no position, for certain."""
    return a[1] < b[0] or b[1] < a[0] or (a[0] - b[0]) % math.gcd(a[2], b[2]) != 0


class Ledger:
    """What the iterations of one loop wrote into one tensor."""

    __slots__ = ("_before", "_now", "_ordinal", "_reach", "level")

    def __init__(self, level: Level) -> None:
        self.level = level
        self._ordinal = level.ordinal
        self._now: dict[object, Region] = {}
        self._before: list[tuple[Box, list[Region]]] = []
        self._reach: Box | None = None

    def add(self, region: Region) -> None:
        """Note a write of the running iteration."""
        if self._ordinal != self.level.ordinal:
            self._close()
        self._now[region.key] = region

    def met(self, region: Region) -> Region | None:
        """A write of another iteration that one of the running iteration meets, if any."""
        if self._ordinal != self.level.ordinal:
            self._close()
        if self._reach is None or disjoint(self._reach, region.spans):
            return None
        near = (regions for reach, regions in self._before if not disjoint(reach, region.spans))
        return next((other for regions in near for other in regions if region.meets(other)), None)

    def _close(self) -> None:
        """What was written so far is another iteration's from now on."""
        regions = list(self._now.values())
        reach = reduce(_around, [region.spans for region in regions])
        self._before.append((reach, regions))
        self._reach = reach if self._reach is None else _around(self._reach, reach)
        self._now = {}
        self._ordinal = self.level.ordinal


@lru_cache(maxsize=1 << 14)
def _around(a: Box, b: Box) -> Box:
    return tuple((min(x[0], y[0]), max(x[1], y[1]), 1) for x, y in zip(a, b, strict=True))


class Repeated:
    """Elements that another program wrote before: legal where this one writes the same bytes.

    A shipped kernel computes everything in every program of its grid; its answer depends on no order.
    """

    def __init__(self, tensor: Tensor, kept: Kept, region: Region, other: Region) -> None:
        self._tensor, self._kept, self._region, self._other = tensor, kept, region, other
        self._before = self._bytes()

    def _bytes(self) -> bytes:
        values, _ = self._tensor.read(self._kept)
        return np.ascontiguousarray(values if self._kept is None else values[self._kept]).tobytes()

    def written(self) -> None:
        """Refuse, if the write changed a byte."""
        if self._bytes() != self._before:
            _refuse(self._tensor, self._region, self._other, is_grid=True)


def note(tensor: Tensor, kept: Kept, nest: Nest) -> Repeated | None:
    """Note that the running iterations write ``tensor`` where ``kept``, before they do.

    Raises
    ------
    KernelFault
        ``err_unexpected_output_dependencies`` where another parallel iteration wrote one of these elements.
    """
    if nest.reducing or not nest.watched:
        return None
    region = Region(tensor, kept)
    if nest.recording is not None:
        nest.recording.wrote(tensor, kept, region.position)
    for ledger in _ledgers(tensor.storage, nest):
        ledger.add(region)
        other = ledger.met(region)
        if other is not None:
            if ledger.level is nest.levels[0]:
                return Repeated(tensor, kept, region, other)
            _refuse(tensor, region, other, is_grid=False)
    return None


def _ledgers(storage: Storage, nest: Nest) -> Iterator[Ledger]:
    """A tensor's ledgers of the parallel loops that run around the statement but not around its declaration."""
    ledgers = storage.ledgers
    if ledgers is None:
        ledgers = storage.ledgers = []
    number = 0
    for level in nest.levels[storage.depth : nest.parallel]:
        if level.parallel:
            if number == len(ledgers) or ledgers[number].level is not level:
                ledgers[number:] = [Ledger(level)]
            yield ledgers[number]
            number += 1


def is_apart(region: Region, storage: Storage, nest: Nest) -> bool:
    """Whether no other parallel iteration wrote one of these elements: they can be noted with :func:`repeat`."""
    return all(ledger.met(region) is None for ledger in _ledgers(storage, nest))


def repeat(region: Region, storage: Storage, nest: Nest) -> None:
    """Note that the running iterations write these elements."""
    for ledger in _ledgers(storage, nest):
        ledger.add(region)


def _refuse(tensor: Tensor, region: Region, other: Region, *, is_grid: bool) -> NoReturn:
    who = "programs of the grid" if is_grid else "iterations of an affine_range"
    elements = "x".join(map(str, tensor.shape))
    there = "the same line" if other.position == region.position else "{}:{}".format(*other.position)
    raise KernelFault(
        "err_unexpected_output_dependencies",
        f"two {who} write the same elements of {tensor.storage.describe()}, shape {tensor.storage.shape}: "
        f"this one {elements} elements from {_start(region)}, the other those from {_start(other)} at {there}",
        why=f"{who} may run in any order, so the result would depend on it",
        next_step="let the program ids choose what a program writes, or reduce with an accumulating DMA"
        if is_grid
        else "index the destination with the loop's index, allocate it inside the loop, accumulate with +=, or "
        "loop with nl.sequential_range",
    )


def _start(region: Region) -> str:
    return str(tuple(first for first, _, _ in region.spans))
