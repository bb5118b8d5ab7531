"""Index expressions and masks, with numpy as the oracle."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator.affine import AffineIndex, Predicate, evaluate_mask, is_integer
from nkifix.emulator.symbols import Affine
from tests.emulator.kernels import refuses

NOT_AFFINE = "err_unsupported_expression_in_mask"
CONDITION = "err_control_flow_condition_depending_on_arange"


def arange(start: int, stop: int | None = None) -> AffineIndex:
    return AffineIndex.arange(0, start) if stop is None else AffineIndex.arange(start, stop)


def column(n: int) -> AffineIndex:
    return arange(n)[:, None]


def row(n: int) -> AffineIndex:
    return arange(n)[None, :]


def dense(index: AffineIndex) -> npt.NDArray[np.int64]:
    return np.broadcast_to(index.values(), index.shape)


STEPS: dict[str, Callable[[Any, Any, int], Any]] = {
    "+row": lambda x, r, n: x + r,
    "-row": lambda x, r, n: x - r,
    "row-": lambda x, r, n: r - x,
    "*": lambda x, r, n: n * x,
    "+": lambda x, r, n: n + x,
    "-": lambda x, r, n: x - n,
    "rsub": lambda x, r, n: n - x,
    "neg": lambda x, r, n: -x,
}
"""Ways to go on from an expression ``x`` with a row of indices and a number."""


@st.composite
def expressions(draw: st.DrawFn) -> tuple[AffineIndex, npt.NDArray[np.int64]]:
    """An affine expression and the same expression in numpy."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    index, oracle = column(rows), np.arange(rows)[:, None]
    steps = st.sampled_from(sorted(STEPS))
    for step in draw(st.lists(steps, max_size=5)):
        number = draw(st.integers(-3, 3))
        index = STEPS[step](index, row(columns), number)
        oracle = STEPS[step](oracle, np.arange(columns)[None, :], number)
    return index, oracle


@settings(deadline=None, derandomize=True)
@given(expressions())
def test_arithmetic_agrees_with_numpy(pair: tuple[AffineIndex, npt.NDArray[np.int64]]) -> None:
    index, oracle = pair
    assert index.shape == oracle.shape
    np.testing.assert_array_equal(dense(index), oracle)
    assert index.bounds() == (oracle.min(), oracle.max())


RELATIONS = [operator.ge, operator.gt, operator.le, operator.lt, operator.eq, operator.ne]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(expressions(), st.sampled_from(RELATIONS), st.integers(-4, 4), st.sampled_from(["right", "left", "numpy left"]))
def test_comparison_agrees_with_numpy(
    pair: tuple[AffineIndex, npt.NDArray[np.int64]], relation: Callable[[Any, Any], Any], bound: int, side: str
) -> None:
    index, oracle = pair
    if side == "right":
        predicate, truth = relation(index, bound), relation(oracle, bound)
    else:
        predicate, truth = relation(bound if side == "left" else np.int64(bound), index), relation(bound, oracle)
    assert isinstance(predicate, Predicate)
    assert predicate.shape == oracle.shape
    kept = predicate.evaluate()
    if kept is None:
        assert truth.all()
    elif kept is False:
        assert not truth.any()
    else:
        np.testing.assert_array_equal(np.broadcast_to(kept, truth.shape), truth)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        pytest.param(arange(4) >= 0, None, id=">= lowest"),
        pytest.param(arange(4) >= 1, [0, 1, 1, 1], id=">= second"),
        pytest.param(arange(4) >= 3, [0, 0, 0, 1], id=">= highest"),
        pytest.param(arange(4) >= 4, False, id=">= beyond"),
        pytest.param(arange(4) > -1, None, id="> below"),
        pytest.param(arange(4) > 0, [0, 1, 1, 1], id="> lowest"),
        pytest.param(arange(4) > 2, [0, 0, 0, 1], id="> last but one"),
        pytest.param(arange(4) > 3, False, id="> highest"),
        pytest.param(arange(4) <= 3, None, id="<= highest"),
        pytest.param(arange(4) <= 2, [1, 1, 1, 0], id="<= last but one"),
        pytest.param(arange(4) <= 0, [1, 0, 0, 0], id="<= lowest"),
        pytest.param(arange(4) <= -1, False, id="<= below"),
        pytest.param(arange(4) < 4, None, id="< beyond"),
        pytest.param(arange(4) < 3, [1, 1, 1, 0], id="< highest"),
        pytest.param(arange(4) < 1, [1, 0, 0, 0], id="< second"),
        pytest.param(arange(4) < 0, False, id="< lowest"),
        pytest.param(arange(1) == 0, None, id="== the only value"),
        pytest.param(arange(4) == 0, [1, 0, 0, 0], id="== lowest"),
        pytest.param(arange(4) == 3, [0, 0, 0, 1], id="== highest"),
        pytest.param(arange(4) == 4, False, id="== beyond"),
        pytest.param(arange(4) == -1, False, id="== below"),
        pytest.param(arange(1) != 0, False, id="!= the only value"),
        pytest.param(arange(4) != 0, [0, 1, 1, 1], id="!= lowest"),
        pytest.param(arange(4) != 3, [1, 1, 1, 0], id="!= highest"),
        pytest.param(arange(4) != 4, None, id="!= beyond"),
        pytest.param(arange(4) != -1, None, id="!= below"),
        pytest.param((arange(4) > 0) & (arange(4) < 3), [0, 1, 1, 0], id="and"),
        pytest.param((arange(4) > 0) & (arange(4) > -1), [0, 1, 1, 1], id="and always"),
        pytest.param((arange(4) >= 0) & (arange(4) > 2), [0, 0, 0, 1], id="always and"),
        pytest.param((arange(4) > 0) & (arange(4) > 3), False, id="and never"),
        pytest.param((arange(4) > 0) & True, [0, 1, 1, 1], id="and True"),
        pytest.param(np.bool_(True) & (arange(4) > 0), [0, 1, 1, 1], id="numpy True and"),
        pytest.param((arange(4) >= 0) & False, False, id="and False"),
        pytest.param(np.False_ & (arange(4) >= 0), False, id="numpy False and"),
    ],
)
def test_mask_is_as_simple_as_its_truth(predicate: Predicate, expected: Any) -> None:
    kept = evaluate_mask(predicate)
    if expected is None or expected is False:
        assert kept is expected
    else:
        np.testing.assert_array_equal(kept, np.array(expected, dtype=bool))


