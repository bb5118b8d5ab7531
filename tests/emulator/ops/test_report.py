"""Printing from inside a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.machine import Launch, Program
from nkifix.emulator.params import Params
from tests.emulator.kernels import hbm, refuses, running, tile


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        pytest.param(lambda: tile([[1.0, 2.5]]), "[[1.  2.5]]", id="float32"),
        pytest.param(lambda: tile([[1.0, 2.5]], nl.bfloat16), "[[1.  2.5]]", id="bfloat16"),
        pytest.param(lambda: tile([[1, 2]], np.int8), "[[1 2]]", id="integers"),
        pytest.param(lambda: tile([[True]], bool), "[[ True]]", id="bool"),
        pytest.param(lambda: tile([[1.0, 2.5]], holes=[[0, 1]]), "[[1.0 ?]]", id="undefined"),
        pytest.param(lambda: 3, "3", id="number"),
    ],
)
def test_prints_prefix_and_elements(given: Any, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    nl.device_print("x:", given())
    assert capsys.readouterr().out == f"x: {printed}\n"


def test_names_the_program_of_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    with running(grid=(2, 2), position=(1, 0)):
        nl.device_print("x:", tile([[1.0]]))
    assert capsys.readouterr().out == "x: [program 1, 0] [[1.]]\n"


def test_mask_hides_elements(capsys: pytest.CaptureFixture[str]) -> None:
    nl.device_print("x:", tile([[1.0, 2.0]]), mask=nl.arange(2)[None, :] < 1)
    nl.device_print("x:", tile([[1.0, 2.0]]), mask=False)
    assert capsys.readouterr().out == "x: [[1.0 ?]]\n"


def test_prints_nothing_where_nothing_is_computed(capsys: pytest.CaptureFixture[str]) -> None:
    with machine.executing(Program(Launch(Params(arithmetic=False), ()), ())):
        nl.device_print("x:", tile([[1.0]]))
    assert capsys.readouterr().out == ""


def test_refuses_to_print_hbm_or_without_a_prefix() -> None:
    with refuses("err_unsupported_memory"):
        nl.device_print("x:", hbm([[1.0]]))
    not_a_prefix: Any = tile([[1.0]])
    with refuses("", "prefix is a string"):
        nl.device_print(not_a_prefix, tile([[1.0]]))
