"""Reducing over the partitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

X = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 15]], dtype=np.float32)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize(
    ("op", "dtype", "oracle"),
    [
        pytest.param(np.add, np.float32, np.add, id="add"),
        pytest.param(nl.max, np.float32, np.maximum, id="max"),
        pytest.param(np.bitwise_or, np.int32, np.bitwise_or, id="or"),
        pytest.param(np.bitwise_and, np.uint8, np.bitwise_and, id="and"),
    ],
)
def test_reduction_leaves_one_partition(op: Any, dtype: Any, oracle: Any) -> None:
    made = nisa.tensor_partition_reduce(op, tile(X, dtype))
    np.testing.assert_array_equal(values(made), oracle.reduce(X.astype(dtype), axis=0, keepdims=True))
    assert made.dtype == np.dtype(dtype)


def test_reduction_keeps_free_dimensions() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    np.testing.assert_array_equal(values(nisa.tensor_partition_reduce(np.add, tile(x))), x.sum(axis=0, keepdims=True))


def test_reduction_rounds_once() -> None:
    made = nisa.tensor_partition_reduce(np.add, tile([[256.0], [1.0], [1.0]], BF16))
    assert float(values(made)[0, 0]) == 258.0
    assert nisa.tensor_partition_reduce(np.add, tile(X, BF16), dtype=np.float32).dtype == np.dtype(np.float32)


def test_masked_elements_take_no_part() -> None:
    i, j = nl.arange(3)[:, None], nl.arange(3)[None, :]
    gaps = [[False] * 3, [False] * 3, [True] * 3]
    made = nisa.tensor_partition_reduce(np.add, tile(X, holes=gaps), mask=(i + 0 * j < 2) & (j + 0 * i < 2))
    assert values(made)[0, :2].tolist() == [5, 7]
    assert holes(made).tolist() == [[False, False, True]]
    assert holes(nisa.tensor_partition_reduce(np.add, tile(X), mask=False)).all()


def test_masked_partitions_leave_a_whole_result() -> None:
    i, j = nl.arange(3)[:, None], nl.arange(3)[None, :]
    made = nisa.tensor_partition_reduce(nl.max, tile(-X), mask=i + 0 * j > 0)
    assert values(made).tolist() == [[-4, -5, -6]]
    assert made.result_mask is None


def test_columns_of_undefined_elements_stay_undefined() -> None:
    gaps = np.array([[True, False, False]] * 3)
    assert holes(nisa.tensor_partition_reduce(np.add, tile(X, holes=gaps))).tolist() == [[True, False, False]]


def test_refuses_mixing_undefined_elements_with_defined_ones() -> None:
    gaps = np.zeros((3, 3), dtype=bool)
    gaps[1, 1] = True
    with pytest.raises(UndefinedReadFault, match="together with defined ones"):
        nisa.tensor_partition_reduce(np.add, tile(X, holes=gaps))
    nisa.tensor_partition_reduce(
        np.add, tile(X, holes=gaps), mask=nl.arange(3)[None, :] + 0 * nl.arange(3)[:, None] < 1
    )


@pytest.mark.parametrize(
    ("op", "dtype", "code", "space"),
    [
        pytest.param(np.multiply, np.float32, "", Space.SBUF, id="multiply"),
        pytest.param(np.bitwise_or, np.float32, "", Space.SBUF, id="bits of floats"),
        pytest.param(np.add, np.float32, "err_unsupported_memory", Space.PSUM, id="PSUM"),
    ],
)
def test_refuses_reduction(op: Any, dtype: Any, code: str, space: Space) -> None:
    with refuses(code):
        nisa.tensor_partition_reduce(op, tile(X, dtype, space=space))
