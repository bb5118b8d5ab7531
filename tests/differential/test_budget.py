from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.differential import oracle
from nkifix.differential.budget import (
    Accuracy,
    accuracy,
    budget,
    is_trivial,
    largest_error,
    normaliser_band,
    rounding_band,
    row_errors,
)
from nkifix.differential.cases import DTYPES, Array, Case, DtypeName
from nkifix.differential.oracle import Float64s, Reference, exact, low_precision, reference

CASE = Case(name="causal", head_dim=32, seq_q=512, seq_k=512, heads=2, kv_heads=2)
BF16 = ml_dtypes.bfloat16


def measured(case: Case, answer: Array) -> Accuracy:
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    return accuracy(answer, truth, budget(case, q, k, v, truth))


# ------------------------------------------------------------------------------------------- measuring


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_with_nan_or_inf_is_infinitely_wrong(bad: float) -> None:
    truth = np.zeros((1, 1, 3, 4))
    answer = truth.astype(np.float32)
    answer[0, 0, 1, 2] = bad
    np.testing.assert_array_equal(row_errors(answer, truth), [[[0.0, np.inf, 0.0]]])
    assert largest_error(answer, truth) == np.inf
    assert accuracy(answer, truth, np.ones((1, 1, 3))) == Accuracy(np.inf, np.inf)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 4, 3), (1, 1, 3, 1), (), (2, 1, 3, 4)])
def test_answer_of_another_shape_is_infinitely_wrong(shape: tuple[int, ...]) -> None:
    truth = np.zeros((1, 1, 3, 4))
    assert largest_error(np.zeros(shape, np.float32), truth) == np.inf
    assert not accuracy(np.zeros(shape, np.float32), truth, np.ones((1, 1, 3))).right


def test_errors_are_taken_row_by_row() -> None:
    truth = np.zeros((1, 2, 2, 3))
    answer = np.array([[[[0, -3, 1], [0, 0, 0]], [[0.5, 0, 0], [0, 0, 2]]]], np.float32)
    np.testing.assert_array_equal(row_errors(answer, truth), [[[3, 0], [0.5, 2]]])
    assert largest_error(answer, truth) == 3


@pytest.mark.parametrize(
    ("errors", "allowed", "spent", "right"),
    [
        pytest.param([1.0, 0.5], [2.0, 2.0], 0.5, True, id="half"),
        pytest.param([2.0, 0.1], [2.0, 0.1], 1.0, True, id="just"),
        pytest.param([2.0, 0.125], [8.0, 0.0625], 2.0, False, id="over in the row with the smaller error"),
        pytest.param([0.0, 0.0], [0.0, 1.0], 0.0, True, id="no budget and no error"),
        pytest.param([1e-30, 0.0], [0.0, 1.0], np.inf, False, id="no budget and an error"),
    ],
)
def test_spent_is_that_of_the_worst_row(errors: list[float], allowed: list[float], spent: float, right: bool) -> None:
    answer = np.array(errors).reshape(1, 1, 2, 1)
    result = accuracy(answer, np.zeros_like(answer), np.array(allowed).reshape(1, 1, 2))
    assert result == Accuracy(max(errors), spent)
    assert result.right is right


@pytest.mark.parametrize(
    ("answer", "trivial"),
    [
        pytest.param(np.zeros((1, 1, 4, 4), BF16), True, id="zeros"),
        pytest.param(np.full((1, 1, 4, 4), 0.5, BF16), True, id="one constant"),
        pytest.param(np.zeros((1, 1, 0, 4), BF16), True, id="empty"),
        pytest.param(np.eye(4, dtype=np.float32), False, id="not constant"),
    ],
)
def test_trivial_answers_are_told_apart(answer: Array, trivial: bool) -> None:
    assert is_trivial(answer) is trivial


# ---------------------------------------------------------------------------------------- where it comes from


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mixed", [False, True], ids=["unmixed", "mixed"])
def test_rounding_band_is_half_a_unit_of_what_the_output_is_rounded_to(dtype: DtypeName, mixed: bool) -> None:
    truth = np.array([[[[0.5, -4.0], [0.0, 1.0]]]])
    case = replace(CASE, dtype=dtype, mixed_precision=mixed)
    unit = float(ml_dtypes.finfo(BF16 if mixed else DTYPES[dtype]).eps)  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(rounding_band(case, truth), [[[4 * unit / 2, unit / 2]]])


