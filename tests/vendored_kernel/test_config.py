from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from vendored_kernel.config import (
    FlashConfig,
    Shapes,
    check_grid,
    checked_config,
    checked_shapes,
    checked_window,
)

AHEAD = FlashConfig(windowed_context_encoding=True)


@dataclass(frozen=True)
class OfShape:
    """All that a tensor is while a kernel is traced."""

    shape: tuple[int, ...]


def shapes_of(q: Any, k: Any, v: Any, transposed: bool = False) -> Shapes:
    return checked_shapes(OfShape(q), OfShape(k), OfShape(v), transposed)


def test_fields_and_defaults_are_those_of_the_contract() -> None:
    assert {field.name: field.default for field in dataclasses.fields(FlashConfig)} == {
        "seq_tile_size": 2048,
        "attn_core_tile_size": 256,
        "should_transpose_v": False,
        "lse_dtype": "",
        "windowed_context_encoding": False,
    }


def test_refuses_to_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FlashConfig().seq_tile_size = 512  # type: ignore[misc]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(None, FlashConfig(), id="none is the default"),
        pytest.param(FlashConfig(seq_tile_size=512), FlashConfig(seq_tile_size=512), id="smallest key tile"),
        pytest.param(FlashConfig(attn_core_tile_size=1), FlashConfig(attn_core_tile_size=1), id="smallest core tile"),
    ],
)
def test_config_with_a_meaning_passes(config: FlashConfig | None, expected: FlashConfig) -> None:
    assert checked_config(config) == expected


@pytest.mark.parametrize(
    ("config", "text"),
    [
        pytest.param(
            FlashConfig(seq_tile_size=511),
            "seq_tile_size=511 is too small: pass FlashConfig(seq_tile_size=512) or more",
            id="key tile",
        ),
        pytest.param(
            FlashConfig(attn_core_tile_size=0),
            "attn_core_tile_size=0 holds no query: pass 1 or more (default 256)",
            id="core tile",
        ),
    ],
)
def test_refuses_tile_size_without_a_meaning(config: FlashConfig, text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        checked_config(config)
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("window", "config", "left"),
    [
        pytest.param((-1, -1), FlashConfig(), -1, id="none"),
        pytest.param((-2, -3), FlashConfig(), -2, id="none, spelled otherwise"),
        pytest.param((0, -1), FlashConfig(), 0, id="the query itself"),
        pytest.param((99, -1), FlashConfig(), 99, id="left"),
        pytest.param((1, -1), AHEAD, 1, id="smallest windowed context"),
    ],
)
def test_window_with_a_meaning_passes(window: tuple[int, int], config: FlashConfig, left: int) -> None:
    assert checked_window(window, config) == left


@pytest.mark.parametrize(
    ("window", "config", "text"),
    [
        pytest.param(
            (-1, 0), FlashConfig(), "window_size=(-1, 0): there is no right window, pass (-1, -1)", id="right of zero"
        ),
        pytest.param((4, 9), AHEAD, "window_size=(4, 9): there is no right window, pass (4, -1)", id="right"),
        pytest.param(
            (0, -1),
            AHEAD,
            "windowed_context_encoding needs a window: pass window_size=(left, -1) with left >= 1, got (0, -1)",
            id="windowed context without a window",
        ),
    ],
)
def test_refuses_window_without_a_meaning(window: tuple[int, int], config: FlashConfig, text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        checked_window(window, config)
    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("q", "k", "v", "transposed", "expected"),
    [
        pytest.param(
            (2, 4, 128, 9), (2, 4, 128, 7), (2, 4, 7, 128), False, Shapes(2, 4, 4, 128, 9, 7), id="largest head"
        ),
        pytest.param((1, 6, 8, 9), (1, 2, 8, 7), (1, 2, 7, 8), False, Shapes(1, 6, 2, 8, 9, 7), id="grouped"),
        pytest.param((1, 6, 8, 9), (1, 2, 8, 7), (1, 2, 8, 7), True, Shapes(1, 6, 2, 8, 9, 7), id="V transposed"),
    ],
)
def test_shapes_that_belong_together_pass(q: Any, k: Any, v: Any, transposed: bool, expected: Shapes) -> None:
    assert shapes_of(q, k, v, transposed) == expected


K_LAYOUT = "k must be (batch, kv_heads, head_dim, seq_k) = "
V_LAYOUT = "v must be (batch, kv_heads, seq_k, head_dim) = "


