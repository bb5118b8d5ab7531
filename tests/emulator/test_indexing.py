"""Views: numpy's indexing is the oracle where both languages have the same rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import observe
from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.indexing import DynamicSlice
from nkifix.emulator.memory import Space
from nkifix.emulator.ops import movement
from tests.emulator.kernels import hbm, holes, refuses, running, tile, values

OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"
MIXED = "err_unsupported_mixing_basic_advanced_tensor_indexing"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def numbered(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def arange(*bounds: int) -> AffineIndex:
    return AffineIndex.arange(*((0, *bounds) if len(bounds) == 1 else bounds))


# -------------------------------------------------------------------------------------- basic, in HBM


@st.composite
def basic_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """A key of integers, slices and nl.ds, and numpy's spelling of it."""
    ours: list[Any] = []
    theirs: list[Any] = []
    for size in shape:
        kind = draw(st.sampled_from(["int", "numpy int", "slice", "open", "step", "ds"]))
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        step = draw(st.integers(1, 3))
        pair: dict[str, tuple[Any, Any]] = {
            "int": (start, start),
            "numpy int": (np.int64(start), start),
            "slice": (slice(start, stop), slice(start, stop)),
            "open": (slice(None), slice(None)),
            "step": (slice(start, stop, step), slice(start, stop, step)),
            "ds": (DynamicSlice(start, stop - start), slice(start, stop)),
        }
        ours.append(pair[kind][0])
        theirs.append(pair[kind][1])
    first = draw(st.integers(0, len(shape)))
    beyond = draw(st.integers(first, len(shape)))
    if draw(st.booleans()):
        ours[first:beyond], theirs[first:beyond] = [Ellipsis], [Ellipsis]
    else:
        del ours[first:], theirs[first:]
    if len(ours) == 1 and draw(st.booleans()):
        return ours[0], theirs[0]
    return tuple(ours), tuple(theirs)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_basic_index_in_hbm_agrees_with_numpy(data: st.DataObject, shape: list[int]) -> None:
    oracle = numbered(*shape)
    ours, theirs = data.draw(basic_keys(tuple(shape)))
    view = hbm(oracle)[ours]
    assert view.shape == oracle[theirs].shape
    np.testing.assert_array_equal(values(view), oracle[theirs])
    assert view.partition_axis is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_basic_index_of_a_view_agrees_with_numpy(data: st.DataObject) -> None:
    oracle = numbered(4, 3, 5)
    first, numpys_first = data.draw(basic_keys((4, 3, 5)))
    once = hbm(oracle)[first]
    if not once.shape:
        return
    second, numpys_second = data.draw(basic_keys(once.shape))
    np.testing.assert_array_equal(values(once[second]), oracle[numpys_first][numpys_second])


def test_integers_drop_dimensions_of_hbm() -> None:
    tensor = hbm(numbered(2, 3, 4))
    assert tensor[1].shape == (3, 4)
    assert tensor[1, 2].shape == (4,)
    assert tensor[1, 2, 3].shape == ()
    assert values(tensor[1, 2, 3]) == 23


