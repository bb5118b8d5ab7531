"""Seeds, uniform numbers and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import language as nl
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def drawn(seed: Any, rate: Any = 0.5) -> Any:
    with running():
        if seed is not None:
            nl.random_seed(seed)
        return values(nl.dropout(tile(np.ones((64, 64))), rate))


def test_seed_decides_what_is_dropped() -> None:
    assert same_bytes(drawn(3), drawn(3))
    assert same_bytes(drawn(3), drawn(tile([[3]], np.int32)))
    assert same_bytes(drawn(-1), drawn(2**32 - 1))
    assert not same_bytes(drawn(3), drawn(4))
    assert same_bytes(drawn(None), drawn(0))


def test_generator_goes_on() -> None:
    nl.random_seed(1)
    first = values(nl.dropout(tile(np.ones((64, 64))), 0.5))
    assert not same_bytes(first, values(nl.dropout(tile(np.ones((64, 64))), 0.5)))


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.75, 1.0])
def test_dropout_drops_at_its_rate(rate: float) -> None:
    x = np.random.default_rng(0).random((64, 64)).astype(np.float32) + 1
    nl.random_seed(7)
    result = values(nl.dropout(tile(x), rate))
    assert ((result == 0) | (result == x)).all()
    assert abs((result == 0).mean() - rate) < 0.03
    if rate in (0.0, 1.0):
        assert (result == 0).mean() == rate


def test_dropout_takes_its_rate_from_a_tile_of_one_element() -> None:
    assert same_bytes(drawn(5, 0.25), drawn(5, tile([[0.25]])))
    result = nl.dropout(tile(np.ones((4, 2))), tile([[0.25]], holes=True))
    assert holes(result).all()


def test_dropout_casts_and_masks() -> None:
    assert nl.dropout(tile(np.ones((2, 2)), np.int8), 0.0).dtype == np.dtype(np.int8)
    result = nl.dropout(
        tile(np.ones((1, 3)), holes=[[1, 0, 0]]), 0.0, dtype=nl.bfloat16, mask=nl.arange(3)[None, :] < 2
    )
    assert result.dtype == np.dtype(nl.bfloat16)
    assert holes(result).tolist() == [[True, False, True]]
    assert holes(nl.dropout(tile(np.ones((1, 3))), 0.5, mask=False)).all()
    view = tile([[1.0, 2.0]])[nl.arange(1)[:, None], nl.arange(3)[None, :]]
    nl.dropout(view, 0.5, mask=nl.arange(3)[None, :] < 2)
    with refuses("err_tensor_access_out_of_bound"):
        nl.dropout(view, 0.5)


@pytest.mark.parametrize("rate", [None, "0.5", np.array([0.5])], ids=["None", "str", "array"])
def test_refuses_rate_that_is_neither_number_nor_tile(rate: Any) -> None:
    with refuses("", "dropout: rate must be a tensor"):
        nl.dropout(tile(np.ones((2, 2))), rate)


@pytest.mark.parametrize("shape", [(4, 1), (1, 2), (2, 2), (2, 1, 1)], ids=str)
def test_refuses_rate_of_several_elements_that_is_no_column(shape: tuple[int, ...]) -> None:
    with refuses("", r"a tile of one element or of shape \(2, 1\), got shape"):
        nl.dropout(tile(np.ones((2, 2))), tile(np.zeros(shape)))


def test_dropout_takes_a_rate_per_partition() -> None:
    rates = tile([[0.0], [1.0]])
    assert values(nl.dropout(tile(np.ones((2, 2, 2))), rates))[:, 0, 0].tolist() == [1.0, 0.0]
    result = nl.dropout(tile(np.ones((2, 3, 2))), tile([[0.0], [0.0]], holes=[[0], [1]]))
    assert holes(result)[:, 0, 0].tolist() == [False, True]


@pytest.mark.parametrize("seed", [None, 1.5, "1", True], ids=str)
def test_refuses_seed_that_is_no_whole_number(seed: Any) -> None:
    with refuses("", "a seed is a whole number"):
        nl.random_seed(seed)


def test_refuses_seed_from_a_tile_of_floats() -> None:
    with refuses("", "a seed is a whole number or an integer tile"):
        nl.random_seed(tile([[1.0]]))


def test_refuses_undefined_seed() -> None:
    with pytest.raises(UndefinedReadFault, match=r"random_seed uses an undefined seed(.|\n)*first read by random_seed"):
        nl.random_seed(tile([[1]], np.int32, holes=True))


# ----------------------------------------------------------------------------------------------- rand


def test_uniform_numbers_follow_the_seed() -> None:
    nl.random_seed(3)
    first = nl.rand((64, 100))
    again = nl.rand((64, 100))
    nl.random_seed(3)
    assert same_bytes(values(nl.rand((64, 100))), values(first))
    assert not same_bytes(values(again), values(first))
    numbers = values(first)
    assert (first.shape, first.dtype) == ((64, 100), np.dtype(np.float32))
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert abs(numbers.mean() - 0.5) < 6 * np.sqrt(1 / 12 / numbers.size)  # six standard errors
    assert nl.rand((2, 2), dtype=nl.bfloat16).dtype == np.dtype(nl.bfloat16)


def test_refuses_uniform_numbers_without_a_free_dimension() -> None:
    with refuses("", "needs a partition and a free dimension"):
        nl.rand((4,))
    with refuses("err_num_partition_exceed_arch_limit"):
        nl.rand((129, 2))


def test_seed_that_its_mask_drops_changes_nothing() -> None:
    nl.random_seed(1)
    expected = values(nl.rand((2, 2)))
    nl.random_seed(1)
    i = nl.arange(1)[:, None]
    nl.random_seed(2, mask=False)
    nl.random_seed(tile([[2]], np.int32), mask=i > 0)
    assert same_bytes(values(nl.rand((2, 2))), expected)
    nl.random_seed(1, mask=i < 1)
    assert same_bytes(values(nl.rand((2, 2))), expected)
