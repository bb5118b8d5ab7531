from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from nkifix.differential.cases import DTYPES, Array, Case
from nkifix.differential.oracle import Float64s, exact, low_precision, reference

Sees = Callable[[int, int], bool]

WCTE = {"windowed_context_encoding": True}
SMALL = Case(name="small", head_dim=8, seq_q=20, seq_k=20)

MASKS: tuple[tuple[str, Case, Sees], ...] = (
    ("default", SMALL, lambda i, j: j <= i),
    ("causal", replace(SMALL, use_causal_mask=True, window_size=(-1, -1)), lambda i, j: j <= i),
    ("causal as -2", replace(SMALL, window_size=(-2, -1)), lambda i, j: j <= i),
    ("full", replace(SMALL, use_causal_mask=False), lambda i, j: True),
    ("full as -2", replace(SMALL, use_causal_mask=False, window_size=(-2, -1)), lambda i, j: True),
    ("window 0", replace(SMALL, window_size=(0, -1)), lambda i, j: j == i),
    ("window 0, flag off", replace(SMALL, window_size=(0, -1), use_causal_mask=False), lambda i, j: j == i),
    ("window 1", replace(SMALL, window_size=(1, -1)), lambda i, j: j in (i - 1, i)),
    ("window 5", replace(SMALL, window_size=(5, -1)), lambda i, j: i - 5 <= j <= i),
    ("window 5, flag off", replace(SMALL, window_size=(5, -1), use_causal_mask=False), lambda i, j: i - 5 <= j <= i),
    ("window beyond all", replace(SMALL, window_size=(99, -1)), lambda i, j: j <= i),
    ("windowed context", replace(SMALL, window_size=(3, -1), config=WCTE), lambda i, j: i < j <= i + 4),
)


def row_by_row(case: Case, sees: Sees, q: Array, k: Array, v: Array) -> Float64s:
    """Attention as its definition reads, one query at a time."""
    shared = case.heads // case.kv_heads
    answer = np.zeros((case.batch, case.heads, case.seq_q, case.head_dim))
    for b, h, i in np.ndindex(case.batch, case.heads, case.seq_q):
        keys = [j for j in range(case.seq_k) if sees(i, j)]
        weights = []
        for j in keys:
            product = sum(float(q[b, h, e, i]) * float(k[b, h // shared, e, j]) for e in range(case.head_dim))
            weights.append(np.exp(product * case.scale))
        for j, weight in zip(keys, weights, strict=True):
            value = v[b, h // shared, :, j] if case.config.get("should_transpose_v") else v[b, h // shared, j]
            answer[b, h, i] += weight / sum(weights) * value.astype(np.float64)
    return answer


@pytest.mark.parametrize(("case", "sees"), [pytest.param(case, sees, id=name) for name, case, sees in MASKS])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="one head"),
        pytest.param({"seq_q": 6}, id="fewer queries"),
        pytest.param({"seq_k": 9}, id="more queries, some without a key"),
        pytest.param({"heads": 3, "kv_heads": 3, "seq_q": 7}, id="3/3 heads"),
        pytest.param({"heads": 6, "kv_heads": 2, "seq_q": 7, "batch": 2}, id="batch 2, 6/2 heads"),
        pytest.param({"heads": 3, "seq_q": 7}, id="3/1 heads"),
        pytest.param({"softmax_scale": 0.7}, id="scale"),
        pytest.param({"softmax_scale": 0.0}, id="scale zero"),
        pytest.param({"softmax_scale": -1.5}, id="negative scale"),
        pytest.param({"dtype": "float32"}, id="float32"),
    ],
)
@pytest.mark.parametrize("transposed", [False, True], ids=["V", "V transposed"])
def test_oracle_is_attention_row_by_row(case: Case, sees: Sees, change: dict[str, object], transposed: bool) -> None:
    config = {**case.config, "should_transpose_v": transposed}
    case = replace(case, **{**change, "config": config})  # type: ignore[arg-type]
    q, k, v = case.inputs()
    answer = exact(case, q, k, v)
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer, row_by_row(case, sees, q, k, v), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("case", "keyless"),
    [
        pytest.param(replace(SMALL, seq_k=9, window_size=(4, -1)), slice(13, None), id="queries past the last window"),
        pytest.param(replace(SMALL, window_size=(3, -1), config=WCTE), slice(19, None), id="nothing comes after"),
    ],
)
def test_row_without_a_key_is_zero(case: Case, keyless: slice) -> None:
    for answer in (exact(case, *case.inputs()), low_precision(case, *case.inputs())):
        assert (answer[0, 0, keyless] == 0).all()
        assert answer[0, 0, : keyless.start].any(axis=-1).all()


