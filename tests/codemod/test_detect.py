from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nkifix.codemod import FIXES, detect, near_miss
from nkifix.codemod.detect import Finding, check
from nkifix.codemod.source import UnsureError

SPECIMENS = Path(__file__).parent.parent / "specimens"
TYPO = "misspelled-causal-mask"
PLAIN = (SPECIMENS / "typo_plain_branch.py").read_bytes()


def rules(data: bytes) -> set[str]:
    return {finding.rule for finding in check(data)}


def test_every_rule_has_a_title() -> None:
    assert list(detect.rules()) == [*(fix.id for fix in FIXES), near_miss.RULE]
    assert all(detect.rules().values())


def test_known_defect_stands_at_the_line_of_its_mistake_and_is_named_once() -> None:
    assert Finding(17, TYPO, detect.rules()[TYPO]) in check(PLAIN)
    assert near_miss.RULE not in rules(PLAIN)


def test_known_defects_are_looked_for_in_the_kernel_only() -> None:
    elsewhere = PLAIN.replace(b"def flash_fwd", b"def other")
    assert rules(elsewhere) == {near_miss.RULE}
    assert [finding.line for finding in check(elsewhere)] == [17]


def test_kernel_of_another_shape_is_not_taken_for_the_known_one() -> None:
    assert rules((SPECIMENS / "other_shape.py").read_bytes()) == set()


def test_general_rule_still_holds_in_the_kernel() -> None:
    more = b"\n\ndef g(a):\n    if a:\n        width = 1\n    else:\n        widht = 2\n    return width\n"
    assert rules(PLAIN + more) >= {TYPO, near_miss.RULE}


def test_fixed_kernel_has_no_typo() -> None:
    assert TYPO not in rules((SPECIMENS / "fixed_branch.py").read_bytes())
    assert rules((SPECIMENS / "no_kernel.py").read_bytes()) == set()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"else (", "does not parse", id="syntax"),
        pytest.param(b"else\0", "does not parse", id="nul"),
        pytest.param(b"# coding: nonsense\nelse", "does not parse", id="encoding"),
        pytest.param(b"x = " + b"-" * 200_000 + b"1 if 2 else 3", "nested too deeply", id="nesting"),
    ],
)
def test_refuses_what_cannot_be_read(data: bytes, reason: str) -> None:
    if reason.startswith("nested") and sys.version_info >= (3, 12):
        reason = "parse|nested"
    with pytest.raises(UnsureError, match=reason):
        check(data)


@pytest.mark.upstream
def test_every_defect_is_found_in_the_real_kernel(upstream_file: tuple[str, bytes]) -> None:
    tag, data = upstream_file
    expected = {fix.id for fix in FIXES} - ({"wcte-window-alignment"} if tag == "v0.6.10598" else set())
    assert rules(data) == expected
