"""``attention`` against torch's own scaled_dot_product_attention, in float64, within the budget of the case."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import DTYPES, Case, DtypeName
from vendored_kernel import FlashConfig, attention
from vendored_kernel.backend import EmulatedKernelWarning

torch = pytest.importorskip("torch", reason="torch, whose attention is the witness here, is an optional extra")
pytestmark = pytest.mark.filterwarnings(f"ignore::{EmulatedKernelWarning.__module__}.EmulatedKernelWarning")

SMALL = Case(name="small", head_dim=16, seq_q=140, seq_k=140)
GROUPED = replace(SMALL, name="grouped", batch=2, heads=6, kv_heads=2)


def tensors(case: Case) -> tuple[Any, Any, Any]:
    """Query, key and value of a case in torch's layout."""

    def tensor(values: Any) -> Any:
        wide = torch.from_numpy(np.ascontiguousarray(values.astype(np.float32)))
        return wide.to(getattr(torch, case.dtype))

    q, k, v = case.inputs()
    return tensor(q.swapaxes(2, 3)), tensor(k.swapaxes(2, 3)), tensor(v)


def spent(case: Case, answer: Any) -> float:
    """Share of the case's budget that ``answer`` takes, with torch as the truth."""
    query, key, value = (one.double() for one in tensors(case))
    truth = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=torch.from_numpy(case.visible()),
        scale=case.scale,
        enable_gqa=case.heads != case.kv_heads,
    ).numpy()
    assert tuple(answer.shape) == truth.shape
    assert not is_trivial(truth)
    return accuracy(answer.double().numpy(), truth, budget(case, *case.inputs(), truth)).spent


def keywords(case: Case) -> dict[str, Any]:
    """A case as the arguments of ``attention``."""
    given = case.keywords(FlashConfig)
    given["is_causal"] = given.pop("use_causal_mask")
    if "softmax_scale" in given:
        given["scale"] = given.pop("softmax_scale")
    return given


@pytest.mark.parametrize(
    "case", [SMALL, GROUPED, replace(GROUPED, name="multi-query", kv_heads=1)], ids=lambda c: c.name
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"use_causal_mask": False}, id="full"),
        pytest.param({"use_causal_mask": True}, id="causal"),
        pytest.param({"use_causal_mask": True, "window_size": (30, -1)}, id="window"),
        pytest.param({"use_causal_mask": True, "window_size": (0, -1)}, id="window of the query itself"),
        pytest.param({"use_causal_mask": True, "softmax_scale": 0.7}, id="scale"),
        pytest.param({"use_causal_mask": True, "softmax_scale": 0.0}, id="scale zero"),
        pytest.param({"use_causal_mask": True, "seq_q": 50}, id="fewer queries"),
        pytest.param({"use_causal_mask": False, "seq_k": 600}, id="more keys"),
        pytest.param({"use_causal_mask": True, "seq_q": 1, "seq_k": 1, "head_dim": 128}, id="one query, one key"),
        pytest.param({"use_causal_mask": True, "seq_k": 1200, "config": {"seq_tile_size": 512}}, id="three key tiles"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "unmixed"])
def test_answer_is_that_of_torch(case: Case, change: dict[str, Any], dtype: DtypeName, mixed: bool) -> None:
    case = replace(case, **change, dtype=dtype, mixed_precision=mixed)
    query, key, value = tensors(case)
    answer = attention(query, key, value, **keywords(case))
    assert isinstance(answer, torch.Tensor)
    assert answer.dtype == query.dtype
    assert spent(case, answer) <= 1


def test_defaults_are_those_of_torch() -> None:
    case = replace(SMALL, use_causal_mask=False)
    assert spent(case, attention(*tensors(case))) <= 1


def test_options_have_the_defaults_of_the_documentation() -> None:
    parameters = inspect.signature(attention).parameters.values()
    assert {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY} == {
        "is_causal": False,
        "window_size": (-1, -1),
        "scale": None,
        "mixed_precision": True,
        "config": None,
    }


