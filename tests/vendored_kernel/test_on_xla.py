"""The README's example on real XLA tensors: runs in the lane of scripts/xla_lane.sh only."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    not os.environ.get("NKIFIX_XLA_LANE") or find_spec("torch_xla") is None,
    reason="needs torch-xla: run scripts/xla_lane.sh",
)


@pytest.fixture
def device() -> Any:
    return importlib.import_module("torch_xla.core.xla_model").xla_device()


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_attention_on_xla_tensors(device: Any, causal: bool, name: str) -> None:
    torch = importlib.import_module("torch")
    attention = importlib.import_module("vendored_kernel").attention
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4, 300, 64, dtype=getattr(torch, name)) for _ in range(3))
    output = attention(q.to(device), k.to(device), v.to(device), is_causal=causal)
    assert output.device == device
    expected = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal)
    torch.testing.assert_close(output.cpu().float(), expected, atol=2e-2, rtol=2e-2)


def test_kernel_on_xla_tensors_is_byte_for_byte_that_on_the_cpu(device: Any) -> None:
    torch = importlib.import_module("torch")
    package = importlib.import_module("vendored_kernel")
    torch.manual_seed(1)
    q, k = (torch.randn(1, 2, 64, 2048, dtype=torch.bfloat16) for _ in range(2))
    v = torch.randn(1, 2, 2048, 64, dtype=torch.bfloat16)
    there = package.flash_fwd[1, 2](q.to(device), k.to(device), v.to(device))
    here = package.flash_fwd[1, 2](q, k, v)
    assert there.device == device
    assert torch.equal(there.cpu().view(torch.int16), here.view(torch.int16))
