"""The set-up script: what makes an environment stale, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import setup_venv

PROJECT = """
[project]
name = "nkifix"
# a comment
dependencies = ["numpy>=1.23"]

[tool.ruff]
line-length = 120
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "constraints.txt").write_text("numpy==2.2.6\n")
    return tmp_path


def test_digest_ignores_lint_rules_and_comments(tree: Path) -> None:
    before = setup_venv.digest("demo", tree)
    (tree / "pyproject.toml").write_text(PROJECT.replace("120", "100").replace("a comment", "another"))
    assert setup_venv.digest("demo", tree) == before


@pytest.mark.parametrize(("old", "new"), [("1.23", "1.24"), ("nkifix", "other")])
def test_digest_follows_the_package(tree: Path, old: str, new: str) -> None:
    before = setup_venv.digest("demo", tree)
    (tree / "pyproject.toml").write_text(PROJECT.replace(old, new))
    assert setup_venv.digest("demo", tree) != before


def test_digest_follows_constraints_profile_and_interpreter(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {setup_venv.digest("demo", tree), setup_venv.digest("test", tree)}
    monkeypatch.setattr(setup_venv, "base_interpreter", lambda: "another/python")
    seen.add(setup_venv.digest("demo", tree))
    (tree / "constraints.txt").write_text("numpy==2.2.5\n")
    seen.add(setup_venv.digest("demo", tree))
    assert len(seen) == 4


@pytest.mark.parametrize("content", [None, "", "{", "[]"], ids=["missing", "empty", "cut", "foreign"])
def test_read_stamps_of_an_unfinished_environment(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "nkifix-setup.json").write_text(content)
    assert setup_venv.read_stamps(tmp_path) == {}


def test_stamped_environment_without_interpreter_is_stale(tree: Path) -> None:
    venv = tree / ".venv"
    venv.mkdir()
    setup_venv.write_stamps(venv, {"demo": setup_venv.digest("demo", tree)})
    assert setup_venv.read_stamps(venv) == {"demo": setup_venv.digest("demo", tree)}
    assert not setup_venv.up_to_date("demo", tree)


def test_remove_takes_a_link_and_not_its_target(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / ".venv").symlink_to(target)
    setup_venv.remove(tmp_path / ".venv")
    assert target.is_dir()
    assert not (tmp_path / ".venv").is_symlink()


def test_refuses_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        setup_venv.main(["everything"])
    assert stopped.value.code == 2
    assert "next: one of demo, test, oldest" in capsys.readouterr().err
