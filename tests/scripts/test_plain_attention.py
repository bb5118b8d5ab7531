from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nkifix.differential.budget import accuracy, budget
from nkifix.differential.named_cases import read_case
from nkifix.differential.oracle import exact
from scripts import plain_attention
from scripts.plain_attention import attention


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(
    "words",
    [
        pytest.param("seq=700,heads=2,d=16,window=-2", id="causal with a tail"),
        pytest.param("seq=600,heads=2,d=16,causal=0", id="full"),
        pytest.param("seq=900,heads=2,d=16,window=200", id="window"),
        pytest.param("seq=2200,d=8,window=-2", id="two tiles of keys"),
        pytest.param("seq=300,batch=2,heads=2,d=16,dtype=float32,window=-2", id="float32"),
    ],
)
def test_answer_is_within_the_budget(words: str, processes: int) -> None:
    case = read_case(words)
    inputs = case.inputs()
    truth = exact(case, *inputs)
    answer = attention(case, inputs, processes)
    assert answer.dtype == inputs[0].dtype
    assert accuracy(answer, truth, budget(case, *inputs, truth)).right
    assert not accuracy(answer + answer.dtype.type(0.1), truth, budget(case, *inputs, truth)).right


def test_processes_give_the_same_bytes() -> None:
    case = read_case("seq=400,heads=3,d=16,window=-2")
    assert attention(case, case.inputs()).tobytes() == attention(case, case.inputs(), 2).tobytes()


def test_failure_of_a_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    def fail_elsewhere(*arguments: Sequence[Any]) -> Any:
        if os.getpid() != parent:
            raise MemoryError
        return np.float32(0)

    monkeypatch.setattr(plain_attention, "_head", fail_elsewhere)
    case = read_case("seq=128,heads=2,d=16")
    with pytest.raises(RuntimeError, match="a process of the plain NumPy attention failed"):
        attention(case, case.inputs(), 2)
