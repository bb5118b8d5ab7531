from __future__ import annotations

import pytest

from nkifix import codemod
from nkifix.errors import RefusalError


def test_ids_of_fixes_are_distinct_and_titled() -> None:
    assert len({fix.id for fix in codemod.FIXES}) == len(codemod.FIXES)
    assert all(fix.title for fix in codemod.FIXES)


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
    assert caught.value.next_step == "choose one of: typo"


def test_refuses_fix_that_the_series_lacks() -> None:
    with pytest.raises(RefusalError, match="the series 'typo' has no fix 'other'") as caught:
        codemod.select("typo", ["misspelled-causal-mask", "other"])
    assert caught.value.next_step == "choose among: misspelled-causal-mask"
