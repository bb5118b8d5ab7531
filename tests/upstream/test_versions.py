from __future__ import annotations

import sys
from importlib import metadata
from itertools import pairwise

import pytest

from nkifix.upstream import versions
from nkifix.upstream.versions import RELEASES, Legacy, Level, Versions, release_of, remarks

QUIET = {"neuronx-cc": "2.23.6484.0+3b612583", "nki": "0.2.0", "torch-xla": "2.9.0", "torch-neuronx": "2.9.0.2.12"}
PYTHON = (3, 11)


def found(**changed: str | None) -> Versions:
    names = {name.replace("_", "-"): version for name, version in changed.items()}
    return {**dict.fromkeys(versions.PACKAGES), **QUIET, **names}


def said(python: tuple[int, int] = PYTHON, **changed: str | None) -> list[tuple[Level, str]]:
    return [(remark.level, remark.what) for remark in remarks(found(**changed), python)]


def test_releases_are_in_order_and_each_has_a_compiler_of_its_own() -> None:
    assert len({release.compiler for release in RELEASES}) == len({release.sdk for release in RELEASES}) == 11
    numbers = [tuple(map(int, release.compiler.split("."))) for release in RELEASES]
    assert all(first < second for first, second in pairwise(numbers))
    assert [release.sdk for release in RELEASES if release.legacy is Legacy.WARNS] == ["2.29.0", "2.29.1"]


@pytest.mark.parametrize(
    ("compiler", "sdk"),
    [
        pytest.param("2.21.18209.0+043b1bf7", "2.26.0", id="build of a release"),
        pytest.param("2.21.33363", "2.26.1", id="build of its patch"),
        pytest.param("2.21.1", "2.26.0", id="another build"),
        pytest.param("2.27.5334.0", "2.32", id="newest"),
        pytest.param("2.18.1", None, id="older"),
        pytest.param("nonsense", None, id="no version"),
    ],
)
def test_release_is_told_by_its_compiler(compiler: str, sdk: str | None) -> None:
    release = release_of(compiler)
    assert (release.sdk if release else None) == sdk


def test_well_matched_environment_is_fine() -> None:
    assert said() == [
        (Level.FINE, f"neuronx-cc {QUIET['neuronx-cc']} (SDK 2.28) compiles kernels in the legacy language.")
    ]


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        pytest.param({"neuronx_cc": None, "nki": None}, Level.FINE, "No Neuron compiler", id="laptop"),
        pytest.param({"neuronx_cc": None}, Level.HEED, "without neuronx-cc", id="nki alone"),
        pytest.param({"neuronx_cc": "2.24.5133", "nki": "0.3.0"}, Level.HEED, "the last that compiles", id="2.29"),
        pytest.param({"neuronx_cc": "2.25.3371", "nki": "0.4.0"}, Level.REFUSED, "does not compile", id="2.30"),
        pytest.param({"neuronx_cc": "2.27.5334", "nki": "0.6.0"}, Level.REFUSED, "returns zeros", id="2.32"),
        pytest.param({"neuronx_cc": "2.28.1"}, Level.REFUSED, "newer than any release", id="newer"),
        pytest.param({"neuronx_cc": "2.18.1"}, Level.REFUSED, "of no release known here (2.19 to 2.27)", id="older"),
        pytest.param({"nki": "0.3.0"}, Level.REFUSED, "SDK 2.28 has nki 0.2.0", id="nki of another release"),
        pytest.param(
            {"neuronx_cc": "2.21.18209", "nki": "0.1.0"}, Level.REFUSED, "has no package nki", id="nki too early"
        ),
        pytest.param({"torch_xla": None}, Level.HEED, "torch-xla not installed", id="no torch-xla"),
        pytest.param(
            {"torch_xla": None, "torch_neuronx": None}, Level.HEED, "torch-xla and torch-neuronx", id="no torch lane"
        ),
        pytest.param({"torch_neuronx": "2.5.1"}, Level.HEED, "which have 2.6 to 2.9", id="torch-neuronx too old"),
        pytest.param({"torch_neuronx": "2.10.0"}, Level.HEED, "which have 2.6 to 2.9", id="torch-neuronx too new"),
    ],
)
def test_every_mismatch_is_one_sentence_and_a_way_out(changed: dict[str, str | None], level: Level, words: str) -> None:
    python = (3, 11)
    matching = [remark for remark in remarks(found(**changed), python) if words in remark.what]
    assert [remark.level for remark in matching] == [level]
    assert matching[0].what.endswith(".")
    assert matching[0].next_step
    assert max(remark.level is Level.REFUSED for remark in remarks(found(**changed), python)) is (
        level is Level.REFUSED
    )


@pytest.mark.parametrize(
    ("python", "fits"), [((3, 9), False), ((3, 10), True), ((3, 12), True), ((3, 13), False)], ids=str
)
def test_python_is_held_against_the_release(python: tuple[int, int], fits: bool) -> None:
    refused = [what for level, what in said(python) if level is Level.REFUSED]
    assert bool(refused) is not fits
    assert all("takes 3.10 to 3.12" in what for what in refused)


def test_python_is_this_one_where_none_is_given() -> None:
    assert remarks(found()) == remarks(found(), sys.version_info[:2])


def test_installed_versions_are_read_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "nki":
            return "0.2.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert versions.installed() == {name: "0.2.0" if name == "nki" else None for name in versions.PACKAGES}
