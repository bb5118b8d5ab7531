from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped

ID = "scale-zero"
PLAIN = specimen(ID)
VALUE = b"softmax_scale or (1.0 / tile.shape[1] ** 0.5)"


def test_fixes_the_choice_and_keeps_the_default() -> None:
    check_fixed(ID, PLAIN, (b" or (1.0", b" if softmax_scale is not None else (1.0"))


def test_fixes_choice_on_several_lines() -> None:
    before = swapped(PLAIN, (VALUE, b"(\n        softmax_scale  # as given\n        or 0.5  # or not\n    )"))
    check_fixed(ID, before, (b"  or 0.5", b"  if softmax_scale is not None else 0.5"))


@pytest.mark.parametrize("value", [b"0.5 if softmax_scale is None else softmax_scale"])
def test_leaves_choice_that_asks_for_none(value: bytes) -> None:
    check_left(ID, swapped(PLAIN, (VALUE, value)))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"softmax_scale and 0.5", id="and"),
        pytest.param(b"0.5 or softmax_scale", id="turned round"),
        pytest.param(b"softmax_scale or near or 0.5", id="two defaults"),
        pytest.param(b"0.5 if softmax_scale == 0 else softmax_scale", id="another question"),
        pytest.param(b"softmax_scale or (lambda: 0.5)", id="a function"),
    ],
)
def test_refuses_another_choice(value: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (VALUE, value)), "expected softmax_scale = softmax_scale or a default", at=value)
