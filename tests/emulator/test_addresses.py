"""Arithmetic on element addresses: listing them all is the oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkifix.emulator.addresses import names_twice


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
