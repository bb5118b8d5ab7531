"""Reading a clone, and committing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nkifix.contribute import repository
from nkifix.contribute.base import KERNEL, TESTS
from nkifix.contribute.repository import Identity, Repository, scratch
from nkifix.errors import RefusalError
from nkifix.git import GitError
from tests.contribute import fake_upstream
from tests.contribute.fake_upstream import FIXED, STOCK, git

AUTHOR = Identity("Änne O'Hara", "anne@example.org")
SECONDS = 1_700_000_000


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return fake_upstream.make(tmp_path / "clone")


def test_identity_is_parsed() -> None:
    assert Identity.parse(" Änne O'Hara <anne@example.org> ") == AUTHOR
    assert str(AUTHOR) == "Änne O'Hara <anne@example.org>"


@pytest.mark.parametrize("text", ["", "Anne", "<a@b>", "A <ab>", "A <a@b", "A <a@b> c", "A <a @b>", "A\nB <a@b>"])
def test_refuses_an_author_of_another_form(text: str) -> None:
    with pytest.raises(RefusalError, match="no author"):
        Identity.parse(text)


def test_clone_is_opened_from_within(clone: Path) -> None:
    opened = Repository.open(clone / "src")
    assert opened == Repository.open(clone)
    assert (opened.folder, opened.is_bare) == (clone.resolve(), False)


def test_bare_clone_is_opened(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(clone), "bare")
    opened = Repository.open(tmp_path / "bare")
    assert opened.is_bare
    assert opened.default_branch() == "HEAD"
    assert opened.changed_files() == []


def test_linked_work_tree_borrows_from_its_repository(clone: Path, tmp_path: Path) -> None:
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    opened = Repository.open(tmp_path / "linked")
    assert opened.objects == (clone / ".git" / "objects").resolve()
    with scratch(opened) as made:
        assert made.read(opened.find_commit("HEAD") or "", KERNEL) == STOCK


@pytest.mark.parametrize("name", ["plain", "missing"])
def test_refuses_what_is_no_repository(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(GitError) as refusal:
        Repository.open(tmp_path / name)
    assert refusal.value.next_step


def test_default_branch_is_the_remotes(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(clone), "fork")
    git(tmp_path / "fork", "checkout", "--quiet", "-b", "mine")
    opened = Repository.open(tmp_path / "fork")
    assert opened.default_branch() == "refs/remotes/origin/main"


@pytest.mark.parametrize(("branch", "expected"), [("main", "refs/heads/main"), ("trunk", "HEAD")])
def test_default_branch_without_a_remote(clone: Path, branch: str, expected: str) -> None:
    git(clone, "branch", "--move", branch)
    assert Repository.open(clone).default_branch() == expected


def test_empty_repository_has_no_default_branch(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert Repository.open(tmp_path).default_branch() is None


@pytest.mark.parametrize("staged", [True, False])
def test_changed_files_are_the_tracked_ones(clone: Path, staged: bool) -> None:
    opened = Repository.open(clone)
    (clone / "untracked").write_bytes(b"")
    assert opened.changed_files() == []
    (clone / KERNEL).write_bytes(FIXED)
    if staged:
        git(clone, "add", KERNEL)
    assert opened.changed_files() == [KERNEL]


@pytest.mark.parametrize("revision", ["no-such", "--all", "-h", "HEAD:src", ""])
def test_no_commit_is_found_by_another_name(clone: Path, revision: str) -> None:
    assert Repository.open(clone).find_commit(revision) is None


def test_commit_holds_the_bytes_and_leaves_the_lender_alone(clone: Path) -> None:
    crlf = FIXED.replace(b"\n", b"\r\n")
    (clone / ".gitattributes").write_bytes(b"* text=auto eol=lf filter=shout\n")
    git(clone, "config", "filter.shout.clean", "tr a-z A-Z")
    fake_upstream.commit(clone, "Attributes")
    before = fake_upstream.snapshot(clone)
    opened = Repository.open(clone)
    base = opened.find_commit("HEAD") or ""
    with scratch(opened) as made:
        commit = made.commit(base, {KERNEL: crlf, TESTS: b"x\n"}, "Mend it\n\nWell.\n", AUTHOR, SECONDS)
        assert made.read(commit, KERNEL) == crlf
        assert made.read(commit, TESTS) == b"x\n"
        assert made.names(commit) == opened.names(base)
        folder = made.folder
    assert not folder.parent.exists()
    assert fake_upstream.snapshot(clone) == before


def test_patch_makes_the_commit_elsewhere(clone: Path, tmp_path: Path) -> None:
    opened = Repository.open(clone)
    base = opened.find_commit("HEAD") or ""
    with scratch(opened) as made:
        commit = made.commit(base, {KERNEL: FIXED}, "Mend it\n\nWell.\n", AUTHOR, SECONDS)
        name, mail = made.format_patch(base, commit)
        tree = made.tree_of(commit)
        assert made.tree_after(base, mail) == tree
    assert name == "0001-Mend-it.patch"
    assert f"base-commit: {base}\n".encode() in mail
    (tmp_path / name).write_bytes(mail)
    git(clone, "am", "--quiet", str(tmp_path / name))
    assert git(clone, "rev-parse", "HEAD^{tree}") == tree
    assert (
        git(clone, "log", "-1", "--format=%an|%ae|%at|%s|%b") == f"{AUTHOR.name}|{AUTHOR.email}|{SECONDS}|Mend it|Well."
    )


def test_patch_does_not_apply_to_another_base(clone: Path) -> None:
    opened = Repository.open(clone)
    base = opened.find_commit("HEAD") or ""
    (clone / KERNEL).write_bytes(b"other\n")
    other = fake_upstream.commit(clone, "Another kernel")
    with scratch(opened) as made:
        _, mail = made.format_patch(base, made.commit(base, {KERNEL: FIXED}, "Mend\n", AUTHOR, SECONDS))
        with pytest.raises(GitError, match="git apply failed"):
            made.tree_after(other, mail)


def test_patch_of_a_shallow_clone(clone: Path, tmp_path: Path) -> None:
    fake_upstream.git(clone, "commit", "--quiet", "--allow-empty", "--message", "Second")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{clone}", "shallow")
    opened = Repository.open(tmp_path / "shallow")
    base = opened.find_commit("HEAD") or ""
    with scratch(opened) as made:
        _, mail = made.format_patch(base, made.commit(base, {KERNEL: FIXED}, "Mend\n", AUTHOR, SECONDS))
    assert f"base-commit: {base}\n".encode() in mail


def test_file_modes_stay(clone: Path) -> None:
    (clone / KERNEL).chmod(0o755)
    base = fake_upstream.commit(clone, "Executable")
    with scratch(Repository.open(clone)) as made:
        _, mail = made.format_patch(base, made.commit(base, {KERNEL: FIXED}, "Mend\n", AUTHOR, SECONDS))
    assert b"100755" in mail
    assert b"mode change" not in mail


def test_checkout_holds_the_paths_asked_for(clone: Path, tmp_path: Path) -> None:
    opened = Repository.open(clone)
    target = tmp_path / "tree"
    target.mkdir()
    with scratch(opened) as made:
        made.checkout(opened.find_commit("HEAD") or "", target, ("src", "missing"))
    assert (target / KERNEL).read_bytes() == STOCK
    assert [path.name for path in target.iterdir()] == ["src"]


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    return home


SETTINGS = "[user]\n\tname = Änne O'Hara\n\temail = anne@example.org\n[core]\n\tpager = touch ran\n"


@pytest.mark.parametrize("place", [".gitconfig", ".config/git/config", "elsewhere"])
def test_identity_is_the_users(clone: Path, nobody: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    file = nobody / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SETTINGS, encoding="utf-8")
    if place == "elsewhere":
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    assert repository.configured_identity(Repository.open(clone)) == AUTHOR


def test_identity_of_the_clone_comes_first(clone: Path, nobody: Path) -> None:
    (nobody / ".gitconfig").write_text(SETTINGS, encoding="utf-8")
    git(clone, "config", "user.email", "other@example.org")
    found = repository.configured_identity(Repository.open(clone))
    assert found == Identity(AUTHOR.name, "other@example.org")


def test_no_identity_where_none_is_set(clone: Path, nobody: Path) -> None:
    git(clone, "config", "user.name", "Only a name")
    assert repository.configured_identity(Repository.open(clone)) is None


def test_version_is_gits_own() -> None:
    assert git(Path(os.curdir), "version").endswith(repository.git_version())
