"""The examples of the README run as they are printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import pytest

from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import Array, Case
from nkifix.differential.oracle import exact
from vendored_kernel.backend import EmulatedKernelWarning

torch = pytest.importorskip("torch", reason="torch, which the examples use, is an optional extra")
pytestmark = pytest.mark.filterwarnings(f"ignore::{EmulatedKernelWarning.__module__}.EmulatedKernelWarning")

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(section: str) -> list[str]:
    """The Python blocks of one section of the README."""
    text = README.read_text(encoding="utf-8")
    body = re.search(rf"^## {section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert body
    return re.findall(r"^```python\n(.*?)^```$", body.group(1), re.MULTILINE | re.DOTALL)


EXAMPLE, RULES = blocks("Use the fixed kernel")


def values(tensor: Any) -> Array:
    """A tensor's elements; numpy has no bfloat16 of its own."""
    array: Array = tensor.cpu().float().numpy()
    return array.astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else array


def run(text: str, names: dict[str, Any]) -> None:
    exec(compile(text, str(README), "exec"), names)  # the README is ours


def spent(case: Case, q: Any, k: Any, v: Any, out: Any) -> float:
    """Share of the budget that the answer takes, once its shape and its numbers are sound."""
    assert tuple(out.shape) == (case.batch, case.heads, case.seq_q, case.head_dim)
    assert out.dtype == q.dtype
    assert torch.isfinite(out).all()
    answer, inputs = values(out), (values(q), values(k), values(v))
    assert not is_trivial(answer)
    truth = exact(case, *inputs)
    return accuracy(answer, truth, budget(case, *inputs, truth)).spent


@pytest.fixture(scope="module")
def after_example() -> dict[str, Any]:
    names: dict[str, Any] = {}
    run(EXAMPLE, names)
    return names


def test_example_is_right_as_printed(after_example: dict[str, Any]) -> None:
    q, k, v, out = (after_example[name] for name in ("q", "k", "v", "out"))
    assert {tensor.dtype for tensor in (q, k, v, out)} == {torch.bfloat16}
    case = Case(name="README", batch=2, heads=8, kv_heads=8, head_dim=64, seq_q=2048, seq_k=2048)
    assert spent(case, q, k, v, out) <= 1


GROUPED = Case(name="grouped", batch=2, heads=8, kv_heads=2)
PLAIN = Case(name="plain", batch=2, heads=8, kv_heads=8)


def of_torch(names: dict[str, Any]) -> tuple[Any, Any, Any]:
    return names["query"].transpose(2, 3), names["key"].transpose(2, 3), names["value"]


def lines() -> Iterator[str]:
    """Each rule alone: the lines up to and with the one that calls the kernel."""
    collected: list[str] = []
    for line in RULES.splitlines():
        collected.append(line)
        if line.startswith("out = "):
            yield "\n".join(collected)
            collected = []
    assert "".join(collected).strip() == ""


SHORT = {"seq_q": 300, "seq_k": 300, "dtype": "float32"}
EXPECTED: tuple[tuple[Case, Any], ...] = (
    (GROUPED, lambda names: (names["q"], names["k2"], names["v2"])),
    (Case(name="torch's layout", batch=2, heads=8, kv_heads=8, **SHORT), of_torch),  # type: ignore[arg-type]
    (PLAIN, lambda names: (names["q"], names["k"], names["v"])),
    (Case(name="lengths", batch=2, heads=8, kv_heads=8, seq_q=729), lambda n: (n["q"][..., :729], n["k"], n["v"])),
    (Case(name="full", batch=2, heads=8, kv_heads=8, use_causal_mask=False), lambda n: (n["q"], n["k"], n["v"])),
    (Case(name="window", batch=2, heads=8, kv_heads=8, window_size=(255, -1)), lambda n: (n["q"], n["k"], n["v"])),
    (Case(name="scale", batch=2, heads=8, kv_heads=8, softmax_scale=0.1), lambda n: (n["q"], n["k"], n["v"])),
    (Case(name="attention", batch=2, heads=8, kv_heads=8, **SHORT), of_torch),  # type: ignore[arg-type]
)


def test_every_launch_rule_is_right_as_printed(after_example: dict[str, Any]) -> None:
    """Run on the first entry of the batch and four heads of it, which is what takes the time."""
    names = smaller(after_example)
    texts = list(lines())
    assert len(texts) == len(EXPECTED)
    for text, (case, inputs) in zip(texts, EXPECTED, strict=True):
        run(text, names)
        q, k, v = inputs(names)
        case = replace(case, batch=1, heads=4, kv_heads=min(case.kv_heads, 4))
        assert spent(case, q, k, v, names["out"]) <= 1, case.name


def smaller(names: dict[str, Any]) -> dict[str, Any]:
    cut = {name: names[name][:1, :4] for name in ("q", "k", "v")}
    return {**names, **cut, "batch": 1, "heads": 4}


def test_text_says_what_the_kernel_says() -> None:
    text = README.read_text(encoding="utf-8")
    assert "Expect spmd grid with 2 dimensions, got 0 instead!" in text
    assert "never been\ncompiled by neuronx-cc" in text
    assert all(f"`{word}`" in text for word in ("NKIFIX_BACKEND", "neuron", "emulator", "auto"))
