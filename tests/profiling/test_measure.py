"""The worked example, and that arithmetic changes no cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nkifix.differential.cases import Case
from nkifix.differential.named_cases import read_case
from nkifix.differential.references import Reference, resolve
from nkifix.emulator.engines import Engine
from nkifix.errors import RefusalError
from nkifix.profiling.measure import Measurement, blank_inputs, measure

TILE = Case(name="one tile, wholly visible", head_dim=128, seq_q=128, seq_k=2048, use_causal_mask=False)
"""128 queries and 2048 keys, d 128, bfloat16."""


def cycles(measured: Measurement) -> dict[Engine, float]:
    return {engine: number for engine, number in measured.profile.total.cycles.items() if number}


@pytest.fixture(scope="module")
def vendored() -> Reference:
    return resolve("vendored")


def test_one_tile_costs_what_the_documented_formulas_add_up_to(vendored: Reference) -> None:
    """Derived by hand from the formulas of the NKI reference, Neuron SDK 2.26."""
    measured = measure(vendored, TILE, "trn1", compute=False)
    scores, transposes, values = 4 * 512, 16 * 128, 16 * 128
    exponentials, small_activations = 2 * (1024 + 64), 3 * 64
    scaling, maxima, evictions = 128, 4 * (512 + 64) + 4, 16 * 128
    state = 128 + 64 + 64 + 128  # zeros of the output, of its PSUM sum; start values of log-sum-exp and maximum
    updates = 64 + 2 + 128 + 64 + 128  # maximum, sum, output, log-sum-exp, final product
    assert cycles(measured) == {
        Engine.TENSOR: scores + transposes + values,
        Engine.SCALAR: exponentials + small_activations,
        Engine.VECTOR: scaling + maxima + evictions + state + updates,
    }


def test_boundary_tile_adds_a_select_and_a_separate_maximum(vendored: Reference) -> None:
    """Of four chunks of a diagonal tile, the first three are full and the last is cut once."""
    full = measure(vendored, replace(TILE, seq_q=2048), "trn1", compute=False).profile
    causal = measure(vendored, Case(name="c", head_dim=128, seq_q=2048, seq_k=2048), "trn1", compute=False).profile
    assert full.total.cycles.get(Engine.GPSIMD, 0) == 0
    assert causal.total.cycles[Engine.GPSIMD] == 16 * (150 + 512)


@pytest.mark.parametrize("target", ["trn1", "trn2"])
@pytest.mark.parametrize(
    "settings", ["seq=640,d=64", "seq=640,d=64,window=99", "seq=300,d=32,causal=0,heads=4,kv_heads=2,batch=2"]
)
def test_costs_are_the_same_with_and_without_arithmetic(settings: str, target: Any, vendored: Reference) -> None:
    case = read_case(settings)
    computed, priced = (measure(vendored, case, target, compute=compute) for compute in (True, False))
    assert computed.profile.total == priced.profile.total
    assert computed.profile.runs == priced.profile.runs
    assert computed.schedule.latency_seconds == priced.schedule.latency_seconds
    assert [(row.line, row.cycles) for row in computed.lines] == [(row.line, row.cycles) for row in priced.lines]
    assert (computed.computed, priced.computed) == (True, False)


def test_engines_are_listed_with_dma_last(vendored: Reference) -> None:
    measured = measure(vendored, TILE, "trn1", compute=False)
    assert [row.engine.value for row in measured.engines] == ["Tensor", "Vector", "Scalar", "GpSimd", "DMA"]
    assert measured.engines[-1].cycles is None
    assert sum(row.executed for row in measured.engines) == measured.profile.total.count
    for row in measured.engines:
        assert row.share == pytest.approx(row.busy_seconds / measured.schedule.latency_seconds)


def test_lines_name_the_source(vendored: Reference) -> None:
    measured = measure(vendored, TILE, "trn1", compute=False)
    source = vendored.source.decode().splitlines()
    assert {row.file for row in measured.lines} == {"vendored_kernel/kernel.py"}
    assert all(row.text == source[row.line - 1].strip() for row in measured.lines)
    busy = [row.busy_seconds for row in measured.lines]
    assert busy == sorted(busy, reverse=True)
    assert sum(busy) == pytest.approx(sum(row.busy_seconds for row in measured.engines))


def test_spans_are_kept_where_asked_for(vendored: Reference) -> None:
    assert measure(vendored, TILE, "trn1", compute=False).schedule.spans == []
    assert measure(vendored, TILE, "trn1", compute=False, spans=True).schedule.spans


def test_estimate_is_no_shorter_than_the_bound(vendored: Reference) -> None:
    measured = measure(vendored, TILE, "trn1", compute=False)
    assert measured.schedule.latency_seconds >= measured.profile.bound_seconds >= measured.profile.roofline_seconds > 0


def test_memory_is_measured(vendored: Reference) -> None:
    held = measure(vendored, TILE, "trn1", compute=False).footprint
    assert held.peak_sbuf_bytes_per_partition > 2048 * 4
    assert held.spill is None


def test_refuses_a_case_on_which_the_kernel_raises(vendored: Reference) -> None:
    with pytest.raises(RefusalError, match=r"vendored does not run on this case: ValueError: .*right window"):
        measure(vendored, replace(TILE, window_size=(3, 3)), "trn1", compute=False)


def test_refuses_a_case_that_the_kernel_has_no_arguments_for(vendored: Reference) -> None:
    with pytest.raises(RefusalError, match=r"cannot be asked for this case: .*no_such_field"):
        measure(vendored, replace(TILE, config={"no_such_field": 1}), "trn1", compute=False)


def test_blank_inputs_have_the_cases_shapes_and_dtype() -> None:
    case = Case(name="x", heads=2, head_dim=16, seq_q=5, seq_k=7, dtype="float16")
    blank = blank_inputs(case)
    assert [array.shape for array in blank] == [(1, 2, 16, 5), (1, 1, 16, 7), (1, 1, 7, 16)]
    assert all(array.dtype == np.float16 and not array.any() for array in blank)
