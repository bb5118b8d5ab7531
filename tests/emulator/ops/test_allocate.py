"""Allocation, initial values and random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.machine import Launch, Program, executing
from nkifix.emulator.memory import Space
from nkifix.emulator.params import Params
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize(
    ("shape", "buffer", "partition_axis"),
    [
        pytest.param((4, 3), nl.sbuf, 0, id="SBUF"),
        pytest.param([4, 3], nl.psum, 0, id="PSUM, list"),
        pytest.param((2, nl.par_dim(4), 3), nl.sbuf, 1, id="one block dimension"),
        pytest.param((2, 2, nl.par_dim(4), 3), nl.psum, 2, id="two block dimensions"),
        pytest.param((nl.par_dim(4), 3), nl.sbuf, 0, id="par_dim first"),
        pytest.param((np.int64(4), 3), nl.sbuf, 0, id="numpy size"),
        pytest.param((4, 3), nl.hbm, None, id="HBM"),
        pytest.param((4, 3), nl.private_hbm, None, id="private HBM"),
        pytest.param((4, 3), nl.shared_hbm, None, id="shared HBM"),
        pytest.param((5,), nl.hbm, None, id="vector in HBM"),
        pytest.param((200, 3), nl.private_hbm, None, id="HBM has no partitions"),
    ],
)
def test_new_tensor_is_undefined(shape: Any, buffer: Space, partition_axis: int | None) -> None:
    tensor = nl.ndarray(shape, nl.bfloat16, buffer=buffer)
    assert isinstance(tensor, LegacyTensor)
    assert tensor.shape == tuple(int(size) for size in shape)
    assert all(type(size) is int for size in tensor.shape)
    assert (tensor.space, tensor.partition_axis) == (buffer, partition_axis)
    assert tensor.dtype == np.dtype(ml_dtypes.bfloat16)
    assert holes(tensor).all()


def test_size_alone_is_a_shape_in_hbm() -> None:
    assert nl.ndarray(5, np.float32, buffer=nl.hbm).shape == (5,)


@pytest.mark.parametrize("given", [{"lazy_initialization": True}, {"lazy_initialization": False}, {}], ids=str)
def test_default_buffer_is_sbuf(given: dict[str, Any]) -> None:
    for make in (nl.ndarray, nl.zeros, nl.ones):
        assert make((2, 2), np.float32, **given).space is Space.SBUF
    assert nl.full((2, 2), 1, np.float32, **given).space is Space.SBUF


@pytest.mark.parametrize(
    ("make", "number"),
    [
        pytest.param(lambda: nl.zeros((2, 3), np.float32), 0, id="zeros"),
        pytest.param(lambda: nl.ones((2, 3), np.float32, buffer=nl.psum), 1, id="ones"),
        pytest.param(lambda: nl.full((2, 3), -9984.0, np.float32), -9984.0, id="full"),
        pytest.param(lambda: nl.full((2, 3), nl.fp32.min, np.float32), np.finfo(np.float32).min, id="lowest"),
        pytest.param(lambda: nl.full((2, 3), 300, np.int8), 127, id="full of an integer, saturated"),
        pytest.param(lambda: nl.full((2, 3), np.int8(3), np.float32), 3, id="full of a typed number"),
        pytest.param(lambda: nl.full((2, 3), nl.bfloat16(0.5), np.float32), 0.5, id="full of a bfloat16"),
        pytest.param(lambda: nl.full((2, 3), 2**24 + 1, np.int32), 2**24 + 1, id="full of a large integer"),
    ],
)
def test_filled_tensor_is_defined(make: Any, number: float) -> None:
    tensor = make()
    assert not holes(tensor).any()
    assert values(tensor).tolist() == [[number] * 3] * 2


def test_name_is_kept_for_messages() -> None:
    for tensor in (
        nl.ndarray((2, 2), np.float32, name="scores"),
        nl.zeros((2, 2), np.float32, name="scores"),
        nl.ones((2, 2), np.float32, name="scores"),
        nl.full((2, 2), 1, np.float32, name="scores"),
        nl.ndarray((2, 2), np.float32, buffer=nl.shared_hbm, name="scores"),
    ):
        assert tensor.storage.describe().startswith(f"tensor 'scores' of {__file__}:")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda: nl.ndarray((2, 0), np.float32), "positive whole numbers", id="size of zero"),
        pytest.param(lambda: nl.ndarray((2, -1), np.float32), "positive whole numbers", id="negative size"),
        pytest.param(lambda: nl.ndarray((2, 1.5), np.float32), "positive whole numbers", id="size of a float"),
        pytest.param(lambda: nl.ndarray((2, True), np.float32), "positive whole numbers", id="size of a bool"),
        pytest.param(lambda: nl.ndarray("ab", np.float32), "positive whole numbers", id="string"),
        pytest.param(lambda: nl.ndarray((2, 2), np.float32, buffer="sbuf"), "is no memory", id="buffer by name"),
        pytest.param(lambda: nl.ndarray((2, 2), np.float32, buffer=None), "is no memory", id="no buffer"),
        pytest.param(lambda: nl.ndarray((2, 2), np.float64), "no dtype", id="dtype"),
        pytest.param(lambda: nl.ndarray((128,), np.float32), "insufficient rank", id="vector on chip"),
        pytest.param(lambda: nl.ndarray((2, nl.par_dim(4)), np.float32), r"insufficient rank", id="par_dim last"),
        pytest.param(
            lambda: nl.ndarray((nl.par_dim(2), nl.par_dim(2), 2), np.float32),
            "one partition dimension",
            id="two par_dims",
        ),
        pytest.param(lambda: nl.full((2, 2), None, np.float32), "fill value is a number", id="fill of None"),
        pytest.param(lambda: nl.full((2, 2), tile([[1.0]]), np.float32), "fill value is a number", id="fill of a tile"),
    ],
)
def test_refuses_allocation_with(make: Any, match: str) -> None:
    with refuses("", match):
        make()


def test_refusal_of_a_rank_shows_plain_sizes() -> None:
    with refuses("", r"got shape \(2, 4\)"):
        nl.ndarray((2, nl.par_dim(4)), np.float32)


@pytest.mark.parametrize("buffer", [nl.hbm, nl.private_hbm, nl.shared_hbm], ids=lambda b: b.value)
def test_refuses_value_in_hbm(buffer: Space) -> None:
    for make in (nl.zeros, nl.ones):
        with refuses("err_hbm_tensor_with_init_value_not_supported", buffer.value):
            make((2, 2), np.float32, buffer=buffer)
    with refuses("err_hbm_tensor_with_init_value_not_supported"):
        nl.full((2, 2), 1.0, np.float32, buffer=buffer)


def test_shared_hbm_is_one_memory_for_all_programs() -> None:
    launch = Launch(Params(), (2,))
    made = []
    for position in range(2):
        with executing(Program(launch, (position,), tensor_type=LegacyTensor)):
            made.append(
                (
                    nl.ndarray((2, 2), np.float32, buffer=nl.shared_hbm),
                    nl.ndarray((2, 2), np.float32, buffer=nl.private_hbm),
                )
            )
    assert made[0][0].storage is made[1][0].storage
    assert made[0][1].storage is not made[1][1].storage


# --------------------------------------------------------------------------------------------- random


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
