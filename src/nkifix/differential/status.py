"""What a comparison of two kernels on one call can come to: a closed set, and what each member means for a verdict."""

from __future__ import annotations

import enum


class Meaning(enum.Enum):
    """What a status says about putting the comparison in the baseline's place."""

    HOLDS = "holds"
    """It may take its place in such calls."""
    FAILS = "fails"
    """It may not."""
    OPEN = "open"
    """Such a call decides nothing."""


class Status(enum.Enum):
    """Outcome of one case: its words, and what it means.

    *Right* is within the budget of every query row (:mod:`nkifix.differential.budget`), not trivial, and no copy of V.
    """

    IDENTICAL = ("identical bytes", Meaning.HOLDS)
    WITHIN_BUDGET = ("within budget", Meaning.HOLDS)
    CRASH_CURED = ("baseline crashed, comparison right", Meaning.HOLDS)
    ANSWER_CURED = ("baseline wrong, comparison right", Meaning.HOLDS)
    REFUSED = ("refused, as it should be", Meaning.HOLDS)
    BOTH_CRASHED = ("both crashed", Meaning.OPEN)
    BOTH_WRONG = ("both wrong", Meaning.OPEN)
    NEITHER_REFUSED = ("neither refused", Meaning.OPEN)
    NOT_EXPRESSIBLE = ("a kernel has no such call", Meaning.OPEN)
    REGRESSED = ("baseline right, comparison wrong", Meaning.FAILS)
    CRASHED = ("comparison crashed", Meaning.FAILS)
    STILL_WRONG = ("baseline crashed, comparison wrong", Meaning.FAILS)
    WRONG_OTHERWISE = ("both wrong, in different ways", Meaning.FAILS)
    REFUSAL_LOST = ("only the baseline refused", Meaning.FAILS)
    UNSTEADY = ("comparison gave two answers", Meaning.FAILS)

    @property
    def words(self) -> str:
        """As reports say it."""
        return self.value[0]

    @property
    def meaning(self) -> Meaning:
        """What it means for the verdict."""
        return self.value[1]


class Verdict(enum.Enum):
    """May the comparison replace the baseline? The value is the command's exit code."""

    MAY_REPLACE = 0
    DIFFERS = 1
    CANNOT_SAY = 2

    @property
    def words(self) -> str:
        """As reports say it."""
        return {
            Verdict.MAY_REPLACE: "may replace",
            Verdict.DIFFERS: "may not replace",
            Verdict.CANNOT_SAY: "cannot say",
        }[self]


def verdict(statuses: list[Status], *, complete: bool = True) -> Verdict:
    """Of a run that was broken off, none. Otherwise one failing case decides; without any, at least one must hold."""
    meanings = [status.meaning for status in statuses]
    if not complete:
        return Verdict.CANNOT_SAY
    if Meaning.FAILS in meanings:
        return Verdict.DIFFERS
    return Verdict.MAY_REPLACE if Meaning.HOLDS in meanings else Verdict.CANNOT_SAY
