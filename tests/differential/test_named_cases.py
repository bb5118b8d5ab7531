from __future__ import annotations

from typing import Any

import pytest

from nkifix.differential.matrix import CASES
from nkifix.differential.named_cases import DEFAULT, read_case
from nkifix.errors import RefusalError


def test_case_of_the_matrix_is_found_by_name() -> None:
    assert read_case(CASES[7].name) is CASES[7]


def test_default_is_one_causal_head_of_4096() -> None:
    case = read_case(DEFAULT)
    assert (case.batch, case.heads, case.kv_heads, case.head_dim) == (1, 1, 1, 128)
    assert (case.seq_q, case.seq_k, case.dtype) == (4096, 4096, "bfloat16")
    assert (case.use_causal_mask, case.window_size, case.config) == (None, None, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seq=8192", {"seq_q": 8192, "seq_k": 8192}),
        ("seq=8192, seq_k=4096", {"seq_q": 8192, "seq_k": 4096}),
        ("seq_q=512", {"seq_q": 512, "seq_k": 4096}),
        ("batch=2", {"batch": 2}),
        ("heads=8", {"heads": 8, "kv_heads": 8}),
        ("heads=8,kv_heads=2", {"heads": 8, "kv_heads": 2}),
        ("d=64", {"head_dim": 64}),
        ("window=1023", {"window_size": (1023, -1)}),
        ("window=-2", {"window_size": (-2, -1)}),
        ("causal=0", {"use_causal_mask": False}),
        ("causal=yes", {"use_causal_mask": True}),
        ("dtype=float16", {"dtype": "float16"}),
        ("scale=0.5", {"softmax_scale": 0.5}),
        ("mixed=0", {"mixed_precision": False}),
        ("tile=512", {"config": {"seq_tile_size": 512}}),
        ("core=2,tile=512", {"config": {"attn_core_tile_size": 2, "seq_tile_size": 512}}),
        ("transposed_v=1", {"config": {"should_transpose_v": True}}),
        ("windowed_context=1,window=99", {"config": {"windowed_context_encoding": True}, "window_size": (99, -1)}),
    ],
)
def test_settings_are_read(text: str, expected: dict[str, Any]) -> None:
    case = read_case(text)
    assert {name: getattr(case, name) for name in expected} == expected
    assert case.name == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("casual", "there is no case 'casual'", id="no such case"),
        pytest.param("default call, default tyle", "default call, default tile", id="a close one is named"),
        pytest.param("xyzzy", "describe it: --case", id="nothing close"),
        pytest.param("length=5", "no setting 'length'", id="no such setting"),
        pytest.param("seq=0", "seq='0' cannot be read", id="size of none"),
        pytest.param("seq=many", "a whole number from 1 on", id="size in words"),
        pytest.param("causal=maybe", "1 or 0", id="flag"),
        pytest.param("dtype=int8", "bfloat16, float16, float32", id="dtype"),
        pytest.param("window=", "a whole number", id="no window"),
        pytest.param("scale=x", "a number", id="scale"),
    ],
)
def test_refuses_what_describes_no_case(text: str, why: str) -> None:
    with pytest.raises(RefusalError) as caught:
        read_case(text)
    assert why in str(caught.value)
