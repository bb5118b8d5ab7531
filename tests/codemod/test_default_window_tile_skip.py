from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_refused, specimen, swapped

ID = "default-window-tile-skip"
PLAIN = specimen(ID)
TEST = b"use_causal_mask and (sliding_window < 0)"


def test_fixes_the_comparison_alone() -> None:
    check_fixed(ID, PLAIN, (b"sliding_window < 0", b"sliding_window <= 0"))


def test_fixes_test_on_several_lines() -> None:
    before = swapped(
        PLAIN, (TEST, b"(\n            use_causal_mask\n            and sliding_window<0  # none\n        )")
    )
    check_fixed(ID, before, (b"sliding_window<0", b"sliding_window<=0"))


@pytest.mark.parametrize(
    "test",
    [
        pytest.param(b"use_causal_mask and sliding_window < 1", id="another number"),
        pytest.param(b"use_causal_mask or sliding_window < 0", id="or"),
        pytest.param(b"use_causal_mask & (sliding_window < 0)", id="bits"),
        pytest.param(b"causal and sliding_window < 0", id="another name"),
        pytest.param(b"use_causal_mask and 0 > sliding_window", id="turned round"),
    ],
)
def test_refuses_another_test(test: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (TEST, test)), "sliding_window < 0, found 0", at=b"def flash_fwd")


def test_refuses_two_such_tests() -> None:
    before = swapped(
        PLAIN,
        (b"    return reached", b"    if use_causal_mask and sliding_window < 0:\n        pass\n    return reached"),
    )
    check_refused(ID, before, "found 2", at=b"def flash_fwd")
