"""Loops: which iteration runs, in which order, and reductions that keep the program's order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import Params, loops, machine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.loops import Level, Loop, Nest, is_first_iteration
from tests.emulator.kernels import refuses, running, same_bytes

SHUFFLED = [Params(order="shuffled", seed=seed) for seed in range(3)]
RANDOM = np.random.default_rng(0)


def levels() -> int:
    """How many loops (and the grid) are around the statement."""
    nest = loops.nest()
    assert nest is not None
    return len(nest.levels)


# ------------------------------------------------------------------------------------------- iterations


def test_loop_outside_of_a_kernel_just_counts() -> None:
    loop = Loop(range(1, 7, 2), parallel=True)
    assert list(loop) == list(loop) == [1, 3, 5]
    assert len(loop) == 3


@pytest.mark.parametrize("parallel", [True, False])
def test_nest_knows_the_running_loops(parallel: bool) -> None:
    with running():
        assert levels() == 1
        for i in Loop(range(5, 7), parallel=parallel):
            assert levels() == 2
            assert i.level.ordinal == i - 5
            for _ in Loop(range(1), parallel=False):
                assert levels() == 3
            nest = loops.nest()
            assert nest is not None
            assert nest.parallel == (2 if parallel else 0)
        assert levels() == 1


def test_loop_that_is_left_ends() -> None:
    with running():
        for _ in Loop(range(3), parallel=True):
            break
        assert levels() == 1


def test_outer_loop_ends_the_inner_ones_that_an_exception_left() -> None:
    nest = Nest(Level(parallel=False))
    outer, inner = Level(parallel=True), Level(parallel=True)
    nest.enter(outer)
    nest.enter(inner)
    nest.leave(outer)
    assert (len(nest.levels), nest.parallel) == (1, 0)
    nest.leave(inner)  # its generator is closed later
    assert len(nest.levels) == 1


@pytest.mark.parametrize("grid", [(1,), (2,)], ids=["one program", "two programs"])
def test_grid_of_several_programs_is_parallel(grid: tuple[int, ...]) -> None:
    with running(grid=grid, position=(0,)):
        nest = loops.nest()
        assert nest is not None
        assert nest.parallel == grid[0] - 1


def test_plain_order_is_the_programs() -> None:
    with running():
        assert list(nl.affine_range(50)) == list(range(50))


@pytest.mark.parametrize("params", SHUFFLED, ids=lambda params: f"seed {params.seed}")
def test_shuffled_order_is_drawn_from_the_seed(params: Params) -> None:
    seen: list[list[Any]] = []

    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((2, 50), np.float32, buffer=nl.shared_hbm)
        parallel = [int(i) for i in nl.affine_range(50)]
        seen.append([nl.program_id(0), *parallel, list(nl.sequential_range(50)), list(nl.static_range(50))])
        nl.store(out[nl.ds(nl.program_id(0), 1), :], nl.load(x[0:1, 0:50]))
        return out

    def orders() -> list[list[Any]]:
        seen.clear()
        with machine.using(params):
            kernel[2](np.ones((1, 50), np.float32))
        return list(seen)

    first = orders()
    assert orders() == first
    for program, *parallel, sequential, static in first:
        assert program in (0, 1)
        assert parallel != list(range(50))
        assert sorted(parallel) == sequential == static == list(range(50))
    assert {order[0] for order in first} == {0, 1}


def test_programs_are_shuffled() -> None:
    def order(seed: int) -> tuple[tuple[int, ...], ...]:
        return tuple(machine.Launch(Params(order="shuffled", seed=seed), (3, 2)).programs())

    orders = {order(seed) for seed in range(5)}
    assert len(orders) > 1
    assert all(sorted(one) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] for one in orders)
    assert order(3) == order(3)


# ----------------------------------------------------------------------------------- the first iteration


def test_first_iteration_of_several_loops() -> None:
    with running():
        firsts = [
            (int(i), int(j), is_first_iteration([i, j]), is_first_iteration(i), is_first_iteration((j,)))
            for i in nl.affine_range(1, 3)
            for j in nl.sequential_range(2)
        ]
    assert firsts == [
        (1, 0, True, True, True),
        (1, 1, False, True, False),
        (2, 0, False, False, True),
        (2, 1, False, False, False),
    ]


@pytest.mark.parametrize(("index", "first"), [(0, True), (1, False), (np.int64(0), True)])
def test_number_is_first_where_it_is_zero(index: Any, first: bool) -> None:
    assert is_first_iteration([index]) is first


@pytest.mark.parametrize("index", [None, 0.0, True, "i"], ids=str)
def test_refuses_loop_index_that_is_none(index: Any) -> None:
    with running(), refuses("", "takes indices of loops around the call"):
        is_first_iteration([index])


def test_refuses_index_of_a_loop_that_has_ended() -> None:
    with running():
        last = list(nl.affine_range(2))[-1]
        with refuses("", "takes indices of loops") as caught:
            is_first_iteration(last)
    assert caught.value.why == "its loop has ended"


# ------------------------------------------------------------------------------------------- reductions

X = RANDOM.standard_normal((64, 128), dtype=np.float32) * 1e3
"""Rows whose sum depends on the order of the additions."""


@nki.jit
def sums_in_psum(x: Any) -> Any:
    """The matmuls of blocks of rows, accumulated over two nested parallel loops and once between them."""
    out = nl.ndarray((128, 128), np.float32, buffer=nl.shared_hbm)
    total = nl.zeros((128, 128), np.float32, buffer=nl.psum)
    for i in nl.affine_range(4):
        block = nl.load(x[nl.ds(i * 16, 16), :])
        total += nisa.nc_matmul(block, block)
        for j in nl.affine_range(4):
            rows = nl.load(x[nl.ds(i * 16 + j * 4, 4), :])
            total[...] += nisa.nc_matmul(rows, rows)
    nl.store(out, total)
    return out


@nki.jit
def sums_in_sbuf(x: Any) -> Any:
    """Rows added up in SBUF from one scratch tile, whose elements change from iteration to iteration."""
    out = nl.ndarray((1, 128), np.float32, buffer=nl.shared_hbm)
    total = nl.zeros((1, 128), np.float32)
    for i in nl.affine_range(64):
        row = nl.ndarray((1, 128), np.float32)
        row[...] = nl.load(x[nl.ds(i, 1), :])
        total += row
        row[...] = 0.0
        total += 1.0
    nl.store(out, total)
    return out


@nki.jit
def sums_within_a_sequence(x: Any) -> Any:
    """A parallel loop inside a sequential one: the sum is read after every one."""
    out = nl.ndarray((4, 128), np.float32, buffer=nl.shared_hbm)
    total = nl.zeros((1, 128), np.float32)
    for i in nl.sequential_range(4):
        for j in nl.affine_range(16):
            total += nl.load(x[nl.ds(i * 16 + j, 1), :])
        nl.store(out[nl.ds(i, 1), :], total)
    return out


@nki.jit
def sums_inside_each_iteration(x: Any) -> Any:
    """Accumulators that belong to one iteration: nothing waits."""
    out = nl.ndarray((4, 128), np.float32, buffer=nl.shared_hbm)
    for i in nl.affine_range(4):
        total = nl.zeros((1, 128), np.float32)
        for j in nl.sequential_range(16):
            total += nl.load(x[nl.ds(i * 16 + j, 1), :])
        nl.store(out[nl.ds(i, 1), :], total)
    return out


@pytest.mark.parametrize("params", SHUFFLED, ids=lambda params: f"seed {params.seed}")
@pytest.mark.parametrize(
    "kernel",
    [sums_in_psum, sums_in_sbuf, sums_within_a_sequence, sums_inside_each_iteration],
    ids=lambda kernel: kernel.__name__,
)
def test_shuffled_sums_have_the_bytes_of_the_programs_order(kernel: Callable[[Any], Any], params: Params) -> None:
    expected = kernel(X)
    with machine.using(params):
        assert same_bytes(kernel(X), expected)


def test_sum_in_another_order_has_other_bytes() -> None:
    """Else the test above would hold for a sum in any order."""

    @nki.jit
    def backwards(x: Any) -> Any:
        out = nl.ndarray((1, 128), np.float32, buffer=nl.shared_hbm)
        total = nl.zeros((1, 128), np.float32)
        for i in nl.sequential_range(63, -1, -1):
            total += nl.load(x[nl.ds(i, 1), :])
            total += 1.0
        nl.store(out, total)
        return out

    assert not same_bytes(backwards(X), sums_in_sbuf(X))


@pytest.mark.parametrize("order", ["program", "shuffled"])
def test_value_that_is_read_inside_the_loop_is_up_to_date(order: Any) -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
        total = nl.zeros((1, 4), np.float32)
        for _ in nl.affine_range(3):
            total += nl.load(x)
            nl.exp(total)
        nl.store(out, total)
        return out

    with machine.using(Params(order=order)):
        assert kernel(np.ones((1, 4), np.float32)).tolist() == [[3.0] * 4]


def test_reductions_across_programs_wait_for_the_end_of_the_launch() -> None:
    launch = machine.Launch(Params(order="shuffled", seed=1), (4,))
    applied: list[int] = []
    storage: Any = None
    for position in launch.programs():
        program = machine.Program(launch, position)
        with machine.executing(program):
            storage = program.share((2, 2), np.dtype(np.float32), "sum")
            loops.reduce(storage, functools.partial(applied.append, position[0]))
            assert applied == []
    assert applied == [0, 1, 2, 3]


def test_reduction_outside_of_a_kernel_is_applied_at_once() -> None:
    applied: list[int] = []
    storage: Any = None
    loops.reduce(storage, lambda: applied.append(1))
    assert applied == [1]
