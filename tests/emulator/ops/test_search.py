"""The eight largest elements, and looking for given ones: a search row by row is the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

TOO_LARGE = "err_size_of_dimension_exceed_arch_limit"
RANK = "err_exceed_max_supported_dimension"
MISMATCH = "err_num_partition_mismatch"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def shuffled(*shape: int) -> Any:
    """Different whole numbers."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def first_rows(count: int, *shape: int) -> Any:
    """A mask that keeps the first partitions of a 2-D tile."""
    return nl.arange(shape[0])[:, None] + 0 * nl.arange(shape[1])[None, :] < count


def first_columns(count: int, size: int) -> Any:
    return nl.arange(size)[None, :] < count


# ---------------------------------------------------------------------------------------------- max8


@pytest.mark.parametrize("shape", [(3, 8), (3, 20), (3, 4, 5), (2, 1, 2, 2, 4)], ids=str)
def test_max8_gives_the_largest_in_descending_order(shape: tuple[int, ...]) -> None:
    x = shuffled(*shape)
    made = nisa.max8(src=tile(x, space=Space.PSUM))
    np.testing.assert_array_equal(values(made), np.sort(x.reshape(shape[0], -1), axis=1)[:, ::-1][:, :8])
    assert made.space is Space.SBUF


def test_max8_has_the_sources_dtype_or_what_is_asked() -> None:
    x = tile(shuffled(1, 8), BF16)
    assert nisa.max8(src=x).dtype == BF16
    assert nisa.max8(src=x, dtype=np.float32).dtype == np.dtype(np.float32)


def test_max8_repeats_equal_elements() -> None:
    assert values(nisa.max8(src=tile([[5.0] * 3 + [1.0] * 6]))).tolist() == [[5.0] * 3 + [1.0] * 5]


def test_max8_of_kept_elements() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 12)
    made = nisa.max8(src=tile(x, holes=x > 8), mask=first_columns(9, 12))
    assert values(made).tolist() == [[8, 7, 6, 5, 4, 3, 2, 1]]
    assert not holes(made).any()


def test_max8_of_kept_partitions() -> None:
    made = nisa.max8(src=tile(shuffled(3, 10)), mask=first_rows(2, 3, 10))
    assert holes(made).any(axis=1).tolist() == [False, False, True]
    assert holes(nisa.max8(src=tile(shuffled(3, 10)), mask=False)).all()


def test_undefined_element_spoils_its_partition() -> None:
    gaps = np.zeros((2, 9), dtype=bool)
    gaps[1, 4] = True
    assert holes(nisa.max8(src=tile(shuffled(2, 9), holes=gaps))).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        pytest.param((1, 7), "", id="seven"),
        pytest.param((1, 16385), TOO_LARGE, id="too many"),
        pytest.param((1, 1, 1, 1, 1, 8), RANK, id="rank six"),
    ],
)
def test_refuses_max8(shape: tuple[int, ...], code: str) -> None:
    with refuses(code):
        nisa.max8(src=tile(np.zeros(shape)))


def test_max8_at_its_limits() -> None:
    nisa.max8(src=tile(np.zeros((1, 16384))))
    nisa.max8(src=tile(np.zeros((1, 1, 1, 1, 8))))


def test_refuses_max8_of_less_than_eight_kept_elements() -> None:
    with refuses("", "leaves less than 8"):
        nisa.max8(src=tile(np.zeros((1, 12))), mask=first_columns(7, 12))
    nisa.max8(src=tile(np.zeros((1, 12))), mask=first_columns(8, 12))


# ------------------------------------------------------------------------------------ nc_find_index8


@pytest.mark.parametrize("shape", [(3, 20), (3, 4, 5)], ids=str)
def test_find_gives_the_first_position(shape: tuple[int, ...]) -> None:
    x = shuffled(*shape)
    rows = x.reshape(shape[0], -1)
    found = nisa.nc_find_index8(data=tile(x), vals=tile(rows[:, 3:11]))
    assert values(found).tolist() == [list(range(3, 11))] * 3
    assert found.dtype == np.dtype(np.uint32)


def test_find_takes_the_first_of_equal_elements() -> None:
    x = tile([[7.0] * 9])
    assert values(nisa.nc_find_index8(data=x, vals=nisa.max8(src=x))).tolist() == [[0] * 8]


