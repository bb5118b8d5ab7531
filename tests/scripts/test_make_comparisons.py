from __future__ import annotations

import os
from pathlib import Path

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.comparison import case_of
from nkifix.differential.runner import row_key
from nkifix.differential.selection import choose
from scripts import make_comparisons
from scripts.make_comparisons import CLONES, PAIRS, TRIGGERS, compared, text_of, triggered

ROOT = Path(make_comparisons.__file__).parents[1]


@pytest.mark.parametrize(
    ("case", "ids"),
    [
        pytest.param(Case(name="x"), "misspelled-causal-mask", id="default call"),
        pytest.param(Case(name="x", window_size=(-2, -1)), "", id="causal"),
        pytest.param(Case(name="x", window_size=(0, -1)), "", id="window of the query itself"),
        pytest.param(Case(name="x", window_size=(-2, -1), seq_q=100), "unwritten-query-rows", id="100 queries"),
        pytest.param(Case(name="x", window_size=(9, -1), seq_q=4096), "keyless-rows", id="more queries than keys"),
        pytest.param(Case(name="x", window_size=(-2, -1), softmax_scale=0.0), "scale-zero", id="scale of zero"),
    ],
)
def test_defects_are_told_from_the_call(case: Case, ids: str) -> None:
    assert triggered(case) == ids


def test_every_trigger_is_a_defect_with_a_patch() -> None:
    assert set(TRIGGERS) <= {folder.name.partition("-")[2] for folder in (ROOT / "patches").iterdir()}


@pytest.mark.upstream
def test_verdicts_agree_with_the_defects_of_the_kernel() -> None:
    """Stock against fixed: each call that is not the same triggers a defect, and what is cured is the typo's."""
    if missing := [name for name in CLONES.values() if not os.environ.get(name)]:
        pytest.skip(f"{' and '.join(missing)} not set: they would name clones of the kernels' repositories")
    rows = choose("quick")[::4]
    by_key = {row_key(row): case_of(row) for row in rows}
    report = compared(PAIRS[1], rows, workers=1)
    for one in report["cases"]:
        if one["expected_refusal"]:
            continue
        ids = triggered(by_key[one["key"]])
        if one["status"] in ("CRASH_CURED", "STILL_WRONG"):
            assert "misspelled-causal-mask" in ids, one["name"]
        if one["status"] not in ("IDENTICAL", "REFUSED", "CRASH_CURED"):
            assert ids.replace("misspelled-causal-mask", "").replace("fp32-output-rounding", ""), one["name"]
    text = text_of([(PAIRS[1], report)], by_key)
    assert all(os.environ[name] not in text for name in CLONES.values())


def test_refuses_to_run_without_the_clones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in CLONES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["make_comparisons.py"])
    assert make_comparisons.main() == 2
    assert capsys.readouterr().err.startswith("not set: NKIFIX_UPSTREAM, NKIFIX_NKI_SAMPLES")
