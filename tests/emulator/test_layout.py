"""What is fixed about storages and views: one object for equal ones, and what it says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator.layout import Kind, kind_of
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16, F32, TF32

I32 = np.dtype(np.int32)


def kind(shape: tuple[int, ...] = (4, 6), dtype: Any = F32, **more: Any) -> Kind:
    given = {"space": Space.SBUF, "partition_axis": 0, "role": "declared", **more}
    return kind_of(shape, dtype, given.pop("space"), given.pop("partition_axis"), given.pop("role"), **given)


def test_equal_kinds_and_layouts_are_one_object() -> None:
    assert kind() is kind()
    assert kind().layout((2, 3), (6, 2), 0) is kind().layout((2, 3), (6, 2), 0)
    assert kind().whole is kind().layout((4, 6), (6, 1), 0)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"shape": (6, 4)}, id="shape"),
        pytest.param({"dtype": BF16}, id="dtype"),
        pytest.param({"space": Space.PSUM}, id="memory"),
        pytest.param({"shape": (4, 6), "partition_axis": 1}, id="partition dimension"),
        pytest.param({"role": "computed"}, id="role"),
        pytest.param({"in_f32": True}, id="kept in float32"),
    ],
)
def test_kinds_that_differ_in_one_thing_are_two(other: dict[str, Any]) -> None:
    assert kind(**other) is not kind()


@pytest.mark.parametrize(
    ("shape", "strides", "axis"), [((2, 3), (6, 2), 0), ((2, 3), (6, 1), 1), ((2, 2), (6, 2), 0), ((2, 3), (12, 2), 0)]
)
def test_layouts_that_differ_in_one_thing_are_two(shape: tuple[int, ...], strides: tuple[int, ...], axis: int) -> None:
    same = (shape, strides, axis) == ((2, 3), (6, 2), 0)
    assert (kind().layout(shape, strides, axis) is kind().layout((2, 3), (6, 2), 0)) is same


@pytest.mark.parametrize(
    ("dtype", "in_f32", "element", "rounds"),
    [
        (F32, False, F32, False),
        (BF16, False, BF16, False),
        (BF16, True, F32, False),
        (TF32, False, F32, True),
        (TF32, True, F32, False),
        (I32, True, I32, False),
    ],
)
def test_elements_lie_as_their_dtype_or_in_float32(dtype: Any, in_f32: bool, element: Any, rounds: bool) -> None:
    made = kind(dtype=dtype, in_f32=in_f32)
    assert (made.dtype, made.element, made.rounds_to_tf32) == (dtype, element, rounds)


@pytest.mark.parametrize(
    ("shape", "axis", "partitions", "row"),
    [((4, 6), 0, 4, 6), ((3, 4, 6), 1, 4, 6), ((4, 2, 3), 0, 4, 6), ((4, 6), None, 1, 24)],
)
def test_partitions_and_rows(shape: tuple[int, ...], axis: int | None, partitions: int, row: int) -> None:
    made = kind(shape, partition_axis=axis)
    assert (made.partitions, made.row) == (partitions, row)


@pytest.mark.parametrize(
    ("axis", "shape", "offset", "first"), [(0, (4, 6), 0, 0), (0, (4, 6), 13, 2), (1, (2, 4, 6), 24 + 7, 1)]
)
def test_first_partition_is_that_of_the_first_element(
    axis: int, shape: tuple[int, ...], offset: int, first: int
) -> None:
    assert kind(shape, partition_axis=axis).whole.first_partition(offset) == first


@pytest.mark.parametrize(
    ("role", "is_result"), [("input", False), ("declared", False), ("computed", True), ("moved", True)]
)
def test_results_are_what_an_engine_or_dma_made(role: str, is_result: bool) -> None:
    assert kind(role=role).is_result is is_result


@pytest.mark.parametrize(
    ("one", "other", "holds"),
    [
        (F32, F32, True),
        (F32, BF16, True),
        (F32, TF32, False),
        (BF16, F32, False),
        (BF16, np.dtype(np.float16), False),
        (F32, I32, False),
        (I32, I32, True),
    ],
)
def test_kind_holds_elements_that_it_need_not_round(one: Any, other: Any, holds: bool) -> None:
    assert kind(dtype=one).holds(kind(dtype=other)) is holds


def test_box_depends_on_the_offset() -> None:
    layout = kind().layout((2, 3), (6, 1), 0)
    assert layout.box(7) == (((1, 2, 1), (1, 3, 1)), True)
    assert layout.box(0) == (((0, 1, 1), (0, 2, 1)), True)
    assert layout.box(7) is layout.box(7)
    assert kind().layout((2, 3), (6, 2), 0).box(0) == (((0, 1, 1), (0, 4, 2)), False)


def test_view_says_whether_it_names_an_element_twice() -> None:
    assert kind().layout((4, 6), (0, 1), 0).names_twice
    assert not kind().whole.names_twice


def test_blank_has_the_views_shape_and_the_elements_dtype() -> None:
    blank = kind(dtype=BF16).layout((2, 3), (6, 2), 0).blank
    assert (blank.shape, blank.dtype) == ((2, 3), BF16)
    assert not blank.any()
