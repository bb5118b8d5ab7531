"""What holds for every fix, on its specimen: any form of the file, any damage to it, and other fixes beside it."""

from __future__ import annotations

import ast
import itertools
import random
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nkifix import codemod
from nkifix.codemod import AlreadyFixed, Fix, Fixed, NotRecognised
from nkifix.codemod.source import Source
from tests.codemod.fixing import specimen

TYPO = "misspelled-causal-mask"


def kernel(defect: str) -> bytes:
    return specimen("typo-plain-branch" if defect == TYPO else defect)


def fixed(data: bytes, *fixes: Fix) -> bytes:
    outcome = codemod.apply(data, fixes)
    assert isinstance(outcome, Fixed), outcome
    return outcome.data


every_fix = pytest.mark.parametrize("fix", codemod.FIXES, ids=lambda fix: fix.id)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "tabs": lambda data: data.replace(b"    ", b"\t"),
    "two spaces": lambda data: data.replace(b"    ", b"  "),
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "latin-1": lambda data: b"# coding: latin-1\n# \xfc\xdf\n" + data,
    "UTF-8": lambda data: "# ü€\n'\u2028'\n".encode() + data,
    "form feeds": lambda data: data.replace(b'"""\n\n', b'"""\n\x0c\n', 1).replace(b"@nki", b"\x0c@nki"),
    "bare decorators": lambda data: data.replace(b'@nki.jit(mode="trace")', b"@nki.jit"),
    "other quotes": lambda data: data.replace(b'mode="trace"', b"mode='trace'"),
    "no final newline": lambda data: data.rstrip(b"\n"),
}


@every_fix
def test_fix_is_idempotent(fix: Fix) -> None:
    assert codemod.apply(fixed(kernel(fix.id), fix), [fix]) == AlreadyFixed((fix.id,))


@pytest.mark.parametrize("form", FORMS)
@every_fix
def test_fix_does_not_care_for_the_form_of_a_file(fix: Fix, form: str) -> None:
    change = FORMS[form]
    assert fixed(change(kernel(fix.id)), fix) == change(fixed(kernel(fix.id), fix))


@pytest.mark.parametrize("options", [(), ("--line-length=60", "--config", "format.quote-style='single'")], ids=str)
@every_fix
def test_fix_does_not_care_for_a_formatter(fix: Fix, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ruff", "format", "--isolated", *options, "-"]
    formatted = subprocess.run(command, input=kernel(fix.id), capture_output=True, check=True).stdout
    assert ast.dump(ast.parse(fixed(formatted, fix))) == ast.dump(ast.parse(fixed(kernel(fix.id), fix)))


@every_fix
def test_fix_keeps_every_other_line(fix: Fix) -> None:
    before = kernel(fix.id)
    outcome = codemod.apply(before, [fix])
    assert isinstance(outcome, Fixed)
    lines = before.splitlines(keepends=True)
    kept = [line for number, line in enumerate(lines, 1) if number not in outcome.lines]
    rest = iter(outcome.data.splitlines(keepends=True))
    assert all(line in rest for line in kept), "a line is gone, or has moved"


@every_fix
def test_refuses_file_without_the_kernel(fix: Fix) -> None:
    outcome = codemod.apply(specimen("no-kernel"), [fix])
    assert isinstance(outcome, NotRecognised)
    assert "found none: this is not the kernel file" in outcome.reason
    assert outcome.fix == fix.id


@every_fix
def test_refuses_two_kernels(fix: Fix) -> None:
    again = b"\n\ndef flash_fwd(again):\n    pass\n"
    outcome = codemod.apply(kernel(fix.id) + again, [fix])
    assert isinstance(outcome, NotRecognised)
    assert outcome.reason == "expected one function flash_fwd, found another"


def check_total(data: bytes) -> None:
    """``apply`` answers, whatever the data, and keeps what it has fixed."""
    for fix in codemod.FIXES:
        outcome = codemod.apply(data, [fix])
        if isinstance(outcome, Fixed):
            assert codemod.apply(outcome.data, [fix]) == AlreadyFixed((fix.id,))


kernels = st.sampled_from([kernel(fix.id) for fix in codemod.FIXES])
QUIET = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@given(kernels, st.data())
@QUIET
def test_truncated_file_is_never_a_traceback(data: bytes, draw: st.DataObject) -> None:
    check_total(data[: draw.draw(st.integers(0, len(data)))])


@given(st.binary(max_size=100))
@QUIET
def test_random_bytes_are_never_a_traceback(data: bytes) -> None:
    check_total(data)


@given(kernels, st.data(), st.binary(max_size=4) | st.sampled_from([b"\r", b"\x0c", b"(", b" \\\n", b"#", b";"]))
@QUIET
def test_damaged_file_is_never_a_traceback(data: bytes, draw: st.DataObject, inserted: bytes) -> None:
    start = draw.draw(st.integers(0, len(data)))
    check_total(data[:start] + inserted + data[start + draw.draw(st.integers(0, 8)) :])


@given(st.lists(st.sampled_from(b"\n".join(kernel(fix.id) for fix in codemod.FIXES).split(b"\n")), max_size=30))
@QUIET
def test_shuffled_lines_are_never_a_traceback(lines: list[bytes]) -> None:
    check_total(b"\n".join(lines))


# ------------------------------------------------------------------------------- several fixes in one kernel

WHOLE = specimen("every-defect")


def one_by_one(*fixes: Fix) -> bytes:
    data = WHOLE
    for fix in fixes:
        data = fixed(data, fix)
    return data


def edited(source: Source, *fixes: Fix) -> bytes:
    return source.splice(edit for fix in fixes for edit in fix.find(source))


def test_any_two_fixes_give_the_same_in_both_orders_and_at_once() -> None:
    whole = Source.parse(WHOLE)
    after = {fix.id: Source.parse(edited(whole, fix)) for fix in codemod.FIXES}
    for first, second in itertools.combinations(codemod.FIXES, 2):
        forth, back = edited(after[first.id], second), edited(after[second.id], first)
        assert forth == back == edited(whole, first, second), (first.id, second.id)


def test_random_subsets_give_the_same_in_any_order() -> None:
    chance = random.Random(11)
    for size in (3, 4, 6, 9, len(codemod.FIXES)):
        chosen = chance.sample(codemod.FIXES, size)
        assert one_by_one(*chosen) == fixed(WHOLE, *chosen), [fix.id for fix in chosen]


def test_every_fix_finds_its_own_in_the_whole_kernel() -> None:
    outcome = codemod.apply(WHOLE, codemod.select("full"))
    assert isinstance(outcome, Fixed)
    assert outcome.fixes == tuple(fix.id for fix in codemod.FIXES)
    assert codemod.apply(outcome.data, codemod.FIXES) == AlreadyFixed(outcome.fixes)