def test_normaliser_band_counts_at_the_largest_magnitude() -> None:
    answer = Reference(np.zeros((1, 1, 2, 2), np.float32), np.array([[[0.5, 0.25]]]))
    truth = np.array([[[[1.0, -4.0], [2.0, 0.0]]]])
    np.testing.assert_array_equal(normaliser_band(answer, truth), [[[2.0, 0.5]]])


def test_budget_is_twice_reference_error_and_bands() -> None:
    q, k, v = CASE.inputs()
    truth = exact(CASE, q, k, v)
    answer = reference(CASE, q, k, v)
    error = np.abs(answer.output.astype(np.float64) - truth).max(axis=-1)
    bands = rounding_band(CASE, truth) + normaliser_band(answer, truth)
    np.testing.assert_array_equal(budget(CASE, q, k, v, truth), 2 * (error + bands))


def test_reference_spends_at_most_half() -> None:
    assert measured(CASE, low_precision(CASE, *CASE.inputs())).spent <= 0.5


def test_rows_of_many_keys_have_a_smaller_budget_than_rows_of_few() -> None:
    q, k, v = CASE.inputs()
    allowed = budget(CASE, q, k, v, exact(CASE, q, k, v))
    assert allowed[..., 256:].max() < 0.5 * allowed[..., :8].max()


# ------------------------------------------------------------------------------------------ what it refuses


def with_mask(change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, case: Case = CASE) -> Array:
    """The exact answer under another mask, rounded as the kernel rounds it."""
    visible = case.visible()
    change(visible)
    with monkeypatch.context() as patch:
        patch.setattr(Case, "visible", lambda self: visible)
        return oracle.low_precision(case, *case.inputs())


@pytest.mark.parametrize("row", [0, 1, 17, 127, 128, 300, 510])
def test_one_leaked_key_in_one_row_is_over_budget(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def leak(visible: Any) -> None:
        q, k, _ = CASE.inputs()
        scores = q[0, 0, :, row].astype(np.float64) @ k[0, 0].astype(np.float64)
        visible[row, np.argmax(np.where(visible[row], -np.inf, scores))] = True

    assert not measured(CASE, with_mask(leak, monkeypatch)).right


def see_next(visible: Any) -> None:
    np.fill_diagonal(visible[:, 1:], True)


def miss_self(visible: Any) -> None:
    np.fill_diagonal(visible[1:, 1:], False)


def miss_first(visible: Any) -> None:
    visible[1:, 0] = False


@pytest.mark.parametrize("change", [see_next, miss_self, miss_first])
@pytest.mark.parametrize("first_row", [0, 384])
def test_wrong_mask_is_over_budget_even_in_late_rows_alone(
    change: Callable[[Any], None], first_row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = right_answer()
    answer[:, :, first_row:] = with_mask(change, monkeypatch)[:, :, first_row:]
    assert not measured(CASE, answer).right


def right_answer() -> Array:
    return low_precision(CASE, *CASE.inputs())


def of_another_scale(factor: float) -> Array:
    return low_precision(replace(CASE, softmax_scale=CASE.scale * factor), *CASE.inputs())


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: np.zeros_like(right_answer()), id="zeros"),
        pytest.param(lambda: right_answer()[:, ::-1], id="heads swapped"),
        pytest.param(lambda: right_answer()[:, :, ::-1], id="queries reversed"),
        pytest.param(lambda: -right_answer(), id="sign"),
        pytest.param(lambda: of_another_scale(0.0), id="scale zero"),
        pytest.param(lambda: of_another_scale(1 / CASE.scale), id="scale forgotten"),
        pytest.param(lambda: of_another_scale(1.05), id="scale off by five percent"),
        pytest.param(lambda: right_answer() * BF16(1.0625), id="row sums off by six percent"),
    ],
)
def test_wrong_answer_is_over_budget(wrong: Callable[[], Array]) -> None:
    assert not measured(CASE, wrong()).right


def test_keyless_row_must_be_zero() -> None:
    case = replace(CASE, seq_k=256, window_size=(9, -1))
    answer = low_precision(case, *case.inputs())
    assert measured(case, answer).right
    answer[0, 0, -1, 0] = 1e-3
    assert measured(case, answer) == Accuracy(measured(case, answer).error, np.inf)


def test_truth_is_within_budget() -> None:
    truth: Float64s = exact(CASE, *CASE.inputs())
    assert measured(CASE, truth).error == 0.0
