"""Atomic addition to HBM through an index that is known only at run time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from tests.emulator.kernels import hbm, refuses, running, same_bytes, tile, values


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.function.__name__.endswith("_when_launched"):
        yield  # such a test launches a kernel of its own
        return
    with running():
        yield


def rows(target: Any, *chosen: int) -> Any:
    """The rows of ``target`` that a tile of indices names."""
    return target[tile([[number] for number in chosen], np.int32), nl.arange(target.shape[1])[None, :]]


def test_adds_to_the_named_rows() -> None:
    target = hbm(np.ones((4, 3), dtype=np.float32))
    nl.atomic_rmw(rows(target, 2, 0), tile([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), np.add)
    expected = np.ones((4, 3), dtype=np.float32)
    expected[2] += [1, 2, 3]
    expected[0] += [10, 20, 30]
    assert same_bytes(values(target), expected)
    nl.atomic_rmw(rows(target, 1), value=5, op=nl.add)
    assert values(target)[1].tolist() == [6.0] * 3


def test_row_that_is_named_twice_receives_both() -> None:
    target = hbm(np.zeros((2, 2), dtype=np.float32))
    nl.atomic_rmw(rows(target, 1, 1, 0, 1), tile(np.arange(8.0).reshape(4, 2)), np.add)
    assert values(target).tolist() == [[4.0, 5.0], [8.0, 11.0]]


def test_each_sum_is_rounded_to_the_dtype() -> None:
    target = hbm(np.ones((1, 1)), dtype=nl.bfloat16)
    nl.atomic_rmw(rows(target, 0, 0), tile([[2.0**-9], [2.0**-9]]), np.add)
    assert values(target).astype(np.float32).tolist() == [[1.0]]


def test_mask_drops_elements() -> None:
    target = hbm(np.zeros((2, 2), dtype=np.float32))
    j = nl.arange(2)[None, :]
    data = tile([[1.0, 2.0], [3.0, 4.0]], holes=[[0, 1], [0, 1]])
    nl.atomic_rmw(rows(target, 0, 1), data, np.add, mask=j < 1)
    assert values(target).tolist() == [[1.0, 0.0], [3.0, 0.0]]
    nl.atomic_rmw(rows(target, 0, 1), data, np.add, mask=False)
    assert values(target).tolist() == [[1.0, 0.0], [3.0, 0.0]]


def test_programs_and_iterations_may_add_to_one_element_when_launched() -> None:
    def counted(index: Any) -> Any:
        out = nl.ndarray((1, 1), np.float32, buffer=nl.shared_hbm)
        if nl.program_id(0) == 0:
            nl.store(out, nl.zeros((1, 1), np.float32))
        places = nl.load(index)
        for _ in nl.affine_range(3):
            nl.atomic_rmw(out[places, nl.arange(1)[None, :]], 1.0, np.add)
        return out

    assert nki.jit(counted)[2](np.zeros((1, 1), dtype=np.int32)).tolist() == [[6.0]]


def test_refuses_an_index_of_compile_time() -> None:
    with refuses("", "dst is indexed by compile-time indices only"):
        nl.atomic_rmw(hbm(np.zeros((2, 2), dtype=np.float32)), tile(np.ones((2, 2))), np.add)


@pytest.mark.parametrize("op", [np.subtract, np.maximum, None], ids=["subtract", "maximum", "None"])
def test_refuses_another_operator(op: Any) -> None:
    with refuses("", "op=.* is not supported"):
        nl.atomic_rmw(rows(hbm(np.zeros((2, 2), dtype=np.float32)), 0), 1.0, op)


def test_refuses_value_of_another_shape() -> None:
    with refuses("err_store_dst_shape_smaller_than_other_shape"):
        nl.atomic_rmw(rows(hbm(np.zeros((2, 1), dtype=np.float32)), 0), tile([[1.0, 2.0]]), np.add)


def test_refuses_row_out_of_bounds() -> None:
    with refuses("err_tensor_access_out_of_bound"):
        nl.atomic_rmw(rows(hbm(np.zeros((2, 1), dtype=np.float32)), 2), 1.0, np.add)


def test_refuses_undefined_elements_on_either_side() -> None:
    target = hbm(np.zeros((2, 1), dtype=np.float32))
    with pytest.raises(UndefinedReadFault, match="atomic_rmw adds undefined elements"):
        nl.atomic_rmw(rows(target, 0), tile([[1.0]], holes=True), np.add)
    fresh = nl.ndarray((2, 1), np.float32, buffer=nl.shared_hbm)
    with pytest.raises(UndefinedReadFault, match="atomic_rmw adds undefined elements"):
        nl.atomic_rmw(rows(fresh, 0), 1.0, np.add)
