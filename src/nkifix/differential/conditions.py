"""``--fail-on``: what more than a failing case decides against a comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nkifix.differential.status import Status
from nkifix.errors import RefusalError

BOUND = "busiest engine"
"""Name of the ratio of both kernels' busiest engines, or DMA."""
_SLOWER = re.compile(r"slower:(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Condition:
    """A condition that no case may meet.

    Attributes
    ----------
    text:
        ``differs``: an answer is not byte for byte the baseline's right one. ``crash``: a call with a meaning crashes
        the comparison. ``slower:P%``: the busiest engine takes more than P percent longer, by documented formulas.
    """

    text: str
    slower_by: float | None = None

    def met_by(self, case: dict[str, Any]) -> bool:
        """Whether a case, as data, meets it."""
        status = Status[case["status"]]
        if self.slower_by is not None:
            ratio = case["cost_ratio"].get(BOUND)
            return ratio is not None and ratio > 1 + self.slower_by
        if self.text == "crash":
            return status is not Status.REFUSED and case["comparison"]["crash"] is not None
        return status is Status.WITHIN_BUDGET


def read_condition(text: str) -> Condition:
    """The condition that ``text`` spells.

    Raises
    ------
    RefusalError
        It spells none.
    """
    match = _SLOWER.fullmatch(text)
    if match is None and text not in ("differs", "crash"):
        raise RefusalError(f"{text!r} is no condition", next_step="write differs, crash or slower:5%")
    return Condition(text, float(match[1]) / 100 if match else None)
