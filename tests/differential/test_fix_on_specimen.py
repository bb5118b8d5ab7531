"""The fix on our own specimen, where NxDI's file is not at hand; tests/upstream proves the same on that file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.kernels import Crashed, loaded
from tests.differential import calls
from tests.differential.calls import Kernels, by_name


@pytest.fixture(scope="module")
def kernels(stock: bytes, fixed: bytes) -> Iterator[Kernels]:
    with loaded({"stock": stock, "fixed": fixed}) as both:
        yield both


@pytest.mark.parametrize("case", by_name(calls.CRASHES_BEFORE))
def test_crashing_call_is_right_after_the_fix(kernels: Kernels, case: Case) -> None:
    calls.check_crashes_then_right(kernels, case)


@pytest.mark.parametrize("case", by_name(calls.RIGHT_BEFORE))
def test_right_call_is_unchanged_by_the_fix(kernels: Kernels, case: Case) -> None:
    calls.check_unchanged(kernels, case)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        pytest.param(Case(name="", seq_q=200), "multiple of 128, got 200", id="queries between tiles"),
        pytest.param(Case(name="", seq_q=64), "multiple of 128, got 64", id="queries below a tile"),
        pytest.param(Case(name="", seq_k=2000), "2000 keys", id="keys between tiles"),
        pytest.param(Case(name="", config={"seq_tile_size": 640}), "multiple of 512", id="tile of 640"),
        pytest.param(Case(name="", heads=3, kv_heads=2), "3 heads", id="heads that cannot be shared"),
        pytest.param(Case(name="", head_dim=129), "at most 128", id="d 129"),
        pytest.param(Case(name="", seq_q=4096, window_size=(1, -1)), "last key", id="query without a key"),
    ],
)
def test_specimen_refuses_what_it_cannot_answer(kernels: Kernels, case: Case, words: str) -> None:
    result = kernels["fixed"].call(case)
    assert isinstance(result, Crashed), result
    assert result.type_name == "AssertionError"
    assert words in result.message
