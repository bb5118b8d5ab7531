"""Arithmetic on element addresses: listing them all is the oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nkifix.emulator.addresses import Box, box, disjoint, names_twice, without


@pytest.mark.parametrize(
    ("shape", "strides", "twice"),
    [
        pytest.param((3, 4), (4, 1), False, id="whole"),
        pytest.param((3, 4), (0, 1), True, id="broadcast"),
        pytest.param((1, 4), (0, 1), False, id="broadcast of one"),
        pytest.param((2, 3), (2, 1), True, id="overlapping"),
        pytest.param((2, 2), (2, 3), False, id="interleaved"),
        pytest.param((), (), False, id="element"),
    ],
)
def test_view_names_an_element_twice(shape: tuple[int, ...], strides: tuple[int, ...], twice: bool) -> None:
    assert names_twice(shape, strides) is twice


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=3))
def test_every_small_view_is_judged_by_its_addresses(dimensions: list[tuple[int, int]]) -> None:
    shape, strides = tuple(one for one, _ in dimensions), tuple(one for _, one in dimensions)
    places = [int(np.dot(position, strides)) for position in itertools.product(*map(range, shape))]
    assert names_twice(shape, strides) == (len(set(places)) < len(places))


# ------------------------------------------------------------------------------------------------ boxes


@st.composite
def boxes(draw: st.DrawFn, rank: int) -> Box:
    spans = []
    for _ in range(rank):
        first = draw(st.integers(0, 4))
        spans.append((first, draw(st.integers(first, 4)), 1))
    return tuple(spans)


def inside(box: Box) -> set[tuple[int, ...]]:
    return set(itertools.product(*(range(first, last + 1, step) for first, last, step in box)))


@given(st.data(), st.integers(1, 3))
def test_what_is_left_of_a_box_is_the_rest_of_its_elements_each_once(data: st.DataObject, rank: int) -> None:
    whole, cut = data.draw(boxes(rank)), data.draw(boxes(rank))
    left = without(whole, cut)
    listed = [place for piece in left for place in inside(piece)]
    assert sorted(listed) == sorted(inside(whole) - inside(cut))
    assert disjoint(whole, cut) == (not inside(whole) & inside(cut))


@given(st.data())
def test_box_around_a_view_holds_all_its_elements(data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    shape = tuple(data.draw(st.integers(1, 3)) for _ in sizes)
    strides = tuple(data.draw(st.integers(0, 8)) for _ in sizes)
    reach = sum(step * (extent - 1) for step, extent in zip(strides, shape, strict=True))
    total = int(np.prod(sizes))
    assume(reach < total)
    offset = data.draw(st.integers(0, total - 1 - reach))
    around, filled = box(sizes, offset, shape, strides)
    places = {
        tuple(map(int, np.unravel_index(offset + int(np.dot(position, strides)), sizes)))
        for position in itertools.product(*map(range, shape))
    }
    assert places <= inside(around)
    if filled:
        assert places == inside(around)
