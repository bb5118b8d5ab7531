from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_refused, specimen, swapped

ID = "zero-left-window"
PLAIN = specimen(ID)
VALUE = b"True if left_window_size > 0 else use_causal_mask"


def test_fixes_the_comparison_alone() -> None:
    check_fixed(ID, PLAIN, (b"left_window_size > 0", b"left_window_size >= 0"))


def test_fixes_value_in_parentheses() -> None:
    before = swapped(
        PLAIN, (VALUE, b"(\n        True if ((left_window_size)>0) else (use_causal_mask)\n    )  # implied")
    )
    check_fixed(ID, before, (b")>0", b")>=0"))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"left_window_size > 0 or use_causal_mask", id="or"),
        pytest.param(b"True if left_window_size > 1 else use_causal_mask", id="another number"),
        pytest.param(b"False if left_window_size > 0 else use_causal_mask", id="another value"),
        pytest.param(b"True if left_window_size > 0 else causal", id="another name"),
    ],
)
def test_refuses_another_value(value: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (VALUE, value)), "to become True if left_window_size > 0", at=value)


def test_refuses_two_assignments() -> None:
    before = swapped(PLAIN, (b"    held =", b"    use_causal_mask = bool(use_causal_mask)\n    held ="))
    check_refused(ID, before, "one assignment to use_causal_mask in flash_fwd, found 2", at=b"bool(")


def test_refuses_kernel_without_the_assignment() -> None:
    before = swapped(PLAIN, (b"    use_causal_mask = " + VALUE + b"\n", b""))
    check_refused(ID, before, "one assignment to use_causal_mask in flash_fwd, found 0", at=b"def flash_fwd")
