from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from nkifix.differential.cases import DTYPES, DtypeName
from nkifix.differential.differences import differences


def test_same_bytes_are_identical() -> None:
    values = np.array([[1.0, np.nan], [np.inf, -0.0]], dtype=np.float32)
    gap = differences(values, values.copy())
    assert gap is not None
    assert gap.identical
    assert (gap.count, gap.total, gap.largest_absolute, gap.largest_relative) == (0, 4, 0.0, 0.0)
    assert (gap.largest_ulp, gap.first) == (0, None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_are_one_ulp_apart(dtype: DtypeName) -> None:
    one = np.ones(3, dtype=DTYPES[dtype])
    other = (one.view(f"u{one.dtype.itemsize}") + np.array([0, 1, 0], f"u{one.dtype.itemsize}")).view(one.dtype)
    gap = differences(one, other)
    assert gap is not None
    assert (gap.count, gap.largest_ulp, gap.first) == (1, 1, (1,))
    step = float(other[1]) - 1.0
    assert gap.largest_absolute == gap.largest_relative == step


def test_ulps_are_counted_across_zero() -> None:
    smallest = np.array([1], dtype=np.uint16).view(ml_dtypes.bfloat16)
    gap = differences(smallest, -smallest)
    assert gap is not None
    assert gap.largest_ulp == 2


def test_zeros_of_both_signs_differ_in_bytes_alone() -> None:
    gap = differences(np.array([0.0], np.float32), np.array([-0.0], np.float32))
    assert gap is not None
    assert (gap.count, gap.largest_absolute, gap.largest_ulp) == (1, 0.0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_without_bounds_is_infinitely_far(value: float) -> None:
    gap = differences(np.array([1.0, 2.0], np.float32), np.array([1.0, value], np.float32))
    assert gap is not None
    assert (gap.largest_absolute, gap.largest_relative, gap.first) == (np.inf, np.inf, (1,))


def test_difference_from_zero_is_relatively_infinite() -> None:
    gap = differences(np.array([0.0], np.float32), np.array([0.5], np.float32))
    assert gap is not None
    assert (gap.largest_absolute, gap.largest_relative) == (0.5, np.inf)


def test_other_dtype_differs_everywhere_and_has_no_ulp() -> None:
    gap = differences(np.ones((2, 2), np.float32), np.ones((2, 2), np.float16))
    assert gap is not None
    assert (gap.count, gap.largest_ulp, gap.first, gap.largest_absolute) == (4, None, (0, 0), 0.0)


def test_other_shapes_are_not_compared() -> None:
    assert differences(np.ones((2, 1), np.float32), np.ones((1, 2), np.float32)) is None
