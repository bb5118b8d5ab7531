"""Loads and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.ops import movement
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values

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


def test_vector_loads_as_a_column() -> None:
    loaded = nl.load(hbm(numbered(4, 3))[1])
    assert same_bytes(values(loaded), numbered(4, 3)[1][:, None])
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
def test_refuses_transposing_load_of_rank_one(load: Any) -> None:
    with refuses("", "rank 2 or more"):
        load(hbm(numbered(2)))


def test_refuses_transposing_load_of_rank_three() -> None:
    with refuses("err_exceed_max_supported_dimension", "the limit is 2"):
        nl.load_transpose2d(hbm(numbered(2, 2, 2)))


def test_dma_transpose_reads_sbuf() -> None:
    np.testing.assert_array_equal(values(nisa.dma_transpose(tile(numbered(3, 2)))), numbered(3, 2).T)


TRANSPOSITIONS = [
    pytest.param((3, 2), (1, 0), id="2-D"),
    pytest.param((3, 2, 4), (2, 1, 0), id="3-D"),
    pytest.param((3, 2, 4, 5), (3, 1, 2, 0), id="4-D"),
]


@pytest.mark.parametrize("given", [True, False], ids=["axes given", "axes left out"])
@pytest.mark.parametrize("place", [hbm, tile], ids=["HBM", "SBUF"])
@pytest.mark.parametrize(("shape", "axes"), TRANSPOSITIONS)
def test_dma_transpose_exchanges_first_and_last(shape: Any, axes: Any, place: Any, given: bool) -> None:
    source = numbered(*shape)
    moved = nisa.dma_transpose(place(source), axes=axes if given else None)
    np.testing.assert_array_equal(values(moved), source.transpose(axes))
    assert moved.space is Space.SBUF


def test_dma_transpose_masks_its_result() -> None:
    i, j, k = nl.mgrid[0:4, 0:2, 0:3]
    moved = nisa.dma_transpose(hbm(numbered(3, 2, 4)), mask=(i < 2) & (j + k * 0 < 1))
    assert holes(moved)[:2, 0].any() == np.False_
    assert holes(moved)[2:].all()
    assert holes(moved)[:, 1].all()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3, 2), (0, 1)), ((3, 2), (2, 1, 0)), ((3, 2, 4), (1, 0, 2)), ((3, 2, 4, 5), (0, 1, 2, 3))],
    ids=str,
)
def test_refuses_dma_transpose_of_other_axes(shape: Any, axes: Any) -> None:
    with refuses("", "axes="):
        nisa.dma_transpose(hbm(numbered(*shape)), axes=axes)


def test_refuses_dma_transpose_of_rank_five() -> None:
    with refuses("err_exceed_max_supported_dimension", "the limit is 4"):
        nisa.dma_transpose(hbm(numbered(1, 1, 1, 1, 1)))


@pytest.mark.parametrize("load", TRANSPOSED)
def test_refuses_transposing_load_through_an_index_tile(load: Any) -> None:
    with refuses("err_indirect_indices_are_not_supported_with_nki_api"):
        load(hbm(numbered(4, 2))[rows_of([1, 0]), nl.arange(2)[None, :]])


# ---------------------------------------------------------------------------------- indices in a tile


def rows_of(numbers: Any, **more: Any) -> Any:
    """An index tile, one number per partition."""
    return tile(np.asarray(numbers).reshape(-1, 1), np.int32, **more)


def columns(size: int) -> Any:
    return nl.arange(size)[None, :]


def test_load_takes_rows_that_a_tile_names() -> None:
    loaded = nl.load(hbm(numbered(5, 3))[rows_of([4, 0, 4]), columns(3)])
    np.testing.assert_array_equal(values(loaded), numbered(5, 3)[[4, 0, 4]])


@pytest.mark.parametrize("row", [-1, 5], ids=["below", "beyond"])
def test_refuses_load_of_a_row_that_does_not_exist(row: int) -> None:
    with refuses(OUT_OF_BOUNDS, "3 element"):
        nl.load(hbm(numbered(5, 3))[rows_of([0, row]), columns(3)])


def test_load_may_mask_a_row_that_does_not_exist() -> None:
    i = nl.arange(2)[:, None]
    loaded = nl.load(hbm(numbered(5, 3))[rows_of([2, 9]), columns(3)], mask=i + columns(3) * 0 < 1)
    assert holes(loaded).tolist() == [[False] * 3, [True] * 3]


def test_refuses_load_by_an_undefined_index() -> None:
    unknown = rows_of([0, 1], holes=[[False], [True]])
    with pytest.raises(UndefinedReadFault, match="undefined index"):
        nl.load(hbm(numbered(5, 3))[unknown, columns(3)])
    i = nl.arange(2)[:, None]
    kept = nl.load(hbm(numbered(5, 3))[unknown, columns(3)], mask=i + columns(3) * 0 < 1)
    np.testing.assert_array_equal(values(kept)[0], [0, 1, 2])


def test_store_puts_rows_where_a_tile_says() -> None:
    buffer = scratch(4, 2)
    nl.store(buffer[rows_of([3, 1]), columns(2)], tile([[1.0, 2.0], [3.0, 4.0]]))
    assert values(buffer)[[3, 1]].tolist() == [[1, 2], [3, 4]]
    assert holes(buffer)[:, 0].tolist() == [True, False, True, False]


def test_refuses_store_of_two_rows_to_one_place() -> None:
    with refuses("err_store_dst_shape_smaller_than_other_shape", "twice"):
        nl.store(scratch(4, 2)[rows_of([3, 3]), columns(2)], tile(np.ones((2, 2))))


def test_load_of_one_block_that_a_tile_names() -> None:
    source = numbered(3, 4, 2)
    loaded = nl.load(hbm(source)[tile([[2]], np.int32), nl.arange(4)[:, None], columns(2)])
    np.testing.assert_array_equal(values(loaded), source[2])


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        pytest.param(None, [[True] * 3, [False] * 3], id="no mask"),
        pytest.param(
            lambda: columns(3) + 0 * nl.arange(2)[:, None] < 1, [[True, False, False], [False] * 3], id="mask"
        ),
        pytest.param(lambda: False, [[False] * 3] * 2, id="masked off"),
    ],
)
def test_load_may_skip_rows_out_of_bounds(mask: Any, kept: Any) -> None:
    source = hbm(numbered(5, 3))[rows_of([2, 9]), columns(3)]
    loaded = movement.load(source, skip_out_of_bounds=True, mask=None if mask is None else mask())
    assert (~holes(loaded)).tolist() == kept


def test_skipping_changes_nothing_within_bounds() -> None:
    inside = hbm(numbered(5, 3))[rows_of([2, 1]), columns(3)]
    assert not holes(movement.load(inside, skip_out_of_bounds=True)).any()
    assert not holes(movement.load(hbm(numbered(2, 3)), skip_out_of_bounds=True)).any()


# ------------------------------------------------------------------------------------------- dma_copy

PLACES: dict[str, Callable[[], Any]] = {
    "HBM": lambda: scratch(2, 3),
    "SBUF": lambda: tile(np.zeros((2, 3)), holes=True),
}


@pytest.mark.parametrize("target", PLACES, ids=str)
@pytest.mark.parametrize("source", [hbm, tile], ids=["from HBM", "from SBUF"])
def test_dma_copy_copies_anywhere(source: Any, target: str) -> None:
    destination = PLACES[target]()
    nisa.dma_copy(dst=destination, src=source(numbered(2, 3)))
    np.testing.assert_array_equal(values(destination), numbered(2, 3))
    assert not holes(destination).any()


def test_dma_copy_of_hbm_has_more_rows_than_a_tile() -> None:
    destination = scratch(300, 1)
    nisa.dma_copy(dst=destination, src=hbm(numbered(300, 1)))
    np.testing.assert_array_equal(values(destination), numbered(300, 1))


def test_dma_copy_casts_once() -> None:
    destination = tile(np.zeros((1, 3)), np.int8)
    nisa.dma_copy(dst=destination, src=tile([[1.5, 2.5, 300.0]]))
    assert values(destination).tolist() == [[2, 2, 127]]


def test_dma_copy_takes_a_view_that_lost_its_row() -> None:
    destination = scratch(2, 3)
    nisa.dma_copy(dst=destination[1], src=tile([[1.0, 2.0, 3.0]]))
    assert values(destination)[1].tolist() == [1, 2, 3]


def test_dma_copy_masks_its_destination() -> None:
    destination = tile([[7.0, 8.0, 9.0]])
    nisa.dma_copy(dst=destination, src=tile([[1.0, 2.0, 3.0]]), mask=columns(3) < 2)
    nisa.dma_copy(dst=destination, src=tile([[4.0, 4.0, 4.0]]), mask=False)
    assert values(destination).tolist() == [[1, 2, 9]]


def test_refuses_dma_copy_of_another_shape() -> None:
    with refuses("err_store_dst_shape_smaller_than_other_shape", r"src has shape \(3, 2\), dst \(2, 3\)"):
        nisa.dma_copy(dst=scratch(2, 3), src=tile(numbered(3, 2)))


def test_dma_copy_of_undefined_elements_stays_on_chip() -> None:
    unknown = tile([[1.0, 2.0]], holes=[[False, True]])
    destination = tile([[0.0, 0.0]])
    nisa.dma_copy(dst=destination, src=unknown)
    assert holes(destination).tolist() == [[False, True]]
    with pytest.raises(UndefinedReadFault, match="writes undefined elements to HBM"):
        nisa.dma_copy(dst=scratch(1, 2), src=unknown)
    nisa.dma_copy(dst=scratch(1, 2), src=unknown, mask=columns(2) < 1)


def test_dma_copy_is_one_instruction_of_the_dma_engines() -> None:
    with observe.observing(sequence=True) as seen:
        nisa.dma_copy(dst=scratch(2, 3), src=tile(numbered(2, 3)))
    assert [(one.operation, one.engine) for one in seen] == [("dma_copy", Engine.DMA)]


def test_dma_copy_gathers_and_scatters_rows() -> None:
    gathered, scattered = tile(np.zeros((2, 3))), scratch(5, 3)
    nisa.dma_copy(dst=gathered, src=hbm(numbered(5, 3))[rows_of([4, 1]), columns(3)])
    nisa.dma_copy(dst=scattered[rows_of([4, 1]), columns(3)], src=gathered)
    np.testing.assert_array_equal(values(gathered), numbered(5, 3)[[4, 1]])
    np.testing.assert_array_equal(values(scattered)[[4, 1]], numbered(5, 3)[[4, 1]])


@pytest.mark.parametrize("side", ["src", "dst"])
def test_dma_copy_skips_rows_out_of_bounds_only_if_asked(side: str) -> None:
    one, other = tile(np.full((2, 3), -1.0)), hbm(numbered(5, 3))
    indirect = other[rows_of([1, 7]), columns(3)]
    pair = {"src": indirect, "dst": one} if side == "src" else {"src": one, "dst": indirect}
    with refuses(OUT_OF_BOUNDS):
        nisa.dma_copy(**pair, oob_mode=nisa.oob_mode.error)
    nisa.dma_copy(**pair, oob_mode=nisa.oob_mode.skip)
    expected = numbered(5, 3)
    if side == "src":
        assert values(one).tolist() == [expected[1].tolist(), [-1.0] * 3]
    else:
        expected[1] = -1
        np.testing.assert_array_equal(values(other), expected)


def test_skipping_is_not_for_undefined_indices() -> None:
    unknown = rows_of([0, 1], holes=[[False], [True]])
    with pytest.raises(UndefinedReadFault, match="undefined index"):
        nisa.dma_copy(
            dst=tile(np.zeros((2, 3))), src=hbm(numbered(5, 3))[unknown, columns(3)], oob_mode=nisa.oob_mode.skip
        )


def test_dma_copy_skips_only_within_its_mask() -> None:
    i = nl.arange(2)[:, None]
    destination = tile(np.full((2, 3), -1.0))
    nisa.dma_copy(
        dst=destination,
        src=hbm(numbered(5, 3))[rows_of([1, 7]), columns(3)],
        oob_mode=nisa.oob_mode.skip,
        mask=i * 0 + columns(3) < 2,
    )
    assert values(destination).tolist() == [[3, 4, -1], [-1, -1, -1]]


def test_dma_copy_adds_to_its_destination() -> None:
    destination = tile([[1.0, 2.0, 3.0]], np.int8)
    nisa.dma_copy(dst=destination, src=tile([[1.5, 125.0, 200.0]]), dst_rmw_op=np.add, mask=columns(3) < 2)
    assert values(destination).tolist() == [[2, 127, 3]]


def test_dma_copy_adds_every_row_that_names_one_place() -> None:
    destination = scratch(4, 2)
    nl.store(destination[0:4, :], 10.0)
    nisa.dma_copy(dst=destination[rows_of([2, 2]), columns(2)], src=tile([[1.0, 2.0], [4.0, 8.0]]), dst_rmw_op=np.add)
    assert values(destination).tolist() == [[10, 10], [10, 10], [15, 20], [10, 10]]


def test_refuses_dma_copy_that_adds_to_undefined_elements_of_hbm() -> None:
    with pytest.raises(UndefinedReadFault):
        nisa.dma_copy(dst=scratch(1, 2), src=tile([[1.0, 2.0]]), dst_rmw_op=np.add)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        pytest.param({"dst_rmw_op": np.multiply}, "dst_rmw_op", id="another operator"),
        pytest.param({"dst_rmw_op": np.add, "oob_mode": nisa.oob_mode.skip}, "oob_mode.skip", id="adding and skipping"),
        pytest.param({"oob_mode": 7}, "oob_mode=7", id="no such oob_mode"),
        pytest.param({"dge_mode": 7}, "dge_mode=7", id="no such dge_mode"),
    ],
)
def test_refuses_dma_copy_with_undocumented_options(options: Any, match: str) -> None:
    with refuses("", match):
        nisa.dma_copy(dst=tile(np.zeros((1, 2))), src=tile([[1.0, 2.0]]), **options)


def test_refuses_descriptors_made_in_hardware_before_gen3() -> None:
    pair = {"dst": tile(np.zeros((1, 2))), "src": tile([[1.0, 2.0]])}
    with refuses("nc-version", "hwdge"):
        nisa.dma_copy(**pair, dge_mode=nisa.dge_mode.hwdge)
    with refuses("nc-version", "hwdge"):
        nisa.dma_transpose(pair["src"], dge_mode=nisa.dge_mode.hwdge)
    nisa.dma_copy(**pair, dge_mode=nisa.dge_mode.swdge)
    with running("trn2"):
        nisa.dma_copy(**pair, dge_mode=nisa.dge_mode.hwdge)
        nisa.dma_transpose(pair["src"], dge_mode=nisa.dge_mode.hwdge)
