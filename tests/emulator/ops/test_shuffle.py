"""Moving elements between places on chip that are no boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

MISMATCH = "err_num_partition_mismatch"
MEMORY = "err_unsupported_memory"
OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def numbered(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def order(**changed: int) -> list[int]:
    """Every partition from itself, but for the changed ones (``p3=7``)."""
    places = list(range(32))
    for name, value in changed.items():
        places[int(name[1:])] = value
    return places


# --------------------------------------------------------------------------------- nc_stream_shuffle


@pytest.mark.parametrize("space", [Space.SBUF, Space.PSUM], ids=lambda s: s.value)
@pytest.mark.parametrize("partitions", [32, 64, 128])
def test_shuffle_moves_partitions_within_each_quadrant(partitions: int, space: Space) -> None:
    x = numbered(partitions, 3)
    rotated = [(i - 1) % 32 for i in range(32)]
    target = tile(np.zeros((partitions, 3)), space=space)
    nisa.nc_stream_shuffle(tile(x), target, rotated)
    expected = np.concatenate([quadrant[rotated] for quadrant in np.split(x, partitions // 32)])
    np.testing.assert_array_equal(values(target), expected)


def test_shuffle_in_place() -> None:
    x = numbered(32, 2)
    target = tile(x)
    nisa.nc_stream_shuffle(src=target, dst=target, shuffle_mask=list(reversed(range(32))))
    np.testing.assert_array_equal(values(target), x[::-1])


def test_shuffle_broadcasts_one_partition() -> None:
    target = tile(np.zeros((32, 2)))
    nisa.nc_stream_shuffle(tile([[1.0, 2.0]]), target, [0] * 32)
    assert values(target).tolist() == [[1.0, 2.0]] * 32


def test_shuffle_leaves_partitions_alone() -> None:
    target = tile(numbered(3, 2))
    nisa.nc_stream_shuffle(tile(np.full((3, 2), -1.0)), target, order(p1=255))
    assert values(target).tolist() == [[-1, -1], [2, 3], [-1, -1]]


def test_shuffle_masks_its_destination() -> None:
    target = tile(numbered(2, 2))
    nisa.nc_stream_shuffle(tile(np.full((2, 2), -1.0)), target, order(), mask=nl.arange(2)[None, :] < 1)
    nisa.nc_stream_shuffle(tile(np.full((2, 2), -2.0)), target, order(), mask=False)
    assert values(target).tolist() == [[-1, 1], [-1, 3]]


def test_shuffle_moves_what_is_undefined() -> None:
    target = tile(np.zeros((2, 2)))
    nisa.nc_stream_shuffle(tile(np.zeros((2, 2)), holes=[[True, False], [False] * 2]), target, order(p0=1, p1=0))
    assert holes(target).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize(
    "places", [list(range(31)), list(range(33)), order(p4=32), order(p4=-1), order(p4=254), [0.0] * 32, 3], ids=str
)
def test_refuses_shuffle_by_no_list_of_partitions(places: Any) -> None:
    with refuses("", "shuffle_mask is a list of 32"):
        nisa.nc_stream_shuffle(tile(np.zeros((32, 1))), tile(np.zeros((32, 1))), places)


def test_refuses_shuffle_from_a_partition_that_the_source_has_not() -> None:
    source, target = tile(np.zeros((2, 1))), tile(np.zeros((3, 1)))
    with refuses("", "takes partition 2 of src, which has 2"):
        nisa.nc_stream_shuffle(source, target, order())
    nisa.nc_stream_shuffle(source, target, order(p2=1))


@pytest.mark.parametrize(
    ("dtype", "asked", "shape"),
    [(BF16, None, (2, 2)), (np.float32, BF16, (2, 2)), (np.float32, None, (2, 3))],
    ids=["dtypes", "another dtype asked for", "sizes"],
)
def test_refuses_shuffle_of_unlike_tiles(dtype: Any, asked: Any, shape: Any) -> None:
    with refuses("", "src "):
        nisa.nc_stream_shuffle(tile(np.zeros(shape), dtype), tile(np.zeros((2, 2))), order(), dtype=asked)


# -------------------------------------------------------------------------------------- local_gather


def gathered(source: Any, index: Any, length: int, valid: int) -> Any:
    """The documented semantics: each core's indices, partitions first, apply to all of its partitions."""
    flat = source.reshape(len(source), -1)
    out = np.empty((len(source), valid, length), dtype=source.dtype)
    for partition in range(len(source)):
        core = slice(partition // 16 * 16, partition // 16 * 16 + 16)
        starts = index[core].reshape(16, -1).flatten(order="F")[:valid]
        for number, start in enumerate(starts):
            out[partition, number] = flat[partition, start : start + length]
    return out


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("partitions", [16, 48])
def test_local_gather_is_the_documented_one(partitions: int, length: int) -> None:
    x = numbered(partitions, 8, 4)
    index = np.random.default_rng(0).integers(0, 32 - length, size=(partitions, 3)).astype(np.uint16)
    made = nisa.local_gather(tile(x), tile(index, np.uint16), length)
    assert made.shape == (partitions, 3, 16, length)
    np.testing.assert_array_equal(values(made).reshape(partitions, 48, length), gathered(x, index, length, 48))


def test_local_gather_of_fewer_indices() -> None:
    x, index = numbered(16, 8), np.arange(32).reshape(16, 2) % 8
    made = nisa.local_gather(tile(x), tile(index, np.uint16), 1, 21)
    assert made.shape == (16, 21, 1)
    np.testing.assert_array_equal(values(made), gathered(x, index, 1, 21))


def test_local_gather_keeps_dtype_and_definedness() -> None:
    gaps = np.zeros((16, 4), dtype=bool)
    gaps[3, 2] = True
    made = nisa.local_gather(tile(numbered(16, 4), BF16, holes=gaps), tile(np.full((16, 1), 2), np.uint16))
    assert made.dtype == BF16
    assert holes(made).reshape(16, -1).any(axis=1).tolist() == [partition == 3 for partition in range(16)]
    assert holes(nisa.local_gather(tile(numbered(16, 4)), tile(np.zeros((16, 1)), np.uint16), mask=False)).all()


def gather(**more: Any) -> Any:
    given = {"src_buffer": tile(numbered(16, 32)), "index": tile(np.zeros((16, 2)), np.uint16)}
    return nisa.local_gather(**(given | more))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"index": tile(np.zeros((32, 2)), np.uint16)}, MISMATCH, id="partitions differ"),
        pytest.param(
            lambda: {"src_buffer": tile(numbered(8, 4)), "index": tile(np.zeros((8, 2)), np.uint16)},
            MISMATCH,
            id="no multiple of 16",
        ),
        pytest.param(lambda: {"index": tile(np.zeros((16, 2)), np.uint32)}, "", id="index dtype"),
        pytest.param(lambda: {"num_elem_per_idx": 3}, "", id="run of three"),
        pytest.param(lambda: {"num_elem_per_idx": 64}, "", id="run of 64"),
        pytest.param(lambda: {"num_valid_indices": 33}, "", id="more than there are"),
        pytest.param(lambda: {"num_valid_indices": 0}, "", id="no index"),
        pytest.param(lambda: {"index": tile(np.zeros((16, 257)), np.uint16)}, "", id="4112 indices"),
        pytest.param(lambda: {"index": tile(np.full((16, 2), 32), np.uint16)}, OUT_OF_BOUNDS, id="out of bounds"),
        pytest.param(
            lambda: {"index": tile(np.full((16, 2), 31), np.uint16), "num_elem_per_idx": 2}, OUT_OF_BOUNDS, id="run"
        ),
        pytest.param(lambda: {"src_buffer": tile(numbered(16, 4), space=Space.PSUM)}, MEMORY, id="source in PSUM"),
        pytest.param(lambda: {"index": tile(np.zeros((16, 2)), np.uint16, space=Space.PSUM)}, MEMORY, id="index"),
    ],
)
def test_refuses_local_gather(more: Any, code: str) -> None:
    with refuses(code):
        gather(**more())


