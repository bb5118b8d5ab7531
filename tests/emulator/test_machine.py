"""The running program: what it allocates, what it warns of, and which parameters hold."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import EmulatorWarning, Params, machine
from nkifix.emulator.machine import Launch, Program
from tests.emulator.kernels import hbm, refuses, running, tile

F32 = np.dtype(np.float32)


def program(launch: Launch, *position: int) -> Program:
    return Program(launch, position)


def test_programs_share_hbm_by_allocation_order() -> None:
    launch = Launch(Params(), (2,))
    first, second = program(launch, 0), program(launch, 1)
    a, b = first.share((2, 4), F32, "a"), first.share((2, 4), F32, "b")
    assert a is not b
    assert [second.share((2, 4), F32, "a"), second.share((2, 4), F32, "b")] == [a, b]
    assert launch.outputs == [a, b]
    assert a.undefined_count == 8


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [pytest.param((4, 2), F32, id="shape"), pytest.param((2, 4), np.dtype(np.int32), id="dtype")],
)
def test_refuses_programs_that_share_something_else(shape: tuple[int, ...], dtype: Any) -> None:
    launch = Launch(Params(), (2,))
    program(launch, 0).share((2, 4), F32, "a")
    with refuses("", r"program \(1,\) allocates shared_hbm tensor 0") as caught:
        program(launch, 1).share(shape, dtype, "a")
    assert "(2, 4) float32" in str(caught.value.why)


def test_no_program_runs_outside_of_a_launch() -> None:
    assert not machine.running()
    with refuses("err_nki_api_outside_of_nki_kernel"):
        machine.program()
    with running() as current:
        assert machine.running()
        assert machine.program() is current
    assert not machine.running()


def test_program_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), running():
        _ = 1 / 0
    assert not machine.running()


def test_warns_once_per_line_and_launch() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            launch = Launch(Params(), (2,))
            for position in range(2):
                program(launch, position).warn("rule", "text")
                program(launch, position).warn("rule", "text of another line")
    assert [str(one.message) for one in caught] == ["text", "text of another line"] * 2
    assert {one.category for one in caught} == {EmulatorWarning}
    assert {one.filename for one in caught} == {__file__}


# ---------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("target", ["trn1", "trn2"])
def test_launch_has_the_limits_of_its_target(target: Any) -> None:
    assert Launch(Params(target=target), ()).limits.partition_max == 128


def test_chosen_params_hold_inside_the_context() -> None:
    inner = Params(target="trn2")
    assert machine.params() == Params()
    with machine.using(inner):
        assert machine.params() is inner
        with machine.using(Params()):
            assert machine.params() == Params()
        assert machine.params() is inner
    assert machine.params() == Params()


def test_running_kernel_keeps_the_params_of_its_launch() -> None:
    with running("trn1"), machine.using(Params(target="trn2")):
        assert machine.params().target == "trn1"


def test_default_params_hold_in_new_threads() -> None:
    seen: list[Params] = []
    outer = machine.params()
    machine.set_default(Params(target="trn2"))
    try:
        with machine.using(outer):
            thread = threading.Thread(target=lambda: seen.append(machine.params()))
            thread.start()
            thread.join()
    finally:
        machine.set_default(outer)
    assert seen == [Params(target="trn2")]


# --------------------------------------------------------------------------------------------- plans


def test_plan_is_made_once_for_operands_of_the_same_layout() -> None:
    made: list[tuple[object, ...]] = []

    def make(*given: object) -> object:
        made.append(given)
        return len(made)

    with running():
        a, b, wide = tile(np.zeros((2, 4))), tile(np.ones((2, 4))), tile(np.zeros((2, 5)))
        assert [machine.planned(make, (one,), "x") for one in (a, b, a[:, :])] == [1, 1, 1]
        assert machine.planned(make, (wide,), "x") == 2
        assert machine.planned(make, (a,), "y") == 3
        assert [machine.planned(make, (a, number), "x") for number in (1, 2)] == [4, 4]
        assert machine.planned(make, (a, 1.0), "x") == 5
        assert machine.planned(make, (a, True), "x") == 6
    assert [given[1:] for given in made[:3]] == [("x",), ("x",), ("y",)]


def test_plan_is_made_anew_where_more_than_the_layout_counts() -> None:
    made: list[object] = []

    def make(*given: object) -> int:
        made.append(given)
        return len(made)

    with running():
        beyond = hbm(np.zeros((2, 4)))[0:2, 0:5]
        assert [machine.planned(make, (beyond,)), machine.planned(make, (beyond,))] == [1, 2]
        assert [machine.planned(make, (), [1]), machine.planned(make, (), [1])] == [3, 4]


def test_plans_are_shared_by_launches_with_the_same_params_only() -> None:
    assert Launch(Params(), ()).plans is Launch(Params(), (2,)).plans
    assert Launch(Params(), ()).plans is not Launch(Params(target="trn2"), ()).plans
    assert Launch(Params(), ()).accepted is not Launch(Params(seed=1), ()).accepted
