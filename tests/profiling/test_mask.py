"""The observed picture against the mask written out, and on kernels that do other things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.differential.cases import Case
from nkifix.differential.references import Reference, resolve
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.observe import observing
from nkifix.profiling.mask import TILE_KEYS, TILE_QUERIES, Kind, MaskTracker, Picture
from nkifix.profiling.measure import measure

BF16 = nl.bfloat16


def observed(case: Case, reference: Reference) -> Picture:
    tracker = MaskTracker(case.seq_q, case.seq_k)
    measure(reference, case, "trn1", compute=False, consumers=(tracker,))
    return tracker.picture


def written_out(case: Case) -> Any:
    """Kind of every tile by the definition of the mask."""
    seen = case.visible()
    rows, columns = range(0, case.seq_q, TILE_QUERIES), range(0, case.seq_k, TILE_KEYS)
    tiles = [[seen[q0 : q0 + TILE_QUERIES, k0 : k0 + TILE_KEYS] for k0 in columns] for q0 in rows]
    return [
        [Kind.FULL if tile.all() else Kind.BOUNDARY if tile.any() else Kind.SKIPPED for tile in row] for row in tiles
    ]


@pytest.mark.parametrize(
    "case",
    [
        Case(name="causal", head_dim=32, seq_q=1500, seq_k=2600),
        Case(name="full", head_dim=32, seq_q=300, seq_k=1500, use_causal_mask=False),
        Case(name="window", head_dim=32, seq_q=2600, seq_k=2600, window_size=(700, -1)),
        Case(name="window of one", head_dim=32, seq_q=1100, seq_k=1100, window_size=(0, -1)),
        Case(name="heads", head_dim=32, heads=4, kv_heads=2, batch=2, seq_q=600, seq_k=1100),
        Case(
            name="windowed context",
            head_dim=32,
            seq_q=700,
            seq_k=1300,
            window_size=(599, -1),
            config={"windowed_context_encoding": True},
        ),
    ],
    ids=lambda case: case.name,
)
def test_vendored_kernel_computes_what_is_visible_and_cuts_the_boundary(case: Case) -> None:
    assert observed(case, resolve("vendored")).kinds.tolist() == written_out(case)


def run(body: Any) -> Picture:
    """A kernel that loads (32, 128) queries and (32, 1024) keys, and does something with them."""

    def kernel(q: Any, k: Any) -> Any:
        o = nl.ndarray((128, 512), np.float32, buffer=nl.shared_hbm)
        body(nl.load(q[0, 0]), nl.load(k[0, 0]))
        nl.store(o, 0.0)
        return o

    tracker = MaskTracker(128, 1024)
    with observing(tracker):
        nki.jit(kernel)(np.ones((1, 1, 32, 128), np.float32), np.ones((1, 1, 32, 1024), np.float32))
    return tracker.picture


def scores(queries: Any, keys: Any, start: int = 0) -> Any:
    return nisa.nc_matmul(queries, keys[:, nl.ds(start, 512)])


def select(tile: Any, at_least: int) -> Any:
    row, column = nl.mgrid[0:128, 0:512]
    return nisa.affine_select(pred=(row + 0 * column >= at_least), on_true_tile=tile, on_false_value=0.0)


def through_copies(queries: Any, keys: Any) -> None:
    cast = nl.ndarray((32, 1024), dtype=BF16, buffer=nl.sbuf)
    cast[...] = nl.copy(keys, dtype=BF16)
    scaled = nl.multiply(queries, 0.5, dtype=BF16)
    kept = nl.ndarray((128, 512), dtype=np.float32, buffer=nl.sbuf)
    kept[...] = nl.copy(scores(scaled, cast, 512))
    select(kept, 5)


def in_two_halves(queries: Any, keys: Any) -> None:
    made = nl.ndarray((128, 512), dtype=np.float32, buffer=nl.sbuf)
    for half in range(2):
        place = nl.ds(half * 256, 256)
        made[:, place] = nisa.nc_matmul(queries, keys[:, place])
    row, column = nl.mgrid[0:128, 0:256]
    nisa.affine_select(pred=(row + 0 * column >= 5), on_true_tile=made[:, nl.ds(256, 256)], on_false_value=0.0)


def overwritten(queries: Any, keys: Any) -> None:
    made = nl.ndarray((128, 512), dtype=np.float32, buffer=nl.sbuf)
    made[...] = scores(queries, keys)
    made[...] = 0.0
    select(made, 5)


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        pytest.param(lambda queries, keys: None, [Kind.SKIPPED, Kind.SKIPPED], id="no matmul"),
        pytest.param(scores, [Kind.FULL, Kind.SKIPPED], id="scores"),
        pytest.param(
            lambda q, k: nisa.nc_matmul(k[:, 0:128], q), [Kind.SKIPPED, Kind.SKIPPED], id="keys as rows are no scores"
        ),
        pytest.param(lambda q, k: nisa.nc_matmul(q, q), [Kind.SKIPPED, Kind.SKIPPED], id="queries by queries"),
        pytest.param(lambda q, k: select(scores(q, k), 0), [Kind.FULL, Kind.SKIPPED], id="select that keeps all"),
        pytest.param(lambda q, k: select(scores(q, k), 5), [Kind.BOUNDARY, Kind.SKIPPED], id="select that cuts"),
        pytest.param(lambda q, k: select(scores(q, k), 500), [Kind.WASTED, Kind.SKIPPED], id="select that keeps none"),
        pytest.param(through_copies, [Kind.SKIPPED, Kind.BOUNDARY], id="through copies, casts and scalings"),
        pytest.param(in_two_halves, [Kind.BOUNDARY, Kind.SKIPPED], id="in two halves, one cut"),
        pytest.param(overwritten, [Kind.FULL, Kind.SKIPPED], id="select of what overwrote the scores"),
    ],
)
def test_tiles_are_followed_to_the_select(body: Any, kinds: list[Kind]) -> None:
    assert run(body).kinds.tolist() == [kinds]


def test_kinds_are_counted() -> None:
    picture = Picture(256, 1024, np.array([[0, 1], [2, 2]], dtype=np.uint8))
    assert [picture.count(kind) for kind in Kind] == [1, 1, 2, 0]
