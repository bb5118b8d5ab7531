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


def test_choices_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Params().target = "trn2"  # type: ignore[misc]


def test_choices_are_named() -> None:
    with pytest.raises(TypeError):
        Params("trn2")  # type: ignore[call-arg]
