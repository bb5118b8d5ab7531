"""The base of a contribution, and every clone that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nkifix.contribute import base
from nkifix.contribute.base import CALLER, KERNEL, KERNEL_MODULE, TESTS
from nkifix.errors import RefusalError
from tests.contribute import fake_upstream
from tests.contribute.fake_upstream import STOCK, commit, git


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return fake_upstream.make(tmp_path / "clone")


def test_base_is_the_head_of_the_default_branch(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "--quiet", "-b", "mine")
    (clone / KERNEL).write_bytes(b"mine")
    commit(clone, "Mine")
    found = base.find(clone)
    assert (found.commit, found.newest, found.name) == (head, head, "main")
    assert found.kernel == STOCK
    assert found.tests == fake_upstream.FILES[TESTS]


@pytest.mark.parametrize("revision", ["v0.7.14366", "mine", "HEAD~0"])
def test_base_is_what_was_asked_for(clone: Path, revision: str) -> None:
    newest = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "--quiet", "-b", "mine")
    asked = commit(clone, "Mine") if (clone / KERNEL).write_bytes(STOCK + b"\n") else ""
    git(clone, "tag", "v0.7.14366")
    found = base.find(clone, revision)
    assert (found.commit, found.newest, found.name) == (asked, newest, "v0.7.14366")


@pytest.mark.parametrize(("detached", "expected"), [(False, "mine"), (True, "HEAD")])
def test_head_is_called_by_its_branch(clone: Path, detached: bool, expected: str) -> None:
    git(clone, "checkout", "--quiet", *(["--detach"] if detached else ["-b", "mine"]))
    assert base.find(clone, "HEAD").name == expected


@pytest.mark.parametrize("imports", [True, False])
def test_caller_is_looked_for_on_the_default_branch(clone: Path, imports: bool) -> None:
    git(clone, "tag", "old")
    (clone / CALLER).write_text(f"from {KERNEL_MODULE} import flash_fwd\n" if imports else "\n", encoding="utf-8")
    commit(clone, "Another caller")
    assert base.find(clone, "old").caller_has_it is imports


def test_caller_may_be_gone(clone: Path) -> None:
    (clone / CALLER).unlink()
    commit(clone, "No caller")
    assert base.find(clone).caller_has_it is False


def test_newest_file_is_read_first_then_the_bases(clone: Path) -> None:
    (clone / "both").write_bytes(b"old")
    (clone / "gone").write_bytes(b"gone")
    commit(clone, "Old")
    git(clone, "tag", "old")
    (clone / "both").write_bytes(b"new")
    (clone / "gone").unlink()
    commit(clone, "New")
    found = base.find(clone, "old")
    assert [found.read_newest(name) for name in ("both", "gone", "never")] == [b"new", b"gone", None]
    assert found.names("gone") == ["gone"]


def not_a_repository(clone: Path) -> None:
    (clone / ".git").rename(clone / "git")


def dirty(clone: Path) -> None:
    for name in (KERNEL, TESTS, CALLER, "src/neuronx_distributed_inference/__init__.py"):
        (clone / name).write_bytes(b"changed")


def another_project(clone: Path) -> None:
    git(clone, "rm", "--quiet", "-r", "src")
    git(clone, "commit", "--quiet", "--message", "Nothing left")


def before_the_kernel(clone: Path) -> None:
    git(clone, "tag", "v0.7.14366")
    git(clone, "rm", "--quiet", KERNEL)
    git(clone, "commit", "--quiet", "--message", "No kernel")


def without_its_test(clone: Path) -> None:
    git(clone, "rm", "--quiet", TESTS)
    git(clone, "commit", "--quiet", "--message", "No test")


def nothing(_clone: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "revision", "what", "next_step"),
    [
        pytest.param(not_a_repository, None, "no git repository", "clone", id="no repository"),
        pytest.param(dirty, None, "uncommitted changes", "fresh clone", id="dirty"),
        pytest.param(nothing, "v9", "no revision v9", "git fetch --tags", id="no such revision"),
        pytest.param(another_project, None, "no clone of neuronx", "git clone https", id="another project"),
        pytest.param(before_the_kernel, None, "attention.py is not there at main", "v0.7.14366", id="no kernel"),
        pytest.param(without_its_test, None, "test_attention.py is not there", "git fetch --tags", id="no test file"),
    ],
)
def test_refuses_a_base_that_cannot_serve(
    clone: Path, prepare: Callable[[Path], None], revision: str | None, what: str, next_step: str
) -> None:
    prepare(clone)
    with pytest.raises(RefusalError, match=what) as refusal:
        base.find(clone, revision)
    assert next_step in str(refusal.value.next_step)
    assert str(clone) in str(refusal.value.where)


def test_refusal_of_a_dirty_clone_names_some_files(clone: Path) -> None:
    dirty(clone)
    with pytest.raises(RefusalError, match="and 1 more: the patch is made from commits"):
        base.find(clone)


def test_refuses_an_empty_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(RefusalError, match="no commit"):
        base.find(tmp_path)


def test_refuses_where_there_is_no_git(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))
    with pytest.raises(RefusalError, match="git cannot be started") as refusal:
        base.find(clone)
    assert "install git" in str(refusal.value.next_step)
