"""The mutation run tells a killed mutant from a survivor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts import mutants

SCRIPT = Path(mutants.__file__)

CHECK = '''
"""Docstring: 128 stays."""
LIMIT = 128


def check(rows: int = 1) -> int:
    """Refuse tiles that are too tall."""
    if rows > LIMIT:
        raise ValueError(f"{rows} rows are more than {LIMIT + 0}")
    return rows
'''

THOROUGH = """
import pytest
from tiny.check import check


def test_check_boundary():
    assert check() == 1
    assert check(128) == 128
    with pytest.raises(ValueError):
        check(129)
"""

SHALLOW = """
from tiny.check import check


def test_check_small():
    assert check(1) == 1
"""


def make_tree(root: Path, tests: str) -> Path:
    (root / "src" / "tiny").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "src" / "tiny" / "__init__.py").write_text("")
    (root / "src" / "tiny" / "check.py").write_text(CHECK)
    (root / "tests" / "test_check.py").write_text(tests)
    (root / "pyproject.toml").write_text(
        "[tool.mutants]\n"
        'explained = "explained.toml"\n'
        'preload = ["pytest", "hypothesis", "xdist", "pytest_cov"]\n'
        "[tool.mutants.modules]\n"
        '"src/tiny/check.py" = ["tests"]\n'
        "[tool.pytest.ini_options]\n"
        'testpaths = ["tests"]\n'
    )
    return root


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--root", str(root), "--json", str(root / "result.json"), *arguments]
    # The run measures coverage of its own; that of this suite must not reach into it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def survivors(root: Path) -> set[str]:
    rows = json.loads((root / "result.json").read_text())["results"]
    return {row["mutant"]["change"] for row in rows if row["status"] == "survived"}


def test_run_kills_all_with_thorough_tests(tmp_path: Path) -> None:
    root = make_tree(tmp_path, THOROUGH)
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert survivors(root) == set()
    assert (root / "src" / "tiny" / "check.py").read_text() == CHECK


def test_run_of_shallow_tests_reports_then_accepts_explained_survivors(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SHALLOW)
    done = run(root)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OPEN" in done.stdout
    open_keys = [
        row["mutant"]
        for row in json.loads((root / "result.json").read_text())["results"]
        if row["status"] == "survived"
    ]
    assert "rows > LIMIT -> rows >= LIMIT" in {key["change"] for key in open_keys}

    rows = [
        f"[[explained]]\nmodule = {json.dumps(key['module'])}\nline = {json.dumps(key['source_line'])}\n"
        f'change = {json.dumps(key["change"])}\nreason = "a shallow suite"\n'
        for key in open_keys
    ]
    (root / "explained.toml").write_text("".join(rows))
    explained = run(root)
    assert explained.returncode == 0
    assert "a shallow suite" in explained.stdout


def test_stale_explanations_are_those_without_a_mutant(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SHALLOW)
    line = "if rows > LIMIT:"
    good = ("src/tiny/check.py", line, "rows > LIMIT -> rows >= LIMIT")
    moved = ("src/tiny/check.py", line, "rows > LIMITS -> rows >= LIMITS")
    gone = ("src/tiny/gone.py", line, "rows > LIMIT -> rows >= LIMIT")
    assert mutants.stale_explanations(root, dict.fromkeys((good, moved, gone), "reason")) == [moved, gone]


def test_refuses_a_suite_that_fails_before_any_change(tmp_path: Path) -> None:
    done = run(make_tree(tmp_path, THOROUGH.replace("128) == 128", "128) == 0")))
    assert done.returncode == 2
    assert "fail before any change" in done.stderr


def test_limit_takes_the_same_sample_for_the_same_seed(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SHALLOW)
    config = mutants.load_config(root)

    def sample(seed: int) -> list[str]:
        return [one.change for one in mutants.choose(config, mutants.parse(["--limit", "2", "--seed", str(seed)]))]

    assert sample(1) == sample(1)
    assert len({tuple(sample(seed)) for seed in range(10)}) > 1
