"""Query heads that share a key/value head: the bytes that each would have alone, for less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nkifix.differential.cases import Case
from nkifix.differential.kernels import LoadedKernel
from nkifix.differential.matrix import MASKS, Mask
from nkifix.differential.references import resolve
from nkifix.emulator import Params, Target, machine
from nkifix.profiling.measure import Measurement, measure
from tests.vendored_kernel.plans import band, planned, shapes
from vendored_kernel.plan import SBUF_BYTES, Plan, loads

TARGETS: tuple[Target, ...] = ("trn1", "trn2")


def answer(kernel: LoadedKernel, case: Case, target: Target, repeated: int = 1) -> Any:
    """The answer, with each key/value head given ``repeated`` times."""
    q, k, v = case.inputs()
    k, v = np.repeat(k, repeated, axis=1), np.repeat(v, repeated, axis=1)
    with machine.using(Params(target=target)):
        return kernel.module.flash_fwd[case.batch, k.shape[1]](q, k, v, **case.keywords(kernel.module.FlashConfig))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.name)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "given", "plan"),
    [
        pytest.param(4, 1, {}, Plan(4, 5, False), id="all heads at once"),
        pytest.param(8, 2, {"attn_core_tile_size": 8}, Plan(4, 2, False), id="all heads, in groups"),
        pytest.param(6, 1, {"attn_core_tile_size": 4}, Plan(2, 2, False), id="some heads, in groups"),
        pytest.param(7, 1, {"attn_core_tile_size": 6}, Plan(1, 6, False), id="heads that cannot be divided"),
        pytest.param(4, 2, {"seq_tile_size": 512}, Plan(2, 5, True), id="queries held"),
        pytest.param(6, 2, {"seq_tile_size": 512, "attn_core_tile_size": 9}, Plan(3, 3, True), id="held, in groups"),
        pytest.param(6, 1, {"seq_tile_size": 512, "attn_core_tile_size": 10}, Plan(2, 5, True), id="held, some heads"),
        pytest.param(4, 1, {"seq_tile_size": 512, "should_transpose_v": True}, Plan(4, 5, True), id="V transposed"),
    ],
)
def test_bytes_are_those_of_heads_that_share_nothing(
    heads: int, kv_heads: int, given: dict[str, Any], plan: Plan, mask: Mask, target: Target, package: LoadedKernel
) -> None:
    case = mask.case("shared", heads=heads, kv_heads=kv_heads, seq_q=600, seq_k=700, head_dim=16, config=given)
    assert planned(case) == plan
    expected = answer(package, case, target, repeated=heads // kv_heads)
    assert answer(package, case, target).tobytes() == expected.tobytes()


def priced(case: Case, target: Target) -> Measurement:
    return measure(resolve("vendored"), case, target, compute=False)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("shared", "length", "given"),
    [
        pytest.param(4, 512, {"use_causal_mask": False}, id="4:1, 512, full"),
        pytest.param(4, 2048, {}, id="4:1, 2048, causal"),
        pytest.param(7, 1024, {"window_size": (100, -1)}, id="7:1, 1024, window"),
        pytest.param(8, 2500, {"window_size": (1023, -1)}, id="8:1, 2500, window"),
        pytest.param(3, 4096, {"head_dim": 64}, id="3:1, 4096, causal, d 64"),
    ],
)
def test_no_engine_is_busier_than_for_heads_that_share_nothing(
    shared: int, length: int, given: dict[str, Any], target: Target
) -> None:
    case = Case(name="shared", **{"head_dim": 128, "heads": shared, "seq_q": length, "seq_k": length, **given})
    ours, apart = priced(case, target), priced(replace(case, kv_heads=shared), target)
    for mine, other in zip(ours.engines, apart.engines, strict=True):
        assert (mine.cycles or 0) <= (other.cycles or 0), mine.engine
    assert ours.schedule.latency_seconds <= apart.schedule.latency_seconds
    assert ours.footprint.peak_sbuf_bytes_per_partition <= SBUF_BYTES

    expected = loads(planned(case), band(case), shapes(case), min(2048, length))
    assert ours.profile.loaded_bytes == 2 * case.head_dim * expected.columns
    saved = apart.profile.loaded_bytes - ours.profile.loaded_bytes
    assert saved >= (shared - 1) * 2 * 2 * case.head_dim * expected.keys, "keys and values of all heads but one"
