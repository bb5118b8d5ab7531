"""Reductions over free dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.ops import reduce
from nkifix.emulator.sums import product_last_axes, sum_last_axes
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values

BF16 = ml_dtypes.bfloat16
OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def row(n: int) -> Any:
    return nl.arange(n)[None, :]


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        pytest.param(1, (3, 1), id="1 of rank 2"),
        pytest.param(-1, (3, 1), id="-1 of rank 2"),
        pytest.param([1], (3, 1), id="list"),
        pytest.param(2, (3, 4), id="2 of rank 3"),
        pytest.param((1, 2), (3, 1), id="1 and 2"),
        pytest.param([2, 1], (3, 1), id="2 and 1"),
        pytest.param((-1, 1), (3, 1), id="-1 and 1"),
        pytest.param((-2, -1), (3, 1), id="-2 and -1"),
    ],
)
def test_reduction_over_trailing_free_dimensions(axis: Any, shape: tuple[int, ...]) -> None:
    rank = 2 if axis in (1, -1, [1]) else 3
    x = random(3, 20) if rank == 2 else random(3, 4, 5)
    axes = tuple(np.atleast_1d(axis))
    assert same_bytes(values(nl.max(tile(x), axis)), np.max(x, axis=axes).reshape(shape))
    assert same_bytes(values(nl.min(tile(x), axis)), np.min(x, axis=axes).reshape(shape))
    keep = 2 if axis == 2 else 1
    assert same_bytes(values(nl.sum(tile(x), axis)), sum_last_axes(x, keep).reshape(shape))
    assert nisa.tensor_reduce(np.add, tile(x), axis).shape == shape


@pytest.mark.parametrize("axis", [0, (0, 1), -2, (), (1, 1), 2, (1, 2), 5, -3], ids=str)
def test_refuses_reduction_over_other_dimensions(axis: Any) -> None:
    with refuses("", "reduces the trailing free dimensions"):
        nl.sum(tile(np.ones((3, 4))), axis)


def test_refuses_instruction_that_reduces_with_a_gap() -> None:
    with refuses("", "axis 1 of a rank-3 tile"):
        nisa.tensor_reduce(np.add, tile(np.ones((3, 4, 5))), 1)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [1, (1, 3), (2,), (1, 2)], ids=str)
def test_language_reduces_over_any_free_dimensions(axis: Any, keepdims: bool) -> None:
    x = random(3, 4, 5, 6)
    result = nl.max(tile(x), axis, keepdims=keepdims)
    assert same_bytes(values(result), np.max(x, axis=axis, keepdims=keepdims))
    axes = axis if isinstance(axis, tuple) else (axis,)
    order = (*(d for d in range(4) if d not in axes), *axes)
    rows = np.ascontiguousarray(x.transpose(order))
    assert same_bytes(values(nl.sum(tile(x), axis)), sum_last_axes(rows, 4 - len(axes)))


def test_reduction_with_a_gap_takes_a_mask() -> None:
    x = random(2, 3, 4)
    i = nl.arange(3)[None, :, None]
    result = nl.sum(tile(x), 1, mask=(nl.arange(2)[:, None, None] * 0 + i + nl.arange(4)[None, None, :] * 0 < 2))
    np.testing.assert_allclose(values(result), x[:, :2].sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("op", [np.add, nl.add, np.sum, nl.sum], ids=["np.add", "nl.add", "np.sum", "nl.sum"])
def test_tensor_reduce_adds_in_float32(op: Any) -> None:
    x = random(3, 500).astype(BF16)
    total = sum_last_axes(x.astype(np.float32), 1)[:, None]
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x, BF16), 1)), total.astype(BF16))
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x, BF16), 1, dtype=np.float32)), total)
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x, BF16), 1, dtype=np.float32, negate=True)), -total)


@pytest.mark.parametrize("op", [np.max, nl.max, np.maximum, nl.maximum], ids=["np.max", "nl.max", "np", "nl"])
def test_tensor_reduce_takes_the_largest(op: Any) -> None:
    x = random(3, 9)
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x), 1)), x.max(axis=1, keepdims=True))
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x), 1, negate=True)), -x.max(axis=1, keepdims=True))


@pytest.mark.parametrize("op", [np.min, nl.min, np.minimum], ids=["np.min", "nl.min", "np.minimum"])
def test_tensor_reduce_takes_the_smallest(op: Any) -> None:
    x = random(3, 9)
    assert same_bytes(values(nisa.tensor_reduce(op, tile(x), 1)), x.min(axis=1, keepdims=True))


def test_reduction_of_an_undefined_element_is_undefined() -> None:
    x = tile(np.ones((2, 3)), holes=[[0, 1, 0], [0, 0, 0]])
    assert holes(nl.sum(x, 1)).tolist() == [[True], [False]]
    deep = tile(np.ones((2, 2, 2)), holes=[[[0, 1], [0, 0]], [[0, 0], [0, 0]]])
    assert holes(nl.max(deep, 2)).tolist() == [[True, False], [False, False]]


def test_reduction_may_be_masked_off_entirely() -> None:
    dropped = nl.sum(tile(np.ones((2, 3))), 1, mask=False, dtype=BF16)
    assert (dropped.shape, dropped.dtype) == ((2, 1), np.dtype(BF16))
    assert holes(dropped).all()
    assert values(nl.sum(tile(np.ones((2, 3))), 1, mask=row(3) < 3)).tolist() == [[3.0]] * 2


def test_reduction_out_of_bounds_is_refused() -> None:
    view = tile(np.ones((2, 3)))[nl.arange(2)[:, None], row(4)]
    with refuses(OUT_OF_BOUNDS):
        nl.sum(view, 1)


# ------------------------------------------------------------------------------------ which there are


def test_product_of_a_row() -> None:
    x = 1 + random(3, 9) / 8
    assert same_bytes(values(nl.prod(tile(x), 1))[:, 0], product_last_axes(x, 1))
    assert nl.prod(tile(x), 1, dtype=BF16).dtype == np.dtype(BF16)


def test_all_is_true_where_no_element_is_zero() -> None:
    result = nl.all(tile([[1.0, -2.0], [0.0, 3.0]]), 1)
    assert result.dtype == np.dtype(bool)
    assert values(result).tolist() == [[True], [False]]
    assert values(nl.all(tile([[1, 2]], np.int8), 1, dtype=np.float32)).tolist() == [[1.0]]


@pytest.mark.parametrize("axis", [1, 2, (1, 2)], ids=str)
def test_mean_and_variance_over_trailing_dimensions(axis: Any) -> None:
    x = random(3, 5) if axis == 1 else random(3, 4, 5)
    axes = axis if isinstance(axis, tuple) else (axis,)
    keep = axes[0]
    count = np.float32(np.prod(x.shape[keep:]))
    mean = sum_last_axes(x, keep) / count
    shape = (3, 1) if keep == 1 else (3, 4)
    assert same_bytes(values(nl.mean(tile(x), axis)), mean.reshape(shape))
    distance = np.square(x - mean.reshape(mean.shape + (1,) * len(axes)))
    assert same_bytes(values(nl.var(tile(x), axis)), (sum_last_axes(distance, keep) / count).reshape(shape))


@pytest.mark.parametrize(
    ("compute", "data", "dtype"),
    [
        pytest.param(nl.mean, np.int32, np.float32, id="mean of integers"),
        pytest.param(nl.mean, BF16, BF16, id="mean of bfloat16"),
        pytest.param(nl.var, BF16, BF16, id="variance of bfloat16"),
        pytest.param(nl.var, np.int32, np.int32, id="variance of integers"),
        pytest.param(nl.sum, np.int8, np.int8, id="sum of integers"),
        pytest.param(nl.prod, np.int32, np.int32, id="product of integers"),
    ],
)
def test_default_dtype(compute: Callable[..., Any], data: Any, dtype: Any) -> None:
    assert compute(tile([[1, 2]], data), 1).dtype == np.dtype(dtype)
    assert compute(tile([[1, 2]], data), 1, dtype=np.float16).dtype == np.dtype(np.float16)


def test_mean_of_integers_is_not_rounded() -> None:
    assert values(nl.mean(tile([[1, 2]], np.int32), 1)).tolist() == [[1.5]]


@pytest.mark.parametrize("compute", [nl.sum, nl.prod, nl.max, nl.min, nl.mean], ids=lambda f: f.__name__)
def test_dimensions_may_be_kept(compute: Callable[..., Any]) -> None:
    x = random(3, 4, 5)
    plain = values(compute(tile(x), 2))
    assert same_bytes(values(compute(tile(x), 2, keepdims=True)), plain.reshape(3, 4, 1))
    assert compute(tile(x), (1, 2), keepdims=True).shape == (3, 1, 1)
    assert compute(tile(x[:, 0]), 1, keepdims=True).shape == (3, 1)


# ---------------------------------------------------------------------------------------------- masks


def beyond(count: int) -> Any:
    return [[column >= count for column in range(5)]] * 2


@pytest.mark.parametrize(
    ("compute", "oracle"),
    [
        pytest.param(nl.sum, np.sum, id="sum"),
        pytest.param(nl.prod, np.prod, id="prod"),
        pytest.param(nl.max, np.max, id="max"),
        pytest.param(nl.min, np.min, id="min"),
        pytest.param(nl.mean, np.mean, id="mean"),
        pytest.param(nl.var, np.var, id="var"),
        pytest.param(nl.all, np.all, id="all"),
    ],
)
def test_dropped_elements_take_no_part(compute: Callable[..., Any], oracle: Callable[..., Any]) -> None:
    x = np.array([[2.0, 4.0, 8.0, 0.0, -99.0], [4.0, 4.0, 4.0, 0.0, 99.0]], dtype=np.float32)
    result = compute(tile(x, holes=beyond(3)), 1, mask=row(5) < 3)
    assert values(result)[:, 0].tolist() == [pytest.approx(float(oracle(part[:3]))) for part in x]
    assert not holes(result).any()


def test_row_whose_every_element_is_dropped_is_not_written() -> None:
    i = nl.arange(2)[:, None]
    for compute in (nl.sum, nl.max, nl.mean, nl.var, nl.all):
        result = compute(tile(np.ones((2, 3))), 1, mask=(i < 1) & (row(3) < 2))
        assert holes(result).tolist() == [[False], [True]]
        kept = nl.full((2, 1), 7.0, np.float32)
        kept[...] = result
        assert values(kept)[1, 0] == 7.0


def test_refuses_a_masked_difference() -> None:
    x = tile([[9.0, 2.0, 3.0]])
    assert values(reduce.reduce_free("subtract", x, 1)).tolist() == [[4.0]]
    assert values(reduce.reduce_free("subtract", x, 1, mask=row(3) < 3)).tolist() == [[4.0]]
    with refuses("", "by subtract with a mask"):
        reduce.reduce_free("subtract", x, 1, mask=row(3) < 2)


def test_bits_are_reduced_in_their_dtype() -> None:
    x = tile([[0b0110, 0b1100, 0b0111]], np.uint8)
    assert values(reduce.reduce_free("bitwise_and", x, 1)).tolist() == [[0b0100]]
    assert values(reduce.reduce_free("bitwise_and", x, 1, mask=row(3) < 1)).tolist() == [[0b0110]]
    with refuses("", "bitwise_and takes integers, got float32"):
        reduce.reduce_free("bitwise_and", tile([[1.0]]), 1)
