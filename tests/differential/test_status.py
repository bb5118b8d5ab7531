from __future__ import annotations

import pytest

from nkifix.differential.status import Meaning, Status, Verdict, verdict

HOLDS, FAILS, OPEN = Status.IDENTICAL, Status.REGRESSED, Status.BOTH_CRASHED


@pytest.mark.parametrize(
    ("statuses", "complete", "expected"),
    [
        pytest.param([HOLDS, HOLDS], True, Verdict.MAY_REPLACE, id="all hold"),
        pytest.param([HOLDS, OPEN], True, Verdict.MAY_REPLACE, id="some hold, some are open"),
        pytest.param([HOLDS, FAILS, OPEN], True, Verdict.DIFFERS, id="one fails"),
        pytest.param([OPEN, OPEN], True, Verdict.CANNOT_SAY, id="all open"),
        pytest.param([], True, Verdict.CANNOT_SAY, id="none"),
        pytest.param([HOLDS], False, Verdict.CANNOT_SAY, id="broken off"),
        pytest.param([FAILS], False, Verdict.CANNOT_SAY, id="broken off, one failed"),
    ],
)
def test_verdict_of_statuses(statuses: list[Status], complete: bool, expected: Verdict) -> None:
    assert verdict(statuses, complete=complete) is expected


def test_statuses_have_words_of_their_own() -> None:
    assert len({status.words for status in Status}) == len(Status)
    assert {status.meaning for status in Status} == set(Meaning)


@pytest.mark.parametrize(
    ("one", "words", "code"),
    [
        (Verdict.MAY_REPLACE, "may replace", 0),
        (Verdict.DIFFERS, "may not replace", 1),
        (Verdict.CANNOT_SAY, "cannot say", 2),
    ],
)
def test_verdict_is_an_exit_code_and_words(one: Verdict, words: str, code: int) -> None:
    assert (one.words, one.value) == (words, code)
