from __future__ import annotations

from dataclasses import replace

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.demonstration import CRASHING, WORKING, Demonstration, Row, demonstrate
from nkifix.differential.kernels import Answered, Crashed
from nkifix.errors import RefusalError

TILES = {"seq_tile_size": 512}
CRASHES = CRASHING[2]  # the quickest
WORKS = Case(name="causal", head_dim=32, seq_q=256, seq_k=512, window_size=(-2, -1), config=TILES)


def shown(stock: bytes, fixed: bytes, *cases: Case) -> Demonstration:
    return demonstrate(stock, fixed, progress=lambda name: None, cases=cases)


def row_of(stock: bytes, fixed: bytes, case: Case) -> Row:
    demonstration = shown(stock, fixed, case)
    [row] = demonstration.rows
    assert demonstration.held == (not row.failed)
    return row


def change(source: bytes, *replacements: tuple[str, str]) -> bytes:
    for old, new in replacements:
        assert source.count(old.encode()) == 1, old
        source = source.replace(old.encode(), new.encode())
    return source


STORE = ":], result)"
ZEROS = (STORE, ":], nl.multiply(result, 0.0))")
OTHER_BITS = ("nl.reciprocal(total), dtype=q.dtype)", "nl.reciprocal(total, dtype=nl.bfloat16), dtype=q.dtype)")
ONE_KEY_MORE = ("query + ahead >= key ", "query + ahead + 1 >= key ")
RAISES = (STORE, ":], no_such_name)")


# ----------------------------------------------------------------------------------------- what is claimed holds


def test_all_claims_hold_on_the_specimen(stock: bytes, fixed: bytes) -> None:
    begun: list[str] = []
    demonstration = demonstrate(stock, fixed, progress=begun.append)
    assert [row.failed for row in demonstration.rows] == [""] * len(CRASHING + WORKING)
    assert demonstration.held
    assert demonstration.left_out == ()
    assert [row.case for row in demonstration.rows] == [*CRASHING, *WORKING]
    assert begun == [case.name for case in (*CRASHING, *WORKING)]


def test_row_of_a_crashing_call(stock: bytes, fixed: bytes) -> None:
    row = row_of(stock, fixed, CRASHES)
    assert isinstance(row.stock, Crashed)
    assert row.stock.type_name == "UnboundLocalError"
    assert isinstance(row.fixed, Answered)
    assert row.stock_accuracy is None
    assert row.fixed_accuracy is not None
    assert row.fixed_accuracy.right
    assert row.stock_to_fixed is None
    assert not row.identical


def test_row_of_a_working_call(stock: bytes, fixed: bytes) -> None:
    row = row_of(stock, fixed, WORKS)
    assert isinstance(row.stock, Answered)
    assert isinstance(row.fixed, Answered)
    assert row.stock_accuracy == row.fixed_accuracy
    assert row.stock_accuracy is not None
    assert 0 < row.stock_accuracy.spent < 1
    assert row.stock_to_fixed == 0.0
    assert row.identical


# ------------------------------------------------------------------------------------- what is claimed does not


@pytest.mark.parametrize(
    ("tampering", "case", "words"),
    [
        pytest.param(OTHER_BITS, WORKS, "stock and fixed answers differ by up to ", id="other bits, still right"),
        pytest.param(ZEROS, WORKS, "stock and fixed answers differ by up to ", id="zeros, call worked"),
        pytest.param(ZEROS, CRASHES, "the fixed kernel's answer is one constant", id="zeros"),
        pytest.param(ONE_KEY_MORE, CRASHING[3], "the fixed kernel's answer is wrong by up to ", id="one key too many"),
        pytest.param(RAISES, CRASHES, "the fixed kernel raised NameError: name 'no_such_name'", id="raises"),
        pytest.param(RAISES, WORKS, "stock and fixed answers differ; the fixed kernel raised NameError", id="both"),
    ],
)
def test_row_fails_where_the_fix_does_more_than_it_should(
    stock: bytes, fixed: bytes, tampering: tuple[str, str], case: Case, words: str
) -> None:
    assert row_of(stock, change(fixed, tampering), case).failed.startswith(words)


def test_right_answer_in_other_bits_is_told_from_a_wrong_one(stock: bytes, fixed: bytes) -> None:
    row = row_of(stock, change(fixed, OTHER_BITS), WORKS)
    assert row.fixed_accuracy is not None
    assert row.fixed_accuracy.right
    assert not row.identical
    assert row.stock_to_fixed is not None
    assert 0 < row.stock_to_fixed < 0.1
    assert "the fixed kernel" not in row.failed


