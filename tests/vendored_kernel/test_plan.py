"""What is held on chip at once: never more than fits, and never dearer than one head after the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vendored_kernel.test_schedule import CAUSAL, UNBOUNDED, dense, kernel_bands
from vendored_kernel.config import FlashConfig, Shapes
from vendored_kernel.plan import GROUP_COST, SBUF_BYTES, Loads, Plan, fitting, keys_loaded, loads, plan_of
from vendored_kernel.schedule import TILE_QUERIES, Band, pieces

WINDOW = Band(-1023, 0)
AHEAD = Band(1, 1024)


def shapes_of(shared: int, length: int, head_dim: int = 128, seq_k: int | None = None) -> Shapes:
    """One key/value head, shared by some query heads."""
    return Shapes(1, shared, 1, head_dim, length, length if seq_k is None else seq_k)


@given(kernel_bands(), st.integers(0, 900), st.integers(1, 300), st.integers(1, 2700), st.integers(512, 1300))
def test_keys_loaded_are_those_of_the_key_tiles_that_are_seen(
    band: Band, q0: int, rows: int, seq_k: int, size: int
) -> None:
    seen = [keys for k0, keys in pieces(seq_k, size) if dense(band, q0, rows, k0, keys).any()]
    assert keys_loaded(band, q0, rows, seq_k, size) == sum(seen)


@pytest.mark.parametrize(
    ("band", "shared", "plan", "expected"),
    [
        pytest.param(UNBOUNDED, 4, Plan(1, 4, False), Loads(4, 4 * 4096, 4 * 2 * 512), id="one head after the other"),
        pytest.param(UNBOUNDED, 4, Plan(4, 4, False), Loads(1, 4096, 4 * 2 * 512), id="all heads at once"),
        pytest.param(UNBOUNDED, 4, Plan(4, 4, True), Loads(1, 4096, 4 * 512), id="queries held"),
        pytest.param(UNBOUNDED, 4, Plan(2, 3, True), Loads(4, 4 * 4096, 4 * 512), id="two rounds of two groups"),
        pytest.param(CAUSAL, 2, Plan(2, 2, False), Loads(2, 2 * 2048, 2 * 512), id="keys that no query sees"),
        pytest.param(Band(-1, 0), 1, Plan(1, 1, True), Loads(4, 4 * 2048, 512), id="each group its own key tile"),
    ],
)
def test_loads_of_known_plans(band: Band, shared: int, plan: Plan, expected: Loads) -> None:
    assert loads(plan, band, shapes_of(shared, 512, seq_k=4096), 2048) == expected


def test_loads_leaves_out_queries_that_see_no_key() -> None:
    shapes = shapes_of(1, 1024, seq_k=128)
    assert loads(Plan(1, 8, True), Band(0, 0), shapes, 128) == Loads(1, 128, 128)
    assert loads(Plan(1, 8, False), Band(0, 0), shapes, 128) == Loads(1, 128, 128)
    assert loads(Plan(1, 1, True), Band(0, 0), shapes, 128) == Loads(8, 128, 128)


def test_keys_come_with_their_values() -> None:
    one = Loads(groups=3, keys=10, queries=7)
    assert one.columns == 2 * 10 + 7
    assert one.vector_work == 7 + 3 * GROUP_COST


@st.composite
def calls(draw: st.DrawFn) -> tuple[Band, Shapes, int, FlashConfig]:
    shared = draw(st.integers(1, 12))
    head_dim = draw(st.sampled_from([16, 64, 96, 128]))
    shapes = Shapes(1, shared, 1, head_dim, draw(st.integers(1, 70_000)), draw(st.integers(1, 70_000)))
    config = FlashConfig(
        seq_tile_size=draw(st.sampled_from([512, 513, 2048, 4096, 8192])),
        attn_core_tile_size=draw(st.sampled_from([1, 2, 3, 7, 64, 256, 1000])),
    )
    return draw(kernel_bands()), shapes, draw(st.sampled_from([2, 4])), config


@given(calls())
def test_plan_is_never_dearer_than_one_head_after_the_other(call: tuple[Band, Shapes, int, FlashConfig]) -> None:
    band, shapes, operand_bytes, config = call
    size = min(config.seq_tile_size, shapes.seq_k)
    plain = loads(Plan(1, config.attn_core_tile_size, False), band, shapes, size)
    planned = loads(plan_of(band, shapes, operand_bytes, config), band, shapes, size)
    assert planned.columns <= plain.columns
    assert planned.vector_work <= plain.vector_work


@given(calls())
def test_plan_holds_no_more_tiles_than_the_config_allows_and_fit(call: tuple[Band, Shapes, int, FlashConfig]) -> None:
    band, shapes, operand_bytes, config = call
    plan = plan_of(band, shapes, operand_bytes, config)
    assert shapes.heads % plan.heads == 0
    assert plan.heads * plan.tiles <= config.attn_core_tile_size
    if plan != Plan(1, config.attn_core_tile_size, False):
        size = min(config.seq_tile_size, shapes.seq_k)
        query_bytes = TILE_QUERIES * operand_bytes if plan.holds_queries else 0
        state_bytes = plan.heads * plan.tiles * (4 * shapes.head_dim + 4 + 4 + query_bytes)
        key_tile_bytes = 2 * size * operand_bytes + size * 4 + size * operand_bytes
        assert state_bytes + 2 * key_tile_bytes <= SBUF_BYTES


def test_leaves_heads_one_after_the_other_where_a_key_tile_fills_the_memory() -> None:
    config = FlashConfig(seq_tile_size=16384)
    assert list(fitting(shapes_of(4, 16384), 2, config.seq_tile_size, config.attn_core_tile_size)) == []
    assert plan_of(CAUSAL, shapes_of(4, 16384), 2, config) == Plan(1, 256, False)


@pytest.mark.parametrize(
    ("band", "shapes", "changes", "plan"),
    [
        pytest.param(CAUSAL, shapes_of(1, 2048), {}, Plan(1, 256, False), id="one head, one key tile: as ever"),
        pytest.param(CAUSAL, shapes_of(1, 4096), {}, Plan(1, 32, True), id="one head, two key tiles: queries held"),
        pytest.param(CAUSAL, shapes_of(1, 32768), {}, Plan(1, 128, True), id="queries held in two groups"),
        pytest.param(CAUSAL, shapes_of(4, 2048), {}, Plan(4, 16, False), id="four heads: keys loaded once"),
        pytest.param(CAUSAL, shapes_of(4, 4096), {}, Plan(4, 32, True), id="four heads, and their queries"),
        pytest.param(WINDOW, shapes_of(4, 16384), {}, Plan(4, 43, True), id="four heads, three groups"),
        pytest.param(AHEAD, shapes_of(8, 2048, seq_k=3072), {}, Plan(8, 16, True), id="windowed context, eight heads"),
        pytest.param(CAUSAL, shapes_of(7, 8192), {}, Plan(7, 22, True), id="seven heads"),
        pytest.param(UNBOUNDED, shapes_of(6, 512), {"attn_core_tile_size": 8}, Plan(2, 4, False), id="three rounds"),
        pytest.param(UNBOUNDED, shapes_of(4, 512), {"attn_core_tile_size": 1}, Plan(1, 1, False), id="a single tile"),
        pytest.param(CAUSAL, shapes_of(3, 300), {"attn_core_tile_size": 2}, Plan(1, 2, False), id="heads that exceed"),
    ],
)
def test_plan_of_known_calls(band: Band, shapes: Shapes, changes: dict[str, Any], plan: Plan) -> None:
    assert plan_of(band, shapes, 2, FlashConfig(**changes)) == plan


@pytest.mark.parametrize("length", [512, 2048, 8192, 32768])
@pytest.mark.parametrize("shared", [2, 4, 8, 71])
@pytest.mark.parametrize("band", [CAUSAL, WINDOW, UNBOUNDED], ids=["causal", "window", "full"])
def test_heads_that_share_keys_load_less_than_heads_that_do_not(band: Band, shared: int, length: int) -> None:
    alone, together = shapes_of(1, length), shapes_of(shared, length)
    size = min(2048, length)
    apart = loads(plan_of(band, alone, 2, FlashConfig()), band, alone, size)
    joined = loads(plan_of(band, together, 2, FlashConfig()), band, together, size)
    assert joined.columns < shared * apart.columns
