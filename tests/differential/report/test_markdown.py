from __future__ import annotations

import copy

from nkifix.differential.report.markdown import MOST_ROWS, markdown
from tests.differential.report.reports import report


def test_verdict_comes_first_and_failing_cases_are_listed() -> None:
    lines = markdown(report()).splitlines()
    assert lines[0] == "### `faulty` **may not replace** `vendored`"
    [crash] = [line for line in lines if line.startswith("| causal |")]
    assert "AssertionError: no (line" in crash
    assert "right, error" in crash
    assert not any(line.startswith("| full |") for line in lines)


def test_names_are_no_markup() -> None:
    text = markdown(report())
    assert r"scale \<b\>0\</b\> \| zero" in text
    assert "<b>" not in text


def test_condition_that_is_met_is_named() -> None:
    assert "`crash` is met by 1 cases, the first causal" in markdown(report())


def test_long_lists_are_cut_and_say_so() -> None:
    made = copy.deepcopy(report())
    made["cases"] = made["cases"] * MOST_ROWS
    assert f"and {MOST_ROWS} more failing cases" in markdown(made)


def test_run_that_was_broken_off_says_so() -> None:
    assert "broken off" in markdown(report(complete=False))
    assert "broken off" not in markdown(report())


def test_times_are_left_out_where_no_call_has_two() -> None:
    made = {**report(), "cases": [case for case in report()["cases"] if not case["cost_ratio"]]}
    assert "busiest engine" not in markdown(made)  # type: ignore[arg-type]
    assert "in 2 cases: median 1.00" in markdown(report())
