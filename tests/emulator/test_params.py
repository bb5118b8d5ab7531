"""Fidelity choices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nkifix.emulator.params import Params
from nkifix.errors import RefusalError


def test_default_target_is_trn1() -> None:
    assert Params().target == "trn1"


@pytest.mark.parametrize("target", ["trn1", "trn2"])
def test_target_of_a_documented_chip(target: Any) -> None:
    assert Params(target=target).target == target


@pytest.mark.parametrize("target", ["trn3", "TRN1", "", None])
def test_refuses_target_without_documented_limits(target: Any) -> None:
    with pytest.raises(RefusalError, match="choose one of trn1, trn2"):
        Params(target=target)


@pytest.mark.parametrize(
    ("choice", "value", "others"),
    [
        pytest.param("storage", "exact", "precise, fp32", id="storage"),
        pytest.param("order", "random", "program, shuffled", id="order"),
    ],
)
def test_refuses_choice_that_is_not_offered(choice: str, value: Any, others: str) -> None:
    with pytest.raises(RefusalError, match=f"{choice}='{value}' is not a {choice}") as caught:
        Params(**{choice: value})
    assert caught.value.next_step == f"choose one of {others}"


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_refuses_workers_that_are_no_number_of_processes(workers: Any) -> None:
    with pytest.raises(RefusalError, match=f"workers={workers!r} is no number of processes"):
        Params(workers=workers)


BLOCKS = "err_leading_dimension_of_tensor_must_be_partition"
UNORDERED = "err_unexpected_output_dependencies"


@pytest.mark.parametrize(
    ("params", "blocks", "unordered"),
    [
        pytest.param(Params(), False, True, id="default"),
        pytest.param(Params(rules_on=frozenset({BLOCKS})), True, True, id="on"),
        pytest.param(Params(rules_off=frozenset({UNORDERED})), False, False, id="off"),
        pytest.param(Params(rules_off=frozenset({BLOCKS}), rules_on=frozenset({UNORDERED})), False, True, id="as is"),
    ],
)
def test_rules_are_enforced_by_default_or_as_chosen(params: Params, blocks: bool, unordered: bool) -> None:
    assert (params.enforces(BLOCKS), params.enforces(UNORDERED)) == (blocks, unordered)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        pytest.param(Params(), "{}", id="default"),
        pytest.param(Params(target="trn2", seed=3), '{"target": "trn2", "seed": 3}', id="numbers and names"),
        pytest.param(Params(workers=2), '{"workers": 2}', id="processes"),
        pytest.param(
            Params(rules_off=frozenset({UNORDERED, BLOCKS}), order="shuffled"),
            f'{{"rules_off": ["{BLOCKS}", "{UNORDERED}"], "order": "shuffled"}}',
            id="rules",
        ),
    ],
)
def test_text_for_another_process(params: Params, text: str) -> None:
    assert params.to_text() == text
    assert Params.from_text(text) == params


def test_choices_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Params().target = "trn2"  # type: ignore[misc]


def test_choices_are_named() -> None:
    with pytest.raises(TypeError):
        Params("trn2")  # type: ignore[call-arg]
