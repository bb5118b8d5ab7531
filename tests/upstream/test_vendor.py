from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nkifix import codemod, git
from nkifix.emulator import serving
from nkifix.errors import RefusalError
from nkifix.upstream import reference, vendor, vendor_text
from nkifix.upstream.locate import IN_CHECKOUT
from nkifix.upstream.reference import Upstream
from tests import upstream_clone
from tests.test_git import AUTHOR
from tests.upstream import site as sites
from tests.upstream.site import FIXED, LICENCE, STOCK, UNKNOWN

TYPO = codemod.select("typo")
CONFIGURED = STOCK.replace(b"@nki.jit", b"class FlashConfig:\n    pass\n\n\n@nki.jit")
NOTICE_LINE = b"# CHANGED from upstream by nkifix 1.2: misspelled-causal-mask; see patches/.\n"


def upstream(data: bytes = CONFIGURED) -> Upstream:
    return Upstream("clone@v1:file", str(IN_CHECKOUT), data, LICENCE, b"Theirs.\n", "https://example.org/x", "c" * 40)


def render(source: Upstream | None = None, package: str = "my_flash") -> dict[str, bytes]:
    return vendor.render(source or upstream(), TYPO, package=package, version="1.2")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    file = folder / IN_CHECKOUT
    file.parent.mkdir(parents=True)
    file.write_bytes(CONFIGURED)
    (folder / "LICENSE").write_bytes(LICENCE)
    (folder / "NOTICE").write_bytes(b"Theirs.\n")
    git.run(folder, "init", "--quiet", "--initial-branch=main")
    git.run(folder, "add", ".")
    git.run(folder, "commit", "--quiet", "--message=first", environment=AUTHOR)
    return folder


# ----------------------------------------------------------------------------------------- reference


def test_upstream_of_a_clone_knows_where_it_is_from(clone: Path) -> None:
    git.run(clone, "remote", "add", "origin", "https://user:secret@example.org/x.git")
    found = reference.read(f"git:{clone}@main")
    assert (found.data, found.licence, found.notice) == (CONFIGURED, LICENCE, b"Theirs.\n")
    assert found.commit == git.commit_of(clone, "main")
    assert found.repository == "https://example.org/x.git"
    assert found.blob == git.run(clone, "hash-object", str(IN_CHECKOUT)).decode().strip()


def test_path_in_a_clone_may_be_given(clone: Path) -> None:
    assert reference.read(f"git:{clone}@main:{IN_CHECKOUT}") == reference.read(f"git:{clone}@main")
    assert reference.read(f"git:{clone}@main").repository == "clone"


def test_upstream_may_be_a_file_or_a_folder_of_a_checkout(clone: Path) -> None:
    for given in (clone, clone / IN_CHECKOUT):
        found = reference.read(str(given))
        assert (found.data, found.licence, found.commit) == (CONFIGURED, LICENCE, None)


@pytest.mark.parametrize("folder", ["", "licenses"], ids=["older wheel", "PEP 639"])
def test_upstream_may_be_the_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    site = sites.make(tmp_path / "site")
    (site.info / folder).mkdir(exist_ok=True)
    (site.info / "LICENSE").rename(site.info / folder / "LICENSE")
    monkeypatch.syspath_prepend(str(site.root))
    found = reference.read("installed")
    assert (found.data, found.licence, found.notice) == (STOCK, LICENCE, None)


def test_file_alone_needs_the_licence_by_name(tmp_path: Path) -> None:
    file = tmp_path / "attention.py"
    file.write_bytes(STOCK)
    with pytest.raises(RefusalError, match="licence of this file is not found") as caught:
        reference.read(str(file))
    assert "--license" in str(caught.value.next_step)
    (tmp_path / "apache.txt").write_bytes(LICENCE)
    assert reference.read(str(file), licence_file=tmp_path / "apache.txt").licence == LICENCE


def test_refuses_another_licence(clone: Path) -> None:
    (clone / "LICENSE").write_bytes(b"All rights reserved.\n")
    with pytest.raises(RefusalError, match="is not the Apache License"):
        reference.read(str(clone))


