"""The case matrix: every call that the contract gives a meaning, in samples, and the calls that have none.

Groups vary one thing each over the smallest shapes that show it, around the same set of masks. A row of
:data:`REFUSED` is a call without a meaning, with the text that must come instead of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nkifix.differential.cases import DTYPES, Case, Values

WINDOWED_CONTEXT: dict[str, Any] = {"windowed_context_encoding": True}
TRANSPOSED: dict[str, Any] = {"should_transpose_v": True}


@dataclass(frozen=True, kw_only=True)
class Mask:
    """The arguments that choose a mask."""

    name: str
    use_causal_mask: bool | None = None
    window_size: tuple[int, int] | None = None
    windowed_context: bool = False

    def case(self, name: str, **given: Any) -> Case:
        """A case with this mask."""
        config = {**given.pop("config", {}), **(WINDOWED_CONTEXT if self.windowed_context else {})}
        given = {"head_dim": 32, "seq_q": 200, "seq_k": 200, **given, "config": config}
        name = f"{self.name}, {name}" if name else self.name
        return Case(name=name, use_causal_mask=self.use_causal_mask, window_size=self.window_size, **given)


def _window(left: int, use_causal_mask: bool | None = None) -> Mask:
    flag = {None: "", True: ", flag on", False: ", flag off"}[use_causal_mask]
    return Mask(name=f"window ({left}, -1){flag}", window_size=(left, -1), use_causal_mask=use_causal_mask)


def _ahead(left: int) -> Mask:
    return Mask(name=f"windowed context of {left + 1}", window_size=(left, -1), windowed_context=True)


DEFAULT = Mask(name="default call")
CAUSAL = Mask(name="causal", use_causal_mask=True, window_size=(-1, -1))
FULL = Mask(name="full", use_causal_mask=False)
WINDOW = _window(99)
AHEAD = _ahead(99)
MASKS = (DEFAULT, FULL, WINDOW, AHEAD)
"""One of each kind."""

WINDOWS = (0, 1, 63, 99, 126, 127, 128, 200, 255, 300, 510, 511, 512, 513, 700, 1022, 5000)
"""Left windows: inside a tile of 128 queries, at its borders, at those of a chunk of 512 keys, and beyond all keys."""
AHEAD_WINDOWS = (1, 63, 99, 126, 127, 128, 200, 255, 383, 400, 511, 512, 600)

LENGTHS = (1, 100, 127, 128, 200, 729, 1500, 2048)
UNEQUAL = (
    (1, 2048),
    (100, 729),
    (127, 128),
    (128, 127),
    (128, 1),
    (200, 1500),
    (729, 200),
    (729, 2048),
    (1500, 100),
    (2048, 729),
    (2048, 1500),
)
LONG = (
    FULL.case("4429 queries and keys", seq_q=4429, seq_k=4429, head_dim=16),
    DEFAULT.case("4429 queries, 1500 keys", seq_q=4429, seq_k=1500, head_dim=16),
    _window(700).case("1500 queries, 4429 keys", seq_q=1500, seq_k=4429, head_dim=16),
    _ahead(600).case("729 queries, 4429 keys", seq_q=729, seq_k=4429, head_dim=16, dtype="float32"),
)
HEADS = ((1, 1), (2, 2), (4, 2), (6, 3), (3, 1), (8, 1))
"""(heads, kv_heads): multi-head, grouped-query and multi-query attention."""
HEAD_DIMS = (16, 32, 48, 64, 80, 96, 100, 128)
TILE_SIZES = (512, 513, 640, 768, 1000, 1280, 1536, 4096)
VALUES: tuple[Values, ...] = ("large queries", "equal logits", "very negative logits")
SCALES = (0.0, 0.05, 1.0, -0.5)


def _masks() -> Iterator[Case]:
    for mask in (DEFAULT, CAUSAL, FULL, Mask(name="full as (-2, -1)", use_causal_mask=False, window_size=(-2, -1))):
        yield mask.case("default tile", seq_q=640, seq_k=2048)
    yield Mask(name="causal as (-2, -1)", window_size=(-2, -1)).case("", seq_q=640, seq_k=640)
    config = {"seq_tile_size": 512, "attn_core_tile_size": 2}
    yield DEFAULT.case("the last query alone sees the last key tile", seq_q=513, seq_k=1024, config=config)
    yield _window(0).case("a whole tile of queries sees no key", seq_q=256, seq_k=128)
    yield _ahead(9).case("a whole tile of queries sees no key", seq_q=256, seq_k=129)
    for flag in (True, False):
        for left in (0, 150):
            yield _window(left, flag).case("", seq_q=300, seq_k=300)
    for tile in (512, 2048):
        for left in WINDOWS:
            yield _window(left).case(f"tile {tile}", seq_q=1100, seq_k=1100, config={"seq_tile_size": tile})
        for left in AHEAD_WINDOWS:
            config = {"seq_tile_size": tile}
            yield _ahead(left).case(f"tile {tile}", seq_q=600, seq_k=600 + left + 1, config=config)


def _lengths() -> Iterator[Case]:
    for mask in MASKS:
        for length in LENGTHS:
            keys = length + 100 if mask is AHEAD else length
            yield mask.case(f"{length} queries", seq_q=length, seq_k=keys)
        for queries, keys in UNEQUAL:
            yield mask.case(f"{queries} queries, {keys} keys", seq_q=queries, seq_k=keys)
    yield from LONG


def _heads() -> Iterator[Case]:
    for heads, kv_heads in HEADS:
        for mask in MASKS:
            yield mask.case(f"{heads}/{kv_heads} heads", heads=heads, kv_heads=kv_heads, batch=2, seq_q=140, seq_k=250)


def _layouts() -> Iterator[Case]:
    for mask in MASKS:
        yield mask.case("V transposed", seq_q=300, seq_k=700, config=TRANSPOSED)
        yield mask.case("V transposed, 4/2 heads", heads=4, kv_heads=2, batch=2, config=TRANSPOSED)


def _dtypes() -> Iterator[Case]:
    for dtype in DTYPES:
        for mixed in (True, False):
            for mask in MASKS:
                for transposed in (False, True):
                    name = f"{dtype}, {'' if mixed else 'un'}mixed" + (", V transposed" if transposed else "")
                    config = TRANSPOSED if transposed else {}
                    given = {"dtype": dtype, "mixed_precision": mixed, "config": config}
                    yield mask.case(name, seq_q=729, seq_k=729, **given)
            name = f"{dtype}, {'' if mixed else 'un'}mixed, three key tiles"
            given = {"dtype": dtype, "mixed_precision": mixed, "config": {"seq_tile_size": 512}}
            yield DEFAULT.case(name, seq_q=1500, seq_k=1500, **given)


def _head_dims() -> Iterator[Case]:
    for head_dim in HEAD_DIMS:
        for mask in MASKS:
            yield mask.case(f"d {head_dim}", head_dim=head_dim)


def _tiles() -> Iterator[Case]:
    for mask in MASKS:
        for size in TILE_SIZES:
            yield mask.case(f"key tile {size}", seq_q=900, seq_k=2600, head_dim=16, config={"seq_tile_size": size})
        config = {"seq_tile_size": 5300}
        yield mask.case("key tile 5300, ten chunks and a tail", seq_q=90, seq_k=5400, head_dim=16, config=config)
        for size in (1, 2, 3):
            yield mask.case(f"core tile {size}", seq_q=700, seq_k=700, config={"attn_core_tile_size": size})


def _numbers() -> Iterator[Case]:
    for mask in MASKS:
        for dtype in DTYPES:
            for values in VALUES:
                for mixed in (True, False):
                    name = f"{values}, {dtype}, {'' if mixed else 'un'}mixed"
                    given = {"values": values, "dtype": dtype, "mixed_precision": mixed}
                    yield mask.case(name, seq_q=300, seq_k=729, **given)
        for scale in SCALES:
            yield mask.case(f"scale {scale}", seq_q=300, seq_k=300, softmax_scale=scale)
        yield mask.case("large queries, two key tiles", values="large queries", seq_q=800, seq_k=2600)
        yield mask.case("scale -0.5, large queries", values="large queries", softmax_scale=-0.5)


GROUPS: dict[str, tuple[Case, ...]] = {
    "masks": tuple(_masks()),
    "lengths": tuple(_lengths()),
    "heads": tuple(_heads()),
    "layouts": tuple(_layouts()),
    "dtypes": tuple(_dtypes()),
    "head dims": tuple(_head_dims()),
    "tiles": tuple(_tiles()),
    "numbers": tuple(_numbers()),
}
"""Calls with a right answer, by what they vary."""
CASES = tuple(case for group in GROUPS.values() for case in group)


@dataclass(frozen=True)
class Refused:
    """A call without a meaning.

    Attributes
    ----------
    case:
        The call; its inputs have the shapes that the case names, wrong as they may be.
    text:
        What the refusal says, or begins with.
    error:
        Type of the refusal.
    grid:
        Launch grid, where it is not the one that the shapes ask for; () for a launch without brackets.
    v_shape:
        Shape of v, where it is not the one that the config asks for.
    """

    case: Case
    text: str
    error: type[Exception] = ValueError
    grid: tuple[int, ...] | None = None
    v_shape: tuple[int, ...] | None = None


_SMALL = Case(name="small", head_dim=16, seq_q=128, seq_k=512, batch=2, heads=4, kv_heads=2)


def _refused(name: str, text: str, *, v_shape: tuple[int, ...] | None = None, **changes: Any) -> Refused:
    return Refused(replace(_SMALL, name=name, **changes), text, v_shape=v_shape)


def _on_grid(name: str, *grid: int) -> Refused:
    if len(grid) == 2:
        text = (
            f"launched on the grid {list(grid)}, but these tensors need [batch, kv_heads]: write "
            "flash_fwd[2, 2](q, k, v, ...)"
        )
        return Refused(replace(_SMALL, name=name), text, grid=grid)
    text = f"Expect spmd grid with 2 dimensions, got {len(grid)} instead!"
    return Refused(replace(_SMALL, name=name), text, AssertionError, grid)


REFUSED = (
    _on_grid("no grid"),
    _on_grid("one grid dimension", 2),
    _on_grid("three grid dimensions", 2, 2, 1),
    _on_grid("grid on the query heads", 2, 4),
    _on_grid("grid too small for the heads", 2, 1),
    _on_grid("grid too small for the batch", 1, 2),
    _on_grid("grid larger than the batch", 3, 2),
    _refused("right window", "window_size=(-1, 0): there is no right window, pass (-1, -1)", window_size=(-1, 0)),
    _refused("window to both sides", "window_size=(5, 7): there is no right window, pass (5, -1)", window_size=(5, 7)),
    _refused(
        "windowed context without a window",
        "windowed_context_encoding needs a window: pass window_size=(left, -1) with left >= 1, got (-1, -1)",
        config=WINDOWED_CONTEXT,
    ),
    _refused(
        "windowed context of a window of one",
        "windowed_context_encoding needs a window: pass window_size=(left, -1) with left >= 1, got (0, -1)",
        window_size=(0, -1),
        config=WINDOWED_CONTEXT,
    ),
    _refused(
        "key tile too small",
        "seq_tile_size=511 is too small: pass FlashConfig(seq_tile_size=512) or more",
        config={"seq_tile_size": 511},
    ),
    _refused(
        "core tile of none",
        "attn_core_tile_size=0 holds no query: pass 1 or more (default 256)",
        config={"attn_core_tile_size": 0},
    ),
    _refused("head_dim 129", "head_dim=129: at most 128 fits the Tensor Engine; pass smaller heads", head_dim=129),
    _refused(
        "heads no multiple of kv_heads",
        "5 query heads cannot share 2 key/value heads: pass heads that are a multiple of kv_heads",
        heads=5,
    ),
    _refused(
        "fewer heads than kv_heads",
        "2 query heads cannot share 4 key/value heads: pass heads that are a multiple of kv_heads",
        heads=2,
        kv_heads=4,
    ),
    _refused(
        "V in the other layout",
        "v must be (batch, kv_heads, seq_k, head_dim) = (2, 2, 512, 16), got (2, 2, 16, 512)",
        v_shape=(2, 2, 16, 512),
    ),
    _refused(
        "transposed V in the other layout",
        "v must be (batch, kv_heads, head_dim, seq_k) = (2, 2, 16, 512), got (2, 2, 512, 16)",
        v_shape=(2, 2, 512, 16),
        config=TRANSPOSED,
    ),
    _refused(
        "V of another length",
        "v must be (batch, kv_heads, seq_k, head_dim) = (2, 2, 512, 16), got (2, 2, 500, 16)",
        v_shape=(2, 2, 500, 16),
    ),
    _refused(
        "V of three dimensions",
        "v must have four dimensions (batch, heads, …), got shape (2, 512, 16)",
        v_shape=(2, 512, 16),
    ),
)
"""Calls without a meaning, each with the text of its refusal."""
