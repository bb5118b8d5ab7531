from __future__ import annotations

from typing import Any

import pytest

from nkifix.differential.report.words import by_weight, did, number, share

ANSWER: dict[str, Any] = {"crash": None, "fault": "", "error": 0.25, "right": True, "poisoned_rows": None}


@pytest.mark.parametrize(
    ("side", "words"),
    [
        pytest.param(ANSWER, "right, error 2.5e-01", id="right"),
        pytest.param({**ANSWER, "right": False, "error": "infinite"}, "wrong, error infinite", id="wrong"),
        pytest.param({**ANSWER, "error": None}, "answered", id="nothing to hold it against"),
        pytest.param({**ANSWER, "fault": "every element is 0"}, "every element is 0", id="fault"),
        pytest.param({**ANSWER, "crash": {"words": "A: b\nc", "line": 7}}, "A: b (line 7)", id="crash"),
        pytest.param({**ANSWER, "crash": {"words": "A: b", "line": None}}, "A: b", id="crash outside of the kernel"),
        pytest.param(
            {**ANSWER, "poisoned_rows": 3},
            "right, error 2.5e-01, 3 rows poisoned by a key they do not see",
            id="poisoned rows",
        ),
    ],
)
def test_what_a_kernel_did_is_a_line(side: dict[str, Any], words: str) -> None:
    assert did(side) == words


@pytest.mark.parametrize(("value", "words"), [(None, "-"), ("infinite", "infinite"), (0.5, "50%")])
def test_numbers_have_words_where_they_are_none(value: Any, words: str) -> None:
    assert number(value, ".0%") == words


@pytest.mark.parametrize(
    ("gap", "words"), [(None, "-"), ({"count": 1, "total": 4}, "25.00%"), ({"count": 0, "total": 0}, "-")]
)
def test_share_of_the_elements_that_differ(gap: Any, words: str) -> None:
    assert share(gap) == words


def test_cases_that_fail_come_first_and_order_is_kept_otherwise() -> None:
    cases = [{"meaning": meaning, "n": n} for n, meaning in enumerate(["holds", "open", "fails", "open"])]
    assert [case["n"] for case in by_weight(cases)] == [2, 1, 3, 0]
