"""The tables of calls.py claim what they say: each call is one that no known defect touches."""

from __future__ import annotations

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.demonstration import CRASHING, WORKING
from tests.differential.calls import CRASHES_BEFORE, ONLY_UPSTREAM, RIGHT_BEFORE, by_name

ALL = (*RIGHT_BEFORE, *ONLY_UPSTREAM, *WORKING, *CRASHES_BEFORE, *CRASHING)


def left(case: Case) -> int:
    return (case.window_size or (-1, -1))[0]


@pytest.mark.parametrize("case", by_name(ALL))
def test_no_other_defect_touches_the_call(case: Case) -> None:
    tile = case.config.get("seq_tile_size", 2048)
    assert case.visible().any(axis=1).all(), "a query sees no key"
    assert case.seq_q % 128 == 0
    assert tile % 512 == 0
    assert case.seq_k % tile == 0
    assert case.heads % case.kv_heads == 0
    assert case.mixed_precision
    assert case.dtype == "bfloat16"
    assert case.softmax_scale != 0.0
    assert not (left(case) == 0 and case.use_causal_mask is False)
    assert not case.config.get("windowed_context_encoding") or (left(case) + 1) % 128 == 0


@pytest.mark.parametrize("case", by_name((*RIGHT_BEFORE, *ONLY_UPSTREAM, *WORKING)))
def test_call_avoids_the_misspelled_name(case: Case) -> None:
    assert left(case) >= 0 or (left(case) < -1 and case.use_causal_mask is not False)


@pytest.mark.parametrize("case", by_name((*CRASHES_BEFORE, *CRASHING)))
def test_call_reaches_the_misspelled_name(case: Case) -> None:
    assert left(case) == -1 or (left(case) < -1 and case.use_causal_mask is False)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param((*RIGHT_BEFORE, *ONLY_UPSTREAM, *CRASHES_BEFORE), id="of the tests"),
        pytest.param((*CRASHING, *WORKING), id="of the demonstration"),
    ],
)
def test_names_are_unique(cases: tuple[Case, ...]) -> None:
    names = [case.name for case in cases]
    assert sorted(set(names)) == sorted(names)