@pytest.mark.parametrize("text", ["git:", "git:clone", "git:@main", "git:clone@"])
def test_refuses_half_a_reference(text: str) -> None:
    with pytest.raises(RefusalError, match="names no file of a repository") as caught:
        reference.read(text)
    assert "git:REPO@REV" in str(caught.value.next_step)


def test_refuses_a_revision_without_the_file(clone: Path) -> None:
    with pytest.raises(RefusalError, match="no such file at this revision"):
        reference.read(f"git:{clone}@main:missing.py")
    git.run(clone, "rm", "--quiet", str(IN_CHECKOUT))
    git.run(clone, "commit", "--quiet", "--message=gone", environment=AUTHOR)
    with pytest.raises(RefusalError, match="no such file at this revision") as caught:
        reference.read(f"git:{clone}@main")
    assert "v0.6.10598" in str(caught.value.why)


# --------------------------------------------------------------------------------------------- tree


def test_tree_holds_the_kernel_its_licence_and_its_story() -> None:
    tree = render()
    assert list(tree) == [
        "LICENSE",
        "NOTICE",
        "README.md",
        "manifest.json",
        "patches/0001-misspelled-causal-mask.patch",
        "patches/0002-change-notice.patch",
        "pyproject.toml",
        "src/my_flash/__init__.py",
        "src/my_flash/attention.py",
    ]
    fixed = CONFIGURED.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True").replace(b"# cas", b"# cau")
    fixed = fixed.replace(b"# cauual", b"# causal")
    assert tree["src/my_flash/attention.py"] == NOTICE_LINE + fixed
    assert tree["LICENSE"] == LICENCE
    assert tree["NOTICE"].startswith(b"Theirs.\n\n")
    assert b"misspelled-causal-mask: UnboundLocalError" in tree["NOTICE"]
    assert b"c" * 40 in tree["NOTICE"]


def test_same_input_gives_the_same_bytes() -> None:
    assert render() == render()


def test_manifest_says_where_every_byte_is_from() -> None:
    tree = render()
    manifest: dict[str, Any] = json.loads(tree["manifest.json"])
    files = manifest.pop("files")
    assert files == {n: hashlib.sha256(c).hexdigest() for n, c in tree.items() if n != "manifest.json"}
    assert manifest == {
        "schema": "nkifix.vendor/1",
        "nkifix": "1.2",
        "package": "my_flash",
        "upstream": {
            "repository": "https://example.org/x",
            "commit": "c" * 40,
            "path": str(IN_CHECKOUT),
            "blob": upstream().blob,
            "sha256": hashlib.sha256(CONFIGURED).hexdigest(),
        },
        "fixes": ["misspelled-causal-mask"],
        "kernel": {"path": "src/my_flash/attention.py", "sha256": files["src/my_flash/attention.py"]},
    }


def test_patches_lead_from_upstream_to_the_kernel(clone: Path) -> None:
    tree = render()
    patches = [content for name, content in tree.items() if name.startswith("patches/")]
    for patch in patches:
        fields = [line.partition(b":")[0] for line in patch.partition(b"---\n")[0].splitlines() if line[:1] != b" "]
        assert fields == [b"Description", b"Origin", b"Forwarded"]
        git.run(clone, "apply", "-", stdin=patch)
    assert (clone / IN_CHECKOUT).read_bytes() == tree["src/my_flash/attention.py"]


def test_fixed_upstream_gives_a_package_without_fixes() -> None:
    tree = render(upstream(FIXED))
    assert [name for name in tree if name.startswith("patches/")] == ["patches/0001-change-notice.patch"]
    assert json.loads(tree["manifest.json"])["fixes"] == []
    assert b"nothing but" in tree["NOTICE"]


