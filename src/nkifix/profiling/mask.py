"""The mask of a case as a kernel executes it: which tiles of the score matrix it skips, cuts and computes.

Nothing is taken from the kernel's own plan. Tiles are followed from the loads of ``q`` and ``k`` through copies, casts
and scalings to the matmuls that make scores, and on to the selects that mask them.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nkifix.emulator.observe import Event, Region

TILE_QUERIES = 128
TILE_KEYS = 512


class Kind(enum.IntEnum):
    """What happens to a tile."""

    SKIPPED = 0
    """No score of it is computed."""
    BOUNDARY = 1
    """Computed, and some of its scores are masked."""
    FULL = 2
    """Computed, and none is."""
    WASTED = 3
    """Computed, and all are."""


@dataclass(frozen=True)
class Picture:
    """The score matrix of one head, in tiles of 128 queries and 512 keys.

    Attributes
    ----------
    kinds:
        :class:`Kind` per tile, (query tiles, key tiles).
    """

    seq_q: int
    seq_k: int
    kinds: npt.NDArray[np.uint8]

    def count(self, kind: Kind) -> int:
        """How many tiles are of a kind."""
        return int(np.count_nonzero(self.kinds == kind))


class _Axis(NamedTuple):
    """What runs along one dimension of a tile: position ``first`` of ``tensor`` at its element 0, then the next."""

    tensor: str
    first: int

    def moved(self, by: int) -> _Axis:
        return _Axis(self.tensor, self.first + by)


class _Content(NamedTuple):
    """What a tile holds: along its partitions, and along its free elements."""

    rows: _Axis | None
    columns: _Axis | None

    def moved(self, rows: int, columns: int) -> _Content:
        """Of the part that begins so many rows and columns further on."""
        return _Content(self.rows and self.rows.moved(rows), self.columns and self.columns.moved(columns))


_MASKING = frozenset({"range_select", "tensor_copy_predicated", "select_reduce"})
"""Selects whose condition is known only at run time: taken to cut."""
_KEEPING_SHAPE = frozenset({"affine_select", *_MASKING})


class MaskTracker:
    """Consumes the events of a launch, and draws the mask of its first batch entry and query head."""

    def __init__(self, seq_q: int, seq_k: int) -> None:
        self._seq = (seq_q, seq_k)
        shape = (-(-seq_q // TILE_QUERIES), -(-seq_k // TILE_KEYS))
        self._computed = np.zeros(shape, dtype=np.bool_)
        self._cut = np.zeros(shape, dtype=np.bool_)
        self._emptied = np.zeros(shape, dtype=np.bool_)
        self._contents: dict[int, list[tuple[Region, _Content]]] = defaultdict(list)
        self._program: tuple[int, ...] | None = None

    @property
    def picture(self) -> Picture:
        """What was executed so far."""
        kinds = np.where(self._computed, np.uint8(Kind.FULL), np.uint8(Kind.SKIPPED))
        kinds[self._computed & self._cut] = Kind.BOUNDARY
        kinds[self._computed & self._emptied] = Kind.WASTED
        return Picture(*self._seq, kinds)

    def __call__(self, event: Event) -> None:
        """Follow one event."""
        if event.program != self._program:
            self._program, self._contents = event.program, defaultdict(list)
        content = self._made(event)
        for written in event.writes[:1]:
            entries = self._contents[written.storage]
            entries[:] = [(where, held) for where, held in entries if not written.overlaps(where)]
            if content is not None:
                entries.append((written, content))

    def _made(self, event: Event) -> _Content | None:
        """What an event leaves in its result."""
        operation, reads = event.instruction.operation, event.reads
        if operation == "load":
            return _loaded(event)
        if operation == "nc_matmul":
            return self._product(event)
        if operation == "nc_transpose":
            content = self._content(reads[0])
            return content and _Content(content.columns, content.rows)
        content = self._passed_on(event)
        if content is not None and operation in _KEEPING_SHAPE:
            self._mark_select(event, content)
        return content

    def _content(self, wanted: Region) -> _Content | None:
        for where, content in self._contents.get(wanted.storage, ()):
            if where.overlaps(wanted):
                return content.moved(wanted.row - where.row, wanted.start - where.start)
        return None

    def _passed_on(self, event: Event) -> _Content | None:
        """An element-by-element operation keeps what the first operand of the result's shape holds."""
        one = event.instruction
        for where, operand in zip(event.reads, one.operands, strict=True):
            if operand.free_size == one.result.free_size and operand.shape[0] == one.result.shape[0]:
                content = self._content(where)
                if content is not None:
                    return content
        return None

    def _product(self, event: Event) -> _Content | None:
        rows, columns = (self._content(where) for where in event.reads[:2])
        made = _Content(rows and rows.columns, columns and columns.columns)
        if _are_scores(made):
            shape = event.instruction.result.shape
            self._mark(self._computed, made, shape[0], event.instruction.result.free_size)
        return made

    def _mark_select(self, event: Event, content: _Content) -> None:
        one = event.instruction
        if _are_scores(content) and one.function != "keeps all":
            marked = self._emptied if one.function == "keeps none" else self._cut
            self._mark(marked, content, one.result.shape[0], one.result.free_size)

    def _mark(self, marks: npt.NDArray[np.bool_], content: _Content, rows: int, columns: int) -> None:
        assert content.rows is not None
        assert content.columns is not None
        q0, k0 = content.rows.first, content.columns.first
        of_queries = slice(q0 // TILE_QUERIES, -(-(q0 + rows) // TILE_QUERIES))
        marks[of_queries, k0 // TILE_KEYS : -(-(k0 + columns) // TILE_KEYS)] = True


def _are_scores(content: _Content) -> bool:
    names = [axis.tensor for axis in content if axis is not None]
    return names == ["q", "k"]


def _loaded(event: Event) -> _Content | None:
    """A load of ``q`` or ``k``, (batch, heads, d, sequence): which positions; of ``q``, the first head's alone."""
    if not event.reads or event.reads[0].storage not in event.inputs:
        return None
    source = event.inputs[event.reads[0].storage]
    if source.name not in ("q", "k") or len(source.shape) != 4:
        return None
    head, position = divmod(event.reads[0].start, source.shape[2] * source.shape[3])
    if source.name == "q" and head > 0:
        return None
    return _Content(None, _Axis(source.name, position % source.shape[3]))
