"""Tiles made from compile-time values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

TOO_MANY = "err_num_partition_exceed_arch_limit"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize("dtype", [np.float32, BF16, np.int8, np.uint32, np.bool_], ids=lambda d: np.dtype(d).name)
def test_memset_fills_a_tile(dtype: Any) -> None:
    made = nisa.memset((3, 2, 4), 1, dtype)
    assert (made.shape, made.dtype, made.space) == ((3, 2, 4), np.dtype(dtype), Space.SBUF)
    assert (values(made) == 1).all()
    assert not holes(made).any()


def test_memset_rounds_its_value() -> None:
    assert values(nisa.memset((1, 1), 2.5, np.int8)).tolist() == [[2]]


def test_memset_takes_the_first_dimension_for_the_partitions() -> None:
    assert nisa.memset((4, nl.par_dim(128), 2), 0, np.float32).partition_axis == 0
    with refuses(TOO_MANY):
        nisa.memset((129, nl.par_dim(4)), 0, np.float32)
    nisa.memset((128, 200), 0, np.float32)


def test_memset_masks_its_result() -> None:
    assert holes(nisa.memset((1, 3), 0, np.float32, mask=nl.arange(3)[None, :] < 2)).tolist() == [[False, False, True]]
    assert holes(nisa.memset((1, 3), 0, np.float32, mask=False)).all()


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (nisa.unknown_engine, Engine.VECTOR),
        (nisa.vector_engine, Engine.VECTOR),
        (nisa.gpsimd_engine, Engine.GPSIMD),
        (nisa.scalar_engine, None),
    ],
    ids=str,
)
def test_memset_runs_on_two_engines(engine: Any, expected: Engine | None) -> None:
    if expected is None:
        with refuses("engine-operation"):
            nisa.memset((1, 3), 0, np.float32, engine=engine)
        return
    with observe.observing(sequence=True) as seen:
        nisa.memset((1, 3), 0, np.float32, engine=engine)
    assert [one.engine for one in seen] == [expected]


@pytest.mark.parametrize("shape", [(3,), 3, (0, 2), (2.0, 2), ()], ids=str)
def test_refuses_memset_of_no_shape(shape: Any) -> None:
    with refuses("", "two or more positive whole numbers"):
        nisa.memset(shape, 0, np.float32)


def test_refuses_memset_with_a_tile() -> None:
    with refuses("", "compile-time number"):
        nisa.memset((1, 1), tile([[1.0]]), np.float32)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param(lambda: nl.arange(4)[None, :], [[0, 1, 2, 3]], id="row"),
        pytest.param(lambda: nl.arange(3)[:, None], [[0], [1], [2]], id="column"),
        pytest.param(lambda: nl.arange(3)[None, :] * -1, [[0, -1, -2]], id="descending"),
        pytest.param(lambda: 5 + nl.arange(3)[:, None] * 2, [[5], [7], [9]], id="start and step"),
        pytest.param(
            lambda: nl.arange(2)[:, None] * 10 + nl.arange(3)[None, :], [[0, 1, 2], [10, 11, 12]], id="both dimensions"
        ),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.float32, BF16], ids=lambda d: np.dtype(d).name)
def test_iota_holds_the_values_of_the_expression(expression: Any, expected: Any, dtype: Any) -> None:
    made = nisa.iota(expression(), dtype)
    assert values(made).astype(np.float64).tolist() == expected
    assert (made.dtype, made.space) == (np.dtype(dtype), Space.SBUF)


def test_iota_masks_its_result() -> None:
    j = nl.arange(3)[None, :]
    assert holes(nisa.iota(j, np.int32, mask=j < 2)).tolist() == [[False, False, True]]
    assert holes(nisa.iota(j, np.int32, mask=False)).all()


@pytest.mark.parametrize(
    ("expression", "code", "match"),
    [
        pytest.param(lambda: nl.arange(3), "err_1d_arange_not_supported", r"shape \(3,\)", id="one dimension"),
        pytest.param(lambda: 3, "", "affine expression", id="number"),
        pytest.param(lambda: nl.arange(2)[None, :] * 2**31, "", "no 32-bit integers", id="too large"),
        pytest.param(lambda: nl.arange(2)[None, :] * -(2**31) - 1, "", "no 32-bit integers", id="too small"),
        pytest.param(lambda: nl.arange(129)[:, None], TOO_MANY, "129 partitions", id="partitions"),
    ],
)
def test_refuses_iota(expression: Any, code: str, match: str) -> None:
    with refuses(code, match):
        nisa.iota(expression(), np.int32)


def test_iota_of_the_largest_32_bit_integer() -> None:
    assert values(nisa.iota(nl.arange(2)[None, :] + (2**31 - 2), np.int32)).tolist() == [[2**31 - 2, 2**31 - 1]]
    assert values(nisa.iota(nl.arange(2)[None, :] - 2**31, np.int32)).tolist() == [[-(2**31), -(2**31) + 1]]
