"""Calls of the kernel whose outcome before and after the fix is known, as tables for several test modules.

``RIGHT_BEFORE``: no known defect touches the call, so the fix must not change a byte of its answer.
``CRASHES_BEFORE``: the misspelled name is reached, whatever else the call asks for.
The shapes are the smallest that reach the tile borders they are about, so that a table runs in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import DTYPES, Array, Case
from nkifix.differential.kernels import Answered, Crashed, LoadedKernel
from nkifix.differential.oracle import exact

TRANSPOSED = {"should_transpose_v": True}


def _case(name: str, queries: int = 512, keys: int = 512, *, tile: int = 512, **given: Any) -> Case:
    config = {**({} if tile == 2048 else {"seq_tile_size": tile}), **given.pop("config", {})}
    return Case(**{"name": name, "seq_q": queries, "seq_k": keys, "head_dim": 32, "config": config, **given})


def _causal(name: str, *lengths: int, **given: Any) -> Case:
    """A plain causal mask, in the one spelling that the stock kernel survives."""
    return _case(f"causal, {name}", *lengths, window_size=(-2, -1), **given)


def _window(left: int, name: str, *lengths: int, **given: Any) -> Case:
    return _case(f"window ({left}, -1), {name}", *lengths, window_size=(left, -1), **given)


def _ahead(left: int, name: str, *lengths: int, **given: Any) -> Case:
    config = {"windowed_context_encoding": True}
    return _case(f"windowed context of {left + 1}, {name}", *lengths, window_size=(left, -1), config=config, **given)


MASKS = (
    _causal("one tile"),
    _causal("two tiles", 1024, 1024),
    _causal("tile 2048", 2048, 2048, tile=2048),
    _causal("two tiles of 2048", 2304, 4096, tile=2048, head_dim=16),
    # inside a row of 128 queries and at its borders; at the borders of a block of 512 keys; beyond all keys
    *(
        _window(left, "two tiles", 1024, 1024)
        for left in (0, 1, 63, 126, 127, 128, 255, 256, 300, 510, 511, 512, 600, 1022, 5000)
    ),
    *(_window(left, "tile 2048", 2048, 2048, tile=2048) for left in (1, 127, 700, 2047)),
    *(_window(left, "two tiles of 2048", 2304, 4096, tile=2048, head_dim=16) for left in (0, 2100)),
    _window(200, "causal flag off", use_causal_mask=False),
    _window(127, "causal flag on", use_causal_mask=True),
)
LENGTHS = (
    _causal("fewer queries", 256, 1024),
    _causal("128 queries", 128, 512),
    _causal("more queries", 1024, 512),
    _causal("640 queries", 640, 1024),
    _window(100, "fewer queries", 256, 1024),
    _window(513, "fewer queries, tile 2048", 512, 2048, tile=2048),
)
HEADS = (
    _causal("2/2 heads", heads=2, kv_heads=2),
    _causal("4/2 heads", heads=4, kv_heads=2),
    _causal("3/1 heads", heads=3),
    _causal("batch 2", batch=2),
    _causal("batch 2, 4/2 heads", 256, batch=2, heads=4, kv_heads=2),
    _window(150, "2/2 heads", heads=2, kv_heads=2),
    _window(150, "batch 2, 4/2 heads", batch=2, heads=4, kv_heads=2),
    _window(150, "4/1 heads", heads=4),
)
LAYOUTS = (
    _causal("V transposed", config=TRANSPOSED),
    _causal("V transposed, 4/2 heads, two tiles", 512, 1024, heads=4, kv_heads=2, config=TRANSPOSED),
    _causal("V transposed, tile 2048", 256, 2048, tile=2048, config=TRANSPOSED),
    _window(300, "V transposed, two tiles", 1024, 1024, config=TRANSPOSED),
)
NUMBERS = (
    *(_causal(f"d {d}", head_dim=d) for d in (16, 48, 64, 80, 96, 128)),
    _window(70, "d 128", head_dim=128),
    *(_causal(f"scale {scale}", softmax_scale=scale) for scale in (0.05, 1.0, -0.5)),
)
AHEAD = (
    _ahead(127, "two tiles", 512, 1024),
    _ahead(255, "two tiles", 512, 1024),
    _ahead(511, "two tiles", 512, 1024),
    _ahead(511, "128 queries", 128, 512),
    _ahead(1023, "tile 2048", 1024, 2048, tile=2048),
    _ahead(255, "4/2 heads", 512, 1024, heads=4, kv_heads=2),
)
ONLY_UPSTREAM = (
    _window(600, "more queries", 1024, 512),
    _window(5000, "more queries", 1024, 512),
    *(_causal(f"core tile {size}", 1024, 1024, config={"attn_core_tile_size": size}) for size in (1, 3, 9)),
)
"""Calls that the specimen, which is smaller, does not take."""

RIGHT_BEFORE = (*MASKS, *LENGTHS, *HEADS, *LAYOUTS, *NUMBERS, *AHEAD)

CRASHES_BEFORE = (
    Case(name="default call", head_dim=32),
    _case("causal, window (-1, -1)", use_causal_mask=True, window_size=(-1, -1)),
    _case("full", use_causal_mask=False),
    _case("full, window (-1, -1)", use_causal_mask=False, window_size=(-1, -1)),
    _case("full, window (-2, -1)", use_causal_mask=False, window_size=(-2, -1)),
    _case("default, two tiles", 1024, 1024),
    _case("full, two tiles", 1024, 1024, use_causal_mask=False),
    _case("full, tile 2048", 256, 2048, tile=2048, use_causal_mask=False),
    _case("default, fewer queries", 256, 1024),
    _case("default, more queries", 1024, 512),
    _case("full, fewer queries", 256, 1024, use_causal_mask=False),
    _case("full, more queries", 1024, 512, use_causal_mask=False),
    _case("default, batch 2, 4/2 heads", batch=2, heads=4, kv_heads=2),
    _case("full, 2/2 heads", heads=2, kv_heads=2, use_causal_mask=False),
    _case("full, 3/1 heads", heads=3, use_causal_mask=False),
    _case("full, V transposed", use_causal_mask=False, config=TRANSPOSED),
    _case("default, V transposed, d 128", head_dim=128, config=TRANSPOSED),
    _case("full, d 16", head_dim=16, use_causal_mask=False),
    _case("full, scale 0.3", softmax_scale=0.3, use_causal_mask=False),
)

Kernels = Mapping[str, LoadedKernel]
"""``stock`` and ``fixed``: the same file before and after the fix."""


def by_name(cases: Iterable[Case]) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases]


def answer(kernel: LoadedKernel, case: Case) -> Array:
    """What ``kernel`` answers, once it is known to be right."""
    result = kernel.call(case)
    assert isinstance(result, Answered), result
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    assert result.output.dtype == DTYPES[case.dtype]
    assert result.output.shape == truth.shape
    assert not is_trivial(result.output)
    measured = accuracy(result.output, truth, budget(case, q, k, v, truth))
    assert measured.right, measured
    return result.output


def check_crashes_then_right(kernels: Kernels, case: Case) -> None:
    stock = kernels["stock"]
    crash = stock.call(case)
    assert isinstance(crash, Crashed)
    assert crash.type_name == "UnboundLocalError"
    assert "'causal_mask'" in crash.message
    assert crash.line is not None
    assert "causal_mask" in stock.file.read_text("utf-8").splitlines()[crash.line - 1]
    answer(kernels["fixed"], case)


def check_unchanged(kernels: Kernels, case: Case) -> None:
    before, after = answer(kernels["stock"], case), answer(kernels["fixed"], case)
    assert before.tobytes() == after.tobytes()