# -------------------------------------------------------------------------------------------- on chip


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        pytest.param((slice(None), 2), (3, 1), lambda t: t[:, 2:3], id="column"),
        pytest.param((slice(None), slice(2, 3)), (3, 1), lambda t: t[:, 2:3], id="slice of one column"),
        pytest.param((1,), (1, 4), lambda t: t[1:2], id="row"),
        pytest.param((1, slice(1, 3)), (1, 2), lambda t: t[1:2, 1:3], id="part of a row"),
        pytest.param((1, 2), (1, 1), lambda t: t[1:2, 2:3], id="element"),
        pytest.param((slice(1, 3), DynamicSlice(1, 2)), (2, 2), lambda t: t[1:3, 1:3], id="ds"),
        pytest.param((Ellipsis, 3), (3, 1), lambda t: t[:, 3:4], id="ellipsis, column"),
        pytest.param((Ellipsis,), (3, 4), lambda t: t, id="ellipsis"),
        pytest.param((slice(None), slice(0, 4, 2)), (3, 2), lambda t: t[:, ::2], id="every second column"),
        pytest.param((slice(None), slice(1, 4, 2)), (3, 2), lambda t: t[:, 1::2], id="every second column from 1"),
        pytest.param((slice(None), slice(0, 3, 2)), (3, 2), lambda t: t[:, 0:3:2], id="stop hit"),
    ],
)
def test_index_on_chip_keeps_rank_two(key: Any, shape: tuple[int, ...], expected: Callable[[Any], Any]) -> None:
    oracle = numbered(3, 4)
    view = tile(oracle)[key]
    assert view.shape == shape
    assert view.partition_axis == 0
    np.testing.assert_array_equal(values(view), expected(oracle))


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        pytest.param((slice(None), 1), (3, 5), id="first free dimension"),
        pytest.param((slice(None), slice(None), 1), (3, 4), id="last free dimension"),
        pytest.param((slice(None), 1, 1), (3, 1), id="both free dimensions"),
        pytest.param((2,), (1, 4, 5), id="partition"),
        pytest.param((2, 1, 1), (1, 1), id="all"),
    ],
)
def test_integers_drop_free_dimensions_of_a_tile_of_rank_three(key: Any, shape: tuple[int, ...]) -> None:
    oracle = numbered(3, 4, 5)
    view = tile(oracle)[key]
    assert view.shape == shape
    np.testing.assert_array_equal(values(view).reshape(-1), oracle[key].reshape(-1))


def test_partition_by_an_integer_is_the_slice_of_one() -> None:
    buffer = tile(numbered(3, 4))
    by_integer, by_slice = buffer[1], buffer[1:2]
    assert by_integer.strides == by_slice.strides == (4, 1)
    assert by_integer.offset == by_slice.offset == 4


def test_column_of_a_column_is_itself() -> None:
    buffer = tile(numbered(4, 3))
    column = buffer[:, 1]
    again = column[:, 0]
    assert again.shape == (4, 1)
    again[...] = 7.0
    assert values(buffer)[:, 1].tolist() == [7.0] * 4
    assert values(buffer)[:, 0].tolist() == [0.0, 3.0, 6.0, 9.0]


def test_block_dimensions_are_dropped_by_integers() -> None:
    buffer = tile(numbered(2, 4, 3), partition_axis=1)
    assert buffer.partition_axis == 1
    block = buffer[1]
    assert (block.shape, block.partition_axis) == ((4, 3), 0)
    np.testing.assert_array_equal(values(block), numbered(2, 4, 3)[1])
    assert buffer[1, :, 2].shape == (4, 1)
    assert buffer[1, 3].shape == (1, 3)
    assert buffer[1, 3, 2].shape == (1, 1)
    part = buffer[0:2, 1:3]
    assert (part.shape, part.partition_axis) == ((2, 2, 3), 1)
    assert buffer[1, :, :][:, 0].shape == (4, 1)


def test_block_dimension_by_advanced_index() -> None:
    oracle = numbered(2, 4, 3)
    view = tile(oracle, partition_axis=1)[1, arange(4)[:, None], arange(3)[None, :]]
    assert (view.shape, view.partition_axis) == ((4, 3), 0)
    np.testing.assert_array_equal(values(view), oracle[1])


# ----------------------------------------------------------------------------------------- advanced