def test_row_fails_where_the_answer_has_another_dtype(stock: bytes, fixed: bytes) -> None:
    wide = ("n_query, d), dtype=q.dtype, buffer", "n_query, d), dtype=np.float32, buffer")
    row = row_of(stock, change(fixed, wide), WORKS)
    assert row.failed == "stock and fixed answers differ by up to 0.0e+00"


@pytest.mark.parametrize(
    ("misspelled", "seen"),
    [
        pytest.param("causal_mask = True", "it answered", id="name spelled right"),
        pytest.param("raise ValueError('odd')", "it raised ValueError: odd", id="another error"),
        pytest.param(
            "causal_mask = unbound; unbound = 1", "it raised UnboundLocalError: ", id="the same error for another name"
        ),
    ],
)
def test_row_fails_where_stock_does_not_crash_as_claimed(
    stock: bytes, fixed: bytes, misspelled: str, seen: str
) -> None:
    tampered = change(stock, ("casual_mask = True  # noqa: F841", misspelled))
    failed = row_of(tampered, fixed, CRASHES).failed
    assert failed.startswith(f"the stock kernel was to raise UnboundLocalError for 'causal_mask', but {seen}")


@pytest.mark.parametrize(
    ("tampering", "seen"),
    [
        pytest.param(ONE_KEY_MORE, "it is wrong by up to ", id="wrong"),
        pytest.param(RAISES, "it crashed", id="crashed"),
    ],
)
def test_row_fails_where_stock_is_not_right_as_claimed(
    stock: bytes, fixed: bytes, tampering: tuple[str, str], seen: str
) -> None:
    failed = row_of(change(stock, tampering), fixed, WORKS).failed
    assert failed.startswith(f"the stock kernel was to be right here, but {seen}")


def test_wrong_answers_fail_even_where_they_are_identical(stock: bytes, fixed: bytes) -> None:
    row = row_of(change(stock, ONE_KEY_MORE), change(fixed, ONE_KEY_MORE), WORKS)
    assert row.identical
    assert "the stock kernel was to be right here" in row.failed
    assert "the fixed kernel's answer is wrong" in row.failed


def test_one_failed_row_is_enough(stock: bytes, fixed: bytes) -> None:
    demonstration = shown(stock, stock, WORKS, CRASHES)
    assert [bool(row.failed) for row in demonstration.rows] == [False, True]
    assert not demonstration.held


# ------------------------------------------------------------------------------------------ what is left out


def test_case_is_left_out_where_the_config_lacks_its_field(stock: bytes, fixed: bytes) -> None:
    older = [
        change(source, ("windowed_context_encoding: bool = False", "unused: int = 0")).replace(
            b"config.windowed_context_encoding", b"False"
        )
        for source in (stock, fixed)
    ]
    ahead = replace(WORKS, name="ahead", window_size=(127, -1), config={**TILES, "windowed_context_encoding": True})
    demonstration = shown(older[0], older[1], ahead, WORKS)
    assert demonstration.left_out == ("ahead",)
    assert [row.case for row in demonstration.rows] == [WORKS]
    assert demonstration.held


def test_nothing_holds_where_nothing_was_claimed(stock: bytes, fixed: bytes) -> None:
    assert not shown(stock, fixed).held
    assert not shown(stock, fixed, replace(WORKS, config={"no_such_field": 1})).held


def test_emulators_warnings_are_kept(stock: bytes, fixed: bytes) -> None:
    assert shown(stock, fixed, WORKS).warnings == ()
    psum = ("nl.copy(nl.matmul(q_tile, keys[:, place], transpose_x=True), dtype=np.float32)", "0.0\n")
    read = (
        "nisa.affine_select(pred_causal, scores[:, place], HIDDEN",
        "nisa.affine_select(pred_causal, nl.matmul(q_tile, keys[:, place], transpose_x=True), HIDDEN",
    )
    [warning] = shown(change(stock, psum, read), change(fixed, psum, read), WORKS).warnings
    assert "affine_select reads PSUM" in warning


@pytest.mark.parametrize("broken", ["stock", "fixed"])
def test_refuses_version_that_cannot_be_imported(stock: bytes, fixed: bytes, broken: str) -> None:
    versions = {"stock": stock, "fixed": fixed, broken: b"import no_such_module\n"}
    with pytest.raises(RefusalError, match=f"the {broken} kernel cannot be imported"):
        shown(versions["stock"], versions["fixed"], WORKS)
