from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nkifix.differential.cases import DTYPES, Array, Case, DtypeName, Values, blank_inputs

SMALL = Case(name="small", head_dim=8, seq_q=4, seq_k=5)
WCTE = {"windowed_context_encoding": True}
VALUES: tuple[Values, ...] = ("normal", "large queries")


@dataclass(frozen=True)
class Config:
    """Stands in for a kernel's own FlashConfig."""

    seq_tile_size: int = 2048


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        pytest.param(SMALL, ["x....", "xx...", "xxx..", "xxxx."], id="default"),
        pytest.param(replace(SMALL, use_causal_mask=True), ["x....", "xx...", "xxx..", "xxxx."], id="causal"),
        pytest.param(replace(SMALL, use_causal_mask=False), ["xxxxx"] * 4, id="full"),
        pytest.param(replace(SMALL, use_causal_mask=False, window_size=(-2, -1)), ["xxxxx"] * 4, id="full as -2"),
        pytest.param(replace(SMALL, window_size=(-7, -1)), ["x....", "xx...", "xxx..", "xxxx."], id="causal as -7"),
        pytest.param(replace(SMALL, window_size=(0, -1)), ["x....", ".x...", "..x..", "...x."], id="window 0"),
        pytest.param(replace(SMALL, window_size=(1, -1)), ["x....", "xx...", ".xx..", "..xx."], id="window 1"),
        pytest.param(
            replace(SMALL, window_size=(1, -1), use_causal_mask=False),
            ["x....", "xx...", ".xx..", "..xx."],
            id="window 1 whatever the flag",
        ),
        pytest.param(replace(SMALL, seq_k=2, window_size=(1, -1)), ["x.", "xx", ".x", ".."], id="query without a key"),
        pytest.param(
            replace(SMALL, window_size=(1, -1), config=WCTE),
            [".xx..", "..xx.", "...xx", "....x"],
            id="windowed context of 2",
        ),
    ],
)
def test_visible_draws_the_documented_mask(case: Case, rows: list[str]) -> None:
    assert ["".join("x" if seen else "." for seen in row) for row in case.visible()] == rows


def test_refuses_right_window() -> None:
    with pytest.raises(ValueError, match="odd one: a right window"):
        replace(SMALL, name="odd one", window_size=(-1, 0)).visible()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, {}, id="default call gives none"),
        pytest.param({"use_causal_mask": False}, {"use_causal_mask": False}, id="flag off"),
        pytest.param({"use_causal_mask": True}, {"use_causal_mask": True}, id="flag on"),
        pytest.param({"window_size": (-1, -1)}, {"window_size": (-1, -1)}, id="window"),
        pytest.param({"softmax_scale": 0.0}, {"softmax_scale": 0.0}, id="scale zero is given"),
        pytest.param({"mixed_precision": False}, {"mixed_precision": False}, id="unmixed"),
        pytest.param({"config": {"seq_tile_size": 512}}, {"config": Config(512)}, id="the kernel's own config"),
    ],
)
def test_keywords_name_what_is_not_left_out(change: dict[str, Any], expected: dict[str, Any]) -> None:
    assert replace(SMALL, **change).keywords(Config) == expected


def test_grid_is_batch_by_kv_heads() -> None:
    assert replace(SMALL, batch=3, heads=4, kv_heads=2).grid == (3, 2)


@pytest.mark.parametrize(("given", "scale"), [(None, 0.25), (0.0, 0.0), (-2.0, -2.0)])
def test_scale_is_that_of_the_head_unless_given(given: float | None, scale: float) -> None:
    assert replace(SMALL, head_dim=16, softmax_scale=given).scale == scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("config", "v_shape"),
    [
        pytest.param({}, (2, 3, 5, 8), id="V"),
        pytest.param({"should_transpose_v": False}, (2, 3, 5, 8), id="V, said"),
        pytest.param({"should_transpose_v": True}, (2, 3, 8, 5), id="V transposed"),
    ],
)
def test_inputs_have_the_layouts_of_the_contract(
    config: dict[str, Any], v_shape: tuple[int, ...], dtype: DtypeName
) -> None:
    case = replace(SMALL, batch=2, heads=6, kv_heads=3, dtype=dtype, config=config)
    q, k, v = case.inputs()
    assert (q.shape, k.shape, v.shape) == ((2, 6, 8, 4), (2, 3, 8, 5), v_shape) == case.shapes
    assert {array.dtype for array in (q, k, v)} == {DTYPES[dtype]}


