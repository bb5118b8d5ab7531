"""Making kits, with the child processes replaced by what they would have answered."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nkifix import codemod
from nkifix.contribute import kit, runs
from nkifix.contribute.base import KERNEL, TESTS
from nkifix.contribute.proof import sha256
from nkifix.contribute.repository import Identity, Scratch
from nkifix.errors import RefusalError
from tests.contribute import fake_upstream, proofs
from tests.contribute.children import NEW, OLD, Children
from tests.contribute.fake_upstream import FIXED, STOCK, git

TYPO = "misspelled-causal-mask"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    fake = Children()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return fake_upstream.make(tmp_path / "clone")


def request(clone: Path, *ids: str, **changes: Any) -> kit.Request:
    given = {
        "repository": clone,
        "base": None,
        "ids": ids or (TYPO,),
        "author": Identity("A", "a@b.c"),
        "signoff": False,
        "evidence": (),
        "backend": "emulator",
        "seconds": 1_700_000_000,
    }
    return kit.Request(**{**given, **changes})


def the_patch(files: Any) -> bytes:
    (mail,) = (data for name, data in files.items() if name.endswith(".patch"))
    assert isinstance(mail, bytes)
    return mail


def test_kit_holds_four_files_and_its_patch_the_fix(clone: Path, children: Children, tmp_path: Path) -> None:
    steps: list[str] = []
    result = kit.make(request(clone), steps.append)
    files = result.as_folder()
    assert [name.partition("-")[0] for name in files] == ["0001", "PULL_REQUEST.md", "ISSUE.md", "evidence.json"]
    assert steps == [TYPO]
    (tmp_path / "patch").write_bytes(the_patch(files))
    git(clone, "am", "--quiet", str(tmp_path / "patch"))
    assert (clone / KERNEL).read_bytes() == FIXED
    old, new = (data.splitlines(keepends=True) for data in (fake_upstream.FILES[TESTS], (clone / TESTS).read_bytes()))
    added = [line for line in new if line not in old]
    assert [line for line in new if line not in added] == old
    assert len(added) == 2
    assert b"Signed-off-by" not in the_patch(files)


def test_same_request_makes_the_same_bytes(clone: Path, children: Children) -> None:
    assert kit.make(request(clone)).as_folder() == kit.make(request(clone)).as_folder()


def test_evidence_speaks_of_the_patch_beside_it(clone: Path, children: Children) -> None:
    files = kit.make(request(clone)).as_folder()
    written = json.loads(files["evidence.json"])
    assert written["patch"]["sha256"] == sha256(the_patch(files))
    assert written["base"] == {"commit": git(clone, "rev-parse", "HEAD"), "name": "main"}
    assert written["files"][KERNEL] == {"before": sha256(STOCK), "after": sha256(FIXED)}


def test_sign_off_is_added_on_request(clone: Path, children: Children) -> None:
    assert b"\nSigned-off-by: A <a@b.c>\n" in the_patch(kit.make(request(clone, signoff=True)).as_folder())


def test_author_is_whom_git_knows(clone: Path, children: Children) -> None:
    git(clone, "config", "user.name", "Known")
    git(clone, "config", "user.email", "known@example.org")
    assert b"From: Known <known@example.org>" in the_patch(kit.make(request(clone, author=None)).as_folder())


def test_refuses_a_commit_without_an_author(
    clone: Path, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "nothing"))
    with pytest.raises(RefusalError, match="no author") as refusal:
        kit.make(request(clone, author=None))
    assert "--author" in str(refusal.value.next_step)


@pytest.mark.parametrize("bare", [True, False])
def test_clone_stays_as_it_was_and_nothing_is_left(
    clone: Path, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    if bare:
        git(tmp_path, "clone", "--quiet", "--bare", str(clone), "bare")
        clone = tmp_path / "bare"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = fake_upstream.snapshot(clone)
    kit.make(request(clone))
    assert fake_upstream.snapshot(clone) == before
    assert list(temporary.iterdir()) == []
    assert all(not tree.exists() for tree in children.trees)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("run_tests", SystemExit(143)),
        ("run_script", RuntimeError("crash")),
        ("lint", KeyboardInterrupt()),
    ],
)
def test_nothing_is_left_after_an_interruption(
    clone: Path,
    children: Children,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(runs, step, fail)
    before = fake_upstream.snapshot(clone)
    with pytest.raises(type(error)):
        kit.make(request(clone))
    assert list(temporary.iterdir()) == []
    assert fake_upstream.snapshot(clone) == before


def test_refuses_a_base_that_is_fixed_already(tmp_path: Path, children: Children) -> None:
    clone = fake_upstream.make(tmp_path / "clone", attention=FIXED)
    with pytest.raises(RefusalError, match="main is already fixed: misspelled-causal-mask") as refusal:
        kit.make(request(clone))
    assert "good news" in str(refusal.value.why)
    assert refusal.value.next_step


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        pytest.param({"attention": b"def other(): ...\n"}, "this kernel is not recognised", id="another kernel"),
        pytest.param({"attention": b"def flash_fwd(:\n"}, "this kernel is not recognised", id="broken kernel"),
        pytest.param({"test_attention": b"def test_other(): ...\n"}, "does not fit upstream's test", id="other tests"),
    ],
)
def test_refuses_files_that_are_not_upstreams(
    tmp_path: Path, children: Children, changes: dict[str, bytes], what: str
) -> None:
    clone = fake_upstream.make(tmp_path / "clone", **changes)
    with pytest.raises(RefusalError, match=what) as refusal:
        kit.make(request(clone))
    assert "v0.7.14366" in str(refusal.value.next_step)


def test_refuses_a_patch_that_makes_another_tree(
    clone: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scratch, "tree_after", lambda self, base, patch: "another")
    with pytest.raises(RefusalError, match="does not give back its own commit"):
        kit.make(request(clone))


def test_refuses_a_proof_that_fails(clone: Path, children: Children) -> None:
    children.stock = b"never"
    with pytest.raises(RefusalError, match="does not fail without the fix"):
        kit.make(request(clone))


def every_defect() -> bytes:
    """A specimen that has them all."""
    specimen = Path(__file__).parents[1] / "specimens" / "every_defect.py"
    return specimen.read_bytes()


@pytest.fixture
def every(tmp_path: Path, children: Children) -> Path:
    children.stock = every_defect()
    return fake_upstream.make(tmp_path / "every", attention=children.stock)


def test_each_defect_gets_a_kit_of_its_own(every: Path, children: Children, tmp_path: Path) -> None:
    result = kit.make(request(every, "scale-zero", TYPO, "stale-docs"))
    folders = sorted({name.partition("/")[0] for name in result.as_folder()})
    assert folders == ["0001-misspelled-causal-mask", "0008-scale-zero", "0013-stale-docs"]
    base = git(every, "rev-parse", "HEAD")
    for made in result.kits:
        (tmp_path / "patch").write_bytes(the_patch(made.files))
        git(every, "am", "--quiet", str(tmp_path / "patch"))
        outcome = codemod.apply((every / KERNEL).read_bytes(), codemod.select(only=(made.patch.id,)))
        assert isinstance(outcome, codemod.AlreadyFixed)
        git(every, "reset", "--quiet", "--hard", base)


def test_documentation_changes_no_test(every: Path, children: Children) -> None:
    files = kit.make(request(every, "stale-docs")).as_folder()
    assert TESTS.encode() not in the_patch(files)


def test_follow_ups_are_named_where_the_base_has_them(every: Path, children: Children) -> None:
    text = kit.make(request(every)).as_folder()["PULL_REQUEST.md"].decode()
    assert "- `default-window-tile-skip`: " in text


def test_absent_defects_are_left_out(tmp_path: Path, children: Children) -> None:
    scaled = (b"softmax_scale or 0.5", b"0.5 if softmax_scale is None else softmax_scale")
    children.stock = every_defect().replace(*scaled)
    clone = fake_upstream.make(tmp_path / "clone", attention=children.stock)
    result = kit.make(request(clone, TYPO, "scale-zero"))
    assert [made.patch.id for made in result.kits] == [TYPO]
    assert result.absent == ("scale-zero",)
    assert set(result.as_folder()) == set(result.kits[0].files)


@pytest.mark.parametrize("change", [b"# a comment\n", None])
def test_newest_templates_are_used(clone: Path, children: Children, change: bytes | None) -> None:
    git(clone, "tag", "old")
    for name in (".github/PULL_REQUEST_TEMPLATE.md", ".github/ISSUE_TEMPLATE/bug-report.yml"):
        if change is None:
            (clone / name).unlink()
        else:
            (clone / name).write_bytes(change)
    fake_upstream.commit(clone, "Other templates")
    files = kit.make(request(clone, base="old")).as_folder()
    has_form = change is None  # the base still has them
    assert (b"By submitting this" in files["PULL_REQUEST.md"]) is has_form
    assert (b"Favourite colour" in files["ISSUE.md"]) is has_form


def evidence_for(clone: Path, folder: Path, **changes: Any) -> Path:
    """An evidence file for the typo's kit."""
    made = json.loads(kit.make(request(clone)).as_folder()["evidence.json"])
    raw = proofs.evidence(base_commit=made["base"]["commit"], files=made["files"])
    for stage, outcome in (("before", "failed"), ("after", "passed")):
        raw["runs"][stage]["tests"] = {OLD: "passed", NEW: outcome}
    file = folder / "evidence-trn1.json"
    file.write_text(json.dumps({**raw, **changes}), encoding="utf-8")
    return file