@st.composite
def affine_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Affine indices in bounds, one per dimension, over a space of rank 2 or 3; and numpy's."""
    rank = draw(st.integers(2, 3))
    extents = draw(st.tuples(*[st.integers(1, 4)] * rank))
    ours: list[Any] = []
    theirs: list[Any] = []
    for size in shape:
        if draw(st.integers(0, 4)) == 0:
            position = draw(st.integers(0, size - 1))
            ours.append(position)
            theirs.append(position)
            continue
        axes = draw(st.lists(st.integers(0, rank - 1), unique=True, max_size=2))
        index = AffineIndex(0, (0,) * rank, tuple(1 for _ in extents))
        line = np.zeros((1,) * rank, dtype=np.int64)
        for axis in axes:
            step = draw(st.sampled_from([1, 2, -1]))
            key = tuple(slice(None) if d == axis else None for d in range(rank))
            index = index + step * arange(extents[axis])[key]
            line = line + step * np.arange(extents[axis])[key]
        low, high = index.bounds()
        if high - low >= size:
            index, line, low, high = index * 0, line * 0, 0, 0
        shift = draw(st.integers(-low, size - 1 - high))
        ours.append(index + shift)
        theirs.append(line + shift)
    full = np.zeros((1,) * rank, dtype=np.int64)
    if all(isinstance(part, int) for part in ours):
        ours[0], theirs[0] = AffineIndex(ours[0], (0,) * rank, (1,) * rank), full + theirs[0]
    return tuple(ours), tuple(theirs)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(affine_keys((5, 4, 6)))
def test_advanced_index_in_hbm_agrees_with_numpy(keys: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    oracle = numbered(5, 4, 6)
    view = hbm(oracle)[keys[0]]
    expected = oracle[keys[1]]
    assert view.shape == expected.shape
    np.testing.assert_array_equal(values(view), expected)
    assert view.gather is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(-4, 6), st.integers(-4, 8), st.sampled_from([1, 2, -1, -2]), st.integers(1, 6), st.integers(1, 6))
def test_advanced_index_out_of_bounds_is_legal_where_masked(a: int, b: int, step: int, rows: int, columns: int) -> None:
    oracle = numbered(5, 6)
    i, j = np.ogrid[0:rows, 0:columns]
    i, j = np.broadcast_arrays(a + i, b + step * j)
    inside = (i >= 0) & (i < 5) & (j >= 0) & (j < 6)
    view = hbm(oracle)[a + arange(rows)[:, None], b + step * arange(columns)[None, :]]
    assert view.shape == (rows, columns)
    read, undefined = view.read(inside if inside.any() else False)
    np.testing.assert_array_equal(np.asarray(read)[inside], oracle[i[inside], j[inside]])
    np.testing.assert_array_equal(holes_of(undefined, inside.shape), ~inside)
    if not inside.all():
        with refuses(OUT_OF_BOUNDS):
            view.read()


def holes_of(undefined: Any, shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, dtype=bool) if undefined is None else undefined.ids != 0


@pytest.mark.parametrize(
    ("key", "legal"),
    [
        pytest.param((slice(0, 4), slice(None)), True, id="slice to the end"),
        pytest.param((slice(0, 5), slice(None)), False, id="slice past the end"),
        pytest.param((slice(-1, 2), slice(None)), False, id="slice before the start"),
        pytest.param((3, slice(None)), True, id="last integer"),
        pytest.param((4, slice(None)), False, id="integer past the end"),
        pytest.param((-1, slice(None)), False, id="negative integer"),
        pytest.param((slice(None), DynamicSlice(2, 4)), True, id="ds to the end"),
        pytest.param((slice(None), DynamicSlice(3, 4)), False, id="ds past the end"),
        pytest.param((slice(None), slice(0, 7, 5)), True, id="step that stops inside"),
        pytest.param((slice(None), slice(0, 7, 6)), False, id="step that stops outside"),
        pytest.param((arange(4)[:, None], arange(6)[None, :]), True, id="ranges to the end"),
        pytest.param((arange(5)[:, None], arange(6)[None, :]), False, id="range past the end"),
        pytest.param((arange(-1, 3)[:, None], arange(6)[None, :]), False, id="range before the start"),
        pytest.param((arange(4)[:, None], 1 + arange(6)[None, :]), False, id="shifted range past the end"),
    ],
)
def test_bounds_of_an_index(key: Any, legal: bool) -> None:
    view = tile(numbered(4, 6))[key]  # an index alone is never refused: its use may be masked
    if legal:
        view.read()
        return
    with refuses(OUT_OF_BOUNDS, "the index runs over"):
        view.read()
    with refuses(OUT_OF_BOUNDS):
        view[...]


