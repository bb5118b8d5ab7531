"""Rules by name: what they are, that each can be broken, and that one that is off changes what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import KernelFault, Params, machine
from nkifix.emulator.frontends.legacy import compiler as ncc
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.rules import CODES, RULES, check_names
from nkifix.errors import RefusalError
from tests.emulator import test_faults
from tests.emulator.static.test_catalogue import SOURCES

OPTIONAL = {name for name, rule in RULES.items() if rule.optional}
X = np.arange(128, dtype=np.float32).reshape(16, 8)


# ------------------------------------------------------------------------------------------------- the names


def test_catalogue_has_its_36_codes() -> None:
    assert len(CODES) == 36
    assert all(name.startswith("err_") == (name in CODES) for name in RULES)


@pytest.mark.parametrize("name", RULES)
def test_rule_says_what_and_where_from(name: str) -> None:
    rule = RULES[name]
    assert rule.summary
    assert "SDK 2.2" in rule.source
    assert rule.optional or rule.default


@pytest.mark.parametrize(
    ("on", "off", "what", "next_step"),
    [
        pytest.param(["err_unsuported_memory"], [], "is no rule", "did you mean err_unsupported_memory?", id="typo"),
        pytest.param([], ["qqq"], "'qqq' is no rule", "nkifix run --list-rules names them", id="nothing near"),
        pytest.param([], ["err_unsupported_memory"], "cannot be turned off", "rules that can be", id="not optional"),
        pytest.param(["index-not-affine"], ["index-not-affine"], "on and off at once", "choose one", id="both"),
    ],
)
def test_refuses_names(on: list[str], off: list[str], what: str, next_step: str) -> None:
    with pytest.raises(RefusalError, match=what) as caught:
        check_names(on, off)
    assert next_step in str(caught.value.next_step)
    with pytest.raises(RefusalError, match=what):
        Params(rules_on=frozenset(on), rules_off=frozenset(off))


def test_accepts_names_of_rules() -> None:
    check_names(CODES, OPTIONAL - CODES)
    check_names([], OPTIONAL)
    check_names([], [])


# ------------------------------------------------------------------------------------------- turning them off


@nki.jit
def allocated(x: Any, breaks: str) -> Any:
    """A directly allocated kernel that copies x."""
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((16, 8), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))
    other = nl.ndarray((16, 8), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=16 if breaks == "overlap" else 64))
    tile[...] = nl.load(x)
    if breaks == "hbm":
        nl.ndarray((16, 8), np.float32, buffer=nl.private_hbm)
    if breaks == "mixed":
        third = nl.ndarray((16, 8), np.float32)
        third[...] = 0.0
    other[...] = 0.0
    nl.store(out, tile)
    return out


@nki.jit
def product_as_index(x: Any) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    for i in nl.affine_range(2):
        for j in nl.affine_range(2):
            nl.load(x[nl.ds(i * j, 8), :])
            nl.load(x[i * j + nl.arange(8)[:, None], nl.arange(8)[None, :]])
    nl.store(out, nl.load(x))
    return out


@nki.jit
def starts_anywhere(x: Any) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    tile = nl.zeros((16, 8), np.float32)
    tile[4:8, :] = tile[0:4, :]
    nl.store(out, nl.load(x))
    return out


@nki.jit
def plain(x: Any) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    nl.store(out, nl.load(x))
    return out


BREAKING: dict[str, Callable[[], Any]] = {
    "index-not-affine": lambda: product_as_index(X),
    "physical-cores": lambda: plain[nl.nc(2)](X),
    "overwritten-tensor": lambda: allocated(X, "overlap"),
    "mixed-allocation": lambda: allocated(X, "mixed"),
    "allocated-kernel-hbm": lambda: allocated(X, "hbm"),
    "partition-start": lambda: starts_anywhere(X),
    **{code: breaks for code, (breaks, _) in test_faults.LAUNCHES.items() if code in OPTIONAL},
}
"""Optional rule -> a launch that breaks it. Those that only a source shows are tried in static/test_catalogue.py."""


@pytest.mark.parametrize("name", BREAKING)
def test_rule_that_is_off_refuses_nothing(name: str) -> None:
    with machine.using(Params(rules_on=frozenset({name}))), pytest.raises(KernelFault) as caught:
        BREAKING[name]()
    assert caught.value.code == name
    if name == test_faults.BLOCKS:  # its launch turns it on by itself
        np.testing.assert_array_equal(test_faults.has_blocks(X), X)
        return
    # two programs of physical-cores write the same output
    off = frozenset({name, "err_unexpected_output_dependencies"})
    with machine.using(Params(rules_off=off)):
        BREAKING[name]()


def test_every_optional_rule_was_turned_off() -> None:
    assert set(BREAKING) | set(SOURCES) >= OPTIONAL


def test_remainder_and_quotient_are_indices() -> None:
    """Shipped kernels alternate between two buffers so."""

    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
        for i in nl.sequential_range(16):
            buffer = nl.ndarray((1, 2, 8), np.float32)
            buffer[:, i % 2, :] = nisa.tensor_copy(nl.load(x[nl.ds(i // 4 * 4 + i % 4, 1), :]))
            nl.store(out[nl.ds(i, 1), :], buffer[:, i % 2, :])
        return out

    np.testing.assert_array_equal(kernel(X), X)


def test_product_with_an_unrolled_index_is_affine() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
        for i in nl.affine_range(4):
            for j in nl.static_range(4):
                nl.load(x[nl.ds(i * j, 1), :])
        nl.store(out, nl.load(x))
        return out

    np.testing.assert_array_equal(kernel(X), X)
