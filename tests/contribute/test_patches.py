"""The folders of ``patches/``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nkifix import codemod
from nkifix.contribute import patches
from nkifix.contribute.base import SDK_OF_TAG
from nkifix.errors import RefusalError

TYPO = "misspelled-causal-mask"
PRESENT = [file.parent.name.partition("-")[2] for file in sorted(patches.folder().glob(f"*/{patches.FILE}"))]
FIXES = {fix.id: fix for fix in codemod.FIXES}


def test_every_fix_has_a_patch_and_every_patch_a_fix() -> None:
    assert list(FIXES) == PRESENT


@pytest.mark.parametrize("defect", PRESENT)
def test_patch_agrees_with_its_fix(defect: str) -> None:
    (patch,) = patches.load([defect])
    assert patch.id == defect
    assert patch.kind == FIXES[defect].kind
    assert patch.versions
    assert set(patch.versions) <= set(SDK_OF_TAG)
    assert set(patch.follow_ups) <= set(FIXES) - {defect}
    assert patch.has_tests is (patch.kind != "doc")


@pytest.mark.parametrize("defect", PRESENT)
def test_patch_reads_like_a_contribution(defect: str) -> None:
    (patch,) = patches.load([defect])
    assert re.match(r"[A-Z][a-z]", patch.title)
    assert len(patch.title) <= 72
    assert not patch.title.endswith(".")
    assert all(text.endswith((".", ".)")) for text in (patch.problem, patch.cause, patch.change))
    assert 3 <= len([line for line in patch.reproduction.splitlines() if line]) <= 10
    compile(patch.reproduction, defect, "exec")
    compile(patch.test_methods, defect, "exec")


@pytest.mark.parametrize("defect", PRESENT)
def test_folders_are_numbered_in_the_order_of_the_fixes(defect: str) -> None:
    (patch,) = patches.load([defect])
    assert patch.folder.name == f"{list(FIXES).index(defect) + 1:04}-{defect}"


def test_typo_needs_rows_alone() -> None:
    (patch,) = patches.load([TYPO])
    assert not patch.test_methods
    assert [(row.values["use_causal_mask"], row.values["sliding_window"]) for row in patch.rows] == [
        ("False", "-1"),
        ("True", "0"),
    ]
    assert "2844505" in patch.related


def test_refuses_a_defect_without_a_patch() -> None:
    with pytest.raises(RefusalError, match="no patch for nothing-known") as refusal:
        patches.load([TYPO, "nothing-known"])
    assert TYPO in str(refusal.value.next_step)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("id = ", id="no TOML"),
        pytest.param('id = "broken"\n', id="keys missing"),
        pytest.param('id = "broken"\nstory = 1\n', id="another type"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_refuses_a_broken_patch(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "0001-broken" / patches.FILE
    file.parent.mkdir()
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RefusalError, match="cannot be understood") as refusal:
        patches.load(["broken"], tmp_path)
    assert refusal.value.where == str(file)


def test_methods_are_read_from_beside_the_patch(tmp_path: Path) -> None:
    source = patches.folder() / f"0001-{TYPO}" / patches.FILE
    folder = tmp_path / f"0001-{TYPO}"
    folder.mkdir()
    (folder / patches.FILE).write_bytes(source.read_bytes())
    (folder / patches.TESTS).write_text("def test_it(self): ...\n", encoding="utf-8")
    (patch,) = patches.load([TYPO], tmp_path)
    assert patch.test_methods == "def test_it(self): ...\n"


@pytest.mark.parametrize("installed", [True, False])
def test_patches_are_found_in_a_package_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    package = tmp_path / "src" / "nkifix"
    wanted = package / "patches" if installed else tmp_path / "patches"
    wanted.mkdir(parents=True)
    monkeypatch.setattr("nkifix.__file__", str(package / "__init__.py"))
    assert patches.folder() == wanted
