"""Grid dimensions over physical NeuronCores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import machine, spmd
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.language.spmd import nc, spmd_dim
from nkifix.emulator.params import Params, Target
from tests.emulator.kernels import refuses


@pytest.mark.parametrize(
    ("make", "size", "cores"),
    [
        pytest.param(lambda: nc(2), 2, [0, 1], id="cores only"),
        pytest.param(lambda: nc(2) * 2, 4, [0, 0, 1, 1], id="cores times size"),
        pytest.param(lambda: spmd_dim(nc(2), 2), 4, [0, 0, 1, 1], id="spmd_dim, cores first"),
        pytest.param(lambda: 2 * nc(2), 4, [0, 1, 0, 1], id="size times cores"),
        pytest.param(lambda: spmd_dim(2, nc(2)), 4, [0, 1, 0, 1], id="spmd_dim, cores last"),
        pytest.param(lambda: 2 * nc(2) * 2, 8, [0, 0, 1, 1, 0, 0, 1, 1], id="sizes on both sides"),
        pytest.param(lambda: spmd_dim(nc(2), nc(2)), 4, [0, 1, 2, 3], id="two factors of cores"),
        pytest.param(lambda: spmd_dim(3), 3, [0, 0, 0], id="no cores"),
    ],
)
def test_dimension_says_which_core_runs_a_program(make: Callable[[], Any], size: int, cores: list[int]) -> None:
    dimension = make()
    assert dimension == size
    assert [dimension.core(program) for program in range(size)] == cores


@pytest.mark.parametrize(
    ("grid", "position", "cores", "core"),
    [
        pytest.param((4, 2), (3, 1), 1, 0, id="the compiler chooses"),
        pytest.param((nc(2), 2), (1, 0), 2, 1, id="first dimension"),
        pytest.param((2, nc(2)), (0, 1), 2, 1, id="second dimension"),
        pytest.param((nc(2), nc(2)), (1, 0), 4, 2, id="both"),
    ],
)
def test_grid_says_how_many_cores_it_has(grid: Any, position: Any, cores: int, core: int) -> None:
    assert spmd.cores_of(grid) == cores
    assert spmd.core_of(grid, position) == core


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: nc(0), "nl.nc takes a positive whole number, got 0", id="no cores"),
        pytest.param(lambda: spmd.physical_cores(2.0), "got 2.0", id="float"),
        pytest.param(lambda: nc(2) * 0, "nl.spmd_dim takes", id="times nothing"),
        pytest.param(lambda: nc(2) * 1.5, "got 1.5", id="times a fraction"),
        pytest.param(lambda: spmd_dim(), "got none", id="no sizes"),
        pytest.param(lambda: spmd_dim(nc(2), "2"), "got '2'", id="string"),
    ],
)
def test_refuses_sizes(make: Callable[[], Any], message: str) -> None:
    with refuses("", message):
        make()


def test_dimension_prints_as_it_is_written() -> None:
    assert repr(2 * nc(2)) == "2 * nc(2)"


@nki.jit
def positions(x: Any) -> Any:
    """Each program stores its ids."""
    o = nl.ndarray((nl.num_programs(0), nl.num_programs(1), 1, 2), x.dtype, buffer=nl.shared_hbm)
    i, j = nl.program_id(0), nl.program_id(1)
    nl.store(o[i, j, 0:1, 0:1], float(i))
    nl.store(o[i, j, 0:1, 1:2], float(j))
    return o


def ids(grid: Any, target: Target = "trn2") -> Any:
    with machine.using(Params(target=target)):
        return positions[grid](np.zeros((1, 1), np.float32)).reshape(*map(int, grid), 2)


@pytest.mark.parametrize("grid", [(4, 2), (nc(2) * 2, 2), (spmd_dim(2, nc(2)), 2), (2, nc(2))], ids=repr)
def test_program_ids_are_the_same_however_cores_are_chosen(grid: Any) -> None:
    expected = np.stack(np.meshgrid(*(np.arange(int(size)) for size in grid), indexing="ij"), axis=-1)
    assert ids(grid).tolist() == expected.tolist()


def test_refuses_more_cores_than_the_target_has() -> None:
    assert ids((nc(1), 2), "trn1").shape == (1, 2, 2)
    assert ids((4, 2), "trn1").shape == (4, 2, 2)
    with refuses("physical-cores", "asks for 2 physical NeuronCores"):
        ids((nc(2), 2), "trn1")
    with refuses("physical-cores", "asks for 4"):
        ids((nc(2), nc(2)))


def test_more_cores_are_taken_without_the_rule() -> None:
    with machine.using(Params(rules_off=frozenset({"physical-cores"}))):
        assert positions[nc(2), 1](np.zeros((1, 1), np.float32)).shape == (2, 1, 1, 2)
