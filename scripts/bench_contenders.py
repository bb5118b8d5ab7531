"""Who takes part in bench_emulator.py: torch's attention, plain NumPy, and kernels on the emulator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nkifix.differential.cases import Array, Case
from nkifix.differential.kernels import Crashed, LoadedKernel, loaded
from nkifix.differential.references import resolve
from nkifix.emulator import Params, machine
from nkifix.emulator.hosts import to_torch
from nkifix.emulator.rules import RULES
from scripts.plain_attention import attention

UPSTREAM = "NKIFIX_UPSTREAM"
TAG = "v0.7.14366"
BASE = "torch float32"
BASE_ONE_THREAD = "torch float32, 1 thread"
FLOOR = "numpy"
VENDORED = "vendored"
TYPO_FIXED = "typo-fixed"
TYPO_FIXED_UNCHECKED = "typo-fixed, no checks"
IN_PROCESS = "vendored, in-process"
UNCHECKED = "vendored, in-process, no checks"

Run = Callable[[], Any]
"""One measured call."""


class CannotRun(Exception):
    """A contender does not answer this case, and why."""


@dataclass(frozen=True)
class Contender:
    """One that takes part.

    Attributes
    ----------
    prepare:
        Case and its inputs -> the call to measure, which returns (batch, heads, seq_q, head_dim).
    as_array:
        What that returned as float32.
    """

    name: str
    prepare: Callable[[Case, Sequence[Array]], Run]
    as_array: Callable[[Any], Array] = lambda answer: np.asarray(answer).astype(np.float32)


def params_with(workers: int | None = None, *, checks: bool = True) -> Params:
    """Fidelity choices: how many processes, and whether the rules that can be turned off are on."""
    off = frozenset() if checks else frozenset(name for name, rule in RULES.items() if rule.optional)
    return Params(rules_off=off, workers=workers)


@contextmanager
def contenders(torch: Any, threads: int, environment: Mapping[str, str] = os.environ) -> Iterator[list[Contender]]:
    """All that can take part here; upstream's kernels where ``NKIFIX_UPSTREAM`` names a clone."""
    references = {"vendored": VENDORED}
    if clone := environment.get(UPSTREAM):
        references |= {"typo_fixed": f"git:{clone}@{TAG}+fix", "stock": f"git:{clone}@{TAG}"}
    read = {label: resolve(name) for label, name in references.items()}
    sources = {label: one.source for label, one in read.items()}
    with loaded(sources, functions={label: one.function for label, one in read.items()}) as kernels:
        unchecked = [
            _of_kernel(TYPO_FIXED_UNCHECKED, kernel, params_with(checks=False))
            for label, kernel in kernels.items()
            if label == "typo_fixed"
        ]
        yield [
            _of_torch(torch, BASE, "float32", threads),
            _of_torch(torch, BASE_ONE_THREAD, "float32", 1),
            _of_torch(torch, "torch bfloat16", "bfloat16", threads),
            Contender(FLOOR, lambda case, inputs: lambda: attention(case, inputs)),
            Contender("numpy, 2 processes", lambda case, inputs: lambda: attention(case, inputs, processes=2)),
            _of_kernel(IN_PROCESS, kernels["vendored"], params_with(1)),
            _of_kernel(UNCHECKED, kernels["vendored"], params_with(1, checks=False)),
            *(_of_kernel(label.replace("_", "-"), kernel, params_with()) for label, kernel in kernels.items()),
            *unchecked,
        ]


def _of_torch(torch: Any, name: str, dtype: str, threads: int) -> Contender:
    def prepare(case: Case, inputs: Sequence[Array]) -> Run:
        q, k, v = (to_torch(array).to(getattr(torch, dtype)) for array in inputs)
        q, k = q.transpose(2, 3).contiguous(), k.transpose(2, 3).contiguous()
        window = case.window_size is not None and case.window_size[0] >= 0
        mask = torch.from_numpy(case.visible()) if window else None
        causal = not window and case.use_causal_mask is not False

        def call() -> Any:
            with torch_threads(torch, threads):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)

        return call

    return Contender(name, prepare, lambda answer: np.asarray(answer.to(torch.float32).numpy()))


@contextmanager
def torch_threads(torch: Any, count: int) -> Iterator[None]:
    """That many threads inside, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _of_kernel(name: str, kernel: LoadedKernel, params: Params) -> Contender:
    def prepare(case: Case, inputs: Sequence[Array]) -> Run:
        if name == "stock" and case.use_causal_mask is False:
            raise CannotRun("the stock kernel raises UnboundLocalError without a mask")
        q, k, v = inputs

        def call() -> Array:
            with machine.using(params):
                result = kernel.call(case, (q, k, v))
            if isinstance(result, Crashed):
                raise CannotRun(result.in_words())
            return result.output

        return call

    return Contender(name, prepare)