def test_find_gives_16_bits_if_asked() -> None:
    x = tile(shuffled(1, 8))
    assert nisa.nc_find_index8(data=x, vals=x, dtype=np.uint16).dtype == np.dtype(np.uint16)
    with refuses("", "dtype is int32"):
        nisa.nc_find_index8(data=x, vals=x, dtype=np.int32)


def test_find_masks_the_data_only() -> None:
    x = np.tile(np.arange(8, dtype=np.float32), 2).reshape(1, 16)
    kept = nl.arange(16)[None, :] >= 8
    assert values(nisa.nc_find_index8(data=tile(x), vals=tile(x[:, :8]), mask=kept)).tolist() == [list(range(8, 16))]
    rows = nisa.nc_find_index8(
        data=tile(np.tile(x, (2, 1))), vals=tile(np.tile(x[:, :8], (2, 1))), mask=first_rows(1, 2, 16)
    )
    assert holes(rows).any(axis=1).tolist() == [False, True]
    assert holes(nisa.nc_find_index8(data=tile(x), vals=tile(x[:, :8]), mask=False)).all()


def test_refuses_to_find_what_is_not_there() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 8)
    with refuses("", "partition 0 does not hold"):
        nisa.nc_find_index8(data=tile(x), vals=tile(x + 1))


def test_what_is_undefined_need_not_be_there() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 8)
    found = nisa.nc_find_index8(data=tile(x), vals=tile(x + 1, holes=x == 7))
    assert holes(found).tolist() == [[False] * 7 + [True]]
    gaps = nisa.nc_find_index8(data=tile(x, holes=x == 0), vals=tile(x))
    assert holes(gaps).all()


@pytest.mark.parametrize(
    ("data", "vals", "code"),
    [
        pytest.param((1, 7), (1, 8), "", id="seven elements"),
        pytest.param((1, 16385), (1, 8), TOO_LARGE, id="too many elements"),
        pytest.param((1, 1, 1, 1, 1, 8), (1, 8), RANK, id="data of rank six"),
        pytest.param((1, 8), (1, 7), "", id="seven values"),
        pytest.param((1, 8), (1, 9), TOO_LARGE, id="nine values"),
        pytest.param((1, 8), (1, 1, 2, 4), RANK, id="values of rank four"),
        pytest.param((2, 8), (1, 8), MISMATCH, id="partitions"),
    ],
)
def test_refuses_find(data: Any, vals: Any, code: str) -> None:
    with refuses(code):
        nisa.nc_find_index8(data=tile(np.zeros(data)), vals=tile(np.zeros(vals)))


# --------------------------------------------------------------------------------- nc_match_replace8


def replace(x: Any, vals: Any, imm: float) -> tuple[Any, Any]:
    """The documented algorithm, element by element."""
    data, places = x.reshape(x.shape[0], -1).copy(), np.zeros((x.shape[0], 8), dtype=np.uint32)
    for i, row in enumerate(vals.reshape(x.shape[0], -1)):
        for j, value in enumerate(row):
            (matches,) = np.nonzero(data[i] == value)
            places[i, j] = matches[0]
            data[i, matches[0]] = imm
    return data.reshape(x.shape), places.reshape(vals.shape)


@pytest.mark.parametrize("vals_shape", [(3, 8), (3, 2, 4)], ids=str)
@pytest.mark.parametrize("shape", [(3, 20), (3, 4, 5)], ids=str)
def test_replace_is_the_documented_algorithm(shape: tuple[int, ...], vals_shape: tuple[int, ...]) -> None:
    x = np.round(shuffled(*shape) / 3)
    vals = np.sort(x.reshape(3, -1), axis=1)[:, ::-1][:, :8].reshape(vals_shape)
    places = tile(np.zeros(vals_shape), np.uint32, holes=True)
    made = nisa.nc_match_replace8(data=tile(x), vals=tile(vals), imm=-1.0, dst_idx=places)
    expected, found = replace(x, vals, -1.0)
    np.testing.assert_array_equal(values(made), expected)
    np.testing.assert_array_equal(values(places), found)
    assert not holes(places).any()


def test_replace_without_positions_and_with_a_dtype() -> None:
    x = tile(shuffled(1, 10))
    made = nisa.nc_match_replace8(data=x, vals=nisa.max8(src=x), imm=float("-inf"), dtype=BF16)
    assert made.dtype == BF16
    assert np.isneginf(values(made).astype(np.float32)).sum() == 8