def test_oracle_survives_scores_that_overflow_exp() -> None:
    case = replace(SMALL, softmax_scale=1e4)
    answer = exact(case, *case.inputs())
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case, _ in MASKS])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=["2/2 heads", "4/2 heads"])
def test_oracle_agrees_with_torch(case: Case, heads: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="torch, the second witness of the oracle, is an optional extra")
    case = replace(case, heads=heads[0], kv_heads=heads[1], batch=2, seq_q=17)  # each query sees a key
    q, k, v = (torch.from_numpy(array.astype(np.float64)) for array in case.inputs())
    shared = case.heads // case.kv_heads
    witness = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(2, 3),
        k.transpose(2, 3).repeat_interleave(shared, dim=1),
        v.repeat_interleave(shared, dim=1),
        attn_mask=torch.from_numpy(case.visible()),
    )
    np.testing.assert_allclose(exact(case, *case.inputs()), witness.numpy(), rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------ the low-precision reference

ROUNDINGS = ("q", "q * scale", "k", "v", "weights", "output")
ONE_WIDE = Case(name="d 1", head_dim=1, seq_q=256, seq_k=2, use_causal_mask=False, softmax_scale=1.3, dtype="float32")


def with_roundings(case: Case, to: npt.DTypeLike, left_out: str = "") -> Array:
    """Attention over two keys of one element each, with the documented roundings but one."""
    q, k, v = (array[0, 0].astype(np.float32) for array in case.inputs())

    def rounded(x: Array, point: str) -> Array:
        return x if point == left_out else x.astype(to).astype(np.float32)

    queries = rounded(rounded(q.reshape(-1, 1), "q") * np.float32(case.scale), "q * scale")
    scores = queries * rounded(k.reshape(1, 2), "k")
    peak = scores.max(axis=1)
    weights = np.exp(scores - peak[:, None])
    mixed = (rounded(weights, "weights") * rounded(v.reshape(1, 2), "v")).sum(axis=1)
    log_sum_exp = peak + np.log(weights.sum(axis=1))
    return rounded(mixed * np.exp(peak - log_sum_exp), "output")


@pytest.mark.parametrize(
    ("case", "operand"),
    [
        pytest.param(ONE_WIDE, ml_dtypes.bfloat16, id="mixed, float32"),
        pytest.param(replace(ONE_WIDE, dtype="float16"), ml_dtypes.bfloat16, id="mixed, float16"),
        pytest.param(replace(ONE_WIDE, dtype="bfloat16"), ml_dtypes.bfloat16, id="mixed, bfloat16"),
        pytest.param(replace(ONE_WIDE, dtype="bfloat16", mixed_precision=False), ml_dtypes.bfloat16, id="bfloat16"),
        pytest.param(replace(ONE_WIDE, dtype="float16", mixed_precision=False), np.float16, id="float16"),
        pytest.param(replace(ONE_WIDE, mixed_precision=False), np.float32, id="float32"),
    ],
)
def test_reference_rounds_operands_and_keeps_sums(case: Case, operand: npt.DTypeLike) -> None:
    answer = low_precision(case, *case.inputs())
    assert answer.dtype == DTYPES[case.dtype]
    assert differing_rows(answer, with_roundings(case, operand)) < 0.02


@pytest.mark.parametrize("point", ROUNDINGS)
def test_reference_rounds_at_every_documented_point(point: str) -> None:
    answer = low_precision(ONE_WIDE, *ONE_WIDE.inputs())
    assert differing_rows(answer, with_roundings(ONE_WIDE, ml_dtypes.bfloat16, left_out=point)) > 0.1


def test_reference_keeps_the_sum_as_a_log_whose_rounding_grows_with_the_scores() -> None:
    case = replace(ONE_WIDE, seq_q=64, softmax_scale=3e5, mixed_precision=False)
    q, k, v = case.inputs()
    answer = low_precision(case, q, np.ones_like(k), np.ones_like(v))
    assert 1e-4 < np.max(np.abs(answer - 1)) < 0.1


def test_normaliser_band_of_row_without_a_key_is_next_to_nothing() -> None:
    case = replace(SMALL, seq_k=9, window_size=(4, -1))
    band = reference(case, *case.inputs()).normaliser_band
    assert (band[0, 0, 13:] < 1e-40).all()
    assert (band[0, 0, :13] > 1e-9).all()


def differing_rows(answer: Array, expected: Array) -> float:
    """Share of rows that differ in more than the last bit of float32: a processor may fuse a product into a sum."""
    wide, witness = (array.astype(np.float64) for array in (answer[0, 0, :, 0], expected.astype(answer.dtype)))
    return float(np.mean(~np.isclose(wide, witness, rtol=1e-6, atol=1e-7)))


def test_normaliser_band_is_half_a_unit_of_score_logarithm_and_log_sum_exp() -> None:
    case = replace(ONE_WIDE, seq_q=1, seq_k=1024, softmax_scale=0.0)
    q, k, v = case.inputs()
    q[...], k[...] = 3.0, 5.0
    # 1024 equal weights: the logarithm is 6.93…; scores of 0 keep it, scores of 15 lift the sum over 16
    for scale, unit_of_sum, unit_of_score in ((0.0, 2.0**-21, 0.0), (1.0, 2.0**-19, 2.0**-20)):
        band = reference(replace(case, softmax_scale=scale), q, k, v).normaliser_band
        np.testing.assert_array_equal(band, [[[(2.0**-21 + unit_of_sum + unit_of_score) / 2]]])
