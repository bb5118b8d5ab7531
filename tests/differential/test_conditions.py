from __future__ import annotations

from typing import Any

import pytest

from nkifix.differential.conditions import BOUND, read_condition
from nkifix.errors import RefusalError

CRASH = {"words": "TypeError: no", "line": 3}


def case(status: str, *, crash: dict[str, Any] | None = None, ratio: float | None = None) -> dict[str, Any]:
    return {
        "status": status,
        "comparison": {"crash": crash},
        "cost_ratio": {} if ratio is None else {BOUND: ratio},
    }


@pytest.mark.parametrize(
    ("text", "one", "met"),
    [
        pytest.param("differs", case("WITHIN_BUDGET"), True, id="other bytes"),
        pytest.param("differs", case("IDENTICAL"), False, id="same bytes"),
        pytest.param("differs", case("ANSWER_CURED"), False, id="cured"),
        pytest.param("crash", case("BOTH_CRASHED", crash=CRASH), True, id="both crash"),
        pytest.param("crash", case("REFUSED", crash=CRASH), False, id="refusal"),
        pytest.param("crash", case("IDENTICAL"), False, id="answer"),
        pytest.param("slower:5%", case("IDENTICAL", ratio=1.051), True, id="slower"),
        pytest.param("slower:5%", case("IDENTICAL", ratio=1.05), False, id="as slow as allowed"),
        pytest.param("slower:0.5%", case("IDENTICAL", ratio=1.006), True, id="fraction of a percent"),
        pytest.param("slower:5%", case("CRASH_CURED"), False, id="nothing to compare with"),
    ],
)
def test_condition_is_met_by_cases_it_is_about(text: str, one: dict[str, Any], met: bool) -> None:
    assert read_condition(text).met_by(one) is met


@pytest.mark.parametrize("text", ["", "slow", "slower", "slower:5", "slower:%", "slower:-5%", "differs "])
def test_refuses_what_is_no_condition(text: str) -> None:
    with pytest.raises(RefusalError, match="is no condition"):
        read_condition(text)