def test_hardware_evidence_enters_the_texts(clone: Path, children: Children, tmp_path: Path) -> None:
    file = evidence_for(clone, tmp_path)
    files = kit.make(request(clone, evidence=(file,))).as_folder()
    assert b"trn1.2xlarge" in files["PULL_REQUEST.md"]
    assert json.loads(files["evidence.json"])["hardware"]["environment"]["instance_type"] == "trn1.2xlarge"


@pytest.mark.parametrize("changes", [{"base_commit": "0" * 40}, {"files": {}}])
def test_refuses_evidence_about_another_patch(
    clone: Path, children: Children, tmp_path: Path, changes: dict[str, Any]
) -> None:
    file = evidence_for(clone, tmp_path, **changes)
    with pytest.raises(RefusalError, match="about another patch"):
        kit.make(request(clone, evidence=(file,)))


def test_refuses_bad_evidence_before_anything_runs(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RefusalError, match="no evidence"):
        kit.make(request(clone, evidence=(tmp_path / "bad.json",)))


def test_crlf_files_are_patched_as_they_are(tmp_path: Path, children: Children) -> None:
    children.stock = STOCK.replace(b"\n", b"\r\n")
    clone = fake_upstream.make(tmp_path / "clone", attention=children.stock)
    (tmp_path / "patch").write_bytes(the_patch(kit.make(request(clone)).as_folder()))
    git(clone, "am", "--quiet", "--keep-cr", str(tmp_path / "patch"))
    assert (clone / KERNEL).read_bytes() == FIXED.replace(b"\n", b"\r\n")
