from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nkifix.cli import compare_view
from nkifix.emulator.serve import real_compiler
from tests.cli.test_main import ROOT, nkifix_main
from tests.differential.report.reports import KERNEL, faulty, report
from tests.processes import heed_signals

SMALL = ("--only", "core tile 2", "--only", "no grid", "--workers", "1")
"""Two small cases, one of them without a meaning."""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Our kernel, crashing where it is causal and no scale is given."""
    file = tmp_path / "attention.py"
    file.write_bytes(faulty().source)
    return file


def test_kernel_that_may_replace_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main("compare", str(KERNEL), "vendored", *SMALL) == 0
    seen = capsys.readouterr()
    assert seen.out.startswith("MAY REPLACE: 1 identical bytes, 1 refused, as it should be\n")
    assert "Signature and config: the same" in seen.out
    assert seen.err == ""


def test_kernel_that_regresses_exits_with_1_and_says_why(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main("compare", "vendored", str(broken), *SMALL) == 1
    out = capsys.readouterr().out
    assert out.startswith("MAY NOT REPLACE: 1 refused, as it should be, 1 comparison crashed\n")
    assert "comparison: AssertionError: no (line" in out
    assert out.index("causal, core tile 2") < out.index("no grid")  # what fails comes first


def test_nothing_that_holds_exits_with_2(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main("compare", str(broken), str(broken), "--only", "core tile 2") == 2
    assert capsys.readouterr().out.startswith("CANNOT SAY: 1 both crashed\n")


def test_condition_turns_a_verdict(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", str(broken), str(broken), *SMALL)
    assert nkifix_main(*arguments) == 0
    assert nkifix_main(*arguments, "--fail-on", "slower:5%", "--fail-on", "crash") == 1
    assert "crash: 1 cases, first causal, core tile 2" in capsys.readouterr().out


def test_reports_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"report.{name}" for name in ("json", "markdown", "html")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    assert nkifix_main("compare", "vendored", "vendored", *SMALL, *options) == 0
    assert json.loads(files["json"].read_text(encoding="utf-8"))["verdict"] == "may replace"
    assert files["markdown"].read_text(encoding="utf-8").startswith("### `vendored` **may replace**")
    assert files["html"].read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["written"] * 3


def test_cases_of_a_file_on_another_chip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = tmp_path / "cases.toml"
    cases.write_text('[[case]]\nname = "mine"\nseq = 40\nd = 8\n')
    options = ("--cases", str(cases), "--target", "trn2", "--seed", "1", "--seed", "2")
    assert nkifix_main("compare", "vendored", "vendored", *options) == 0
    out = capsys.readouterr().out
    assert "trn2" in out
    assert "mine, seed 1" in out
    assert "mine, seed 2" in out


def test_results_are_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "results.jsonl"
    arguments = ("compare", "vendored", "vendored", *SMALL, "--results", str(stream))
    assert nkifix_main(*arguments) == 0
    before = stream.read_text().splitlines()
    assert nkifix_main(*arguments, "--resume") == 0
    assert [line for line in stream.read_text().splitlines() if line] == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["--fail-on", "slow"], "'slow' is no condition", id="condition"),
        pytest.param(["--only", "nothing like it"], "no case of quick", id="filter"),
        pytest.param(["--cases", "odd"], "there is no case set 'odd'", id="case set"),
        pytest.param(["--resume"], "nothing to resume", id="resume"),
    ],
)
def test_refuses_what_it_cannot_do(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main("compare", "vendored", "vendored", *options) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(real_compiler() is not None, reason="neuronxcc is installed here, and may run")
@pytest.mark.parametrize("backend", ["simulator", "device"])
def test_refuses_a_backend_that_cannot_run_and_says_what_is_missing(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nkifix_main("compare", "vendored", "vendored", "--backend", backend) == 2
    err = capsys.readouterr().err
    assert f"the backend '{backend}' cannot run here:" in err
    assert "not installed" in err
    assert "--backend emulator" in err


def test_refuses_a_cluster_for_another_backend(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nkifix.backends.backend", lambda name: None)
    assert nkifix_main("compare", "vendored", "vendored", "--backend", "simulator", "--cluster", "tcp://x:1") == 2
    assert "a cluster runs the emulator only" in capsys.readouterr().err


def test_interrupt_leaves_a_valid_partial_report(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group, workers included."""
    stream, file = tmp_path / "results.jsonl", tmp_path / "report.json"
    options = ("--workers", "2", "--results", str(stream), "--json", str(file))
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    program = subprocess.Popen(
        [sys.executable, "-m", "nkifix", "compare", "vendored", "vendored", *options],
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
        preexec_fn=heed_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not stream.exists() or stream.read_text().count("\n") < 3):
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 2, err
    assert out.startswith("CANNOT SAY: ")
    assert "Broken off after" in err
    assert "Traceback" not in err
    made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert made["complete"] is False
    assert made["verdict"] == "cannot say"
    assert 2 <= len(made["cases"]) < 100


# ------------------------------------------------------------------------------------------------ view


def test_view_cuts_a_long_list_of_reasons_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made = {**report(), "cases": report()["cases"] * 8}
    compare_view.render(made)  # type: ignore[arg-type]
    assert "… and 6 more; --json FILE has all." in capsys.readouterr().out


def test_view_of_no_case_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    made = {**report(complete=False), "cases": [], "summary": {}, "conditions": []}
    compare_view.render(made)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert out.startswith("CANNOT SAY: no case\n")
    assert "outcome" not in out


def test_view_gives_the_reason_of_a_call_that_could_not_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    case = {**report()["cases"][0], "reason": "it has no right window", "meaning": "open"}
    compare_view.render({**report(), "cases": [case]})
    assert "\n  it has no right window\n" in capsys.readouterr().out
