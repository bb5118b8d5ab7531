"""Which tiles of the score matrix matter: skipped, boundary or full.

Every mask that the kernel knows is a band: query ``i`` sees key ``k`` exactly if ``low <= k - i <= high``,
either bound absent. A tile of ``rows`` queries from ``q0`` on and ``keys`` keys from ``k0`` on then matters,
or is cut by one edge of the band, by comparisons that are affine in ``q0`` and ``k0``: they work for plain
integers (tests, pictures, counts) and for the loop indices that a kernel compiler traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

TILE_QUERIES = 128
"""Queries in one tile: one to a partition."""
CHUNK_KEYS = 512
"""Keys in one score matmul: the widest moving operand."""
BLOCK_KEYS = 128
"""Keys in one transpose and one value matmul: the contraction runs over 128 partitions."""


@dataclass(frozen=True)
class Band:
    """The visible keys of a query, as bounds on ``key - query``; None for no bound."""

    low: int | None
    high: int | None

    def sees_any(self, q0: Any, rows: int, k0: Any, keys: int) -> Any:
        """Whether some query of the tile sees some key of it."""
        begins_in_time = True if self.high is None else k0 <= q0 + (rows - 1 + self.high)
        if self.low is None:
            return begins_in_time
        ends_late_enough = k0 + (keys - 1) >= q0 + self.low
        return ends_late_enough if self.high is None else begins_in_time & ends_late_enough

    def sees_ends(self, q0: Any, rows: int, k0: Any, keys: int) -> Any:
        """Whether some query sees a key of the first chunk, and some one of the last: then no chunk is skipped."""
        if keys <= CHUNK_KEYS:
            return self.sees_any(q0, rows, k0, keys)
        last = (keys - 1) // CHUNK_KEYS * CHUNK_KEYS
        first_seen = self.sees_any(q0, rows, k0, CHUNK_KEYS)
        return first_seen & self.sees_any(q0, rows, k0 + last, keys - last)

    def sees_all(self, q0: Any, rows: int, k0: Any, keys: int) -> Any:
        """Whether every query of the tile sees every key of it."""
        not_above = True if self.high is None else k0 + (keys - 1) <= q0 + self.high
        if self.low is None:
            return not_above
        not_below = k0 >= q0 + (rows - 1 + self.low)
        return not_below if self.high is None else not_above & not_below

    def cut_above(self, q0: Any, k0: Any, keys: int) -> Any:
        """Whether the tile holds a key that is too late for one of its queries."""
        return False if self.high is None else k0 + (keys - 1) > q0 + self.high

    def cut_below(self, q0: Any, rows: int, k0: Any) -> Any:
        """Whether the tile holds a key that is too early for one of its queries."""
        return False if self.low is None else k0 < q0 + (rows - 1 + self.low)

    def first_keyless(self, seq_k: int) -> int | None:
        """The first query that sees none of ``seq_k`` keys; None if every query sees one."""
        return None if self.low is None else max(0, seq_k - self.low)


def band_of(use_causal_mask: bool, left_window: int, windowed_context_encoding: bool) -> Band:
    """The band of a call.

    Full attention is unbounded; causal is ``k <= i``; a left window of ``w >= 0`` is causal and reaches ``w``
    keys back; windowed context encoding sees ``i < k <= i + w + 1``, its keys running one window ahead.
    """
    if windowed_context_encoding:
        return Band(1, left_window + 1)
    if left_window >= 0:
        return Band(-left_window, 0)
    return Band(None, 0) if use_causal_mask else Band(None, None)


class Kind(Enum):
    """What happens to a tile."""

    SKIPPED = "skipped"
    BOUNDARY = "boundary"
    FULL = "full"


@dataclass(frozen=True)
class Tile:
    """A rectangle of the score matrix: queries ``q0 …``, keys ``k0 …``."""

    q0: int
    rows: int
    k0: int
    keys: int
    kind: Kind


def kind_of(band: Band, q0: int, rows: int, k0: int, keys: int) -> Kind:
    """Skipped if no pair is visible, full if all are, boundary otherwise."""
    if not band.sees_any(q0, rows, k0, keys):
        return Kind.SKIPPED
    cut = band.cut_above(q0, k0, keys) or band.cut_below(q0, rows, k0)
    return Kind.BOUNDARY if cut else Kind.FULL


def pieces(length: int, size: int) -> list[tuple[int, int]]:
    """``(start, size)`` of the pieces of a length: whole ones, then the tail."""
    return [(start, min(size, length - start)) for start in range(0, length, size)]


def tiles(band: Band, seq_q: int, seq_k: int, *, seq_tile_size: int, keys: int = CHUNK_KEYS) -> Iterator[Tile]:
    """Every tile of 128 queries by ``keys`` keys, row by row, in the order of execution.

    Tiles do not cross the borders of the key tiles of ``seq_tile_size``.
    """
    for q0, rows in pieces(seq_q, TILE_QUERIES):
        for tile_start, tile_keys in pieces(seq_k, seq_tile_size):
            for offset, width in pieces(tile_keys, keys):
                k0 = tile_start + offset
                yield Tile(q0, rows, k0, width, kind_of(band, q0, rows, k0, width))


@dataclass(frozen=True)
class Work:
    """How much one query head executes.

    Attributes
    ----------
    score_matmuls, value_matmuls, transposes:
        Instructions on the Tensor Engine.
    exponentials:
        Score columns that go through the exponential (each for one tile of queries).
    selections:
        Instructions of mask arithmetic: one for each edge of the band in a boundary tile.
    clearings:
        Instructions that zero the rows of queries that see no key: one for each tile of queries that holds such.
    """

    score_matmuls: int
    value_matmuls: int
    transposes: int
    exponentials: int
    selections: int
    clearings: int


def work(band: Band, seq_q: int, seq_k: int, *, seq_tile_size: int) -> Work:
    """Count the executed instructions of one query head."""

    def executed(keys: int) -> list[Tile]:
        every = tiles(band, seq_q, seq_k, seq_tile_size=seq_tile_size, keys=keys)
        return [tile for tile in every if tile.kind is not Kind.SKIPPED]

    chunks, blocks = executed(CHUNK_KEYS), executed(BLOCK_KEYS)
    late = sum(bool(band.cut_above(t.q0, t.k0, t.keys)) for t in chunks)
    early = sum(bool(band.cut_below(t.q0, t.rows, t.k0)) for t in chunks)
    keyless = band.first_keyless(seq_k)
    return Work(
        score_matmuls=len(chunks),
        value_matmuls=len(blocks),
        transposes=len(blocks),
        exponentials=sum(t.keys for t in chunks),
        selections=late + early,
        clearings=sum(keyless is not None and q0 + rows > keyless for q0, rows in pieces(seq_q, TILE_QUERIES)),
    )
