"""Mean and variance: numpy's are the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

TOO_LARGE = "err_size_of_dimension_exceed_arch_limit"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).normal(3, 2, size=shape).astype(np.float32)


def statistics(x: Any) -> Any:
    parts = []
    for part in (x[:, 0::2], x[:, 1::2]):
        count = part.shape[1]
        mean = part.mean(axis=1) if count else np.zeros(len(x))
        spread = part.var(axis=1) * count if count else np.zeros(len(x))
        parts += [np.full(len(x), count), mean, spread]
    return np.stack(parts, axis=1)


@pytest.mark.parametrize("size", [1, 2, 7, 512])
def test_statistics_of_even_and_odd_elements(size: int) -> None:
    x = numbers(3, size)
    made = nisa.bn_stats(tile(x, space=Space.PSUM))
    assert made.shape == (3, 6)
    np.testing.assert_allclose(values(made), statistics(x.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_statistics_count_through_all_free_dimensions() -> None:
    x = numbers(2, 3, 5)
    np.testing.assert_array_equal(values(nisa.bn_stats(tile(x))), values(nisa.bn_stats(tile(x.reshape(2, 15)))))


def test_statistics_of_kept_elements() -> None:
    x = numbers(2, 9)
    kept = nl.arange(9)[None, :] < 6
    made = nisa.bn_stats(tile(x, holes=np.arange(9)[None, :] >= 6), mask=kept)
    np.testing.assert_array_equal(values(made), values(nisa.bn_stats(tile(x[:, :6]))))
    assert not holes(made).any()


@pytest.mark.parametrize(("call", "size"), [(nisa.bn_stats, 9), (nisa.bn_aggr, 9)], ids=["bn_stats", "bn_aggr"])
def test_result_has_the_kept_partitions(call: Any, size: int) -> None:
    i, j = nl.arange(3)[:, None], nl.arange(size)[None, :]
    assert holes(call(tile(numbers(3, size)), mask=i + 0 * j < 2)).any(axis=1).tolist() == [False, False, True]
    assert holes(call(tile(numbers(3, size)), mask=False)).all()


@pytest.mark.parametrize("call", [nisa.bn_stats, nisa.bn_aggr], ids=["bn_stats", "bn_aggr"])
def test_undefined_element_spoils_its_partition(call: Any) -> None:
    gaps = np.zeros((2, 6), dtype=bool)
    gaps[1, 3] = True
    assert holes(call(tile(numbers(2, 6), holes=gaps))).all(axis=1).tolist() == [False, True]
    assert not holes(call(tile(numbers(2, 6), holes=gaps)))[0].any()


@pytest.mark.parametrize("call", [nisa.bn_stats, nisa.bn_aggr], ids=["bn_stats", "bn_aggr"])
def test_result_has_the_datas_dtype_or_what_is_asked(call: Any) -> None:
    x = tile(np.ones((1, 6)), BF16)
    assert call(x).dtype == BF16
    assert call(x, dtype=np.float32).dtype == np.dtype(np.float32)


@pytest.mark.parametrize("pieces", [1, 4])
def test_aggregate_of_pieces_is_mean_and_variance_of_all(pieces: int) -> None:
    x = numbers(3, pieces * 100 + 1)
    stats = nl.ndarray((3, 6 * pieces), np.float32)
    for number, part in enumerate(np.array_split(x, pieces, axis=1)):
        stats[:, 6 * number : 6 * number + 6] = nisa.bn_stats(tile(part))
    made = nisa.bn_aggr(stats)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(values(made), np.stack([exact.mean(1), exact.var(1)], axis=1), rtol=1e-5)


def test_aggregate_of_kept_triples() -> None:
    triples = tile([[2.0, 1.0, 0.5, 9.0, 9.0, 9.0]], holes=[[False] * 3 + [True] * 3])
    made = nisa.bn_aggr(triples, mask=nl.arange(6)[None, :] < 3)
    assert values(made).tolist() == [[1.0, 0.25]]


def test_refuses_statistics_of_too_many_elements() -> None:
    with refuses(TOO_LARGE, "the limit is 512"):
        nisa.bn_stats(tile(np.ones((1, 513))))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_refuses_aggregate_of_no_triples(size: int) -> None:
    with refuses("", "are no triples"):
        nisa.bn_aggr(tile(np.ones((1, size))))
    nisa.bn_aggr(tile(np.ones((1, 3))))