def test_operands_are_rounded_to_bfloat16_unless_said_otherwise() -> None:
    q, k, v = tensors(replace(SMALL, dtype="float32"))
    by_default = attention(q, k, v)
    assert torch.equal(by_default, attention(q, k, v, mixed_precision=True))
    assert not torch.equal(by_default, attention(q, k, v, mixed_precision=False))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_in_is_numpy_out_of_the_same_bytes(dtype: DtypeName) -> None:
    case = replace(GROUPED, dtype=dtype)
    q, k, v = case.inputs()
    answer = attention(q.swapaxes(2, 3), k.swapaxes(2, 3), v, is_causal=True)
    assert isinstance(answer, np.ndarray)
    assert answer.dtype == DTYPES[dtype]
    of_torch = attention(*tensors(case), is_causal=True)
    np.testing.assert_array_equal(answer.astype(np.float32), of_torch.float().numpy())


def test_layout_of_values_in_the_config_is_set_anew() -> None:
    case = replace(SMALL, use_causal_mask=True)
    config = FlashConfig(seq_tile_size=512, should_transpose_v=True)
    assert spent(case, attention(*tensors(case), is_causal=True, config=config)) <= 1
    assert config.should_transpose_v


def test_window_may_be_a_list() -> None:
    case = replace(SMALL, use_causal_mask=True, window_size=(30, -1))
    assert spent(case, attention(*tensors(case), is_causal=True, window_size=[30, -1])) <= 1  # type: ignore[arg-type]


OF_SHAPE = np.zeros((2, 4, 10, 16), np.float32)
KEYS = OF_SHAPE[:, :2]


@pytest.mark.parametrize(
    ("given", "options", "text"),
    [
        pytest.param(
            ([1.0], KEYS, KEYS), {}, "query must be a torch tensor or a numpy array, got list", id="query a list"
        ),
        pytest.param(
            (OF_SHAPE, KEYS, memoryview(b"four")),
            {},
            "value must be a torch tensor or a numpy array, got memoryview",
            id="value with a shape and no more",
        ),
        pytest.param(
            (OF_SHAPE, KEYS[0], KEYS),
            {},
            "key must be (batch, heads, length, head_dim), got shape (2, 10, 16): add the missing dimensions, e.g. "
            "key[None]",
            id="key of three dimensions",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS.astype(np.float16)),
            {},
            "query, key and value must have one dtype, got query float32, key float32, value float16: cast them to "
            "the query's",
            id="dtypes",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS[:, :, :5]),
            {},
            "key (2, 2, 10, 16) and value (2, 2, 5, 16) must have the same shape (batch, kv_heads, length, head_dim)",
            id="value of another length",
        ),
        pytest.param(
            (OF_SHAPE, KEYS.swapaxes(2, 3), KEYS.swapaxes(2, 3)),
            {},
            "query (2, 4, 10, 16) and key (2, 2, 16, 10) must agree in batch and head_dim; both are (batch, heads, "
            "length, head_dim)",
            id="key in the kernel's layout",
        ),
        pytest.param(
            (OF_SHAPE[:1], KEYS, KEYS),
            {},
            "query (1, 4, 10, 16) and key (2, 2, 10, 16) must agree in batch and head_dim; both are (batch, heads, "
            "length, head_dim)",
            id="batch",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS),
            {"window_size": (0, -1)},
            "window_size=(0, -1) reaches back from the query and hides all later keys: pass is_causal=True with it, "
            "or window_size=(-1, -1) for full attention",
            id="window without is_causal",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS), {"window_size": 5}, "window_size must be a pair (left, -1), got 5", id="window 5"
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS),
            {"window_size": (5,)},
            "window_size must be a pair (left, -1), got (5,)",
            id="window of one number",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS),
            {"window_size": (5, 5), "is_causal": True},
            "window_size=(5, 5): there is no right window, pass (5, -1)",
            id="right window",
        ),
        pytest.param(
            (OF_SHAPE, KEYS, KEYS),
            {"config": FlashConfig(windowed_context_encoding=True), "is_causal": True, "window_size": (5, -1)},
            "windowed context encoding has its own key layout: call flash_fwd[batch, kv_heads] itself for it",
            id="windowed context encoding",
        ),
        pytest.param(
            (OF_SHAPE, OF_SHAPE[:, :3], OF_SHAPE[:, :3]),
            {},
            "4 query heads cannot share 3 key/value heads: pass heads that are a multiple of kv_heads",
            id="heads no multiple",
        ),
        pytest.param(
            (np.zeros((1, 1, 4, 129), np.float32),) * 3,
            {},
            "head_dim=129: at most 128 fits the Tensor Engine; pass smaller heads or use a kernel that splits the "
            "head dimension",
            id="head too large",
        ),
    ],
)
def test_refuses_what_does_not_fit_together(given: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        attention(*given, **options)
    assert str(refusal.value) == text
