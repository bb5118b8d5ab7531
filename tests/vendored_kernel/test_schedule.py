"""The schedule against a mask that is written out, pair by pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkifix.emulator.affine import AffineIndex, Predicate
from vendored_kernel.schedule import (
    BLOCK_KEYS,
    CHUNK_KEYS,
    TILE_QUERIES,
    Band,
    Kind,
    Work,
    band_of,
    kind_of,
    pieces,
    tiles,
    work,
)

Dense = npt.NDArray[np.bool_]

UNBOUNDED = Band(None, None)
CAUSAL = Band(None, 0)


def dense(band: Band, q0: int, rows: int, k0: int, keys: int) -> Dense:
    """Which pairs of a tile are visible, by the definition of a band."""
    distance = (k0 + np.arange(keys))[None, :] - (q0 + np.arange(rows))[:, None]
    seen = np.ones((rows, keys), dtype=np.bool_)
    if band.low is not None:
        seen &= distance >= band.low
    if band.high is not None:
        seen &= distance <= band.high
    return seen


@st.composite
def bands(draw: st.DrawFn) -> Band:
    """Any band, one that no call of the kernel asks for included."""
    low = draw(st.none() | st.integers(-40, 40))
    high = draw(st.none() | st.integers(-40 if low is None else low, 60))
    return Band(low, high)


@st.composite
def kernel_bands(draw: st.DrawFn) -> Band:
    """The bands of calls that have a meaning."""
    ahead = draw(st.booleans())
    return band_of(draw(st.booleans()), draw(st.integers(1 if ahead else -2, 700)), ahead)


SIZES = st.integers(1, 20)
STARTS = st.integers(0, 60)


@pytest.mark.parametrize(
    ("arguments", "band"),
    [
        pytest.param((False, -1, False), UNBOUNDED, id="full"),
        pytest.param((False, -2, False), UNBOUNDED, id="full as -2"),
        pytest.param((True, -1, False), CAUSAL, id="causal"),
        pytest.param((True, -7, False), CAUSAL, id="causal as -7"),
        pytest.param((True, 0, False), Band(0, 0), id="window of the query itself"),
        pytest.param((False, 0, False), Band(0, 0), id="window of the query itself, flag off"),
        pytest.param((True, 5, False), Band(-5, 0), id="window"),
        pytest.param((False, 5, False), Band(-5, 0), id="window, flag off"),
        pytest.param((True, 5, True), Band(1, 6), id="windowed context"),
        pytest.param((False, 5, True), Band(1, 6), id="windowed context, flag off"),
    ],
)
def test_band_is_that_of_the_call(arguments: tuple[bool, int, bool], band: Band) -> None:
    assert band_of(*arguments) == band


@given(bands(), STARTS, SIZES, STARTS, SIZES)
def test_comparisons_agree_with_the_mask_written_out(band: Band, q0: int, rows: int, k0: int, keys: int) -> None:
    seen = dense(band, q0, rows, k0, keys)
    late = ~dense(Band(None, band.high), q0, rows, k0, keys)
    early = ~dense(Band(band.low, None), q0, rows, k0, keys)
    assert bool(band.sees_any(q0, rows, k0, keys)) == seen.any()
    assert bool(band.cut_above(q0, k0, keys)) == late.any()
    assert bool(band.cut_below(q0, rows, k0)) == early.any()
    assert bool(band.sees_all(q0, rows, k0, keys)) == seen.all()
    expected = Kind.FULL if seen.all() else Kind.BOUNDARY if seen.any() else Kind.SKIPPED
    assert kind_of(band, q0, rows, k0, keys) is expected


SMALL_BANDS = [
    Band(low, high)
    for low in (None, *range(-3, 4))
    for high in (None, *range(-3, 4))
    if low is None or high is None or low <= high
]


@pytest.mark.parametrize("band", SMALL_BANDS, ids=str)
def test_comparisons_of_every_small_tile(band: Band) -> None:
    for q0, rows, k0, keys in itertools.product(range(4), range(1, 4), range(4), range(1, 4)):
        seen = dense(band, q0, rows, k0, keys)
        assert bool(band.sees_any(q0, rows, k0, keys)) == seen.any()
        assert bool(band.cut_above(q0, k0, keys)) == (~dense(Band(None, band.high), q0, rows, k0, keys)).any()
        assert bool(band.cut_below(q0, rows, k0)) == (~dense(Band(band.low, None), q0, rows, k0, keys)).any()
        assert bool(band.sees_all(q0, rows, k0, keys)) == seen.all()


@given(kernel_bands(), st.integers(0, 900), st.integers(1, 128), st.integers(0, 900), st.integers(1, 2100))
def test_no_chunk_is_skipped_exactly_where_both_ends_are_seen(
    band: Band, q0: int, rows: int, k0: int, keys: int
) -> None:
    chunks = [dense(band, q0, rows, k0 + start, width).any() for start, width in pieces(keys, CHUNK_KEYS)]
    assert bool(band.sees_ends(q0, rows, k0, keys)) == all(chunks)


def test_kinds_are_named_in_words() -> None:
    assert [kind.value for kind in Kind] == ["skipped", "boundary", "full"]


@given(kernel_bands(), st.integers(1, 900), st.integers(1, 300))
def test_first_keyless_is_the_first_row_without_a_key(band: Band, seq_q: int, seq_k: int) -> None:
    sees_a_key = dense(band, 0, seq_q, 0, seq_k).any(axis=1)
    first = band.first_keyless(seq_k)
    keyless = np.arange(seq_q) >= (seq_q if first is None else first)
    np.testing.assert_array_equal(~sees_a_key, keyless)


@pytest.mark.parametrize(
    ("band", "seq_k", "first"),
    [
        pytest.param(UNBOUNDED, 1, None, id="full"),
        pytest.param(CAUSAL, 1, None, id="causal"),
        pytest.param(Band(0, 0), 7, 7, id="window of the query itself"),
        pytest.param(Band(-5, 0), 7, 12, id="window"),
        pytest.param(Band(1, 6), 7, 6, id="windowed context"),
        pytest.param(Band(1, 6), 1, 0, id="windowed context of one key"),
        pytest.param(Band(9, 9), 1, 0, id="never below zero"),
    ],
)
def test_first_keyless_of_known_bands(band: Band, seq_k: int, first: int | None) -> None:
    assert band.first_keyless(seq_k) == first


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [
        pytest.param(1, 128, [(0, 1)], id="tail alone"),
        pytest.param(128, 128, [(0, 128)], id="one whole piece"),
        pytest.param(300, 128, [(0, 128), (128, 128), (256, 44)], id="whole pieces, then the tail"),
    ],
)
def test_pieces_are_whole_ones_then_the_tail(length: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert pieces(length, size) == expected


LENGTHS = st.integers(1, 700)
TILE_SIZES = st.integers(512, 1300)


@given(kernel_bands(), LENGTHS, st.integers(1, 2700), TILE_SIZES, st.sampled_from([CHUNK_KEYS, BLOCK_KEYS]))
def test_tiles_cover_every_pair_once(band: Band, seq_q: int, seq_k: int, seq_tile_size: int, keys: int) -> None:
    covered = np.zeros((seq_q, seq_k), dtype=np.int64)
    for tile in tiles(band, seq_q, seq_k, seq_tile_size=seq_tile_size, keys=keys):
        assert 0 < tile.rows <= TILE_QUERIES
        assert 0 < tile.keys <= keys
        assert tile.k0 // seq_tile_size == (tile.k0 + tile.keys - 1) // seq_tile_size, "crosses a key tile's border"
        assert tile.kind is kind_of(band, tile.q0, tile.rows, tile.k0, tile.keys)
        covered[tile.q0 : tile.q0 + tile.rows, tile.k0 : tile.k0 + tile.keys] += 1
    assert (covered == 1).all()


def test_tiles_are_chunks_unless_asked_otherwise() -> None:
    widths = [tile.keys for tile in tiles(UNBOUNDED, 1, 1500, seq_tile_size=1024)]
    assert widths == [512, 512, 476]


@given(kernel_bands(), LENGTHS, st.integers(1, 1500), TILE_SIZES)
def test_work_counts_what_the_mask_needs(band: Band, seq_q: int, seq_k: int, seq_tile_size: int) -> None:
    seen = dense(band, 0, seq_q, 0, seq_k)
    late = ~dense(Band(None, band.high), 0, seq_q, 0, seq_k)
    early = ~dense(Band(band.low, None), 0, seq_q, 0, seq_k)
    score_matmuls = value_matmuls = exponentials = selections = clearings = 0
    for q0 in range(0, seq_q, 128):
        rows = slice(q0, q0 + 128)
        clearings += bool((~seen[rows].any(axis=1)).any())
        for tile in range(0, seq_k, seq_tile_size):
            end = min(tile + seq_tile_size, seq_k)
            for k0 in range(tile, end, 512):
                keys = slice(k0, min(k0 + 512, end))
                if seen[rows, keys].any():
                    score_matmuls += 1
                    exponentials += keys.stop - keys.start
                    selections += int(late[rows, keys].any()) + int(early[rows, keys].any())
            for k0 in range(tile, end, 128):
                value_matmuls += bool(seen[rows, k0 : min(k0 + 128, end)].any())
    counted = Work(score_matmuls, value_matmuls, value_matmuls, exponentials, selections, clearings)
    assert work(band, seq_q, seq_k, seq_tile_size=seq_tile_size) == counted


# ------------------------------------------------------------------------------ positions known only to a compiler


@dataclass(frozen=True)
class Condition:
    """A comparison of traced positions: it can be joined with &, and has no truth value before it runs."""

    at: Callable[[int], bool]

    def __and__(self, other: Condition) -> Condition:
        return Condition(lambda i: self.at(i) & other.at(i))

    def __bool__(self) -> NoReturn:
        raise AssertionError("a traced condition was taken for a Python truth value")


@dataclass(frozen=True, eq=False)
class Position:
    """A loop index times a constant, plus a constant: all the arithmetic that a tracer knows."""

    factor: int
    offset: int

    def at(self, i: int) -> int:
        return self.factor * i + self.offset

    def __add__(self, other: Any) -> Position:
        if isinstance(other, Position):
            return Position(self.factor + other.factor, self.offset + other.offset)
        return Position(self.factor, self.offset + other)

    __radd__ = __add__

    def _compared(self, other: Any, holds: Callable[[int, int], bool]) -> Condition:
        if isinstance(other, Position):
            return Condition(lambda i: holds(self.at(i), other.at(i)))
        return Condition(lambda i: holds(self.at(i), other))

    def __lt__(self, other: Any) -> Condition:
        return self._compared(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> Condition:
        return self._compared(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> Condition:
        return self._compared(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> Condition:
        return self._compared(other, lambda a, b: a >= b)

    def __bool__(self) -> NoReturn:
        raise AssertionError("a traced position was taken for a Python truth value")


def comparisons(band: Band, q0: Any, rows: int, k0: Any, keys: int) -> list[Any]:
    return [band.sees_any(q0, rows, k0, keys), band.cut_above(q0, k0, keys), band.cut_below(q0, rows, k0)]


@given(bands(), st.integers(0, 9), st.booleans(), st.booleans())
def test_comparisons_take_traced_positions(band: Band, i: int, queries_traced: bool, keys_traced: bool) -> None:
    q0, k0 = Position(7, 3), Position(5, 0)
    traced = comparisons(band, q0 if queries_traced else q0.at(i), 7, k0 if keys_traced else k0.at(i), 5)
    known = comparisons(band, q0.at(i), 7, k0.at(i), 5)
    assert [one.at(i) if isinstance(one, Condition) else one for one in traced] == known


@given(bands(), st.integers(0, 90))
def test_comparisons_take_affine_indices_of_the_emulator(band: Band, k0: int) -> None:
    count = 12
    index = AffineIndex.arange(0, count)
    for traced, known in zip(
        comparisons(band, index * 7 + 3, 7, k0, 5),
        zip(*(comparisons(band, i * 7 + 3, 7, k0, 5) for i in range(count)), strict=True),
        strict=True,
    ):
        if isinstance(traced, Predicate):
            mask = traced.evaluate()
            seen = np.broadcast_to(True if mask is None else mask, (count,))
            np.testing.assert_array_equal(seen, known)
        else:
            assert set(known) == {traced}