@pytest.mark.parametrize(
    ("q", "k", "v", "transposed", "text"),
    [
        pytest.param(
            (1, 8, 9),
            (1, 1, 8, 7),
            (1, 1, 7, 8),
            False,
            "q must have four dimensions (batch, heads, …), got shape (1, 8, 9)",
            id="q of three dimensions",
        ),
        pytest.param(
            (1, 1, 8, 9),
            (1, 8, 7),
            (1, 1, 7, 8),
            False,
            "k must have four dimensions (batch, heads, …), got shape (1, 8, 7)",
            id="k of three dimensions",
        ),
        pytest.param(
            (1, 1, 8, 9),
            (1, 1, 8, 7),
            (1, 1, 7, 8, 1),
            False,
            "v must have four dimensions (batch, heads, …), got shape (1, 1, 7, 8, 1)",
            id="v of five dimensions",
        ),
        pytest.param(
            (2, 1, 8, 9), (1, 1, 8, 7), (1, 1, 7, 8), False, K_LAYOUT + "(2, 1, 8, 7), got (1, 1, 8, 7)", id="batch"
        ),
        pytest.param(
            (1, 1, 8, 9), (1, 1, 7, 8), (1, 1, 8, 7), False, K_LAYOUT + "(1, 1, 8, 8), got (1, 1, 7, 8)", id="k turned"
        ),
        pytest.param(
            (1, 1, 8, 9), (1, 1, 8, 7), (1, 1, 8, 7), False, V_LAYOUT + "(1, 1, 7, 8), got (1, 1, 8, 7)", id="v turned"
        ),
        pytest.param(
            (1, 2, 8, 9), (1, 2, 8, 7), (1, 1, 7, 8), False, V_LAYOUT + "(1, 2, 7, 8), got (1, 1, 7, 8)", id="v heads"
        ),
        pytest.param(
            (1, 1, 8, 9), (1, 1, 8, 7), (1, 1, 6, 8), False, V_LAYOUT + "(1, 1, 7, 8), got (1, 1, 6, 8)", id="v length"
        ),
        pytest.param(
            (1, 1, 8, 9),
            (1, 1, 8, 7),
            (1, 1, 7, 8),
            True,
            "v must be (batch, kv_heads, head_dim, seq_k) = (1, 1, 8, 7), got (1, 1, 7, 8)",
            id="transposed v not turned",
        ),
        pytest.param(
            (1, 1, 129, 9),
            (1, 1, 129, 7),
            (1, 1, 7, 129),
            False,
            "head_dim=129: at most 128 fits the Tensor Engine; pass smaller heads or use a kernel that splits the "
            "head dimension",
            id="head too large",
        ),
        pytest.param(
            (1, 5, 8, 9),
            (1, 2, 8, 7),
            (1, 2, 7, 8),
            False,
            "5 query heads cannot share 2 key/value heads: pass heads that are a multiple of kv_heads",
            id="heads no multiple",
        ),
        pytest.param(
            (1, 1, 8, 9),
            (1, 2, 8, 7),
            (1, 2, 7, 8),
            False,
            "1 query heads cannot share 2 key/value heads: pass heads that are a multiple of kv_heads",
            id="fewer heads than kv_heads",
        ),
    ],
)
def test_refuses_shapes_that_do_not_belong_together(q: Any, k: Any, v: Any, transposed: bool, text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        shapes_of(q, k, v, transposed)
    assert str(refusal.value) == text


SHAPES = Shapes(2, 8, 4, 64, 128, 512)


def on_grid(*grid: int) -> None:
    check_grid(len(grid), lambda axes: grid[axes], SHAPES)


def test_grid_of_batch_by_kv_heads_passes() -> None:
    on_grid(2, 4)


@pytest.mark.parametrize("grid", [(), (2,), (2, 4, 1)])
def test_refuses_grid_that_has_not_two_dimensions(grid: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError) as refusal:
        on_grid(*grid)
    assert str(refusal.value) == f"Expect spmd grid with 2 dimensions, got {len(grid)} instead!"


@pytest.mark.parametrize("grid", [(2, 8), (1, 4), (4, 2), (3, 4)])
def test_refuses_grid_of_other_sizes(grid: tuple[int, int]) -> None:
    with pytest.raises(ValueError) as refusal:
        on_grid(*grid)
    assert str(refusal.value) == (
        f"launched on the grid {list(grid)}, but these tensors need [batch, kv_heads]: write "
        "flash_fwd[2, 4](q, k, v, ...)"
    )