def test_local_gather_at_its_limits() -> None:
    gather(num_elem_per_idx=32)
    gather(num_valid_indices=32)
    gather(index=tile(np.zeros((16, 256)), np.uint16))
    gather(index=tile(np.full((16, 2), 31), np.uint16))


def test_refuses_local_gather_by_undefined_indices() -> None:
    with pytest.raises(UndefinedReadFault):
        gather(index=tile(np.zeros((16, 2)), np.uint16, holes=True))


def test_local_gather_costs_without_arithmetic() -> None:
    with running(arithmetic=False):
        assert gather(index=tile(np.full((16, 2), 999), np.uint16)).shape == (16, 2, 16, 1)


# ----------------------------------------------------------------------------------- sequence_bounds


@pytest.mark.parametrize(
    ("ids", "starts", "ends"),
    [
        pytest.param(
            [0, 1, 1, 2, 2, 2, 0, 3, 3], [9, 1, 1, 3, 3, 3, 9, 7, 7], [-1, 3, 3, 6, 6, 6, -1, 9, 9], id="mixed"
        ),
        pytest.param([5], [0], [1], id="one"),
        pytest.param([0], [1], [-1], id="padding only"),
        pytest.param([1, 1, 2], [0, 0, 2], [2, 2, 3], id="no padding"),
        pytest.param([1, 0, 1], [0, 3, 2], [1, -1, 3], id="the same id twice"),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.float32], ids=lambda d: np.dtype(d).name)
def test_bounds_of_segments(ids: list[int], starts: list[int], ends: list[int], dtype: Any) -> None:
    made = nisa.sequence_bounds(segment_ids=tile([ids], dtype))
    assert values(made).tolist() == [[starts, ends]]
    assert made.dtype == np.dtype(dtype)


def test_bounds_in_another_dtype() -> None:
    made = nisa.sequence_bounds(segment_ids=tile([[1, 1]], np.int32), dtype=np.float32)
    assert made.dtype == np.dtype(np.float32)
    with refuses("", "dtype is"):
        nisa.sequence_bounds(segment_ids=tile([[1, 1]], np.int32), dtype=np.int16)


def test_undefined_id_spoils_all_bounds() -> None:
    assert holes(nisa.sequence_bounds(segment_ids=tile([[1, 1]], np.int32, holes=[[False, True]]))).all()


@pytest.mark.parametrize(
    ("ids", "dtype", "match"),
    [
        pytest.param([[1], [1]], np.int32, "shape", id="two partitions"),
        pytest.param([[[1, 1]]], np.int32, "shape", id="rank three"),
        pytest.param([[1, -1]], np.int32, "not negative", id="negative id"),
        pytest.param([[1, 1]], np.int16, "segment_ids is int16", id="dtype"),
    ],
)
def test_refuses_bounds(ids: Any, dtype: Any, match: str) -> None:
    with refuses("", match):
        nisa.sequence_bounds(segment_ids=tile(ids, dtype))


def test_each_is_one_instruction() -> None:
    with observe.observing(sequence=True) as seen:
        gather()
        nisa.sequence_bounds(segment_ids=tile([[1, 1]], np.int32))
        nisa.nc_stream_shuffle(tile(np.zeros((2, 1))), tile(np.zeros((2, 1))), order())
    assert [one.operation for one in seen] == ["local_gather", "sequence_bounds", "nc_stream_shuffle"]
