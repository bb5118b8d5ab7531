"""The matrix holds what it says: every kind of call, in every dtype, at every length that shows something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nkifix.differential.cases import DTYPES, Case, DtypeName, Values
from nkifix.differential.matrix import AHEAD_WINDOWS, CASES, GROUPS, MASKS, REFUSED, VALUES, WINDOWS

SMALL = Case(name="small", head_dim=8, seq_q=40, seq_k=50)


def test_names_are_unique() -> None:
    for names in ([case.name for case in CASES], [row.case.name for row in REFUSED]):
        assert sorted(set(names)) == sorted(names)


def test_groups_make_up_all_cases() -> None:
    assert [case for group in GROUPS.values() for case in group] == list(CASES)
    assert all(GROUPS.values())


def test_kinds_of_heads() -> None:
    kinds = {(case.heads == case.kv_heads, case.kv_heads == 1) for case in GROUPS["heads"]}
    assert kinds == {(True, True), (True, False), (False, False), (False, True)}
    assert any(case.batch > 1 for case in GROUPS["heads"])


def test_dtypes_mixed_and_not_in_both_layouts() -> None:
    seen = {
        (case.dtype, case.mixed_precision, bool(case.config.get("should_transpose_v"))) for case in GROUPS["dtypes"]
    }
    assert seen == {(dtype, mixed, turned) for dtype in DTYPES for mixed in (True, False) for turned in (True, False)}


def test_head_dims_reach_from_16_to_128() -> None:
    dims = [case.head_dim for case in GROUPS["head dims"]]
    assert (min(dims), max(dims)) == (16, 128)


def test_lengths_are_equal_and_unequal() -> None:
    queries = {case.seq_q for case in GROUPS["lengths"]}
    assert queries >= {1, 100, 127, 128, 200, 729, 1500, 2048, 4429}
    kinds = {(case.seq_q > case.seq_k) - (case.seq_q < case.seq_k) for case in GROUPS["lengths"]}
    assert kinds == {-1, 0, 1}


def test_masks_of_every_window() -> None:
    plain = {case.window_size[0] for case in GROUPS["masks"] if case.window_size and not ahead(case)}
    assert plain >= {-2, -1, *WINDOWS}
    assert {case.window_size[0] for case in GROUPS["masks"] if case.window_size and ahead(case)} >= {*AHEAD_WINDOWS}
    assert any(case.window_size is None and case.use_causal_mask is None for case in GROUPS["masks"]), "default call"
    assert any(window % 128 not in (0, 127) for window in (*WINDOWS, *AHEAD_WINDOWS)), "inside a tile"


def ahead(case: Case) -> bool:
    return bool(case.config.get("windowed_context_encoding"))


@pytest.mark.parametrize("values", VALUES)
def test_values_under_every_mask_and_dtype(values: Values) -> None:
    found = [case for case in GROUPS["numbers"] if case.values == values]
    kinds = {(case.dtype, case.mixed_precision, case.window_size, case.use_causal_mask, ahead(case)) for case in found}
    assert len(kinds) == len(MASKS) * len(DTYPES) * 2


def test_scales_zero_and_negative() -> None:
    assert {case.softmax_scale for case in GROUPS["numbers"]} >= {0.0, -0.5}


# ---------------------------------------------------------------------------------------------- values of a case


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_queries_are_ten_thousand_times_as_large(dtype: DtypeName) -> None:
    wide = replace(SMALL, dtype="float32")
    plain, large = wide.inputs(), replace(SMALL, dtype=dtype, values="large queries").inputs()
    np.testing.assert_array_equal(large[0], (plain[0] * np.float32(1e4)).astype(DTYPES[dtype]))
    for a, b in zip(plain[1:], large[1:], strict=True):
        np.testing.assert_array_equal(a.astype(DTYPES[dtype]), b)


def test_equal_logits_are_equal_in_a_row() -> None:
    q, k, v = (array.astype(np.float64) for array in replace(SMALL, values="equal logits").inputs())
    scores = np.swapaxes(q, 2, 3) @ k
    np.testing.assert_array_equal(scores, np.broadcast_to(scores[..., :1], scores.shape))
    assert np.unique(scores[..., 0]).size == SMALL.seq_q
    assert np.unique(v[0, 0, :, 0]).size > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_very_negative_logits_lie_below_the_stock_mask(dtype: DtypeName) -> None:
    q, k, _ = (
        array.astype(np.float64) for array in replace(SMALL, values="very negative logits", dtype=dtype).inputs()
    )
    scores = np.swapaxes(q, 2, 3) @ k * SMALL.scale
    assert np.isfinite(scores).all()
    assert np.median(scores) < -9984
    assert scores.max() < 0
