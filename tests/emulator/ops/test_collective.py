"""Reductions over loops and over programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.machine import using
from nkifix.emulator.params import Params
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values


@pytest.fixture(autouse=True)
def _running(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.function.__name__.endswith("_when_launched"):
        yield  # such a test launches a kernel of its own
        return
    with running():
        yield


def total_of(order: Any, op: Any = np.add) -> Any:
    """A kernel that reduces blocks of its input over a loop."""

    def reduced(x: Any) -> Any:
        out = nl.ndarray((2, 3), np.float32, buffer=nl.shared_hbm)
        total = nl.zeros((2, 3), np.float32)
        for k in nl.affine_range(5):
            block = nl.load(x[k])
            total[...] = nl.loop_reduce(block, op=op, loop_indices=[k])
        nl.store(out, total)
        return out

    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    with using(Params(order=order, seed=3)):
        return x, nki.jit(reduced)(x)


@pytest.mark.parametrize(
    ("op", "oracle"),
    [
        pytest.param(np.add, np.add, id="np.add"),
        pytest.param(nl.max, np.maximum, id="nl.max"),
        pytest.param(np.minimum, np.minimum, id="np.minimum"),
    ],
)
def test_assignment_combines_with_the_destination_when_launched(op: Any, oracle: Any) -> None:
    x, result = total_of("program", op)
    expected = np.zeros((2, 3), dtype=np.float32)
    for block in x:
        expected = oracle(expected, block)
    assert same_bytes(result, expected)


def test_order_of_iterations_leaves_the_bytes_when_launched() -> None:
    assert same_bytes(total_of("program")[1], total_of("shuffled")[1])


def test_each_step_is_rounded_to_dtype_and_to_the_destination() -> None:
    total = nl.full((1, 1), 1.0, np.float32)
    small = tile([[2.0**-9]])
    total[...] = nl.loop_reduce(small, np.add, 0, dtype=nl.bfloat16)
    assert values(total).tolist() == [[1.0]]
    total[...] = nl.loop_reduce(small, np.add, 0, dtype=np.float32)
    assert values(total).tolist() == [[1.0 + 2.0**-9]]


def test_masked_elements_stay() -> None:
    j = nl.arange(2)[None, :]
    total = nl.full((1, 2), 1.0, np.float32)
    total[...] = nl.loop_reduce(tile([[5.0, 6.0]]), np.add, 0, mask=j < 1)
    assert values(total).tolist() == [[6.0, 1.0]]
    total[...] = nl.loop_reduce(tile([[5.0, 6.0]]), np.add, 0, mask=False)
    assert values(total).tolist() == [[6.0, 1.0]]


def test_destination_that_was_never_written_stays_undefined() -> None:
    total = nl.ndarray((1, 1), np.float32)
    total[...] = nl.loop_reduce(tile([[5.0]]), np.add, 0)
    assert holes(total).all()


def test_refuses_other_uses_than_assignment() -> None:
    reduction = nl.loop_reduce(tile([[5.0]]), np.add, 0)
    assert reduction.shape == (1, 1)
    with refuses("", "must be a tensor, got LoopReduction"):
        nl.add(reduction, 1)


def test_refuses_destination_of_another_shape() -> None:
    total = nl.zeros((2, 2), np.float32)
    with refuses("err_store_dst_shape_smaller_than_other_shape", "the destination is an operand too"):
        total[...] = nl.loop_reduce(tile([[5.0, 6.0]]), np.add, 0)


@pytest.mark.parametrize("op", [np.subtract, np.divide, None], ids=["subtract", "divide", "None"])
def test_refuses_operator_that_is_not_associative(op: Any) -> None:
    with refuses("", "op=.* is not supported"):
        nl.loop_reduce(tile([[5.0]]), op, 0)


def test_refuses_index_that_is_none() -> None:
    with refuses("", "loop_indices takes indices of loops"):
        nl.loop_reduce(tile([[5.0]]), np.add, "k")


def test_refuses_loop_reduce_of_hbm() -> None:
    with refuses("err_unsupported_memory"):
        nl.loop_reduce(hbm([[5.0]]), np.add, 0)


# ----------------------------------------------------------------------------------------- all_reduce


def test_all_reduce_over_one_program_is_a_copy() -> None:
    with running(grid=(1, 2), position=(0, 1)):
        result = nl.all_reduce(tile([[1.5]]), np.add, 0, dtype=nl.bfloat16)
        assert (values(result).tolist(), result.dtype) == ([[1.5]], np.dtype(nl.bfloat16))
        assert holes(nl.all_reduce(tile([[1.5]]), np.add, (0,), mask=False)).all()
        with refuses("", "over several programs of the grid"):
            nl.all_reduce(tile([[1.5]]), np.add, (0, 1))
        with refuses("", "op=.* is not supported"):
            nl.all_reduce(tile([[1.5]]), np.divide, 0)


@pytest.mark.parametrize("axes", [0, (1,), None, -1], ids=str)
def test_refuses_all_reduce_over_a_dimension_that_the_grid_has_not(axes: Any) -> None:
    with refuses("", r"the launch grid has 0 dimension\(s\)"):
        nl.all_reduce(tile([[1.5]]), np.add, axes)
