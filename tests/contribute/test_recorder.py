"""The plugin's hooks, called as pytest calls them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nkifix.contribute import recorder


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "records"
    file.write_bytes(b"")
    monkeypatch.setenv(recorder.OUTCOMES, str(file))
    return file


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_deselected_tests_are_recorded(records: Path) -> None:
    recorder.pytest_deselected([SimpleNamespace(nodeid="two")])
    assert lines(records) == [{"event": "left out", "id": "two"}]


def test_tests_are_laid_aside_by_their_whole_id(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [SimpleNamespace(nodeid=name) for name in ("test_it", "test_it_too", "test_it[1]")]
    monkeypatch.setenv(recorder.ASIDE, '["test_it", "test_other"]')
    recorder.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == ["test_it_too", "test_it[1]"]
    assert lines(records) == []


def report(when: str, outcome: str, longrepr: object) -> SimpleNamespace:
    return SimpleNamespace(nodeid="one", when=when, outcome=outcome, longrepr=longrepr, duration=1.0)


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        pytest.param(report("call", "passed", None), [""], id="passed"),
        pytest.param(report("setup", "passed", None), [], id="set-up"),
        pytest.param(report("setup", "failed", "no fixture"), ["no fixture"], id="failed set-up"),
        pytest.param(report("setup", "skipped", ("f", 1, "why")), ["('f', 1, 'why')"], id="skipped"),
        pytest.param(
            report("call", "failed", SimpleNamespace(reprcrash=SimpleNamespace(message="E"))), ["E"], id="failed"
        ),
    ],
)
def test_calls_and_faults_are_recorded(records: Path, given: Any, messages: list[str]) -> None:
    recorder.pytest_runtest_logreport(given)
    assert [line["message"] for line in lines(records)] == messages
