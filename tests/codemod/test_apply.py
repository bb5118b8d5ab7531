from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nkifix import codemod
from nkifix.codemod import AlreadyFixed, Fix, Fixed, NotRecognised
from nkifix.codemod.source import Edit, Source, UnsureError

PLAIN = (Path(__file__).parent.parent / "specimens" / "typo_plain_branch.py").read_bytes()
NESTED = (Path(__file__).parent.parent / "specimens" / "typo_nested_branch.py").read_bytes()
TYPO = codemod.select("typo")
NEWLINE = re.compile(rb"\r\n?|\n")


def fixed(data: bytes) -> bytes:
    return data.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True").replace(b"# casual", b"# causal")


class Rename(Fix):
    """Renames every ``old`` in the text; a stand-in for the fixes to come."""

    id: ClassVar[str] = "rename"

    def __init__(self, old: str, new: str, name: str = "rename") -> None:
        self.old = old
        self.new = new
        self.id = name  # type: ignore[misc]

    def find(self, source: Source) -> tuple[Edit, ...]:
        if "forbidden" in source.text:
            raise UnsureError("forbidden", 7)
        return tuple(Edit(m.start(), self.old, self.new) for m in re.finditer(self.old, source.text))


# --------------------------------------------------------------------------------------- several fixes at once


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_fixes_are_independent_of_their_order(order: Sequence[int]) -> None:
    fixes = [Rename("aa", "x", "one"), Rename("bb", "y", "two"), Rename("cc", "z", "three")]
    outcome = codemod.apply(b"aa = bb\nd = aa\n", [fixes[i] for i in order])
    assert isinstance(outcome, Fixed)
    assert outcome.data == b"x = y\nd = x\n"
    assert outcome.lines == (1, 2)
    assert set(outcome.fixes) == {"one", "two"}


def test_fixes_together_are_the_fixes_one_by_one() -> None:
    together = codemod.apply(PLAIN, [*TYPO, Rename("tiles", "blocks")])
    alone = codemod.apply(PLAIN, TYPO)
    assert isinstance(alone, Fixed)
    then = codemod.apply(alone.data, [Rename("tiles", "blocks")])
    assert isinstance(together, Fixed)
    assert isinstance(then, Fixed)
    assert together.data == then.data


def test_leaves_file_that_needs_none_of_the_fixes() -> None:
    outcome = codemod.apply(b"a = 1\n", [Rename("x", "y", "one"), Rename("z", "y", "two")])
    assert outcome == AlreadyFixed(("one", "two"))


def test_leaves_file_for_which_no_fix_was_asked() -> None:
    assert codemod.apply(PLAIN, []) == AlreadyFixed(())


def test_refuses_file_that_cannot_be_read() -> None:
    assert codemod.apply(b"a = 1\n\0", TYPO) == NotRecognised("a binary file: it holds a NUL byte", 2)


def test_refuses_all_if_one_fix_is_unsure() -> None:
    outcome = codemod.apply(b"aa = 'forbidden'\n", [Rename("aa", "x", "one"), Rename("bb", "x", "two")])
    assert outcome == NotRecognised("forbidden", 7, "one")


def test_refuses_fixes_that_want_the_same_characters() -> None:
    outcome = codemod.apply(b"\nabc = 1\n", [Rename("abc", "x"), Rename("bc", "y")])
    assert outcome == NotRecognised("two changes want the same characters", 2)


@pytest.mark.parametrize(
    ("new", "outcome"),
    [
        pytest.param(
            "aa aa",
            NotRecognised("the changed file would not be readable: it does not parse: invalid syntax", 1),
            id="broken",
        ),
        pytest.param(
            "forbidden", NotRecognised("the changed file would not be recognised: forbidden", 7, "rename"), id="unknown"
        ),
        pytest.param(
            "baa", NotRecognised("the changed file would need the same fix again", 1, "rename"), id="never ending"
        ),
    ],
)
def test_refuses_result_that_fails_its_own_check(new: str, outcome: NotRecognised) -> None:
    assert codemod.apply(b"aa = 1\n", [Rename("aa", new)]) == outcome


# ------------------------------------------------------------------------------------------- forms of a file


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A specimen in some form, and the same form of it fixed."""
    base = draw(st.sampled_from([PLAIN, NESTED]))
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    indent = draw(st.sampled_from([b"    ", b"\t", b"  ", b" "]))
    head = draw(st.sampled_from([b"", b"# \xc3\xbc\xe2\x82\xac\n", b"'''\n\x0c\n'''\n"]))
    if not bom and draw(st.booleans()):
        head = b"# -*- coding: latin-1 -*-\n# \xfc\xdf\n"
    endings = st.sampled_from(draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n", b"\r"]])))
    feeds = st.sampled_from([b"", b"", b"", b"\x0c", b" \x0c\x0c"])
    final = draw(st.booleans())

    before, after = (head + text for text in (base, fixed(base)))
    lines = list(zip(before.split(b"\n")[:-1], after.split(b"\n")[:-1], strict=True))
    result = [bom, bom]
    for number, pair in enumerate(lines):
        feed = draw(feeds) if number > 12 else b""
        ending = draw(endings) if final or number < len(lines) - 1 else b""
        for side, line in enumerate(pair):
            result[side] += feed + line.replace(b"    ", indent) + ending
    return result[0], result[1]


@given(forms())
@settings(deadline=None, max_examples=60)
def test_only_the_fix_differs_in_every_form_of_a_file(form: tuple[bytes, bytes]) -> None:
    before, after = form
    outcome = codemod.apply(before, TYPO)
    assert isinstance(outcome, Fixed), outcome
    assert outcome.data == after
    assert isinstance(codemod.apply(after, TYPO), AlreadyFixed)


def check_total(data: bytes) -> None:
    """``apply`` answers, and a fix touches only the lines it names, in the way it must."""
    outcome = codemod.apply(data, TYPO)
    if not isinstance(outcome, Fixed):
        return
    before, after = NEWLINE.split(data), NEWLINE.split(outcome.data)
    changed = [number for number, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b]
    assert tuple(changed) == outcome.lines
    for number in changed:
        known = re.sub(rb"\s*#\s*noqa\s*:\s*F841[\s,]*$", b"", before[number - 1])
        assert known.replace(b"casual", b"causal") == after[number - 1]


@given(st.integers(0, len(PLAIN)))
@settings(deadline=None)
def test_truncated_file_is_never_a_traceback(length: int) -> None:
    check_total(PLAIN[:length])


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_random_bytes_are_never_a_traceback(data: bytes) -> None:
    check_total(data)


@given(st.integers(0, len(PLAIN)), st.integers(0, 12), st.binary(max_size=6) | st.sampled_from([b"\r", b"\x0c", b"("]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_file_is_never_a_traceback(start: int, length: int, inserted: bytes) -> None:
    check_total(PLAIN[:start] + inserted + PLAIN[start + length :])


@given(st.lists(st.sampled_from(PLAIN.split(b"\n")), max_size=40))
@settings(deadline=None)
def test_shuffled_lines_are_never_a_traceback(lines: list[bytes]) -> None:
    check_total(b"\n".join(lines))