def test_replace_masks_the_data() -> None:
    x = np.tile(np.arange(8, dtype=np.float32), 2).reshape(1, 16)
    places = tile(np.full((1, 8), 99), np.uint32)
    made = nisa.nc_match_replace8(
        data=tile(x), vals=tile(x[:, :8]), imm=-1.0, dst_idx=places, mask=nl.arange(16)[None, :] >= 8
    )
    assert values(places).tolist() == [list(range(8, 16))]
    assert holes(made).tolist() == [[True] * 8 + [False] * 8]
    assert values(made)[0, 8:].tolist() == [-1.0] * 8


def test_replace_leaves_positions_of_dropped_partitions() -> None:
    x = np.tile(np.arange(9, dtype=np.float32), (2, 1))
    places = tile(np.full((2, 8), 99), np.uint32)
    nisa.nc_match_replace8(data=tile(x), vals=tile(x[:, :8]), imm=-1.0, dst_idx=places, mask=first_rows(1, 2, 9))
    assert values(places).tolist() == [list(range(8)), [99] * 8]
    dropped = nisa.nc_match_replace8(data=tile(x), vals=tile(x[:, :8]), imm=-1.0, dst_idx=places, mask=False)
    assert holes(dropped).all()
    assert values(places).tolist() == [list(range(8)), [99] * 8]


@pytest.mark.parametrize("which", ["data", "vals"])
def test_replace_by_undefined_elements_spoils_the_partition(which: str) -> None:
    x = np.tile(np.arange(8, dtype=np.float32), (2, 1))
    gaps = np.zeros((2, 8), dtype=bool)
    gaps[1, 2] = True
    pair = {"data": tile(x), "vals": tile(x)} | {which: tile(x, holes=gaps)}
    places = tile(np.zeros((2, 8)), np.uint32)
    made = nisa.nc_match_replace8(**pair, imm=-1.0, dst_idx=places)
    assert holes(made).all(axis=1).tolist() == [False, True]
    assert holes(places).all(axis=1).tolist() == [False, True]
    assert not holes(made)[0].any()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param({"vals": np.full((1, 8), 77.0)}, "", id="value that is not there"),
        pytest.param({"vals": np.zeros((1, 7))}, "", id="seven values"),
        pytest.param({"vals": np.zeros((1, 9))}, TOO_LARGE, id="nine values"),
        pytest.param({"vals": np.zeros((1, 1, 2, 4))}, RANK, id="values of rank four"),
        pytest.param({"vals": np.zeros((2, 8))}, MISMATCH, id="partitions"),
        pytest.param({"data": np.zeros((1, 16385))}, TOO_LARGE, id="too many elements"),
        pytest.param({"data": np.zeros((1, 1, 1, 1, 1, 8))}, RANK, id="data of rank six"),
    ],
)
def test_refuses_replace(more: dict[str, Any], code: str) -> None:
    given = {"data": np.zeros((1, 8)), "vals": np.zeros((1, 8))} | more
    with refuses(code):
        nisa.nc_match_replace8(data=tile(given["data"]), vals=tile(given["vals"]), imm=0.0)


def test_refuses_replace_by_no_number() -> None:
    x = tile(np.zeros((1, 8)))
    with refuses("", "imm must be a number"):
        nisa.nc_match_replace8(data=x, vals=x, imm=x)


@pytest.mark.parametrize(
    ("shape", "dtype", "code"),
    [((1, 8), np.int32, ""), ((1, 9), np.uint32, TOO_LARGE), ((1, 7), np.uint32, ""), ((2, 8), np.uint32, MISMATCH)],
    ids=["dtype", "nine", "seven", "partitions"],
)
def test_refuses_positions_in_another_tile(shape: tuple[int, ...], dtype: Any, code: str) -> None:
    x = tile(np.zeros((1, 8)))
    with refuses(code):
        nisa.nc_match_replace8(data=x, vals=x, imm=0.0, dst_idx=tile(np.zeros(shape), dtype))


def test_search_costs_without_arithmetic() -> None:
    with running(arithmetic=False):
        x, places = tile(np.zeros((1, 8)), holes=True), tile(np.zeros((1, 8)), np.uint32)
        nisa.nc_match_replace8(data=x, vals=nisa.max8(src=x), imm=0.0, dst_idx=places)
        nisa.nc_find_index8(data=x, vals=x)