def test_every_dimension_out_of_bounds_is_named() -> None:
    with refuses(OUT_OF_BOUNDS) as caught:
        tile(numbered(4, 6))[4:6, 5:8].read()
    assert "dimension 0 has size 4, the index runs over [4, 5]" in str(caught.value)
    assert "dimension 1 has size 6, the index runs over [5, 7]" in str(caught.value)


def test_dimension_inside_is_not_named_with_those_out_of_bounds() -> None:
    with refuses(OUT_OF_BOUNDS) as caught:
        tile(numbered(4, 6))[0:4, 5:8].read()
    assert "dimension 1" in str(caught.value)
    assert "dimension 0" not in str(caught.value)


def test_tensor_of_one_element_is_read_beyond_its_end_where_masked() -> None:
    read, undefined = tile([[7.0]])[0:1, 0:2].read(np.array([[True, False]]))
    assert read[0, 0] == 7.0
    assert holes_of(undefined, (1, 2)).tolist() == [[False, True]]


def test_out_of_bounds_of_a_view_is_out_of_bounds_though_the_storage_goes_on() -> None:
    view = tile(numbered(4, 6))[0:2, 0:3]
    with refuses(OUT_OF_BOUNDS):
        view[0:2, 0:4].read()
    assert values(view[0:2, 1:3]).tolist() == [[1, 2], [7, 8]]


def test_gathered_view_of_a_view_addresses_the_storage() -> None:
    part = tile(numbered(4, 6))[1:3, 2:5]
    read, _ = part[arange(2)[:, None], 1 + arange(3)[None, :]].read(np.array([[True, True, False]] * 2))
    assert read[:, :2].tolist() == [[9, 10], [15, 16]]


# ------------------------------------------------------------------------------------ partition rules


@pytest.mark.parametrize(
    ("key", "legal"),
    [
        pytest.param((slice(0, 4, 1), slice(None)), True, id="consecutive partitions"),
        pytest.param((slice(0, 4, 2), slice(None)), False, id="every second partition"),
        pytest.param((slice(0, 2, 2), slice(None)), True, id="one partition by a step"),
        pytest.param((2 * arange(2)[:, None], arange(6)[None, :]), False, id="partition index in steps"),
        pytest.param((3 - arange(4)[:, None], arange(6)[None, :]), False, id="partitions backwards"),
        pytest.param((1 + arange(3)[:, None], arange(6)[None, :]), True, id="partitions from 1"),
        pytest.param((0 * arange(4)[:, None], arange(6)[None, :]), False, id="one partition four times"),
        pytest.param((arange(4)[None, :], arange(6)[:, None]), False, id="transposed"),
        pytest.param((2, arange(6)[:, None]), False, id="free elements as partitions"),
        pytest.param((2, arange(6)[None, :]), True, id="row"),
        pytest.param((arange(4)[:, None], arange(4)[:, None]), False, id="diagonal"),
        pytest.param((arange(4)[:, None], arange(4)[:, None] + arange(2)[None, :]), False, id="slanted"),
        pytest.param((arange(4)[:, None] + arange(1)[None, :], 2), True, id="column"),
        pytest.param((arange(2)[:, None] + arange(2)[None, :], arange(2)[None, :]), False, id="partition by column"),
        pytest.param((arange(4)[:, None, None], arange(2)[None, :, None] + 2 * arange(3)), True, id="strided free"),
        pytest.param((arange(4)[:, None], 5 - arange(6)[None, :]), True, id="free elements backwards"),
    ],
)
def test_partitions_are_taken_one_by_one(key: Any, legal: bool) -> None:
    oracle = numbered(4, 6)
    buffer = tile(oracle)
    if not legal:
        with refuses("", "walks the partitions"):
            buffer[key]
        hbm(oracle)[key]  # HBM has no partitions
        return
    theirs = tuple(part.values() if isinstance(part, AffineIndex) else part for part in key)
    np.testing.assert_array_equal(values(buffer[key]).reshape(-1), oracle[theirs].reshape(-1))


