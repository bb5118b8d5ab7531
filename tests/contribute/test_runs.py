"""Child processes: upstream's tests, the reproduction and the linter."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nkifix.contribute import recorder, runs
from nkifix.contribute.base import TESTS
from nkifix.errors import BackendError, MissingExtraError

TEST_FILE = """\
import os
import pytest


class TestIt:
    @pytest.mark.simulation
    @pytest.mark.parametrize("number", [1, 2])
    def test_small(self, number):
        import neuronxcc.nki
        assert number < 2, os.path.join(os.getcwd(), "here")

    @pytest.mark.simulation
    def test_fixture(self, broken):
        pass

    def test_speed(self):
        pass


@pytest.fixture
def broken():
    raise ValueError("no\\nfixture")
"""


def tree(folder: Path, text: str) -> Path:
    file = folder / TESTS
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return folder


def test_tests_are_run_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTHONSTARTUP", "nowhere")
    place = tree(tmp_path, TEST_FILE)
    aside = runs.run_tests(place, [f"{TESTS}::TestIt::{name}" for name in ("test_small[1]", "test_fixture")])
    assert [test.id for test in aside.outcomes] == [f"{TESTS}::TestIt::test_small[2]"]
    done = runs.run_tests(place)
    assert aside.left_out == done.left_out
    assert [(test.id.rpartition("::")[2], test.outcome, test.message) for test in done.outcomes] == [
        ("test_small[1]", "passed", ""),
        ("test_small[2]", "failed", "AssertionError: here"),
        ("test_fixture", "failed", "ValueError: no"),
    ]
    assert done.left_out == (f"{TESTS}::TestIt::test_speed",)
    assert all(test.seconds >= 0 for test in done.outcomes)
    assert done.command == f"nkifix run --torch-xla-stub -m pytest -m simulation {TESTS}"
    assert [path.name for path in place.iterdir()] == ["test"]
    assert not list(place.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("import no_such_module\n", "No module named 'no_such_module'", id="import"),
        pytest.param("def test_it(): pass\n", "exit code 5", id="nothing marked"),
    ],
)
def test_refuses_tests_that_do_not_run(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BackendError, match="do not run here") as refusal:
        runs.run_tests(tree(tmp_path, text))
    assert why in str(refusal.value.why)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("import neuronxcc.nki\n", runs.ScriptRun(0, ""), id="well"),
        pytest.param("raise ValueError('a\\nb')\n", runs.ScriptRun(1, "ValueError: a"), id="raises"),
        pytest.param(
            "def f():\n  raise KeyError(1)\ntry: f()\nfinally: 1 / 0\n", runs.ScriptRun(1, "ZeroD"), id="twice"
        ),
        pytest.param("raise SystemExit('no')\n", runs.ScriptRun(1, "no"), id="says no"),
        pytest.param("raise SystemExit(3)\n", runs.ScriptRun(3, "torch_xla"), id="silent"),
        pytest.param("raise ValueError(__file__)\n", runs.ScriptRun(1, "ValueError: nkifix_"), id="names its folder"),
    ],
)
def test_script_is_run(tmp_path: Path, text: str, expected: runs.ScriptRun) -> None:
    done = runs.run_script(tmp_path, text)
    assert done.exit_code == expected.exit_code
    assert done.error.startswith(expected.error)
    assert str(tmp_path) not in done.error
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_run_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_SECONDS_MAX", 0.2)
    with pytest.raises(BackendError, match="did not end within"):
        runs.run_script(tmp_path, "import time; time.sleep(60)\n")


@pytest.mark.parametrize("package", ["pytest", "torch"])
def test_refuses_where_a_package_is_missing(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    def find(name: str) -> object:
        return None if name == package else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(MissingExtraError, match=f"needs the package '{package}'"):
        runs.require_tools()


def test_tools_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    runs.require_tools()


def fake_ruff(folder: Path, code: int, output: str) -> None:
    file = folder / "ruff"
    file.write_text(
        f"#!{sys.executable}\nimport sys\nprint({output!r})\nprint('why', file=sys.stderr)\nsys.exit({code})\n"
    )
    file.chmod(0o755)


def test_files_are_linted_before_and_after(tmp_path: Path) -> None:
    if shutil.which("ruff", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("ruff is not installed beside this Python")
    before = {"a/one.py": b"x = l\n"}
    after = {"a/one.py": b"\nx = l\ny = m\n"}
    lint = runs.lint(tmp_path, before, after)
    assert lint.command == "ruff check --line-length=120 --ignore=F401,E203 a/one.py"
    assert str(lint.tool).startswith("ruff ")
    assert lint.before == ("one.py: F821 Undefined name `l`",)
    assert lint.added == ("one.py: F821 Undefined name `m`",)


def test_lint_is_left_out_where_there_is_no_ruff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    lint = runs.lint(tmp_path, {"one.py": b""}, {"one.py": b""})
    assert (lint.tool, lint.added) == (None, ())


def test_refuses_a_linter_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ruff(tmp_path, 2, "")
    monkeypatch.setattr(shutil, "which", lambda name, path=None: str(tmp_path / "ruff"))
    with pytest.raises(BackendError, match="ruff did not run") as refusal:
        runs.lint(tmp_path, {"one.py": b""}, {"one.py": b""})
    assert refusal.value.why == "why"


def test_plugin_needs_no_package_of_ours(tmp_path: Path) -> None:
    text = Path(str(recorder.__file__)).read_text(encoding="utf-8")
    assert "nkifix." not in text
    assert subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=False).returncode == 0
