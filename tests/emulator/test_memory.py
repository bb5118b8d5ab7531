"""Storage, views and definedness; a naive model (an array and a bool mask) is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import indexing
from nkifix.emulator.addresses import element_strides
from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.undefined import MAX_ORIGINS, Origin, Undefined, refuse_undefined
from tests.emulator.kernels import hbm, holes, refuses, running, tile, values

OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"
TWICE = "err_store_dst_shape_smaller_than_other_shape"
Bools = npt.NDArray[np.bool_]


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def blank(shape: tuple[int, ...], dtype: Any = np.float32, space: Space = Space.HBM) -> Tensor:
    storage = Storage(shape, np.dtype(dtype), space, partition_axis=0 if space.on_chip else None)
    storage.leave_undefined()
    return Tensor._whole(storage)


def index(const: int, steps: tuple[int, ...], extents: tuple[int, ...]) -> AffineIndex:
    return AffineIndex(const, steps, extents)


# ------------------------------------------------------------------------------------------ the model


class Model:
    """A tensor as a numpy array and a bool array of what is undefined."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.zeros(shape, dtype=np.int32)
        self.undefined = np.ones(shape, dtype=bool)

    def write(self, where: tuple[Any, ...], keep: Bools, new: npt.NDArray[np.int32], unknown: Bools) -> None:
        places = tuple(axis[keep] for axis in where)
        self.values[places] = new[keep]
        self.undefined[places] = unknown[keep]


