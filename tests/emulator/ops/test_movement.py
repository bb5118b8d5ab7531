"""Loads and stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from tests.emulator.kernels import hbm, holes, refuses, running, tile, values

OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"
SMALLER = "err_store_dst_shape_smaller_than_other_shape"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def numbered(*shape: int, dtype: Any = np.float32) -> Any:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def scratch(*shape: int, dtype: Any = np.float32) -> Any:
    return nl.ndarray(shape, dtype, buffer=nl.private_hbm)


# ----------------------------------------------------------------------------------------------- load


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        pytest.param(Ellipsis, (4, 3, 2), id="all"),
        pytest.param(1, (3, 2), id="leading integer"),
        pytest.param((slice(None), 1), (4, 2), id="middle integer"),
        pytest.param((slice(1, 3), slice(None), 1), (2, 3), id="last integer"),
        pytest.param((slice(1, 2), 0, slice(None)), (1, 2), id="row"),
        pytest.param((3, 2, 1), (1, 1), id="element"),
    ],
)
def test_load_has_the_views_shape(key: Any, shape: tuple[int, ...]) -> None:
    oracle = numbered(4, 3, 2)
    loaded = nl.load(hbm(oracle)[key])
    assert loaded.shape == shape
    assert (loaded.space, loaded.partition_axis) == (Space.SBUF, 0)
    np.testing.assert_array_equal(values(loaded), np.reshape(oracle[key], shape))


def test_load_is_a_copy() -> None:
    source = hbm(numbered(2, 2))
    loaded = nl.load(source)
    loaded[...] = 9.0
    np.testing.assert_array_equal(values(source), numbered(2, 2))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(None, [[1.25, 2.5]]), (np.int8, [[1, 2]]), (ml_dtypes.bfloat16, [[1.25, 2.5]])],
    ids=["source's", "int8", "bfloat16"],
)
def test_load_casts_on_the_way(dtype: Any, expected: Any) -> None:
    loaded = nl.load(hbm([[1.25, 2.5]], dtype=np.float32), dtype=dtype)
    assert loaded.dtype == np.dtype(dtype or np.float32)
    assert values(loaded).astype(np.float32).tolist() == expected


def test_masked_load_leaves_the_rest_undefined() -> None:
    j = nl.arange(5)[None, :]
    loaded = nl.load(hbm(numbered(2, 3))[nl.arange(2)[:, None], j], mask=j < 3)
    assert holes(loaded).tolist() == [[False, False, False, True, True]] * 2
    assert values(loaded)[:, :3].tolist() == [[0, 1, 2], [3, 4, 5]]
    with refuses(OUT_OF_BOUNDS):
        nl.load(hbm(numbered(2, 3))[nl.arange(2)[:, None], j], mask=j < 4)


def test_load_of_one_element_may_be_masked() -> None:
    x = hbm(numbered(2, 3))
    assert holes(nl.load(x[1, 3], mask=False)).tolist() == [[True]]
    assert values(nl.load(x[1, 2], mask=True)).tolist() == [[5.0]]
    with refuses(OUT_OF_BOUNDS):
        nl.load(x[1, 3])


def test_load_carries_undefinedness_of_hbm() -> None:
    buffer = scratch(2, 2)
    nl.store(buffer[0:1, :], 1.0)
    assert holes(nl.load(buffer)).tolist() == [[False, False], [True, True]]


def test_refuses_load_of_a_vector() -> None:
    with refuses("", "insufficient rank"):
        nl.load(hbm(numbered(4, 3))[1])
    assert nl.load(hbm(numbered(4, 3))[1:2]).shape == (1, 3)


# ---------------------------------------------------------------------------------------------- store


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        pytest.param((slice(0, 4), slice(0, 3), 1), (4, 3), id="tile"),
        pytest.param((1, slice(0, 3), slice(0, 2)), (3, 2), id="leading integer"),
        pytest.param((2, 1), (1, 2), id="row without its first dimension"),
        pytest.param((3, 2, 1), (1, 1), id="element"),
        pytest.param((slice(1, 2), slice(0, 3), slice(0, 2)), (1, 3, 2), id="rank three"),
    ],
)
def test_store_writes_the_view_and_nothing_else(key: Any, shape: tuple[int, ...]) -> None:
    out = hbm(np.zeros((4, 3, 2), dtype=np.float32))
    value = 1 + numbered(*shape)
    nl.store(out[key], tile(value))
    expected = np.zeros((4, 3, 2), dtype=np.float32)
    expected[key] = value.reshape(expected[key].shape)
    np.testing.assert_array_equal(values(out), expected)


@pytest.mark.parametrize("space", [Space.SBUF, Space.PSUM], ids=lambda s: s.value)
def test_store_casts_to_the_destination(space: Space) -> None:
    out = hbm(np.zeros((1, 3), dtype=np.int8))
    nl.store(out, tile([[1.5, -300.0, 2.5]], space=space))
    assert values(out).tolist() == [[2, -128, 2]]


def test_store_broadcasts_the_value() -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    nl.store(out, tile([[1.0], [2.0]]))
    assert values(out).tolist() == [[1.0] * 3, [2.0] * 3]


@pytest.mark.parametrize("mask", [None, True, False, "predicate"], ids=str)
@pytest.mark.parametrize("value", [3.0, "tile"], ids=["number", "tile"])
def test_store_writes_where_the_mask_keeps(mask: Any, value: Any) -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:3]
    chosen = (j > 0) & (i < 1) if mask == "predicate" else mask
    nl.store(out[i, j], tile(np.full((2, 3), 3.0)) if value == "tile" else value, mask=chosen)
    everything: Any = np.ones((2, 3))
    kept = {None: everything, True: everything, False: 0 * everything, "predicate": [[0, 1, 1], [0, 0, 0]]}[mask]
    np.testing.assert_array_equal(values(out), 3.0 * np.asarray(kept))


def test_store_of_an_undefined_element_is_legal_where_masked() -> None:
    out = hbm(np.zeros((1, 3), dtype=np.float32))
    value = tile([[1.0, 2.0, 3.0]], holes=[[False, False, True]])
    j = nl.arange(3)[None, :]
    i = nl.arange(1)[:, None]
    nl.store(out[i, j], value, mask=j < 2)
    assert values(out).tolist() == [[1.0, 2.0, 0.0]]
    with pytest.raises(UndefinedReadFault, match=r"store writes undefined elements to HBM: 1 of 3 .* \(0, 2\)"):
        nl.store(out[i, j], value, mask=j >= 1)
    assert values(out).tolist() == [[1.0, 2.0, 0.0]]
    nl.store(out, value, mask=False)


def test_refuses_store_of_what_a_mask_dropped() -> None:
    out = hbm(np.zeros((1, 3), dtype=np.float32))
    masked = nl.exp(tile(np.zeros((1, 3))), mask=nl.arange(3)[None, :] < 2)
    with pytest.raises(UndefinedReadFault, match="the masked-off part of exp"):
        nl.store(out, masked)


def test_refuses_store_of_an_undefined_column_that_broadcasts() -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(UndefinedReadFault, match="3 of 6"):
        nl.store(out, tile([[1.0], [2.0]], holes=[[False], [True]]))
    i = nl.arange(2)[:, None]
    nl.store(out[i, nl.arange(3)[None, :]], tile([[1.0], [2.0]], holes=[[False], [True]]), mask=i < 1)
    assert values(out).tolist() == [[1.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("value", [3.0, "tile"], ids=["number", "tile"])
def test_store_out_of_bounds_is_legal_where_masked(value: Any) -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:5]
    chosen = tile(np.full((2, 5), 3.0)) if value == "tile" else value
    with refuses(OUT_OF_BOUNDS):
        nl.store(out[i, j], chosen, mask=j < 4)
    with refuses(OUT_OF_BOUNDS):
        nl.store(out[i, j], chosen)
    assert not values(out).any()
    nl.store(out[i, j], chosen, mask=j < 3)
    assert (values(out) == 3.0).all()


def test_stored_tile_may_be_out_of_bounds_where_masked() -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:3]
    value = tile(np.ones((2, 2)))[i, j]
    nl.store(out[i, j], value, mask=j < 2)
    assert values(out).tolist() == [[1, 1, 0]] * 2
    with refuses(OUT_OF_BOUNDS):
        nl.store(out[i, j], value)


def test_stored_column_out_of_bounds_is_refused_whatever_the_mask() -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:3]
    value = tile(np.ones((1, 1)))[nl.arange(2)[:, None], nl.arange(1)[None, :]]
    with refuses(OUT_OF_BOUNDS):
        nl.store(out[i, j], value, mask=i < 1)


@pytest.mark.parametrize(
    ("shape", "value_shape", "code"),
    [
        pytest.param((2, 1), (2, 3), SMALLER, id="free"),
        pytest.param((1, 3), (2, 3), SMALLER, id="partition"),
        pytest.param((3,), (2, 3), SMALLER, id="partitions that were dropped"),
        pytest.param((), (2, 2), SMALLER, id="an element"),
        pytest.param((2, 3), (1, 2, 3), None, id="leading one"),
        pytest.param((2, 3), (2, 2), "", id="another shape"),
        pytest.param((2, 2, 3), (2, 3), SMALLER, id="more dimensions"),
        pytest.param((1, 2, 3), (2, 3), SMALLER, id="leading one of the destination"),
    ],
)
def test_store_needs_a_value_that_fits(shape: tuple[int, ...], value_shape: tuple[int, ...], code: str | None) -> None:
    out = hbm(np.zeros(shape, dtype=np.float32))
    if code is None:
        nl.store(out, tile(np.ones(value_shape)))
        return
    with refuses(code):
        nl.store(out, tile(np.ones(value_shape)))


def test_store_remembers_where_an_input_was_first_written() -> None:
    x = hbm(np.zeros((1, 2), dtype=np.float32))
    assert x.storage.first_write is None
    nl.store(x, 1.0)
    first = x.storage.first_write
    assert str(first).startswith(f"{__file__}:")
    nl.store(x, 2.0)
    assert x.storage.first_write == first


def test_store_into_an_own_buffer_is_no_write_of_an_input() -> None:
    buffer = scratch(1, 2)
    nl.store(buffer, 1.0)
    assert buffer.storage.first_write is None


# ------------------------------------------------------------------------------------------ transposed


TRANSPOSED = [
    pytest.param(nl.load_transpose2d, id="load_transpose2d"),
    pytest.param(nisa.dma_transpose, id="dma_transpose"),
]


@pytest.mark.parametrize("load", TRANSPOSED)
def test_transposing_load(load: Any) -> None:
    loaded = load(hbm(numbered(3, 2)))
    assert (loaded.shape, loaded.space) == ((2, 3), Space.SBUF)
    np.testing.assert_array_equal(values(loaded), numbered(3, 2).T)
    assert load(hbm(numbered(3, 2)), dtype=np.int8).dtype == np.dtype(np.int8)


@pytest.mark.parametrize("load", TRANSPOSED)
def test_transposing_load_masks_the_result(load: Any) -> None:
    x = hbm(numbered(3, 2))
    i, j = nl.mgrid[0:2, 0:4]  # of the result
    view = x[nl.arange(4)[:, None], nl.arange(2)[None, :]]
    loaded = load(view, mask=j < 3)
    assert holes(loaded).tolist() == [[False, False, False, True]] * 2
    np.testing.assert_array_equal(values(loaded)[:, :3], numbered(3, 2).T)
    with refuses(OUT_OF_BOUNDS):
        load(view, mask=(i < 2) & (j < 4))
    assert holes(load(view, mask=False)).all()


@pytest.mark.parametrize("load", TRANSPOSED)
def test_transposing_load_carries_undefinedness(load: Any) -> None:
    buffer = scratch(3, 2)
    nl.store(buffer[0:2, :], 1.0)
    loaded = load(buffer)
    assert holes(loaded).tolist() == [[False, False, True]] * 2
    assert holes(loaded[0:2, 2:3]).tolist() == [[True]] * 2


@pytest.mark.parametrize("load", TRANSPOSED)
@pytest.mark.parametrize("shape", [(2,), (2, 2, 2)], ids=["rank one", "rank three"])
def test_refuses_transposing_load_of_another_rank(load: Any, shape: tuple[int, ...]) -> None:
    with refuses("err_exceed_max_supported_dimension", "rank 2"):
        load(hbm(numbered(*shape)))


def test_dma_transpose_reads_sbuf() -> None:
    np.testing.assert_array_equal(values(nisa.dma_transpose(tile(numbered(3, 2)))), numbered(3, 2).T)


@pytest.mark.parametrize("axes", [None, (1, 0), [1, 0]], ids=str)
def test_dma_transpose_takes_its_axes(axes: Any) -> None:
    assert nisa.dma_transpose(hbm(numbered(3, 2)), axes=axes).shape == (2, 3)


@pytest.mark.parametrize("axes", [(0, 1), (2, 1, 0), (3, 1, 2, 0)], ids=str)
def test_refuses_dma_transpose_of_other_axes(axes: Any) -> None:
    with refuses("", "not emulated yet"):
        nisa.dma_transpose(hbm(numbered(3, 2)), axes=axes)
