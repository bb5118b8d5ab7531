from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nkifix import git
from nkifix.git import GitError

AUTHOR = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with one commit: ``dir/a.txt``, CRLF lines, and attributes that would convert them."""
    folder = tmp_path / "clone"
    (folder / "dir").mkdir(parents=True)
    git.run(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "dir" / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    git.run(folder, "add", ".")
    git.run(folder, "commit", "--quiet", "--message=first", environment=AUTHOR)
    return folder


def test_commit_and_file_are_read_as_they_are(repository: Path) -> None:
    commit = git.commit_of(repository, "main")
    assert len(commit) == 40
    assert git.commit_of(repository, commit[:10]) == commit
    assert git.file_at(repository, commit, "dir/a.txt") == b"one\r\ntwo\r\n"
    assert git.file_at(repository / "dir", commit, "dir/a.txt") == b"one\r\ntwo\r\n"


@pytest.mark.parametrize("path", ["missing", "dir", "a.txt"])
def test_what_is_no_file_at_the_commit_is_none(repository: Path, path: str) -> None:
    assert git.file_at(repository, git.commit_of(repository, "main"), path) is None


def test_stdin_reaches_git(repository: Path) -> None:
    assert git.run(repository, "hash-object", "--stdin", stdin=b"") == b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n"


def test_address_of_the_origin_is_the_clones_own(repository: Path) -> None:
    assert git.remote_url(repository) is None
    git.run(repository, "remote", "add", "origin", "https://example.org/x.git")
    assert git.remote_url(repository) == "https://example.org/x.git"


def test_surroundings_do_not_matter(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git.commit_of(repository, "main")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[broken\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'broken'")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert git.commit_of(repository, "main") == commit


def test_programs_that_the_repository_names_do_not_run(repository: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {witness}\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-commit", "post-checkout"):
        (hooks / name).symlink_to(program)
    config = repository / ".git" / "config"
    config.write_text(config.read_text() + f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {program}\n")
    git.run(repository, "status")
    git.run(repository, "commit", "--quiet", "--allow-empty", "--message=second", environment=AUTHOR)
    assert not witness.exists()
    subprocess.run(["git", "-C", str(repository), "status"], capture_output=True, env={**os.environ, **AUTHOR})
    assert witness.exists(), "the trap does not work, so the test shows nothing"


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("revision", ["missing", "--help", "main:dir", ""])
def test_refuses_a_revision_that_is_no_commit(repository: Path, revision: str) -> None:
    with pytest.raises(GitError, match="git rev-parse failed") as caught:
        git.commit_of(repository, revision)
    assert caught.value.next_step


def test_refuses_a_folder_without_a_repository(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no git repository"):
        git.commit_of(tmp_path, "main")


def test_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="no such folder"):
        git.commit_of(tmp_path / "missing", "main")


def test_refuses_where_git_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git cannot be started") as caught:
        git.run(tmp_path, "status")
    assert "install git" in str(caught.value)


def test_refuses_to_wait_for_ever(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(GitError, match="git status did not end"):
        git.run(repository, "status")