@dataclass
class Step:
    """One write: a view by start, step and extent per dimension, what to write, and what to keep."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    extents: tuple[int, ...]
    mask: Bools | None
    new: npt.NDArray[np.int32]
    unknown: Bools | None


SHAPE = (4, 3, 5)


@st.composite
def writes(draw: st.DrawFn) -> Step:
    starts, steps, extents = [], [], []
    for size in SHAPE:
        step = draw(st.sampled_from([1, 1, 2, -1]))
        extent = draw(st.integers(1, size))
        start = draw(st.integers(-1, size))
        starts.append(start)
        steps.append(step)
        extents.append(extent)
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    shape = tuple(extents)
    mask = generator.random(shape) < 0.7 if draw(st.booleans()) else None
    unknown = generator.random(shape) < 0.3 if draw(st.booleans()) else None
    return Step(tuple(starts), tuple(steps), shape, mask, generator.integers(-99, 99, shape, dtype=np.int32), unknown)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(writes(), min_size=1, max_size=7))
def test_writes_and_reads_agree_with_a_naive_model(steps: list[Step]) -> None:
    tensor, model = blank(SHAPE, np.int32), Model(SHAPE)
    for step in steps:
        where = np.meshgrid(
            *(start + by * np.arange(n) for start, by, n in zip(step.starts, step.steps, step.extents, strict=True)),
            indexing="ij",
        )
        inside = np.ones(step.extents, dtype=bool)
        for axis, size in zip(where, SHAPE, strict=True):
            inside &= (axis >= 0) & (axis < size)
        keys = tuple(
            index(start, tuple(by if d == dim else 0 for d in range(3)), tuple(n if d == dim else 1 for d in range(3)))
            for dim, (start, by, n) in enumerate(zip(step.starts, step.steps, step.extents, strict=True))
        )
        view = indexing.view(tensor, keys)
        unknown = np.zeros(step.extents, dtype=bool) if step.unknown is None else step.unknown
        undefined = None if step.unknown is None else Undefined(unknown.astype(np.uint8), (Origin(lambda: "it"),))
        keep = np.ones(step.extents, dtype=bool) if step.mask is None else step.mask
        if (keep & ~inside).any():
            with refuses(OUT_OF_BOUNDS):
                view.write(step.new, undefined, step.mask)
            with refuses(OUT_OF_BOUNDS):
                view.read(step.mask)
        else:
            view.write(step.new, undefined, step.mask)
            model.write(tuple(where), keep, step.new, unknown)
            read, gone = view.read(inside)
            lost = np.zeros(step.extents, dtype=bool) if gone is None else gone.ids != 0
            places = tuple(axis[inside] for axis in where)
            np.testing.assert_array_equal(lost[inside], model.undefined[places])
            assert lost[~inside].all()
            known = ~model.undefined[places]
            np.testing.assert_array_equal(np.asarray(read)[inside][known], model.values[places][known])
        np.testing.assert_array_equal(holes(tensor), model.undefined)
        np.testing.assert_array_equal(values(tensor)[~model.undefined], model.values[~model.undefined])
        assert tensor.storage.undefined_count == model.undefined.sum()
        assert (tensor.storage.undefined is None) == (not model.undefined.any())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_overlapping_copy_inside_one_tensor_reads_before_it_writes(a: int, b: int, extent: int, gaps: bool) -> None:
    source = np.arange(16, dtype=np.float32).reshape(2, 8)
    unknown = (np.arange(16).reshape(2, 8) % 3 == 0) & gaps
    tensor = tile(source, holes=unknown)
    expected, expected_holes = source.copy(), unknown.copy()
    expected[:, a : a + extent], expected_holes[:, a : a + extent] = (
        source[:, b : b + extent],
        unknown[:, b : b + extent],
    )
    tensor[:, a : a + extent] = tensor[:, b : b + extent]
    np.testing.assert_array_equal(holes(tensor), expected_holes)
    np.testing.assert_array_equal(values(tensor)[~expected_holes], expected[~expected_holes])


# ------------------------------------------------------------------------------------------- elements


def test_fresh_allocation_is_undefined_everywhere() -> None:
    tensor = blank((2, 3))
    assert holes(tensor).all()
    assert tensor.storage.undefined_count == 6


def test_whole_write_defines_everything_at_once() -> None:
    tensor = blank((2, 3))
    tensor.write(1.5, None)
    assert tensor.storage.undefined is None
    assert tensor.storage.undefined_count == 0
    assert values(tensor).tolist() == [[1.5] * 3] * 2


def test_write_of_a_part_that_has_the_size_of_the_whole_is_no_whole_write() -> None:
    # Same number of elements and dense strides, but of a larger storage.
    tensor = blank((4, 2))
    indexing.view(tensor, (slice(0, 2), slice(None))).write(1.0, None)
    assert holes(tensor).tolist() == [[False, False]] * 2 + [[True, True]] * 2


def test_masked_write_leaves_the_rest() -> None:
    tensor = tile([[1.0, 2.0, 3.0]])
    tensor.write(9.0, None, np.array([[False, True, False]]))
    assert values(tensor).tolist() == [[1.0, 9.0, 3.0]]
    tensor.write(7.0, None, False)
    assert values(tensor).tolist() == [[1.0, 9.0, 3.0]]


def test_masked_write_of_undefined_values_over_defined_ones() -> None:
    tensor = tile([[1.0, 2.0, 3.0]])
    unknown = Undefined(np.array([[1, 0, 1]], dtype=np.uint8), (Origin(lambda: "it"),))
    tensor.write(9.0, unknown, np.array([[True, True, False]]))
    assert holes(tensor).tolist() == [[True, False, False]]
    assert tensor.storage.undefined_count == 1


def test_write_is_rounded_once_to_the_dtype() -> None:
    tensor = blank((1, 2), np.int8)
    tensor.write(np.array([[2.5, 200.0]], dtype=np.float32), None)
    assert values(tensor).tolist() == [[2, 127]]


def test_gathered_write_is_rounded_once_to_the_dtype() -> None:
    tensor = blank((1, 2), np.int8)
    columns = index(0, (0, 1), (1, 3))
    view = indexing.view(tensor, (index(0, (0, 0), (1, 1)), columns))
    view.write(np.array([[2.5, 200.0, 0.0]], dtype=np.float32), None, np.array([[True, True, False]]))
    assert values(tensor).tolist() == [[2, 127]]
    assert tensor.storage.undefined is None


def test_gathered_write_of_undefined_values() -> None:
    tensor = tile([[1.0, 2.0, 3.0]], holes=[[True, False, False]])
    view = tensor[index(0, (1, 0), (1, 1)), index(0, (0, 1), (1, 4))]
    unknown = Undefined(np.array([[0, 1, 0, 1]], dtype=np.uint8), (Origin(lambda: "it"),))
    view.write(9.0, unknown, np.array([[True, True, False, False]]))
    assert holes(tensor).tolist() == [[False, True, False]]
    assert values(tensor)[0].tolist() == [9.0, 9.0, 3.0]
    assert tensor.storage.undefined_count == 1
    view.write(9.0, None, np.array([[True, True, True, False]]))
    assert tensor.storage.undefined is None
    view.write(
        9.0, Undefined(np.ones((1, 1), dtype=np.uint8), (Origin(lambda: "it"),)), np.array([[True] * 3 + [False]])
    )
    assert tensor.storage.undefined_count == 3


def test_input_is_defined_again_once_what_spoiled_it_is_overwritten() -> None:
    tensor = hbm(np.zeros((1, 3), dtype=np.float32))
    part = indexing.view(tensor, (slice(0, 1), slice(0, 2)))
    part.write(9.0, Undefined(np.ones((1, 2), dtype=np.uint8), (Origin(lambda: "it"),)))
    assert tensor.storage.undefined_count == 2
    part.write(7.0, None)
    assert tensor.storage.undefined is None
    assert values(tensor).tolist() == [[7.0, 7.0, 0.0]]


def test_whole_write_through_a_transposed_view_defines_everything() -> None:
    tensor = blank((2, 3))
    indexing.view(tensor, (index(0, (0, 1), (1, 2)), index(0, (1, 0), (3, 1)))).write(1.5, None)
    assert tensor.storage.undefined is None
    assert tensor.storage.undefined_count == 0


def test_gathered_write_with_a_constant_mask() -> None:
    tensor = tile([[1.0, 2.0]])
    view = tensor[index(0, (1, 0), (1, 1)), index(1, (0, 1), (1, 2))]
    with refuses(OUT_OF_BOUNDS):
        view.write(9.0, None)
    view.write(9.0, None, False)
    assert values(tensor).tolist() == [[1.0, 2.0]]


def test_gathered_read_marks_what_does_not_exist() -> None:
    tensor = tile([[1.0, 2.0]], holes=[[False, True]])
    view = tensor[index(0, (1, 0), (1, 1)), index(-1, (0, 1), (1, 4))]
    keep = np.array([[False, True, True, False]])
    read, undefined = view.read(keep)
    assert undefined is not None
    assert (undefined.ids != 0).tolist() == [[True, False, True, True]]
    assert read[0, 1] == 1.0
    with pytest.raises(UndefinedReadFault, match="out of bounds and masked off"):
        refuse_undefined(undefined, operation="store", happened="writes")


def test_gathered_read_of_a_defined_tensor_marks_what_does_not_exist() -> None:
    tensor = tile([[1.0, 2.0]])
    view = tensor[index(0, (1, 0), (1, 1)), index(0, (0, 1), (1, 3))]
    _, undefined = view.read(False)
    assert undefined is not None
    assert undefined.ids.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("defined", [True, False], ids=["defined", "never written"])
def test_refuses_unmasked_access_out_of_bounds(defined: bool) -> None:
    tensor = tile(np.zeros((1, 4))) if defined else blank((1, 4), space=Space.SBUF)
    view = indexing.view(tensor, (slice(0, 1), slice(2, 6)))
    with refuses(OUT_OF_BOUNDS, r"2 element\(s\) outside of .* shape \(1, 4\)") as caught:
        view.read()
    assert "dimension 1 has size 4, the index runs over [2, 5]" in str(caught.value)
    with refuses(OUT_OF_BOUNDS):
        view.read(np.array([[True, True, True, False]]))
    view.read(np.array([[True, True, False, False]]))


def test_check_bounds_of_a_view_inside_is_silent() -> None:
    tile(np.zeros((2, 2))).check_bounds(None)


# ------------------------------------------------------------------------------- one value per element


@pytest.mark.parametrize(
    ("keys", "twice"),
    [
        pytest.param((index(0, (1, 0), (2, 1)), index(0, (0, 0), (1, 3))), True, id="column, three times"),
        pytest.param((index(0, (1, 0), (2, 1)), index(3, (0, 0), (1, 1))), False, id="column, once"),
        pytest.param((index(1, (0, 0), (1, 1)), index(2, (0, 0), (1, 3))), True, id="element, three times"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 1, 1), (1, 3, 2))), True, id="sliding window"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 2, 1), (1, 3, 2))), False, id="neighbours"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 3, 2), (1, 3, 2))), False, id="interleaved"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 3, 2), (1, 3, 4))), True, id="interleaved too far"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 4, 3), (1, 2, 3))), False, id="crossing, apart"),
        pytest.param((index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 5, 2), (1, 2, 4))), False, id="crossing, far apart"),
        pytest.param((index(0, (1, 0), (2, 1)), index(7, (0, -1), (1, 8))), False, id="backwards"),
    ],
)
def test_destination_names_every_element_once(keys: tuple[AffineIndex, ...], twice: bool) -> None:
    tensor = tile(np.zeros((2, 13)))
    view = indexing.view(tensor, keys)
    if twice:
        with refuses(TWICE, "names some elements of .* twice"):
            view.write(1.0, None)
        assert not values(tensor).any()
    else:
        view.write(1.0, None)
        assert values(tensor).sum() == np.prod(view.shape)


def test_gathered_destination_names_every_element_once() -> None:
    tensor = hbm(np.zeros((2, 3), dtype=np.float32))
    rows, beyond = index(0, (1, 0), (2, 1)), index(0, (0, 1), (1, 5))
    inside = np.array([[True, True, True, False, False]] * 2)
    tensor[rows, beyond].write(1.0, None, inside)  # past a row's end the next row begins: no repetition
    assert (values(tensor) == 1.0).all()
    twice = tensor[index(0, (1, 0, 0), (2, 1, 1)), index(0, (0, 2, 1), (1, 2, 3))]  # columns 0 1 2, 2 3 4
    keep = np.array([[[True, True, True], [True, False, False]]] * 2)
    with refuses(TWICE):
        twice.write(2.0, None, keep)
    keep[:, 1, 0] = False
    twice.write(2.0, None, keep)
    assert (values(tensor) == 2.0).all()


def test_refuses_destination_whose_rows_are_one_row() -> None:
    tensor = hbm(np.zeros((3, 4), dtype=np.float32))
    view = tensor[index(1, (0, 0), (2, 1)), index(0, (0, 1), (1, 4))]
    with refuses(TWICE):
        view.write(1.0, None)


# -------------------------------------------------------------------------------------------- storage


def test_first_write_copies_the_callers_bytes() -> None:
    array = np.zeros((2, 2), dtype=np.float32)
    raw = array.reshape(-1).view(np.uint8)
    storage = Storage((2, 2), array.dtype, Space.HBM, partition_axis=None, raw=raw, is_input=True)
    tensor = Tensor._whole(storage)
    assert np.shares_memory(storage.flat(), array)
    tensor.write(1.0, None, False)
    assert np.shares_memory(storage.flat(), array)
    tensor.write(1.0, None)
    assert not array.any()
    assert storage.array().all()
    own = storage.raw
    tensor.write(2.0, None)
    assert storage.raw is own


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((), ()), ((5,), (1,)), ((2, 3, 4), (12, 4, 1)), ((1, 1), (1, 1))],
    ids=str,
)
def test_element_strides_are_row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    assert element_strides(shape) == strides


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda: hbm([1.0], name="q").storage, "tensor 'q'", id="input"),
        pytest.param(lambda: Storage((1,), np.dtype("f4"), Space.HBM, partition_axis=None), "a tensor", id="result"),
    ],
)
def test_description_without_a_place(make: Callable[[], Storage], text: str) -> None:
    assert make().describe() == text


def test_description_of_an_assigned_tensor() -> None:
    storage = Storage((1, 1), np.dtype(np.float32), Space.SBUF, partition_axis=0)
    leave: Any = storage.leave_undefined
    scores = leave()
    assert scores is None
    assert storage.describe().startswith(f"tensor 'scores' of {__file__}:")


def test_description_of_an_annotated_assignment() -> None:
    storage = Storage((1, 1), np.dtype(np.float32), Space.SBUF, partition_axis=0)
    leave: Any = storage.leave_undefined
    scores: Any = leave()
    assert scores is None
    assert storage.describe().startswith(f"tensor 'scores' of {__file__}:")


def test_description_of_a_comparison_names_nothing() -> None:
    storage = Storage((1, 1), np.dtype(np.float32), Space.SBUF, partition_axis=0)
    leave: Any = storage.leave_undefined
    storage == leave()  # noqa: B015  looks like an assignment
    assert storage.describe().startswith(f"the tensor of {__file__}:")


def test_given_name_comes_before_the_assigned_one() -> None:
    storage = Storage((1, 1), np.dtype(np.float32), Space.SBUF, partition_axis=0, name="given")
    leave: Any = storage.leave_undefined
    scores = leave()
    assert scores is None
    assert storage.describe().startswith(f"tensor 'given' of {__file__}:")


def test_origins_beyond_a_byte_are_counted_on() -> None:
    tensor = blank((1, MAX_ORIGINS + 5))
    for column in range(MAX_ORIGINS + 5):
        unknown = Undefined(np.ones((1, 1), dtype=np.uint8), (Origin(lambda: "it"),))
        indexing.view(tensor, (slice(None), slice(column, column + 1))).write(0.0, unknown)
    assert holes(tensor).all()
    assert tensor.storage.undefined is not None
    assert len(tensor.storage.undefined.origins) == MAX_ORIGINS
    tensor.write(0.0, None)
    assert not holes(tensor).any()


# --------------------------------------------------------------------------------------------- tensor


def test_refuses_construction() -> None:
    with pytest.raises(TypeError, match="cannot be constructed"):
        Tensor((2, 2), np.float32)


@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(lambda t: np.exp(t), id="ufunc"),
        pytest.param(lambda t: np.asarray(t), id="asarray"),
        pytest.param(lambda t: np.sum(t), id="function"),
    ],
)
def test_refuses_numpy_functions(compute: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TypeError):
        compute(tile(np.zeros((2, 2))))


def test_attributes_are_those_of_an_array() -> None:
    tensor = tile(np.zeros((3, 2)), np.int8, space=Space.PSUM)
    assert (tensor.shape, tensor.ndim, tensor.dtype, tensor.space) == ((3, 2), 2, np.dtype(np.int8), Space.PSUM)
    assert len(tensor) == 3
    assert repr(tensor) == "Tensor(shape=(3, 2), dtype=int8, buffer=psum)"


@pytest.mark.parametrize(
    ("space", "on_chip"),
    [
        (Space.SBUF, True),
        (Space.PSUM, True),
        (Space.HBM, False),
        (Space.PRIVATE_HBM, False),
        (Space.SHARED_HBM, False),
    ],
    ids=str,
)
def test_on_chip_memories(space: Space, on_chip: bool) -> None:
    assert space.on_chip is on_chip
