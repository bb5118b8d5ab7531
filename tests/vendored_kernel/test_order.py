"""Programs and parallel iterations in any order: the same bytes, of the vendored kernel and of NxDI's."""

from __future__ import annotations

import pytest

from nkifix.differential.cases import Array, Case
from nkifix.differential.kernels import LoadedKernel
from nkifix.emulator import Params, machine
from tests.differential.calls import CRASHES_BEFORE, RIGHT_BEFORE
from tests.emulator.kernels import same_bytes

NAMES = (
    "causal, two tiles",
    "window (300, -1), two tiles",
    "causal, tile 2048",
    "causal, batch 2, 4/2 heads",
    "window (150, -1), batch 2, 4/2 heads",
    "causal, V transposed, 4/2 heads, two tiles",
)
CASES = [pytest.param(case, id=case.name) for case in (*RIGHT_BEFORE, *CRASHES_BEFORE) if case.name in NAMES]


def answer(kernel: LoadedKernel, case: Case, params: Params) -> Array:
    with machine.using(params):
        output: Array = kernel.module.flash_fwd[case.grid](*case.inputs(), **case.keywords(kernel.module.FlashConfig))
    return output


def shuffled_is_the_same(kernel: LoadedKernel, case: Case) -> None:
    expected = answer(kernel, case, Params())
    for seed in range(2):
        assert same_bytes(answer(kernel, case, Params(order="shuffled", seed=seed)), expected)


def test_cases_exist() -> None:
    assert len(CASES) == len(NAMES)


@pytest.mark.parametrize("case", CASES)
def test_order_does_not_matter(package: LoadedKernel, case: Case) -> None:
    shuffled_is_the_same(package, case)


@pytest.mark.upstream
@pytest.mark.parametrize("case", CASES)
def test_order_does_not_matter_upstream(upstream_kernels: dict[str, LoadedKernel], case: Case) -> None:
    shuffled_is_the_same(upstream_kernels["fixed"], case)
