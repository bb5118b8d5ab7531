from __future__ import annotations

from pathlib import Path

import pytest

from nkifix import codemod
from nkifix.errors import RefusalError


def test_ids_of_fixes_are_distinct_and_titled() -> None:
    assert len({fix.id for fix in codemod.FIXES}) == len(codemod.FIXES)
    assert all(fix.title for fix in codemod.FIXES)
    assert {fix.kind for fix in codemod.FIXES} == {"crash", "silent", "speed", "precision", "doc"}


def test_every_fix_is_a_module_of_its_name() -> None:
    folder = Path(codemod.__file__).with_name("fixes")
    modules = {path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py")}
    assert modules == {fix.id for fix in codemod.FIXES}


def test_full_series_is_every_fix() -> None:
    assert codemod.select("full") == codemod.FIXES


def test_every_series_names_fixes_that_exist() -> None:
    known = {fix.id for fix in codemod.FIXES}
    assert all(ids and known.issuperset(ids) for ids in codemod.SERIES.values())


@pytest.mark.parametrize("only", [(), ("misspelled-causal-mask",)], ids=["all", "by id"])
def test_select_gives_the_fixes_of_a_series(only: tuple[str, ...]) -> None:
    assert [fix.id for fix in codemod.select("typo", only)] == ["misspelled-causal-mask"]


def test_select_is_the_typo_if_nothing_is_said() -> None:
    assert codemod.select() == codemod.select("typo")


def test_refuses_unknown_series() -> None:
    with pytest.raises(RefusalError, match="no series 'none'") as caught:
        codemod.select("none")
    assert caught.value.next_step == "choose one of: typo, full"


def test_select_takes_any_fix_by_id_where_no_series_is_named() -> None:
    chosen = codemod.select(only=["stale-docs", "zero-left-window", "stale-docs"])
    assert [fix.id for fix in chosen] == ["zero-left-window", "stale-docs"]


def test_refuses_unknown_fix() -> None:
    with pytest.raises(RefusalError, match="the series 'full' has no fix 'other'"):
        codemod.select(only=["other"])


def test_refuses_fix_that_the_series_lacks() -> None:
    with pytest.raises(RefusalError, match="the series 'typo' has no fix 'other'") as caught:
        codemod.select("typo", ["misspelled-causal-mask", "other"])
    assert caught.value.next_step == "choose among: misspelled-causal-mask"
