"""Allocation, initial values and constants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.machine import Launch, Program, executing
from nkifix.emulator.memory import Space
from nkifix.emulator.params import Params
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values


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


@pytest.mark.parametrize(
    "given", [{"lazy_initialization": True}, {"lazy_initialization": False}, {"buffer": None}, {}], ids=str
)
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
        pytest.param(lambda: nl.full((2, 3), ml_dtypes.bfloat16(0.5), np.float32), 0.5, id="full of a bfloat16"),
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


# ------------------------------------------------------------------------------- like another tensor


@pytest.mark.parametrize("make", [nl.empty_like, nl.zeros_like], ids=lambda f: f.__name__)
def test_tensor_like_another_lives_in_sbuf(make: Any) -> None:
    for model in (tile(np.ones((2, 3)), nl.bfloat16), hbm(np.ones((2, 3), dtype=ml_dtypes.bfloat16))):
        made = make(model)
        assert (made.shape, made.dtype, made.space) == ((2, 3), np.dtype(nl.bfloat16), Space.SBUF)
        assert holes(made).all() == (make is nl.empty_like)
        other = make(model, np.int8, buffer=nl.psum, name="scores")
        assert (other.dtype, other.space) == (np.dtype(np.int8), Space.PSUM)
        assert "scores" in other.storage.describe()


def test_tensor_like_another_keeps_its_block_dimensions() -> None:
    model = nl.ndarray((4, nl.par_dim(2), 3), np.float32)
    assert nl.empty_like(model).partition_axis == 1


def test_refuses_tensor_like_what_is_none() -> None:
    for make in (nl.empty_like, nl.zeros_like):
        with refuses("", "takes a tensor as its model, got ndarray"):
            make(np.ones((2, 2)))
    with refuses("err_hbm_tensor_with_init_value_not_supported"):
        nl.zeros_like(tile([[1.0]]), buffer=nl.shared_hbm)


# ------------------------------------------------------------------------------------------ constants


def test_constant_lies_in_hbm() -> None:
    constant = nl.shared_constant(np.array([[1.5, -2.0]], dtype=np.float32), dtype=nl.bfloat16)
    assert (constant.space, constant.dtype) == (Space.HBM, np.dtype(nl.bfloat16))
    assert values(nl.load(constant)).tolist() == [[1.5, -2.0]]
    assert nl.shared_constant(np.zeros((2, 2), dtype=np.int8)).dtype == np.dtype(np.int8)


def test_identity_matrix_is_one_of_uint8() -> None:
    assert same_bytes(values(nl.load(nl.shared_identity_matrix(3))), np.identity(3, dtype=np.uint8))
    assert nl.shared_identity_matrix(n=2, dtype=nl.bfloat16).dtype == np.dtype(nl.bfloat16)


def test_refuses_constant_of_a_tile_or_of_a_host_dtype() -> None:
    with refuses("", "takes a host array"):
        nl.shared_constant(tile([[1.0]]))
    with refuses("", "no dtype"):
        nl.shared_constant(np.identity(2))
