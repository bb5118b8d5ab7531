"""The kit on real clones: each patch applies, its new tests fail before and pass after."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nkifix.codemod import SERIES
from nkifix.contribute import kit
from nkifix.contribute.base import KERNEL, TESTS
from nkifix.contribute.repository import Identity
from tests import upstream_clone
from tests.contribute.fake_upstream import git

pytestmark = [pytest.mark.upstream, pytest.mark.slow]

BASES = (*upstream_clone.TAGS, None)
TYPO = SERIES["typo"]


@pytest.fixture
def upstream() -> Path:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    pytest.importorskip("torch", reason="upstream's tests need torch, an optional extra")
    return repository


def make(repository: Path, base: str | None, ids: tuple[str, ...]) -> kit.Result:
    author = Identity("A", "a@example.org")
    return kit.make(
        kit.Request(
            repository=repository,
            base=base,
            ids=ids,
            author=author,
            signoff=False,
            evidence=(),
            backend="emulator",
            seconds=1_700_000_000,
        )
    )


def applied(repository: Path, commit: str, made: kit.Kit, folder: Path) -> Path:
    """A clone of the clone in which ``git am`` took the patch."""
    git(folder, "clone", "--quiet", "--shared", "--no-checkout", str(repository.resolve()), "am")
    git(folder / "am", "checkout", "--quiet", "--detach", commit)
    (mail,) = (name for name in made.files if name.endswith(".patch"))
    (folder / mail).write_bytes(made.files[mail])
    git(folder / "am", "am", "--quiet", str(folder / mail))
    return folder / "am"


def numbers(tree: Path) -> dict[str, tuple[int, int]]:
    """File -> lines added and taken away by the last commit."""
    lines = git(tree, "diff", "--numstat", "HEAD~1").splitlines()
    return {name: (int(plus), int(minus)) for plus, minus, name in (line.split("\t") for line in lines)}


@pytest.mark.parametrize("base", BASES, ids=str)
def test_typo_is_two_lines_and_two_rows(upstream: Path, base: str | None, tmp_path: Path) -> None:
    result = make(upstream, base, TYPO)
    (made,) = result.kits
    tree = applied(upstream, result.base.commit, made, tmp_path)
    assert numbers(tree) == {KERNEL: (2, 2), TESTS: (2, 0)}
    evidence = json.loads(made.files["evidence.json"])
    new = evidence["tests"]["new"]
    before = {test["id"]: test for test in evidence["tests"]["before"]}
    assert [before[name]["message"].partition(":")[0] for name in new] == ["UnboundLocalError"] * 2
    assert {test["outcome"] for name, test in before.items() if name not in new} == {"passed"}
    assert {test["outcome"] for test in evidence["tests"]["after"]} == {"passed"}
    assert evidence["lint"]["tool"] is None or set(evidence["lint"]["after"]) <= set(evidence["lint"]["before"])


@pytest.mark.parametrize("base", upstream_clone.TAGS)
def test_pull_request_fills_the_form_of_the_default_branch(upstream: Path, base: str) -> None:
    (made,) = make(upstream, base, TYPO).kits
    text = made.files["PULL_REQUEST.md"].decode()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    names = ("Description", "Testing", "Compatibility", "Additional Information", "Related Issues")
    assert headings == [f"## {name}" for name in names]
    assert "- **Instance Type(s):** none, emulated" in text
    assert "imports this kernel any more" in text
    assert "2844505" in text
    assert "- [ ]" in text
    assert "[x]" not in text
    issue = made.files["ISSUE.md"].decode()
    assert "### Describe the bug" in issue
    assert "### Regression Issue\n\n- [ ] " in issue
    assert "_No response_" not in issue


@pytest.mark.parametrize("base", BASES[:2], ids=str)
def test_every_patch_of_the_series_stands_alone(upstream: Path, base: str, tmp_path: Path) -> None:
    result = make(upstream, base, SERIES["full"])
    absent = ("wcte-window-alignment",) if base == "v0.6.10598" else ()
    assert result.absent == absent
    for made in result.kits:
        folder = tmp_path / made.patch.id
        folder.mkdir()
        tree = applied(upstream, result.base.commit, made, folder)
        assert numbers(tree)[KERNEL][1] <= 40
    assert len(result.kits) == len(SERIES["full"]) - len(absent)


def test_clone_is_left_alone(upstream: Path) -> None:
    def state() -> bytes:
        command = ["git", "-C", str(upstream), "for-each-ref"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    before = state()
    make(upstream, None, TYPO)
    assert state() == before
