"""What the real kernel costs, and that the vendored one never costs more."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.named_cases import read_case
from nkifix.differential.references import resolve
from nkifix.emulator import Target
from nkifix.emulator.engines import Engine
from nkifix.profiling.mask import Kind, MaskTracker
from nkifix.profiling.measure import Measurement, measure
from tests import upstream_clone

pytestmark = pytest.mark.upstream


@functools.cache
def reference(tag: str, fixes: str) -> Any:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    return resolve(f"git:{repository}@{tag}{fixes}")


def priced(kernel: Any, case: Case, target: Target = "trn1") -> Measurement:
    return measure(kernel, case, target, compute=False)


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_worked_example_of_one_tile(tag: str) -> None:
    """128 queries, 2048 keys, d 128, causal, all visible but the mask applied; by the formulas of the NKI reference."""
    case = Case(name="one tile", head_dim=128, seq_q=2048, seq_k=2048, window_size=(-2, -1), use_causal_mask=True)
    last_tile, whole = 16, priced(reference(tag, "+fix"), case).profile
    assert whole.total.cycles[Engine.SCALAR] == last_tile * (2 * (1024 + 64) + 3 * 64 + 64)
    assert whole.total.cycles[Engine.GPSIMD] == last_tile * 4 * (150 + 512)
    full = Case(name="one tile", head_dim=128, seq_q=128, seq_k=2048, use_causal_mask=False)
    assert priced(reference(tag, "+fix"), full).profile.total.cycles[Engine.TENSOR] == 4 * 512 + 16 * 128 + 16 * 128


CASES = [
    "seq=2048",
    "seq=4096",
    "seq=4096,causal=1,window=-2",
    "seq=2048,causal=0",
    "seq=4096,causal=0,d=64",
    "seq=4096,window=1023",
    "seq=4096,window=100,d=64",
    "seq=2048,heads=4,kv_heads=2,d=64",
    "seq=1024,heads=8,kv_heads=1,tile=1024",
    "seq=4096,heads=4,kv_heads=1,window=511",
    "seq=1024,heads=3,kv_heads=1,tile=512,core=2",
    "seq=2048,tile=512",
    "seq=2048,tile=1024,window=511",
    "seq_q=1024,seq_k=2048",
    "seq=2048,d=16,dtype=float32,mixed=0",
    "seq=2048,transposed_v=1",
]


@pytest.mark.parametrize("target", ["trn1", "trn2"])
@pytest.mark.parametrize("fixes", ["+fix", "+fix:full"])
@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_vendored_kernel_never_costs_more(tag: str, settings: str, fixes: str, target: Target) -> None:
    case = read_case(settings)
    theirs, ours = priced(reference(tag, fixes), case, target), priced(resolve("vendored"), case, target)
    for mine, other in zip(ours.engines, theirs.engines, strict=True):
        assert (mine.cycles or 0) <= (other.cycles or 0), mine.engine
    assert ours.profile.loaded_bytes <= theirs.profile.loaded_bytes
    assert ours.profile.stored_bytes <= theirs.profile.stored_bytes
    assert ours.schedule.latency_seconds <= theirs.schedule.latency_seconds
    assert not ours.profile.uncosted


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_stock_kernel_masks_whole_tiles_that_it_computed(tag: str) -> None:
    case = read_case("seq=4096,window=1023,d=32")
    tracker = MaskTracker(case.seq_q, case.seq_k)
    measure(reference(tag, ""), case, "trn1", compute=False, consumers=(tracker,))
    assert tracker.picture.count(Kind.WASTED) > 0
