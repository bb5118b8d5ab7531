"""The bytes of a tensor as another dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.machine import Launch, Program, executing
from nkifix.emulator.memory import Tensor
from nkifix.emulator.params import Params
from nkifix.emulator.reinterpret import reinterpret
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values

X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.function.__name__.endswith("_when_launched"):
        yield  # such a test launches a kernel of its own
        return
    with running():
        yield


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32, np.int16, nl.bfloat16, np.uint8], ids=str)
def test_bytes_stay(dtype: Any) -> None:
    for tensor in (tile(X), hbm(X)):
        view = reinterpret(tensor, dtype)
        assert same_bytes(values(view), X.view(dtype))
        assert view.dtype == np.dtype(dtype)


def test_narrow_elements_join_to_wide_ones() -> None:
    narrow = X.view(np.uint8)
    assert same_bytes(values(reinterpret(tile(narrow, np.uint8), np.float32)), X)


def test_writing_either_side_shows_in_the_other() -> None:
    buffer = tile(np.zeros((2, 2)))
    view = reinterpret(buffer, np.int32)
    view.write(np.float32(1.5).view(np.int32), None)
    assert values(buffer).tolist() == [[1.5, 1.5]] * 2
    buffer.write(0.0, None)
    assert not values(view).any()


def test_a_callers_array_is_not_written() -> None:
    array = np.ones((2, 2), dtype=np.float32)
    tensor = hbm(array)
    tensor.storage.owns_bytes = False
    before = tensor.storage.raw
    reinterpret(tensor, np.int32).write(0, None)
    assert tensor.storage.owns_bytes
    assert before.view(np.float32).tolist() == [1.0] * 4
    assert not values(tensor).any()


def test_parameter_that_was_stored_into_through_a_view_when_launched() -> None:
    def kernel(x: Any) -> None:
        nl.store(x.view(np.int32), nl.zeros((2, 2), np.int32))

    array = np.ones((2, 2), dtype=np.float32)
    nki.jit(kernel)(array)
    assert not array.any()


# ------------------------------------------------------------------------------------------ parts


def test_view_of_a_part() -> None:
    part = tile(X)[1:3, 2:6]
    assert same_bytes(values(reinterpret(part, np.int16)), np.ascontiguousarray(X[1:3, 2:6]).view(np.int16))
    column = tile(X)[:, 3]
    assert same_bytes(values(reinterpret(column, np.uint8)), np.ascontiguousarray(X[:, 3:4]).view(np.uint8))
    halves = tile(X[:, :4].view(np.uint8), np.uint8)[:, 4:12]
    assert same_bytes(values(reinterpret(halves, np.float32)), X[:, 1:3])


def test_strided_view_keeps_its_strides_where_the_size_stays() -> None:
    strided = tile(X)[:, nl.ds(0, 8)][nl.arange(3)[:, None], 2 * nl.arange(4)[None, :]]
    assert same_bytes(values(reinterpret(strided, np.int32)), X[:, ::2].view(np.int32))
    with refuses("", "must lie side by side"):
        reinterpret(strided, np.uint8)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda: tile(X.view(np.uint8), np.uint8)[:, 1:5], id="begins inside of an element"),
        pytest.param(lambda: tile(X.view(np.uint8), np.uint8)[:, 0:6], id="ends inside of an element"),
        pytest.param(lambda: tile(np.zeros((2, 3)), np.uint8), id="rows are no whole elements"),
    ],
)
def test_refuses_parts_of_elements(view: Any) -> None:
    with refuses("", "fill whole elements of the new dtype"):
        reinterpret(view(), np.float32)


def test_refuses_run_time_index() -> None:
    indirect = hbm(X)[tile([[0]], np.int32), nl.arange(8)[None, :]]
    with refuses("", "cannot be seen as int32"):
        reinterpret(indirect, np.int32)


# ------------------------------------------------------------------------------------------ definedness


def undefined_in(tensor: Tensor) -> list[list[bool]]:
    found: list[list[bool]] = holes(tensor).tolist()
    return found


def test_parts_of_an_undefined_element_are_undefined() -> None:
    buffer = tile([[1.0, 2.0]], holes=[[0, 1]])
    assert undefined_in(reinterpret(buffer, np.int16)) == [[False, False, True, True]]
    assert undefined_in(reinterpret(buffer, np.int32)) == [[False, True]]


def test_element_with_an_undefined_part_is_undefined() -> None:
    buffer = tile([[1, 2, 3, 4]], np.int16, holes=[[0, 0, 0, 1]])
    assert undefined_in(reinterpret(buffer, np.int32)) == [[False, True]]


def test_writing_through_a_view_defines_the_original() -> None:
    buffer = nl.ndarray((1, 2), np.float32)
    view: Any = reinterpret(buffer, np.int16)
    assert undefined_in(view) == [[True] * 4]
    nl.copy(view)
    view[:, 0:2].write(0, None)
    assert undefined_in(buffer) == [[False, True]]
    view.write(0, None)
    assert undefined_in(buffer) == [[False, False]]
    assert buffer.storage.undefined is None
    assert undefined_in(view) == [[False] * 4]


def test_half_an_element_leaves_the_rest_undefined() -> None:
    buffer = nl.ndarray((1, 1), np.float32)
    view: Any = reinterpret(buffer, np.int16)
    view[:, 0:1].write(0, None)
    assert undefined_in(buffer) == [[True]]


def test_writing_an_undefined_element_through_a_view_undoes_the_original() -> None:
    buffer = tile([[1.0, 2.0]])
    view: Any = reinterpret(buffer, np.int32)
    view[...] = tile([[5, 6]], np.int32, holes=[[1, 0]])
    assert undefined_in(buffer) == [[True, False]]


# ------------------------------------------------------------------------------------------ float32 storage


def test_refuses_bits_that_are_not_there() -> None:
    with executing(Program(Launch(Params(storage="fp32"), ()), (), tensor_type=type(tile([[1.0]])))):
        assert reinterpret(nl.zeros((1, 2), np.float32), np.int32).dtype == np.dtype(np.int32)
        assert reinterpret(nl.zeros((1, 2), nl.tfloat32), np.int32).dtype == np.dtype(np.int32)
        for source, target in ((nl.bfloat16, np.int16), (np.int16, nl.bfloat16)):
            with refuses("", "the bits of a bfloat16 tensor"):
                reinterpret(nl.zeros((1, 2), source), target)
