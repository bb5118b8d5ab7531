"""The estimated latency of a kernel call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator.cost.estimate import estimated_latency_seconds
from nkifix.emulator.estimates import Call, latency_us
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.compiler import sbuf
from nkifix.emulator.observe import observing
from nkifix.emulator.params import Params, Target


def kernel(x: Any) -> Any:
    o = nl.ndarray((nl.num_programs(), *x.shape), x.dtype, buffer=nl.shared_hbm)
    i = nl.program_id(0) if nl.program_ndim() else 0
    nl.store(o[i], nl.exp(nl.load(x)))
    return o


X = np.ones((128, 512), np.float32)


def call(function: Any = kernel, *, grid: tuple[int, ...] = (), target: Target = "trn1", **options: Any) -> Call:
    return Call(function, grid, (X,), {}, nki.tensor, Params(target=target), **options)


@pytest.mark.parametrize("target", ["trn1", "trn2"])
def test_estimate_is_that_of_the_observed_events_in_microseconds(target: Target) -> None:
    with observing(sequence=True) as observed:
        nki.jit(kernel)(X)
    assert latency_us(call(target=target)) == pytest.approx(1e6 * estimated_latency_seconds(observed, target))


def test_programs_run_one_after_another() -> None:
    assert latency_us(call(grid=(2,))) > latency_us(call())


def test_forced_automatic_allocation_is_kept() -> None:
    def direct(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        t = nl.ndarray(x.shape, x.dtype, buffer=sbuf.mod_alloc(base_addr=1_000_000))
        t[...] = nl.load(x)
        nl.store(o, t)
        return o

    assert latency_us(call(direct, force_automatic=True)) > 0


def test_arguments_keep_their_bytes() -> None:
    before = X.tobytes()
    latency_us(call())
    assert X.tobytes() == before
