"""Gathering along the flattened free dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import language as nl
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values

DATA = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize("shape", [(2, 7), (2, 2, 3), (2, 2, 2, 2)], ids=str)
def test_gathers_along_the_flattened_row(shape: tuple[int, ...]) -> None:
    index = np.random.default_rng(0).integers(0, 12, shape).astype(np.uint32)
    result = nl.gather_flattened(tile(DATA), tile(index, np.uint32))
    expected = np.take_along_axis(DATA.reshape(2, 12), index.reshape(2, -1).astype(np.int64), axis=1).reshape(shape)
    assert same_bytes(values(result), expected)
    assert not holes(result).any()


def test_index_out_of_bounds_gives_an_undefined_element() -> None:
    result = nl.gather_flattened(tile(DATA), tile([[11, 12], [0, 2**32 - 1]], np.uint32))
    assert holes(result).tolist() == [[False, True], [False, True]]
    assert values(result)[:, 0].tolist() == [11.0, 12.0]
    out = nl.ndarray((2, 2), np.float32, buffer=nl.shared_hbm)
    with pytest.raises(UndefinedReadFault, match=r"gather_flattened at .* finds at an index out of bounds"):
        nl.store(out, result)


def test_undefinedness_follows_the_index() -> None:
    data = tile([[1.0, 2.0]], holes=[[0, 1]])
    index = tile([[0, 1, 0]], np.uint32, holes=[[0, 0, 1]])
    assert holes(nl.gather_flattened(data, index)).tolist() == [[False, True, True]]


def test_dtype_and_mask() -> None:
    index = tile([[0, 1]], np.uint32)
    result = nl.gather_flattened(tile([[1.5, 2.5]]), index, dtype=np.int8, mask=nl.arange(2)[None, :] < 1)
    assert (result.dtype, values(result)[0, 0]) == (np.dtype(np.int8), 2)
    assert holes(result).tolist() == [[False, True]]
    assert holes(nl.gather_flattened(tile([[1.5, 2.5]]), index, mask=False)).all()
    exact = nl.gather_flattened(tile([[2**24 + 1]], np.int32), tile([[0]], np.uint32))
    assert values(exact).tolist() == [[2**24 + 1]]


def test_refuses_indices_of_another_dtype_or_partition_count() -> None:
    with refuses("", "uint32"):
        nl.gather_flattened(tile([[1.0]]), tile([[0]], np.int32))
    with refuses("err_num_partition_mismatch"):
        nl.gather_flattened(tile([[1.0], [2.0]]), tile([[0]], np.uint32))


def test_refuses_five_dimensions() -> None:
    five: Any = np.ones((1, 1, 1, 1, 1))
    with refuses("err_exceed_max_supported_dimension"):
        nl.gather_flattened(tile(five), tile([[0]], np.uint32))