def test_upstream_without_commit_and_notice_is_told_by_its_blob() -> None:
    source = replace(upstream(), commit=None, repository=None, notice=None)
    tree = render(source)
    assert f"blob {source.blob}".encode() in tree["NOTICE"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"x\n", b"%sx\n", id="plain"),
        pytest.param(b"\xef\xbb\xbfx\n", b"\xef\xbb\xbf%sx\n", id="byte-order mark"),
        pytest.param(b"#!/usr/bin/python\n# coding: latin-1\nx\n", b"#!/usr/bin/python\n# coding: latin-1\n%sx\n",
                     id="shebang and encoding"),
        pytest.param(b"# a comment\nx\n", b"%s# a comment\nx\n", id="a comment"),
        pytest.param(b"", b"%s", id="nothing"),
    ],
)  # fmt: skip
def test_change_is_said_where_it_breaks_nothing(data: bytes, expected: bytes) -> None:
    assert vendor_text.change_notice(data, ("misspelled-causal-mask",), "1.2") == expected % NOTICE_LINE


def test_change_is_said_with_the_files_own_line_ends() -> None:
    noticed = vendor_text.change_notice(b"x\r\ny\r\n", (), "1.2")
    assert noticed.endswith(b"patches/.\r\nx\r\ny\r\n")


@pytest.mark.parametrize("package", ["", "my-flash", "class", "json", "nkifix", "vendored_kernel", "ä", "a.b"])
def test_refuses_a_name_that_cannot_be_imported(package: str) -> None:
    with pytest.raises(RefusalError, match="is no name for this package") as caught:
        render(package=package)
    assert "--package" in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("data", "words"), [(UNKNOWN, "does not recognise this file"), (b"def (", "no Python file that can be read")]
)
def test_refuses_an_unknown_file(data: bytes, words: str) -> None:
    with pytest.raises(RefusalError, match=words):
        render(upstream(data))


def test_refuses_fixes_that_differ_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = codemod.apply

    def drifting(data: bytes, fixes: Any) -> codemod.Outcome:
        outcome = apply(data, tuple(fixes))
        return replace(outcome, data=outcome.data + b"#") if isinstance(fixes, tuple) else outcome  # type: ignore[arg-type,union-attr]

    monkeypatch.setattr(codemod, "apply", drifting)
    with pytest.raises(RefusalError, match="differ from the fixes made together"):
        vendor.render(upstream(), list(TYPO))


# -------------------------------------------------------------------------------------------- output


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_tree_is_written_and_proven(tmp_path: Path, there: bool) -> None:
    output = tmp_path / "deep" / "out"
    if there:
        output.mkdir(parents=True)
    vendor.write(render(), output)
    assert content(output) == render()
    assert [path.name for path in output.parent.iterdir()] == ["out"]
    assert vendor.differences(output, None) == []
    assert vendor.differences(output, upstream()) == []


def test_older_tree_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    vendor.write(render(package="other"), output)
    assert content(output) == render(package="other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("proof", ["digests", "upstream"])
@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        pytest.param("src/my_flash/attention.py", b"x", "src/my_flash/attention.py was changed", id="changed"),
        pytest.param("LICENSE", None, "LICENSE is missing", id="missing"),
        pytest.param("src/my_flash/more.py", b"", "src/my_flash/more.py does not belong here", id="more"),
    ],
)
def test_differences_are_named(tmp_path: Path, name: str, data: bytes | None, sentence: str, proof: str) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    if data is None:
        (output / name).unlink()
    else:
        (output / name).write_bytes(data)
    assert vendor.differences(output, upstream() if proof == "upstream" else None) == [sentence]


def test_forged_manifest_is_found_by_making_it_again(tmp_path: Path) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    kernel = output / "src/my_flash/attention.py"
    kernel.write_bytes(b"forged")
    manifest = json.loads((output / "manifest.json").read_bytes())
    manifest["files"]["src/my_flash/attention.py"] = hashlib.sha256(b"forged").hexdigest()
    (output / "manifest.json").write_text(json.dumps(manifest))
    assert vendor.differences(output, None) == []
    assert "src/my_flash/attention.py was changed" in vendor.differences(output, upstream())


def test_another_upstream_is_named(tmp_path: Path) -> None:
    vendor.write(render(), tmp_path / "out")
    (sentence,) = vendor.differences(tmp_path / "out", upstream(STOCK))
    assert "is not the file that this was made from" in sentence


