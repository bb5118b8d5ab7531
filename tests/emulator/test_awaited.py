"""Results that are computed when they are assigned or read: the same bytes as those that are computed at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nkifix.emulator.frontends.legacy.isa as nisa
import nkifix.emulator.frontends.legacy.language as nl
from nkifix.emulator.machine import Program
from nkifix.emulator.memory import Space
from nkifix.emulator.ops.operand import assign
from tests.emulator.kernels import running, same_bytes, tile, values

F32, BF16, F16, I32 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16), np.dtype(np.int32)


@contextmanager
def a_program(*, postpones: bool = True) -> Iterator[Program]:
    with running() as program:
        program.postpones = postpones
        yield program


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


Statement = Callable[[dict[str, Any], int], Any]
"""One line of a kernel, on tiles a (4, 8) float32, b (4, 8) bfloat16, c (4, 8) int32, p (4, 8) PSUM, s (4, 1)."""


def _set(name: str, compute: Statement, place: Any = slice(None)) -> Statement:
    def run(t: dict[str, Any], i: int) -> None:
        key = (slice(None), nl.ds(2 * (i % 3), 4)) if place is None else (slice(None), place)
        t[name][key] = compute(t, i)

    return run


def _keep(name: str, compute: Statement) -> Statement:
    def run(t: dict[str, Any], i: int) -> None:
        t[name] = compute(t, i)

    return run


def _half(t: Any, name: str, i: int) -> Any:
    return t[name][:, nl.ds(2 * (i % 3), 4)]


STATEMENTS: dict[str, Statement] = {
    "sum into its operand": _set("a", lambda t, i: nl.add(t["a"], t["b"])),
    "sum into a narrower tile": _set("b", lambda t, i: nl.add(t["a"], t["b"])),
    "product into integers": _set("c", lambda t, i: nl.multiply(t["a"], 3.7)),
    "integers into floats": _set("a", lambda t, i: nl.add(t["c"], t["c"])),
    "narrow result into a wide tile": _set("a", lambda t, i: nl.multiply(t["a"], 1.3, dtype=BF16)),
    "part into a part that overlaps": _set("a", lambda t, i: nl.copy(_half(t, "a", i + 1)), None),
    "part into its operand": _set("a", lambda t, i: nl.add(_half(t, "a", i + 1), 1.0), None),
    "exponential of a part": _set("b", lambda t, i: nisa.activation(np.exp, _half(t, "a", i), bias=t["s"]), None),
    "exponential and its sum": _set(
        "b", lambda t, i: nisa.activation_reduce(np.exp, t["a"], bias=t["s"], reduce_op=nl.add, reduce_res=t["s"])
    ),
    "copy and its sum, into what it reads": _set(
        "a", lambda t, i: nisa.activation_reduce(nl.copy, t["a"], reduce_op=nl.add, reduce_res=t["a"][:, 1])
    ),
    "scaled and its maximum": _set(
        "a",
        lambda t, i: nisa.tensor_scalar_reduce(
            data=t["a"], op0=np.multiply, operand0=0.5, reduce_op=np.max, reduce_res=t["a"][:, 0]
        ),
    ),
    "maximum into a column": lambda t, i: assign(t["s"][:, 0], nisa.tensor_reduce(np.max, t["a"], axis=(1,))),
    "sum in PSUM": _keep(
        "p", lambda t, i: t["p"].__iadd__(nl.matmul(t["b"][:, nl.ds(0, 4)], t["b"], transpose_x=True))
    ),
    "matmul into PSUM": _set("p", lambda t, i: nl.matmul(t["b"][:, nl.ds(0, 4)], t["b"], transpose_x=True)),
    "matmul that nobody takes": lambda t, i: nl.matmul(t["b"][:, nl.ds(0, 4)], t["b"], transpose_x=True),
    "transpose": _set("a", lambda t, i: nisa.nc_transpose(t["b"][:, nl.ds(0, 4)]), nl.ds(0, 4)),
    "select from itself": _set(
        "a", lambda t, i: nisa.affine_select(nl.mgrid[0:4, 0:8][0] + i % 4 >= nl.mgrid[0:4, 0:8][1], t["a"], -1.0)
    ),
    "select nothing": _set(
        "a", lambda t, i: nisa.affine_select(nl.mgrid[0:4, 0:8][0] >= nl.mgrid[0:4, 0:8][1] + 9, t["a"], 2.0)
    ),
    "number": _set("a", lambda t, i: 0.5, None),
    "kept for later": _keep("kept", lambda t, i: nl.multiply(t["a"], t["b"])),
    "taken later": _set("a", lambda t, i: t["kept"]),
    "taken twice": _set("b", lambda t, i: nl.add(t["kept"], t["kept"])),
    "matmul into every other column": lambda t, i: assign(
        t["w"][:, 0:16:2], nl.matmul(t["b"][:, nl.ds(0, 4)], t["b"], transpose_x=True)
    ),
    "matmul into a column": lambda t, i: assign(
        t["w"][:, i % 16], nl.matmul(t["b"][:, nl.ds(0, 4)], t["b"][:, 5], transpose_x=True)
    ),
    "exponential into every other column": lambda t, i: assign(
        t["w"][:, 1:16:2], nisa.activation(np.exp, t["a"], bias=t["s"])
    ),
    "exponential into a column": lambda t, i: assign(t["w"][:, i % 16], nisa.activation(np.exp, t["s"])),
    "tangent into a part": lambda t, i: assign(t["w"][:, nl.ds(3, 8)], nl.tanh(t["a"])),
    "part of a result": _set("a", lambda t, i: nl.add(t["a"], t["b"])[:, nl.ds(i % 4, 4)], None),
    "result in another shape": _set("a", lambda t, i: nl.add(t["a"], t["b"]).reshape((4, 4, 2))[:, :, 1], nl.ds(0, 4)),
    "result with repeated columns": _set("a", lambda t, i: nl.add(t["s"], 1.0).broadcast_to((4, 8))),
    "bits of a result": _set("c", lambda t, i: nl.add(t["a"], t["b"]).view(nl.int32)),
    "one row for all": _set("a", lambda t, i: nl.broadcast_to(t["s"], shape=(4, 8))),
}


def executed(names: list[str], *, postpones: bool) -> list[Any]:
    """The tiles after these statements."""
    with a_program(postpones=postpones):
        tiles: dict[str, Any] = {
            "a": tile(random(4, 8)),
            "b": tile(random(4, 8, seed=1), BF16),
            "c": tile(np.arange(32).reshape(4, 8) - 9, I32),
            "p": tile(random(4, 8, seed=2), space=Space.PSUM),
            "s": tile(random(4, 1, seed=3)),
            "w": tile(random(4, 16, seed=4), space=Space.PSUM),
        }
        tiles["kept"] = nl.copy(tiles["a"])
        for number, name in enumerate(names):
            STATEMENTS[name](tiles, number)
        return [values(tiles[name]) for name in (*"abcpsw", "kept")]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(STATEMENTS)), min_size=1, max_size=8))
def test_postponed_results_have_the_bytes_of_those_computed_at_once(names: list[str]) -> None:
    plain = executed(names, postpones=False)
    assert [same_bytes(*pair) for pair in zip(executed(names, postpones=True), plain, strict=True)] == [True] * 7


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_each_statement_alone_and_twice_has_the_bytes_of_the_plain_path(name: str) -> None:
    for names in ([name], [name, name], [name, "number", name]):
        plain = executed(names, postpones=False)
        assert all(same_bytes(*pair) for pair in zip(executed(names, postpones=True), plain, strict=True))


def test_result_waits_until_it_is_assigned() -> None:
    with a_program() as program:
        a, b = tile(random(2, 4)), tile(np.zeros((2, 4)))
        made = nl.add(a, a)
        assert program.nest.awaited is made.storage
        b[:, :] = made
        assert program.nest.awaited is None
        assert same_bytes(values(b), 2 * values(a))


def test_assigned_result_keeps_its_values_when_the_tile_changes() -> None:
    with a_program():
        a, b, c = tile(random(2, 4)), tile(np.zeros((2, 4))), tile(np.zeros((2, 4)))
        made = nl.add(a, a)
        b[:, :] = made
        b[:, 1] = 9.0
        c[:, :] = made
        assert same_bytes(values(c), 2 * values(a))


def test_assigned_result_keeps_its_values_when_the_tile_changes_as_another_dtype() -> None:
    with a_program():
        a, b = tile(random(2, 4)), tile(np.zeros((2, 4)))
        made = nl.add(a, a)
        b[:, :] = made
        b.view(nl.int32)[:, :] = 0
        assert same_bytes(values(made), 2 * values(a))


def test_result_is_computed_before_its_operand_changes() -> None:
    with a_program():
        a = tile(random(2, 4))
        before = values(a)
        made = nl.add(a, a)
        a[:, :] = 7.0
        assert same_bytes(values(made), 2 * before)


def test_result_is_computed_before_the_next_one() -> None:
    with a_program() as program:
        a = tile(random(2, 4))
        first, second = nl.add(a, a), nl.multiply(a, a)
        assert (first.storage.is_awaited, second.storage.is_awaited) == (False, True)
        assert program.nest.awaited is second.storage


def test_nothing_waits_where_lifetimes_are_measured() -> None:
    with a_program(postpones=False):
        a = tile(random(2, 4))
        assert not nl.add(a, a).storage.is_awaited


@pytest.mark.parametrize("function", [nl.log, nl.sqrt])
def test_warning_of_a_range_comes_on_the_line_of_the_function(function: Any) -> None:
    with a_program(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = function(tile(np.full((1, 2), -1.0)))  # this line
        count = len(caught)
        assign(tile(np.zeros((1, 2))), made)
    assert count == len(caught) == 1
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert lines[caught[0].lineno - 1].endswith("# this line")


@pytest.mark.parametrize("dtype", [F32, BF16, F16, I32])
def test_result_is_rounded_to_its_own_dtype_and_then_to_the_tiles(dtype: Any) -> None:
    exact = np.float32(1 + 2**-8 + 2**-16)  # to nearest bfloat16: up; by way of float16 or float32: the same, or down
    with a_program():
        made = nl.multiply(tile(np.full((1, 1), exact)), 1.0, dtype=BF16)
        taken = tile(np.zeros((1, 1)), dtype)
        taken[:, :] = made
        assert values(taken)[0, 0] == np.float32(exact).astype(BF16).astype(dtype)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param((slice(None), slice(0, 128, 2)), id="every other column"),
        pytest.param((slice(None), slice(0, 64)), id="some columns"),
        pytest.param((slice(0, 64), slice(64, 128)), id="some rows and columns"),
    ],
)
@pytest.mark.parametrize("name", ["matmul", "exp", "log"])
def test_where_a_large_result_goes_changes_no_bit(name: str, place: Any) -> None:
    rows = 128 if place[0] == slice(None) else 64

    def taken(*, postpones: bool) -> Any:
        with a_program(postpones=postpones):
            wide = tile(np.zeros((128, 128)), space=Space.PSUM)
            x, y = tile(random(128, rows)), tile(random(128, 64, seed=1))
            if name == "matmul":
                wide[place] = nl.matmul(x, y, transpose_x=True)
            else:
                data = tile(np.abs(random(rows, 64)) + 0.1)
                wide[place] = nisa.activation(getattr(np, name), data, scale=1.5)
            return values(wide)

    assert same_bytes(taken(postpones=True), taken(postpones=False))
