"""Softmax and root-mean-square normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.sums import sum_last_axes
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values

X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def softmax(x: Any, keep: int) -> Any:
    axes = tuple(range(keep, x.ndim))
    weights = np.exp(x - x.max(axis=axes, keepdims=True))
    return weights / sum_last_axes(weights, keep).reshape(x.shape[:keep] + (1,) * len(axes))


def rms_norm(x: Any, w: Any, count: int, epsilon: float = 1e-6) -> Any:
    total = sum_last_axes(np.square(x), 1)[:, None]
    return x / np.sqrt(total / np.float32(count) + np.float32(epsilon)) * w


@pytest.mark.parametrize(("axis", "keep"), [(2, 2), ((1, 2), 1), (-1, 2)], ids=["last", "all free", "-1"])
def test_softmax_over_trailing_dimensions(axis: Any, keep: int) -> None:
    result = nl.softmax(tile(X), axis)
    assert same_bytes(values(result), softmax(X, keep))
    sums = values(result).reshape(*X.shape[:keep], -1).sum(axis=-1)
    np.testing.assert_allclose(sums, 1, rtol=2.0**-20)


def test_softmax_of_large_numbers_does_not_overflow() -> None:
    assert values(nl.softmax(tile([[1000.0, 1000.0]]), 1)).tolist() == [[0.5, 0.5]]


def test_dropped_elements_take_no_part() -> None:
    j = nl.arange(5)[None, :]
    x = X[:, 0]
    beyond = np.broadcast_to(np.arange(5) >= 3, x.shape)
    result = nl.softmax(tile(x, holes=beyond), 1, mask=j < 3)
    np.testing.assert_allclose(values(result)[:, :3], softmax(x[:, :3], 1), rtol=2.0**-20)
    assert same_bytes(holes(result), np.array(beyond))
    scaled = nl.rms_norm(tile(x, holes=beyond), tile(x[:1]), 1, 3, mask=j < 3)
    np.testing.assert_allclose(values(scaled)[:, :3], rms_norm(x[:, :3], x[:1, :3], 3), rtol=2.0**-20)
    assert same_bytes(holes(scaled), np.array(beyond))


def test_undefined_element_spoils_its_row() -> None:
    x = tile(np.ones((2, 3)), holes=[[0, 1, 0], [0, 0, 0]])
    assert holes(nl.softmax(x, 1)).tolist() == [[True] * 3, [False] * 3]
    assert holes(nl.rms_norm(x, tile(np.ones((1, 3))), 1, 3)).tolist() == [[True] * 3, [False] * 3]
    weight = tile(np.ones((1, 3)), holes=[[0, 0, 1]])
    assert holes(nl.rms_norm(tile(np.ones((2, 3))), weight, 1, 3)).tolist() == [[False, False, True]] * 2


def test_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    x, w = X[:, 0], X[:1, 1]
    assert same_bytes(values(nl.rms_norm(tile(x), tile(w), 1, 5)), rms_norm(x, w, 5))
    assert same_bytes(values(nl.rms_norm(tile(x), tile(w), [1], 7, 0.5)), rms_norm(x, w, 7, 0.5))
    per_row = X[:, 2]
    assert same_bytes(values(nl.rms_norm(tile(x), tile(per_row), axis=1, n=5)), rms_norm(x, per_row, 5))


@pytest.mark.parametrize("compute", ["softmax", "rms_norm"])
def test_dtype_of_computation_is_the_results(compute: str) -> None:
    def call(**given: Any) -> Any:
        x = tile(np.ones((2, 3)), nl.bfloat16)
        return (
            nl.softmax(x, 1, **given) if compute == "softmax" else nl.rms_norm(x, tile(np.ones((1, 3))), 1, 3, **given)
        )

    assert call().dtype == np.dtype(nl.bfloat16)
    assert call(dtype=np.float32).dtype == np.dtype(np.float32)
    assert call(compute_dtype=np.float32).dtype == np.dtype(np.float32)
    assert call(dtype=np.float32, compute_dtype=np.float32).dtype == np.dtype(np.float32)
    assert holes(call(mask=False)).all()
    with refuses("", "dtype=float32 and compute_dtype=float16 differ"):
        call(dtype=np.float32, compute_dtype=np.float16)


@pytest.mark.parametrize(
    ("weight", "given", "match"),
    [
        pytest.param((1, 4), {}, "do not fit together", id="weight of another length"),
        pytest.param((1, 2, 3), {}, "a weight of shape", id="weight of another rank"),
        pytest.param((1, 3), {"n": 0}, "n is a positive whole number", id="no values"),
        pytest.param((1, 3), {"n": 1.5}, "n is a positive whole number", id="count of a float"),
        pytest.param((1, 3), {"epsilon": None}, "epsilon a number", id="no epsilon"),
    ],
)
def test_refuses_rms_norm_with(weight: tuple[int, ...], given: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"n": 3, **given}
    with refuses("", match):
        nl.rms_norm(tile(np.ones((2, 3))), tile(np.ones(weight)), 1, **arguments)


def test_refuses_normalisation_over_partitions() -> None:
    with refuses("", "reduces the trailing free dimensions"):
        nl.softmax(tile(np.ones((2, 3))), 0)