def test_block_index_does_not_vary_by_partition() -> None:
    buffer = tile(numbered(4, 4, 3), partition_axis=1)
    with refuses("", "walks the partitions"):
        buffer[arange(4)[:, None], arange(4)[:, None], arange(3)[None, :]]


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("key", "code", "match"),
    [
        pytest.param((arange(4)[:, None], slice(None)), MIXED, "cannot be mixed", id="range and slice"),
        pytest.param((arange(4)[:, None],), MIXED, "3 dimensions", id="too few ranges"),
        pytest.param((arange(4)[:, None], Ellipsis), MIXED, None, id="range and ellipsis"),
        pytest.param((arange(4)[:, None], DynamicSlice(0, 2), 0), MIXED, None, id="range and ds"),
        pytest.param((arange(4)[:, None], 0, 0, 0), MIXED, None, id="too many ranges"),
        pytest.param((arange(4), 0, 0), "err_1d_arange_not_supported", None, id="1-D range"),
        pytest.param((arange(4), arange(4), arange(4)), "err_1d_arange_not_supported", None, id="1-D ranges"),
        pytest.param((0, 0, 0, 0), "", "too many indices .* rank 3: 4", id="too many integers"),
        pytest.param((Ellipsis, Ellipsis), "", "too many indices", id="two ellipses"),
        pytest.param((Ellipsis, 0, 0, 0, 0), "", "too many indices", id="ellipsis and too many"),
        pytest.param((slice(2, 2),), "", "is empty", id="empty slice"),
        pytest.param((slice(3, 2),), "", "is empty", id="reversed slice"),
        pytest.param((slice(0, -1),), "", "is empty", id="negative stop"),
        pytest.param((slice(0, 2, 0),), "", "positive step", id="step of zero"),
        pytest.param((slice(0, 2, -1),), "", "positive step", id="negative step"),
        pytest.param((slice(0.0, 2),), "", "whole numbers", id="start of a float"),
        pytest.param((slice(0, 2.0),), "", "whole numbers", id="stop of a float"),
        pytest.param((slice(0, 2, True),), "", "whole numbers", id="step of a bool"),
        pytest.param((None,), "", "is no index for dimension 0", id="None"),
        pytest.param((0, 1.5), "", "is no index for dimension 1", id="float"),
        pytest.param((True,), "", "is no index", id="bool"),
        pytest.param(([0, 1],), "", "is no index", id="list"),
    ],
)
def test_refuses_what_is_no_index(key: Any, code: str, match: str | None) -> None:
    with refuses(code, match):
        hbm(numbered(4, 3, 2))[key]


def test_ellipsis_may_stand_for_no_dimension() -> None:
    assert hbm(numbered(4, 3))[1, ..., 2].shape == ()


@pytest.mark.parametrize(
    ("start", "size", "match"),
    [
        pytest.param(0.0, 2, "start=0.0", id="start of a float"),
        pytest.param(0, 2.0, "size=2.0", id="size of a float"),
        pytest.param(0, 0, "size=0", id="size of zero"),
        pytest.param(True, 2, "start=True", id="start of a bool"),
    ],
)
def test_refuses_dynamic_slice_of(start: Any, size: Any, match: str) -> None:
    with refuses("", match):
        DynamicSlice(start, size)


def test_dynamic_slice_may_start_before_the_tensor() -> None:
    assert DynamicSlice(-1, 1).start == -1


# ------------------------------------------------------------------------------------------- aliasing


