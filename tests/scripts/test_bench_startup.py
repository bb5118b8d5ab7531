from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import bench_startup
from scripts.bench_startup import BASE, Command
from scripts.benching import Times

FEW = {BASE: Command(("-c", "pass")), "other": Command(("-c", "raise SystemExit(3)"), code=3, target_s=60.0)}


def row(seconds: float, target_s: float | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(bench_startup, "COMMANDS", {BASE: Command(()), "other": Command((), target_s=target_s)})
    times = {BASE: [Times(0.02, 0.01)] * 3, "other": [Times(seconds, 0.1), Times(9.0, 0.3), Times(0.0, 0.2)]}
    made: dict[str, Any] = bench_startup.document(times)["rows"][1]
    return made


@pytest.mark.parametrize(
    ("seconds", "target_s", "met"),
    [
        pytest.param(0.3, 0.4, True, id="below"),
        pytest.param(0.4, 0.4, False, id="at"),
        pytest.param(0.5, 0.4, False, id="above"),
        pytest.param(0.5, None, None, id="none set"),
    ],
)
def test_target_is_held_against_the_median(
    seconds: float, target_s: float | None, met: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = row(seconds, target_s, monkeypatch)
    assert made["met"] is met
    assert made["wall_s"] == {"median": seconds, "min": 0.0, "max": 9.0}
    assert made["cpu_s"]["median"] == 0.2
    assert made["ratio"] == pytest.approx(seconds / 0.02)


def test_commands_run_and_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_startup, "COMMANDS", FEW)
    file = tmp_path / "startup.json"
    assert bench_startup.main(["--rounds", "2", "--json", str(file)]) == 0
    made = json.loads(file.read_text())
    assert made["schema"] == "nkifix.bench-startup/1"
    assert [(one["command"], one["met"]) for one in made["rows"]] == [(BASE, None), ("other", True)]
    assert all(0 < one["wall_s"]["min"] <= one["wall_s"]["median"] <= one["wall_s"]["max"] for one in made["rows"])
    assert "medians of 2 rounds" in capsys.readouterr().out


@pytest.mark.parametrize("name", bench_startup.COMMANDS)
def test_every_command_ends_as_expected(name: str, tmp_path: Path) -> None:
    assert bench_startup.run(bench_startup.COMMANDS[name], tmp_path).cpu_s > 0


def test_refuses_a_command_that_ends_otherwise(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 3, not 0"):
        bench_startup.run(Command(("-c", "raise SystemExit(3)")), tmp_path)


def test_refuses_no_rounds() -> None:
    with pytest.raises(SystemExit) as ended:
        bench_startup.main(["--rounds", "0"])
    assert ended.value.code == 2
