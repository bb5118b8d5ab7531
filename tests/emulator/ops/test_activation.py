"""Activations with a reduction; plain ones are tested with the element-wise functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

X = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
command = nisa.reduce_cmd


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def column(*numbers: float) -> Any:
    return tile(np.reshape(numbers, (-1, 1)))


def activate(**more: Any) -> Any:
    return nisa.activation(**({"op": np.copy, "data": tile(X), "reduce_op": np.add} | more))


def test_registers_are_reset_and_read_out_at_once() -> None:
    sums = column(0, 0)
    made = activate(op=np.square, scale=2.0, bias=column(1, 0), reduce_cmd=command.reset_reduce, reduce_res=sums)
    expected = (X * 2 + [[1], [0]]) ** 2
    np.testing.assert_array_equal(values(made), expected)
    np.testing.assert_array_equal(values(sums), expected.sum(axis=1, keepdims=True))


def test_registers_accumulate_until_they_are_reset() -> None:
    sums = column(0, 0)
    activate(reduce_cmd=command.reset_reduce)
    activate(reduce_cmd=command.idle)
    activate(reduce_cmd=command.reduce)
    activate(reduce_cmd=command.reduce, reduce_res=sums)
    assert values(sums).tolist() == [[18], [45]]
    activate(reduce_cmd=command.reset, reduce_op=None)
    activate(reduce_cmd=command.reduce, reduce_res=sums)
    assert values(sums).tolist() == [[6], [15]]


def test_idle_instruction_reads_the_registers_out() -> None:
    sums = column(0, 0)
    activate(reduce_cmd=command.reset_reduce)
    activate(data=tile(X * 10), reduce_cmd=command.idle, reduce_res=sums)
    assert values(sums).tolist() == [[6], [15]]


def test_activation_reduce_shares_the_registers() -> None:
    sums, other = column(0, 0), column(0, 0)
    activate(reduce_cmd=command.reset_reduce)
    nisa.activation_reduce(np.copy, tile(X * 10), reduce_op=np.add, reduce_res=other)
    activate(reduce_cmd=command.reduce, reduce_res=sums)
    assert values(other).tolist() == [[60], [150]]
    assert values(sums).tolist() == [[66], [165]]


def test_registers_hold_nothing_before_a_reset() -> None:
    sums = column(0, 0)
    activate(reduce_cmd=command.reduce, reduce_res=sums)
    assert holes(sums).all()
    activate(reduce_cmd=command.reset_reduce, reduce_res=sums)
    assert not holes(sums).any()


def test_registers_of_a_whole_tile() -> None:
    sums, x = tile(np.zeros((128, 1))), tile(np.ones((128, 3)))
    for _ in range(2):
        activate(data=x, reduce_cmd=command.reset_reduce)
        activate(data=x, reduce_cmd=command.reduce, reduce_res=sums)
    assert (values(sums) == 6).all()


def test_registers_belong_to_one_program() -> None:
    activate(reduce_cmd=command.reset_reduce)
    with running():
        sums = column(0, 0)
        activate(reduce_cmd=command.reduce, reduce_res=sums)
        assert holes(sums).all()


def test_scalar_and_vector_engines_have_their_own_registers() -> None:
    with running("trn2"):
        activate(reduce_cmd=command.reset_reduce)
        largest = column(0, 0)
        nisa.select_reduce(
            dst=tile(X),
            predicate=tile(np.ones((2, 3)), np.uint8),
            on_true=tile(X),
            on_false=0.0,
            reduce_cmd=command.reduce,
            reduce_res=largest,
        )
    assert holes(largest).all()


def test_sum_is_of_unrounded_values() -> None:
    sums = column(0)
    activate(data=tile(np.full((1, 8), 2.0**-10), BF16), bias=1.0, reduce_cmd=command.reset_reduce, reduce_res=sums)
    assert values(sums).tolist() == [[8 * (1 + 2.0**-10)]]


def test_masked_elements_take_no_part() -> None:
    sums = column(50, 50)
    i, j = nl.arange(2)[:, None], nl.arange(3)[None, :]
    unknown = tile(X, holes=[[False, False, True], [True] * 3])
    kept = (i + 0 * j < 1) & (j + 0 * i < 2)
    made = activate(data=unknown, reduce_cmd=command.reset_reduce, reduce_res=sums, mask=kept)
    assert values(sums).tolist() == [[3], [50]]
    assert not holes(sums).any()
    assert holes(made).tolist() == [[False, False, True], [True] * 3]
    activate(reduce_cmd=command.reset_reduce, reduce_res=sums, mask=False)
    assert values(sums).tolist() == [[3], [50]]


def test_undefined_element_spoils_its_sum_from_then_on() -> None:
    sums = column(0, 0)
    activate(reduce_cmd=command.reset_reduce)
    activate(data=tile(X, holes=[[True, False, False], [False] * 3]), reduce_cmd=command.reduce)
    activate(reduce_cmd=command.reduce, reduce_res=sums)
    assert holes(sums).tolist() == [[True], [False]]


def test_sum_of_several_free_dimensions() -> None:
    x, sums = np.arange(12, dtype=np.float32).reshape(2, 2, 3), column(0, 0)
    activate(data=tile(x), reduce_cmd=command.reset_reduce, reduce_res=sums)
    assert values(sums).tolist() == [[15], [51]]


@pytest.mark.parametrize(
    ("op", "expected"),
    [(np.multiply, [[6], [120]]), (nl.max, [[3], [6]]), (nl.min, [[1], [4]])],
    ids=["multiply", "max", "min"],
)
def test_other_reductions_exist_from_gen3_on(op: Any, expected: Any) -> None:
    sums = column(0, 0)
    with refuses("nc-version", "does not accumulate with"):
        activate(reduce_op=op, reduce_cmd=command.reset_reduce, reduce_res=sums)
    with running("trn2"):
        activate(reduce_op=op, reduce_cmd=command.reset_reduce, reduce_res=sums)
    assert values(sums).tolist() == expected


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"reduce_cmd": command.reduce, "reduce_op": None}, "", id="reduce without an operator"),
        pytest.param(lambda: {"reduce_cmd": 9}, "", id="no such command"),
        pytest.param(lambda: {"reduce_op": np.exp}, "", id="no reduction"),
        pytest.param(lambda: {"reduce_res": column(0)}, "err_num_partition_mismatch", id="partitions"),
        pytest.param(lambda: {"reduce_res": tile(X)}, "", id="no column"),
        pytest.param(lambda: {"reduce_res": 3}, "", id="no tile"),
    ],
)
def test_refuses_reduction(more: Any, code: str) -> None:
    with refuses(code):
        activate(**more())


def test_refuses_subtraction_on_any_generation() -> None:
    with running("trn2"), refuses("", "does not accumulate with subtract"):
        activate(reduce_op=np.subtract, reduce_cmd=command.reset_reduce)


def test_activation_with_a_reduction_is_one_instruction() -> None:
    with observe.observing(sequence=True) as seen:
        activate(reduce_cmd=command.reset_reduce, reduce_res=column(0, 0))
    assert [(one.operation, one.engine, one.function) for one in seen] == [("activation", Engine.SCALAR, "copy")]


def test_reduction_costs_without_arithmetic() -> None:
    with running(arithmetic=False):
        sums = tile(np.zeros((2, 1)), holes=True)
        activate(reduce_cmd=command.reset_reduce, reduce_res=sums)
        assert not holes(sums).any()
