"""The frozen orders of sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator import functions, sums
from tests.emulator.kernels import same_bytes


def pairwise(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The documented order, written out; one sum per row of ``columns``, each addition rounded to float32."""
    n = columns.shape[1]
    if n < 8:
        total: npt.NDArray[np.float32] = np.zeros(columns.shape[0], dtype=np.float32)
        for i in range(n):
            total = total + columns[:, i]
        return total
    if n <= 128:
        lanes = [columns[:, lane] for lane in range(8)]
        whole = n - n % 8
        for start in range(8, whole, 8):
            lanes = [lanes[lane] + columns[:, start + lane] for lane in range(8)]
        total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
        for i in range(whole, n):
            total = total + columns[:, i]
        return total
    half = n // 2
    half -= half % 8
    return pairwise(columns[:, :half]) + pairwise(columns[:, half:])


def uneven(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Values of very different sizes, so that any other order shows in the last bits."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * 2.0 ** generator.integers(-12, 12, shape)).astype(np.float32)


LENGTHS = [*range(1, 290), 511, 512, 513, 1000, 1023, 1024, 1025, 2040, 2047, 2048, 2049, 3333, 4095, 4096, 4999, 5000]


@pytest.mark.parametrize("lengths", [LENGTHS[i::4] for i in range(4)], ids=["0", "1", "2", "3"])
def test_sum_follows_the_frozen_order(lengths: list[int]) -> None:
    for n in lengths:
        values = uneven((5, n), n)
        assert same_bytes(sums.sum_last_axes(values, 1), pairwise(values)), n


@pytest.mark.parametrize("n", [8191, 8192, 8193, 20000])
def test_sum_of_more_than_a_buffer_follows_the_frozen_order(n: int) -> None:
    values = uneven((3, n), n)
    assert same_bytes(sums.sum_last_axes(values, 1), pairwise(values))


def test_the_reference_order_is_told_from_others() -> None:
    values = uneven((64, 500), 1)
    left_to_right: npt.NDArray[np.float32] = np.zeros(64, dtype=np.float32)
    for i in range(500):
        left_to_right = left_to_right + values[:, i]
    assert not same_bytes(pairwise(values), left_to_right)
    assert not same_bytes(pairwise(values), pairwise(np.ascontiguousarray(values[:, ::-1])))


@pytest.mark.parametrize("n", [7, 8, 100, 128, 129, 512, 1001])
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda v: np.asfortranarray(v), id="transposed"),
        pytest.param(lambda v: np.repeat(v, 3, axis=1)[:, ::3], id="strided"),
        pytest.param(lambda v: np.repeat(v, 2, axis=0)[::2], id="strided rows"),
        pytest.param(lambda v: np.ascontiguousarray(v[:, ::-1])[:, ::-1], id="reversed"),
    ],
)
def test_sum_is_the_same_for_every_memory_layout(layout: Callable[[Any], Any], n: int) -> None:
    values = uneven((6, n), n)
    view = layout(values)
    np.testing.assert_array_equal(view, values)
    assert same_bytes(sums.sum_last_axes(view, 1), pairwise(values))


def test_sum_over_several_axes_runs_in_row_major_order() -> None:
    values = uneven((3, 7, 11), 3)
    flat = pairwise(values.reshape(3, 77))
    assert same_bytes(sums.sum_last_axes(values, 1), flat)
    assert same_bytes(sums.sum_last_axes(np.asfortranarray(values), 1), flat)
    assert same_bytes(sums.sum_last_axes(values, 2), pairwise(values.reshape(21, 11)).reshape(3, 7))


def test_sum_is_the_same_row_by_row_and_together() -> None:
    values = uneven((128, 333), 5)
    together = sums.sum_last_axes(values, 1)
    assert same_bytes(together, np.concatenate([sums.sum_last_axes(values[i : i + 1], 1) for i in range(128)]))


@pytest.mark.parametrize(("name", "oracle"), [("max", np.max), ("min", np.min)])
def test_largest_and_smallest_of_last_axes(name: str, oracle: Callable[..., Any]) -> None:
    values = uneven((4, 3, 5), 2)
    assert same_bytes(functions.reduce_last_axes(values, 1, name), oracle(values.reshape(4, 15), axis=1))
    assert same_bytes(functions.reduce_last_axes(np.asfortranarray(values), 2, name), oracle(values, axis=2))


def test_reduction_by_add_is_the_sum() -> None:
    values = uneven((4, 300), 2)
    assert same_bytes(functions.reduce_last_axes(values, 1, "add"), pairwise(values))


def halves(row: npt.NDArray[np.float32]) -> np.float32:
    """The documented order of a product, written out for one row."""
    while len(row) > 1:
        half = (len(row) + 1) // 2
        second = np.concatenate([row[half:], np.ones(2 * half - len(row), dtype=np.float32)])
        row = row[:half] * second
    last: np.float32 = row[0]
    return last


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 100, 513])
def test_product_follows_the_frozen_order(n: int) -> None:
    values = (1 + np.random.default_rng(n).standard_normal((4, n)) / 50).astype(np.float32)
    expected = np.array([halves(row) for row in values], dtype=np.float32)
    assert same_bytes(sums.product_last_axes(values, 1), expected)
    assert same_bytes(sums.product_last_axes(np.asfortranarray(values), 1), expected)


def test_product_over_several_axes_leaves_its_operand() -> None:
    values = uneven((2, 3, 4), 1)
    before = values.copy()
    assert same_bytes(sums.product_last_axes(values, 1), sums.product_last_axes(values.reshape(2, 12), 1))
    assert same_bytes(values, before)


def test_fold_goes_from_the_first_to_the_last() -> None:
    values = np.array([[10.0, 3.0, 2.0, 1.0]], dtype=np.float32)
    assert sums.fold_last_axes(np.subtract, values, 1).tolist() == [4.0]
    assert sums.fold_last_axes(np.subtract, values.reshape(1, 2, 2), 1).tolist() == [4.0]