@pytest.mark.parametrize(
    "key",
    [
        pytest.param((slice(None), slice(1, 3)), id="slice"),
        pytest.param((slice(1, 2), slice(None)), id="row"),
        pytest.param((slice(None), 2), id="column"),
        pytest.param((1, 2), id="element"),
        pytest.param((arange(3)[:, None], 1 + arange(2)[None, :]), id="ranges"),
        pytest.param((arange(3)[:, None], 2 * arange(2)[None, :]), id="strided ranges"),
    ],
)
def test_views_write_through(key: Any) -> None:
    buffer = tile(np.zeros((3, 4)), holes=True)
    view = buffer[key]
    view.write(5.0, None)
    assert (~holes(buffer)).sum() == np.prod(view.shape)
    assert (values(buffer)[~holes(buffer)] == 5.0).all()
    np.testing.assert_array_equal(values(view), np.full(view.shape, 5.0))


# --------------------------------------------------------------------------------- tensors as indices

FREE = "err_indirect_indices_free_dim"


def rows_of(*numbers: int, dtype: Any = np.int32, **more: Any) -> LegacyTensor:
    """An index tile, one number per partition."""
    return tile(np.reshape(numbers, (-1, 1)), dtype, **more)


def line(size: int) -> AffineIndex:
    return arange(size)[None, :]


INDIRECT = [
    pytest.param(lambda t: (rows_of(3, 0, 2), line(4)), lambda a: a[[3, 0, 2]][:, 0:4], id="rows"),
    pytest.param(lambda t: (rows_of(3, 0, 2), 2 * line(2)), lambda a: a[[3, 0, 2]][:, 0:4:2], id="strided columns"),
    pytest.param(lambda t: (rows_of(3, 0, 2), 1), lambda a: a[[3, 0, 2], 1:2], id="one column"),
    pytest.param(lambda t: (rows_of(2) + arange(2)[:, None], line(4)), lambda a: a[2:4], id="start of a run of rows"),
    pytest.param(lambda t: (arange(2)[:, None] + rows_of(2), line(4)), lambda a: a[2:4], id="the same, swapped"),
]


@pytest.mark.parametrize(("key", "expected"), INDIRECT)
@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int8], ids=lambda d: np.dtype(d).name)
def test_tile_as_index_of_hbm_names_rows(key: Callable[[Any], Any], expected: Callable[[Any], Any], dtype: Any) -> None:
    source = numbered(5, 4)
    view = hbm(source)[key(dtype)]
    assert view.shape == expected(source).shape
    np.testing.assert_array_equal(values(view), expected(source))


def test_tile_as_index_of_a_line_in_hbm() -> None:
    np.testing.assert_array_equal(values(hbm(numbered(5))[rows_of(4, 1)]), [[4.0], [1.0]])


def test_tile_as_index_names_a_block() -> None:
    source = numbered(3, 2, 4)
    view = hbm(source)[rows_of(2), arange(2)[:, None], line(4)]
    np.testing.assert_array_equal(values(view), source[2])


def test_index_tile_is_aligned_with_the_partitions() -> None:
    source = numbered(5, 2, 3)
    i, j, k = (AffineIndex.arange(0, n) for n in (2, 2, 3))
    view = hbm(source)[rows_of(4, 0), j[None, :, None], k[None, None, :]]
    assert i.shape == (2,)
    np.testing.assert_array_equal(values(view), source[[4, 0]])


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: (arange(2)[:, None], rows_of(0, 1)), id="after the partition dimension"),
        pytest.param(lambda: (tile([[0, 1]], np.int32), line(2)), id="varying along a free dimension"),
        pytest.param(lambda: (rows_of(0) + line(2), line(2)), id="offset along a free dimension"),
        pytest.param(lambda: (rows_of(0, 1), rows_of(0, 1)), id="twice"),
    ],
)
def test_refuses_tile_as_index_of_a_free_dimension(key: Callable[[], Any]) -> None:
    with refuses(FREE):
        hbm(numbered(4, 4))[key()]