def test_package_without_fixes_is_proven_too(tmp_path: Path) -> None:
    vendor.write(render(upstream(FIXED)), tmp_path / "out")
    assert vendor.differences(tmp_path / "out", upstream(FIXED)) == []


def test_what_building_leaves_is_no_difference(tmp_path: Path) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    for name in ("build/x", "src/my_flash.egg-info/y", "src/my_flash/__pycache__/z", ".git/config"):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(b"")
    assert vendor.differences(output, upstream()) == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        pytest.param(None, "No such file", id="none"),
        pytest.param(b"{", "no manifest", id="no JSON"),
        pytest.param(b"[]", "no manifest", id="a list"),
        pytest.param(b'{"schema": "other"}', "another", id="another schema"),
    ],
)
def test_refuses_a_folder_that_is_not_its_own(tmp_path: Path, manifest: bytes | None, words: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(RefusalError, match="not made by nkifix vendor") as caught:
        vendor.differences(tmp_path, None)
    assert words in str(caught.value.why)


@pytest.mark.parametrize("what", ["other files", "a file"])
def test_refuses_to_replace_what_is_not_its_own(tmp_path: Path, what: str) -> None:
    output = tmp_path / "out"
    if what == "a file":
        output.write_bytes(b"mine")
    else:
        output.mkdir()
        (output / "mine").write_bytes(b"")
    with pytest.raises(RefusalError, match="holds something else"):
        vendor.write(render(), output)
    assert output.is_file() or content(output) == {"mine": b""}


def test_refuses_to_replace_what_was_edited(tmp_path: Path) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    (output / "README.md").write_bytes(b"mine")
    with pytest.raises(RefusalError, match="edited by hand") as caught:
        vendor.write(render(), output)
    assert caught.value.why == "README.md was changed"
    assert (output / "README.md").read_bytes() == b"mine"


@pytest.mark.parametrize("failing", ["mkdtemp", "replace", "interrupt"])
def test_refuses_what_cannot_be_written_and_keeps_the_old_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    output = tmp_path / "out"
    vendor.write(render(), output)
    before = content(tmp_path)

    def fail(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt if failing == "interrupt" else PermissionError(13, "Permission denied")

    if failing == "mkdtemp":
        monkeypatch.setattr("tempfile.mkdtemp", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((RefusalError, KeyboardInterrupt)):
        vendor.write(render(package="other"), output)
    assert content(tmp_path) == before


# ----------------------------------------------------------------------------------------- as a package


@pytest.mark.slow
def test_package_is_installed_by_pip(tmp_path: Path) -> None:
    for name in ("pip", "setuptools"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name}, which builds packages, is not installed here")
    output, site = tmp_path / "out", tmp_path / "site"
    vendor.write(render(), output)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--target", str(site), str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (site / "my_flash/attention.py").read_bytes() == render()["src/my_flash/attention.py"]
    (info,) = site.glob("*.dist-info")
    licences = {path.name: path.read_bytes() for path in info.rglob("*") if path.is_file()}
    assert licences["LICENSE"] == LICENCE
    assert licences["NOTICE"] == render()["NOTICE"]


def test_package_holds_the_kernel_and_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.write(render(package="my_flash_of_test"), tmp_path / "out")
    monkeypatch.syspath_prepend(str(tmp_path / "out" / "src"))
    with serving():
        module = importlib.import_module("my_flash_of_test")
        assert module.__all__ == ["FlashConfig", "flash_fwd"]
        assert module.FlashConfig.__module__ == "my_flash_of_test.attention"


@pytest.mark.upstream
@pytest.mark.parametrize("series", ["typo", "full"])
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_real_upstream_is_vendored_and_proven(tmp_path: Path, tag: str, series: str) -> None:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    source = reference.read(f"git:{repository}@{tag}")
    vendor.write(vendor.render(source, codemod.select(series), package="my_flash"), tmp_path / "out")
    assert vendor.differences(tmp_path / "out", source) == []
    assert source.blob.startswith({"v0.6.10598": "a59d898d", "v0.7.14366": "3a9a8d2c"}[tag])