def test_mask_of_two_dimensions_is_their_conjunction() -> None:
    mask = evaluate_mask((column(3) < 2) & (row(4) >= column(3)))
    i, j = np.mgrid[0:3, 0:4]
    np.testing.assert_array_equal(mask, (i < 2) & (j >= i))


def test_shape_of_predicate_spans_its_terms() -> None:
    assert ((column(3) < 2) & (row(4) >= 1)).shape == (3, 4)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(None, None, id="None"),
        pytest.param(True, None, id="True"),
        pytest.param(np.True_, None, id="numpy True"),
        pytest.param(False, False, id="False"),
        pytest.param(np.False_, False, id="numpy False"),
    ],
)
def test_mask_may_be_a_constant(mask: Any, expected: Any) -> None:
    assert evaluate_mask(mask) is expected


@pytest.mark.parametrize(
    "mask", [1, "i < 3", np.ones((2, 2), dtype=bool), arange(4)], ids=["int", "str", "array", "index"]
)
def test_refuses_mask_that_is_no_predicate(mask: Any) -> None:
    with refuses(NOT_AFFINE, type(mask).__name__):
        evaluate_mask(mask)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        pytest.param(slice(None), (3,), id=":"),
        pytest.param((slice(None), None), (3, 1), id=":, None"),
        pytest.param((None, slice(None)), (1, 3), id="None, :"),
        pytest.param((None,), (1, 3), id="None"),
        pytest.param((None, slice(None), None, None), (1, 3, 1, 1), id="None, :, None, None"),
    ],
)
def test_reshaping_inserts_dimensions(key: Any, shape: tuple[int, ...]) -> None:
    index = arange(5, 8)[key]
    assert index.shape == shape
    np.testing.assert_array_equal(dense(index).reshape(-1), [5, 6, 7])


def test_addition_aligns_trailing_dimensions() -> None:
    total = arange(4) + column(3)
    assert total.shape == (3, 4)
    np.testing.assert_array_equal(dense(total), np.arange(4) + np.arange(3)[:, None])
    np.testing.assert_array_equal(dense(column(3) - arange(4)), np.arange(3)[:, None] - np.arange(4))


