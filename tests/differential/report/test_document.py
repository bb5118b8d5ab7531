from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from nkifix.backends import Latency
from nkifix.differential.comparison import Side
from nkifix.differential.kernels import Answered
from nkifix.differential.report import document as module
from nkifix.differential.report.document import failing
from nkifix.differential.status import Status
from tests.differential.report.reports import ROWS, report

SCHEMA = json.loads((Path(module.__file__).parent / "schema" / "comparison-1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    return {case["name"]: case for case in report()["cases"]}


def test_document_is_what_the_schema_describes() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(report())), SCHEMA)


@pytest.mark.parametrize("name", ["verdict", "cases", "environment"])
def test_schema_misses_what_is_left_out(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=name):
        jsonschema.validate({key: value for key, value in report().items() if key != name}, SCHEMA)


def test_document_is_json_without_nan() -> None:
    json.dumps(report(), allow_nan=False)


def test_verdict_counts_and_conditions_come_from_the_cases() -> None:
    made = report()
    assert (made["verdict"], made["exit_code"], made["complete"]) == ("may not replace", 1, True)
    assert made["summary"] == {
        Status.IDENTICAL.words: 1,
        Status.REFUSED.words: 1,
        Status.REGRESSED.words: 1,
        Status.CRASHED.words: 1,
    }
    assert made["conditions"] == [{"text": "crash", "met_by": ["causal"]}, {"text": "slower:5%", "met_by": []}]
    assert [case["name"] for case in failing(made["cases"])] == [ROWS[0].name, ROWS[1].name]


def test_run_that_was_broken_off_decides_nothing() -> None:
    made = report(complete=False)
    assert (made["verdict"], made["exit_code"]) == ("cannot say", 2)


def test_crash_has_words_a_line_and_no_cost(cases: dict[str, Any]) -> None:
    case = cases["causal"]
    assert case["comparison"]["crash"]["words"] == "AssertionError: no\ncausal"
    assert case["comparison"]["crash"]["line"]
    assert case["comparison"]["cost"] is None
    assert case["comparison"]["error_map"] is None
    assert case["baseline"]["cost"]["bound_us"] > 0
    assert case["cost_ratio"] == {}


def test_same_kernel_costs_the_same(cases: dict[str, Any]) -> None:
    assert set(cases["full"]["cost_ratio"].values()) == {1.0}


def test_tiles_are_those_that_were_executed(cases: dict[str, Any]) -> None:
    # 300 queries and 600 keys: no query before 512 sees the second chunk
    assert cases["causal"]["baseline"]["tiles"] == ["10", "10", "10"]
    assert cases["full"]["baseline"]["tiles"] == ["22", "22", "22"]


def test_refusal_says_what_was_expected(cases: dict[str, Any]) -> None:
    assert "Expect spmd grid" in cases["no grid"]["expected_refusal"]
    assert cases["full"]["expected_refusal"] is None


def test_error_map_shows_the_largest_error_in_ninths() -> None:
    truth = np.zeros((1, 2, 130, 4))
    answer = truth.astype(np.float32)
    answer[0, 1, 0, 0] = 9.0
    answer[0, 0, 129, 3] = -1.0
    answer[0, 0, 2, 1] = np.nan
    made = module._error_map(answer, truth)
    assert made is not None
    assert made["largest"] == 9.0
    assert len(made["rows"]) == 64
    assert made["rows"][0] == "9x00"
    assert made["rows"][-1] == "0001"


def test_latency_of_hardware_is_told_in_percentiles() -> None:
    times = tuple(float(time) for time in range(101))
    assert module._latency(Side(Answered(np.zeros(1)), latency=Latency(times))) == {"p50": 50, "p90": 90, "p99": 99}
    assert module._latency(Side(Answered(np.zeros(1)))) is None


def test_error_map_of_another_shape_is_none() -> None:
    assert module._error_map(np.zeros((1, 1, 2, 4)), np.zeros((1, 1, 2, 2))) is None
