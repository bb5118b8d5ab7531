"""What one program of the kernel holds on chip at once: which query tiles of which heads, and what of them.

Keys and values are loaded once for all query tiles whose running state is held, so the more tiles are held the less
is loaded. The query heads that share a key/value head see the same keys: their tiles are held together. Scaled
queries, too, may stay on chip; they are loaded again for each key tile otherwise. Both compete for the same memory:
of all plans that fit, the one is taken that loads least. Only plain numbers take part, all known before a compiler
traces the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vendored_kernel.config import FlashConfig, Shapes
from vendored_kernel.schedule import TILE_QUERIES, Band, pieces

SBUF_BYTES = 192 * 1024 - 16 * 1024
"""On-chip memory of one partition: the smallest of all targets (NeuronCore-v2), less what the compiler keeps."""
GROUP_COST = 4 * TILE_QUERIES
"""To set the state of a group to its start keeps the Vector Engine as busy as to scale at most so many queries."""


@dataclass(frozen=True)
class Plan:
    """How a program groups its queries.

    Attributes
    ----------
    heads, tiles:
        The state of ``tiles`` query tiles of each of ``heads`` query heads is held at once; as many heads share a
        key/value head, or a whole multiple.
    holds_queries:
        Their queries are held, too.
    """

    heads: int
    tiles: int
    holds_queries: bool


@dataclass(frozen=True)
class Call:
    """What all functions of the kernel need to know of a call."""

    band: Band
    plan: Plan
    scale: Any
    """On the queries."""
    dtype: Any
    """Of the operands of matmuls."""
    config: FlashConfig


@dataclass(frozen=True)
class Loads:
    """What the query heads of one key/value head load.

    Attributes
    ----------
    groups:
        How often a state is set up.
    keys, queries:
        Columns: of keys, each with its value, and of queries, each time that they are loaded.
    """

    groups: int
    keys: int
    queries: int

    @property
    def columns(self) -> int:
        """Everything that is loaded, in columns of ``head_dim`` numbers."""
        return 2 * self.keys + self.queries

    @property
    def vector_work(self) -> int:
        """What a plan costs the Vector Engine, counted in queries that it scales."""
        return self.queries + GROUP_COST * self.groups


def keys_loaded(band: Band, q0: int, rows: int, seq_k: int, size: int) -> int:
    """How many keys the key tiles hold that ``rows`` queries from ``q0`` on need."""
    first = 0 if band.low is None else max(0, q0 + band.low)
    last = seq_k - 1 if band.high is None else min(seq_k - 1, q0 + rows - 1 + band.high)
    return 0 if first > last else min(seq_k, (last // size + 1) * size) - first // size * size


def loads(plan: Plan, band: Band, shapes: Shapes, size: int) -> Loads:
    """What a plan loads, with key tiles of ``size`` keys."""
    shared = shapes.heads // shapes.kv_heads
    rounds = shared // plan.heads
    groups = pieces(shapes.seq_q, plan.tiles * TILE_QUERIES)
    keys = sum(keys_loaded(band, q0, rows, shapes.seq_k, size) for q0, rows in groups)
    queries = 0
    for q0, rows in pieces(shapes.seq_q, TILE_QUERIES):
        key_tiles = -(-keys_loaded(band, q0, rows, shapes.seq_k, size) // size)
        queries += rows * (min(1, key_tiles) if plan.holds_queries else key_tiles)
    return Loads(rounds * len(groups), rounds * keys, shared * queries)


def plan_of(band: Band, shapes: Shapes, operand_bytes: int, config: FlashConfig) -> Plan:
    """The plan that loads least; it is never dearer for any engine than one head after the other, as NxDI's kernel."""
    size = min(config.seq_tile_size, shapes.seq_k)
    plain = Plan(1, config.attn_core_tile_size, False)
    before = loads(plain, band, shapes, size)
    best, least = plain, before.columns
    for plan in fitting(shapes, operand_bytes, size, config.attn_core_tile_size):
        cost = loads(plan, band, shapes, size)
        if cost.columns < least and cost.vector_work <= before.vector_work:
            best, least = plan, cost.columns
    return best


def fitting(shapes: Shapes, operand_bytes: int, size: int, most_tiles: int) -> Iterator[Plan]:
    """Plans that leave room for two key tiles at work, so that one can be loaded while the other is used."""
    work_bytes = size * (3 * operand_bytes + 4)  # keys, values of as many bytes at most, weights; scores in float32
    n_tiles = -(-shapes.seq_q // TILE_QUERIES)
    shared = shapes.heads // shapes.kv_heads
    for holds_queries in (False, True):
        tile_bytes = 4 * (shapes.head_dim + 2) + holds_queries * TILE_QUERIES * operand_bytes
        room = min(most_tiles, (SBUF_BYTES - 2 * work_bytes) // tile_bytes)
        for heads in range(1, min(shared, room) + 1):
            if shared % heads == 0:
                n_groups = -(-n_tiles // (room // heads))
                yield Plan(heads, -(-n_tiles // n_groups), holds_queries)  # groups of about the same size