@pytest.mark.parametrize(
    ("break_rule", "code", "match"),
    [
        pytest.param(lambda: AffineIndex.arange(3, 3), "", "must not be empty", id="empty range"),
        pytest.param(lambda: AffineIndex.arange(3, 2), "", "must not be empty", id="reversed range"),
        pytest.param(lambda: arange(3)[0], "", "only be reshaped", id="integer key"),
        pytest.param(lambda: arange(3)[0:2], "", "only be reshaped", id="part of a range"),
        pytest.param(lambda: arange(3)[:, :], "", "too many indices", id="one colon too many"),
        pytest.param(lambda: arange(3) + arange(4), "", "do not broadcast", id="shapes that differ"),
        pytest.param(lambda: arange(3) * arange(3), NOT_AFFINE, "product of two indices", id="product"),
        pytest.param(lambda: arange(3) % 2, NOT_AFFINE, "remainder", id="remainder"),
        pytest.param(lambda: arange(3) // 2, NOT_AFFINE, "floor division", id="floor division"),
        pytest.param(lambda: bool(arange(3)), CONDITION, None, id="index as condition"),
        pytest.param(lambda: bool(arange(3) > 1), CONDITION, "join masks with &", id="comparison as condition"),
        pytest.param(lambda: (arange(3) > 1) and True, CONDITION, None, id="and"),
        pytest.param(lambda: list(arange(3)), "", "cannot be iterated", id="iteration"),
        pytest.param(lambda: arange(3).__setitem__(0, 1), "err_cannot_assign_to_index", None, id="assignment"),
    ],
)
def test_refuses_what_is_no_index_expression(break_rule: Callable[[], Any], code: str, match: str | None) -> None:
    with refuses(code, match):
        break_rule()


@pytest.mark.parametrize(
    "break_rule",
    [
        pytest.param(lambda: arange(3) + 0.5, id="index + float"),
        pytest.param(lambda: arange(3) - True, id="index - bool"),
        pytest.param(lambda: arange(3) * 0.5, id="index * float"),
        pytest.param(lambda: arange(3) < 0.5, id="index < float"),
        pytest.param(lambda: (arange(3) < 1) & 1, id="predicate & int"),
        pytest.param(lambda: (arange(3) < 1) | (arange(3) > 1), id="predicate | predicate"),
        pytest.param(lambda: hash(arange(3)), id="hash"),
    ],
)
def test_refuses_foreign_operands(break_rule: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        break_rule()


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda index: index.bounds(), id="bounds"),
        pytest.param(lambda index: index.values(), id="values"),
        pytest.param(lambda index: index[:, :, None], id="reshaping"),
        pytest.param(lambda index: index + row(3), id="sum"),
    ],
)
def test_refuses_coefficients_that_are_not_one_per_dimension(use: Callable[[AffineIndex], Any]) -> None:
    with pytest.raises(ValueError, match="longer"):
        use(AffineIndex(0, (1,), (2, 3)))


def test_numpy_integers_count_as_integers() -> None:
    assert dense(arange(3) * np.int32(2) + np.int64(1)).tolist() == [1, 3, 5]
    assert dense(np.int64(5) - arange(3)).tolist() == [5, 4, 3]
    assert is_integer(np.uint8(3))
    assert not is_integer(True)
    assert not is_integer(3.0)


def test_repr_shows_the_expression() -> None:
    assert repr(2 * column(3) + 1) == "AffineIndex(1, coeffs=(2, 0), extents=(3, 1))"


# ------------------------------------------------------------------------------------- symbolic loop indices

LOOP = Affine(3)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        pytest.param(lambda: LOOP * 4 + arange(3), [12, 13, 14], id="offset"),
        pytest.param(lambda: arange(3) - LOOP, [-3, -2, -1], id="minus"),
        pytest.param(lambda: (LOOP % 2) * 4 + arange(3), [4, 5, 6], id="remainder"),
        pytest.param(lambda: LOOP * arange(3), [0, 3, 6], id="product"),
    ],
)
def test_loop_index_is_a_number_in_an_index(build: Callable[[], Any], expected: list[int]) -> None:
    assert dense(build()).tolist() == expected


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: (LOOP % 4) * 4 + arange(3) < 8, id="sum with a remainder"),
        pytest.param(lambda: arange(3) < LOOP // 2, id="compared with a quotient"),
        pytest.param(lambda: arange(3) * LOOP < 8, id="product with an index range"),
        pytest.param(lambda: arange(3) + Affine(2) * LOOP < 8, id="product of two loop indices"),
        pytest.param(lambda: (arange(3) < 8) & (LOOP % 4 < 2), id="joined"),
        pytest.param(lambda: (LOOP % 4 < 2) & (arange(3) < 8), id="joined the other way"),
        pytest.param(lambda: evaluate_mask(LOOP % 4 < 2), id="as it is"),
        pytest.param(lambda: evaluate_mask((LOOP % 4 < 2) & (LOOP % 2 < 1)), id="two of them"),
    ],
)
def test_refuses_mask_that_is_not_affine_in_a_loop_index(build: Callable[[], Any]) -> None:
    with refuses("err_unsupported_expression_in_mask"):
        build()


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        pytest.param(lambda: LOOP * 2 + arange(3) < 8, [True, True, False], id="sum"),
        pytest.param(lambda: arange(3) < LOOP - 1, [True, True, False], id="compared"),
        pytest.param(lambda: (arange(3) < 2) & (LOOP < 4), [True, True, False], id="joined"),
        pytest.param(lambda: (LOOP < 4) & (arange(3) < 2), [True, True, False], id="joined the other way"),
    ],
)
def test_affine_loop_index_in_a_mask(build: Callable[[], Any], expected: list[bool]) -> None:
    kept = evaluate_mask(build())
    assert isinstance(kept, np.ndarray)
    assert kept.tolist() == expected


@pytest.mark.parametrize(("mask", "kept"), [(LOOP < 4, None), (LOOP > 4, False)], ids=["true", "false"])
def test_comparison_of_a_loop_index_is_a_whole_mask(mask: Any, kept: Any) -> None:
    assert evaluate_mask(mask) is kept