@pytest.mark.parametrize(
    ("index", "code", "match"),
    [
        pytest.param(lambda: rows_of(0, 1, dtype=np.float32), "", "holds integers", id="float"),
        pytest.param(
            lambda: rows_of(0, 1, space=Space.PSUM), "err_unsupported_memory", "in psum cannot be an index", id="PSUM"
        ),
        pytest.param(
            lambda: hbm(np.zeros((2, 1), np.int32)), "err_unsupported_memory", "in hbm cannot be an index", id="HBM"
        ),
    ],
)
def test_refuses_index_tile_that_cannot_be_read(index: Callable[[], Any], code: str, match: str) -> None:
    with refuses(code, match):
        hbm(numbered(4, 4))[index(), line(4)]


def test_refuses_index_tile_beside_a_slice() -> None:
    with refuses(MIXED):
        hbm(numbered(4, 4))[rows_of(0, 1), 0:4]


def test_refuses_index_tile_that_does_not_broadcast() -> None:
    with refuses("", "do not broadcast"):
        hbm(numbered(4, 4))[rows_of(0, 1, 2), arange(2)[:, None]]


def test_refuses_indexing_of_an_indirect_view() -> None:
    with refuses("", "cannot be indexed again"):
        hbm(numbered(4, 4))[rows_of(0, 1), line(4)][0:1]


def test_index_tile_is_read_when_indexing() -> None:
    index = rows_of(3, 0)
    view = hbm(numbered(4, 2))[index, line(2)]
    index[...] = 1
    np.testing.assert_array_equal(values(view), numbered(4, 2)[[3, 0]])


@pytest.mark.parametrize(("row", "bounds"), [(-1, r"\[-1, 0\]"), (4, r"\[0, 4\]")], ids=["below", "beyond"])
def test_refuses_read_through_an_index_out_of_bounds(row: int, bounds: str) -> None:
    with refuses(OUT_OF_BOUNDS) as caught:
        hbm(numbered(4, 2))[rows_of(0, row), line(2)].read()
    assert re.search(f"dimension 0 has size 4, the index runs over {bounds}", str(caught.value.why))


def test_last_row_is_within_bounds() -> None:
    assert not holes(hbm(numbered(4, 2))[rows_of(0, 3), line(2)]).any()


# on chip


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(lambda o: (arange(3)[:, None], o + line(2)), lambda a: a[:, 2:4], id="start of a run"),
        pytest.param(lambda o: (arange(3)[:, None], line(2) + o), lambda a: a[:, 2:4], id="swapped"),
        pytest.param(lambda o: (arange(3)[:, None], o), lambda a: a[:, 2:3], id="one column"),
    ],
)
def test_element_as_index_on_chip_is_an_offset_in_each_partition(key: Any, expected: Any) -> None:
    source, offsets = numbered(3, 5), tile([[7, 2]], np.int32)
    view = tile(source)[key(offsets[0, 1])]
    np.testing.assert_array_equal(values(view), expected(source))
    assert view.partition_axis == 0


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: (arange(2)[:, None], rows_of(0, 1)), id="one per partition"),
        pytest.param(lambda: (rows_of(0), line(2)), id="the partition dimension"),
    ],
)
def test_refuses_other_index_tiles_on_chip(key: Callable[[], Any]) -> None:
    with refuses(FREE, "on-chip tensor"):
        tile(numbered(2, 4))[key()]


def test_refuses_walking_partitions_in_steps_beside_an_offset() -> None:
    with refuses("", "walks the partitions in steps"):
        tile(numbered(4, 4))[2 * arange(2)[:, None], rows_of(1) + line(2)]


def test_index_values_do_not_matter_without_arithmetic() -> None:
    with running(arithmetic=False):
        unknown = rows_of(0, 99, holes=True)
        assert hbm(numbered(4, 2))[unknown, line(2)].read()[0].shape == (2, 2)


def test_observer_sees_the_index_tile_as_an_operand() -> None:
    with observe.observing(sequence=True) as seen:
        tile(np.zeros((2, 2)), holes=True)
        movement.load(hbm(numbered(4, 2))[rows_of(0, 1), line(2)])
    load = next(one for one in seen if one.operation == "load")
    assert [operand.shape for operand in load.operands] == [(2, 1), (2, 2)]