def test_inputs_are_the_same_at_every_call_and_depend_on_the_seed() -> None:
    first, again, other = SMALL.inputs(), SMALL.inputs(), replace(SMALL, seed=1).inputs()
    assert [array.tobytes() for array in first] == [array.tobytes() for array in again]
    assert all(a.tobytes() != b.tobytes() for a, b in zip(first, other, strict=True))


def test_inputs_are_spread_like_a_normal_distribution() -> None:
    q, _, _ = Case(name="many", dtype="float32").inputs()
    assert abs(float(np.mean(q))) < 0.01
    assert abs(float(np.std(q)) - 1) < 0.01


def test_large_queries_are_ten_thousand_times_as_large() -> None:
    plain, large = (replace(SMALL, dtype="float32", values=values).inputs() for values in VALUES[:2])
    np.testing.assert_array_equal(large[0], plain[0] * np.float32(1e4))
    assert [array.tobytes() for array in large[1:]] == [array.tobytes() for array in plain[1:]]


def test_equal_logits_weigh_all_visible_keys_alike() -> None:
    q, k, _ = replace(SMALL, values="equal logits").inputs()
    logits = np.swapaxes(q, 2, 3).astype(np.float32) @ k.astype(np.float32)
    np.testing.assert_array_equal(logits, np.broadcast_to(logits[..., :1], logits.shape))


def test_very_negative_logits_are_below_the_old_mask_constant() -> None:
    q, k, _ = replace(SMALL, head_dim=64, values="very negative logits").inputs()
    logits = np.swapaxes(q, 2, 3).astype(np.float32) @ k.astype(np.float32) / 8
    assert (logits < -9984).all()


# ------------------------------------------------------------------------------------- what inputs hold

HELD = Case(name="held", heads=4, kv_heads=2, head_dim=8, seq_q=12, seq_k=20, dtype="float32")


def held(values: Values, **given: Any) -> tuple[Array, Array, Array]:
    return replace(HELD, values=values, **given).inputs()


@pytest.mark.parametrize("transposed", [False, True])
def test_second_rows_repeat_the_first(transposed: bool) -> None:
    q, k, v = held("repeated rows", config={"should_transpose_v": transposed})
    v = np.swapaxes(v, 2, 3) if transposed else v
    np.testing.assert_array_equal(q[..., 0::2], q[..., 1::2])
    np.testing.assert_array_equal(k[..., 0::2], k[..., 1::2])
    np.testing.assert_array_equal(v[:, :, 0::2], v[:, :, 1::2])
    assert (q[..., 0] != q[..., 2]).all()


def test_one_hot_weights_are_nearly_one_key() -> None:
    case = replace(HELD, values="one-hot", use_causal_mask=False, head_dim=64)
    q, k, _ = case.inputs()
    scores = np.einsum("bhdq,bhdk->bhqk", q, np.repeat(k, 2, axis=1)) * case.scale
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    assert (weights.max(axis=-1) / weights.sum(axis=-1) > 0.99).all()


@pytest.mark.parametrize(("values", "factors"), [("large values", (1, 1, 1e3)), ("tiny values", (1e-3, 1, 1e-2))])
def test_magnitudes_are_those_that_are_said(values: Values, factors: tuple[float, ...]) -> None:
    for made, plain, factor in zip(held(values), HELD.inputs(), factors, strict=True):
        np.testing.assert_allclose(made, plain * factor, rtol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("values", "is_poison"), [("NaN at one key", np.isnan), ("Inf at one key", np.isinf)])
def test_poison_stands_at_one_key_and_nowhere_else(values: Values, is_poison: Any, transposed: bool) -> None:
    case = replace(HELD, values=values, config={"should_transpose_v": transposed})
    assert case.poisoned_key == 15
    for made, plain, axis in zip(case.inputs(), case.clean.inputs(), (None, -1, -1 if transposed else -2), strict=True):
        if axis is None:
            np.testing.assert_array_equal(made, plain)
            continue
        assert is_poison(np.take(made, 15, axis=axis)).all()
        np.testing.assert_array_equal(np.delete(made, 15, axis=axis), np.delete(plain, 15, axis=axis))


def test_clean_case_is_the_case_itself_where_nothing_is_poisoned() -> None:
    assert HELD.clean is HELD
    assert replace(HELD, values="NaN at one key").clean == HELD


def test_blank_inputs_have_the_shapes_and_dtype_of_the_case() -> None:
    for blank, plain in zip(blank_inputs(HELD), HELD.inputs(), strict=True):
        assert (blank.shape, blank.dtype) == (plain.shape, plain.dtype)
        assert not blank.any()
