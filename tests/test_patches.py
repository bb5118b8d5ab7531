"""``patches/`` and the fixes belong together: one folder a fix, numbered in the order of the fixes."""

from __future__ import annotations

import ast

import pytest

from nkifix import codemod
from nkifix.contribute import patches
from tests import upstream_clone

IDS = [fix.id for fix in codemod.FIXES]


def test_every_fix_has_a_patch_of_its_number() -> None:
    names = sorted(path.name for path in patches.folder().iterdir())
    assert names == [f"{number:04}-{name}" for number, name in enumerate(IDS, 1)]


@pytest.mark.parametrize("fix", codemod.FIXES, ids=lambda fix: fix.id)
def test_patch_says_what_its_fix_says(fix: codemod.Fix) -> None:
    (patch,) = patches.load([fix.id])
    assert (patch.id, patch.kind) == (fix.id, fix.kind)
    assert set(patch.versions) <= set(upstream_clone.TAGS)
    assert set(patch.follow_ups) <= set(IDS)
    assert patch.has_tests == (fix.kind != "doc")
    ast.parse(patch.reproduction)
    ast.parse(patch.test_methods)


@pytest.mark.upstream
@pytest.mark.parametrize("fix", codemod.FIXES, ids=lambda fix: fix.id)
def test_patch_names_the_versions_that_need_it(fix: codemod.Fix) -> None:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    (patch,) = patches.load([fix.id])
    for tag in upstream_clone.TAGS:
        outcome = codemod.apply(upstream_clone.read(repository, tag), [fix])
        assert isinstance(outcome, codemod.Fixed) == (tag in patch.versions)
