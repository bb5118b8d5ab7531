"""Which cases a comparison runs: ``quick``, ``full``, ``models``, or those of a TOML file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from nkifix.differential.cases import DTYPES, POISONS, Case, Values
from nkifix.differential.comparison import Row, case_of
from nkifix.differential.covering import Coverage, combinations
from nkifix.differential.matrix import CASES, REFUSED, TRANSPOSED, WINDOWED_CONTEXT, Refused
from nkifix.differential.models import MODELS, Scaled
from nkifix.differential.named_cases import case_from_settings
from nkifix.errors import RefusalError

SETS = ("quick", "full", "models")
COVERAGES: tuple[Coverage, ...] = get_args(Coverage)

FACTORS: dict[str, Sequence[Any]] = {
    "mask": (
        ("default call", {}),
        ("causal", {"window_size": (-2, -1)}),
        ("full", {"use_causal_mask": False}),
        ("window (99, -1)", {"window_size": (99, -1)}),
        ("window (511, -1)", {"window_size": (511, -1), "use_causal_mask": False}),
        ("windowed context of 128", {"window_size": (127, -1), "config": WINDOWED_CONTEXT}),
    ),
    "lengths": (
        (512, 512, 512),
        (640, 1024, 1024),
        (640, 1024, 512),
        (256, 1536, 512),
        (1024, 512, 512),
        (200, 729, 512),
    ),
    "heads": ((1, 1, 1), (2, 4, 2), (1, 3, 1)),
    "dtype": tuple(DTYPES),
    "mixed": (True, False),
    "layout": ({}, TRANSPOSED),
    "values": tuple(values for values in get_args(Values) if values not in POISONS),
    "head_dim": (64, 32, 80, 128),
    "scale": (None, 0.3),
}
"""What is combined: mask, (queries, keys, keys per tile), (batch, heads, kv heads), dtype, mixed precision, layout of
V, what the inputs hold, head_dim, scale."""


def combined(coverage: Coverage = "pairs") -> Iterator[Case]:
    """Cases that cover :data:`FACTORS`."""
    for picked in combinations(FACTORS, coverage):
        yield _combined(**picked)


def _combined(
    *,
    mask: tuple[str, dict[str, Any]],
    lengths: tuple[int, int, int],
    heads: tuple[int, int, int],
    dtype: Any,
    mixed: bool,
    layout: dict[str, Any],
    values: Values,
    head_dim: int,
    scale: float | None,
) -> Case:
    words, given = mask
    seq_q, seq_k, tile = lengths
    config = {"seq_tile_size": tile, **layout, **given.get("config", {})}
    parts = (
        words,
        f"{seq_q} queries, {seq_k} keys",
        "{} x {}/{} heads of {}".format(*heads, head_dim),
        f"{dtype}, {'' if mixed else 'un'}mixed",
        "V transposed" if layout else "",
        f"key tile {tile}",
        "" if values == "normal" else values,
        "" if scale is None else f"scale {scale}",
    )
    return Case(
        name=", ".join(filter(None, parts)),
        seq_q=seq_q,
        seq_k=seq_k,
        batch=heads[0],
        heads=heads[1],
        kv_heads=heads[2],
        head_dim=head_dim,
        dtype=dtype,
        mixed_precision=mixed,
        values=values,
        softmax_scale=scale,
        **{**given, "config": config},
    )


def _borders() -> Iterator[Case]:
    """Masks at the borders of tiles and chunks, on shapes that every version of the kernel takes."""
    small: dict[str, Any] = {"head_dim": 32, "seq_q": 640, "seq_k": 1024}
    tile = {"seq_tile_size": 512}
    for left in (0, 1, 126, 127, 128, 300, 510, 511, 512, 5000):
        yield Case(name=f"window ({left}, -1)", window_size=(left, -1), config=tile, **small)
    yield Case(name="window (0, -1), flag off", window_size=(0, -1), use_causal_mask=False, config=tile, **small)
    for left in (1, 99, 127, 255, 400, 511):
        config = {**tile, **WINDOWED_CONTEXT}
        yield Case(name=f"windowed context of {left + 1}", window_size=(left, -1), config=config, **small)
    masks: dict[str, dict[str, Any]] = {"default call": {}, "full": {"use_causal_mask": False}}
    for name, mask in masks.items():
        yield Case(name=f"{name}, tile of 2048", head_dim=64, seq_q=512, seq_k=2048, **mask)
        for scale in (0.0, 1.0, -0.5):
            yield Case(name=f"{name}, scale {scale}", softmax_scale=scale, config=tile, **small, **mask)
    yield Case(name="causal, window (-1, -1)", use_causal_mask=True, window_size=(-1, -1), config=tile, **small)
    yield Case(name="causal, core tile 2", config={**tile, "attn_core_tile_size": 2}, **small)
    yield Case(
        name="more queries than keys, window", window_size=(99, -1), config=tile, head_dim=32, seq_q=768, seq_k=512
    )


def _poisoned() -> Iterator[Case]:
    """NaN and Inf at a key that most queries do not see."""
    for values in POISONS:
        for name, mask in FACTORS["mask"]:
            if name != "full":
                config = {"seq_tile_size": 512, **mask.get("config", {})}
                given = {"head_dim": 32, "seq_q": 1024, "seq_k": 1024, "values": values}
                yield Case(name=f"{name}, {values}", **{**mask, **given, "config": config})


def quick(coverage: Coverage = "pairs") -> tuple[Row, ...]:
    """What a minute allows: all pairs of :data:`FACTORS`, the borders of tiles, NaN and Inf, and refusals."""
    return (*_borders(), *_poisoned(), *combined(coverage), *REFUSED)


def full(coverage: Coverage = "pairs") -> tuple[Row, ...]:
    """All of ``quick``, and the whole matrix."""
    return (*_borders(), *_poisoned(), *combined(coverage), *CASES, *REFUSED)


def choose(
    wish: str = "quick", *, only: Sequence[str] = (), seeds: Sequence[int] = (), coverage: Coverage = "pairs"
) -> list[Row]:
    """The rows of a case set.

    Parameters
    ----------
    wish:
        One of :data:`SETS`, or the path of a TOML file.
    only:
        Keep the cases whose name holds one of these texts; all, if there are none.
    seeds:
        Every case comes once for each, with inputs of its own; without any, as it is.

    Raises
    ------
    RefusalError
        There is no such set or file, the file cannot be read as cases, or no case is left.
    """
    rows = _rows(wish, coverage)
    kept = [row for row in rows if not only or any(text in case_of(row).name for text in only)]
    if not kept:
        raise RefusalError(
            f"no case of {wish} has a name with {' or '.join(map(repr, only))}" if only else f"{wish} holds no case",
            next_step="leave --only out to see the names",
        )
    return [_seeded(row, seed) for seed in dict.fromkeys(seeds) for row in kept] or kept


def _rows(wish: str, coverage: Coverage) -> Sequence[Row]:
    if wish == "quick":
        return quick(coverage)
    if wish == "full":
        return full(coverage)
    return MODELS if wish == "models" else read_file(Path(wish))


def _seeded(row: Row, seed: int) -> Row:
    case = case_of(row)
    if seed == case.seed:
        return row
    renamed = replace(case, seed=seed, name=f"{case.name}, seed {seed}")
    return replace(row, case=renamed) if isinstance(row, (Refused, Scaled)) else renamed


def read_file(path: Path) -> list[Case]:
    """Cases of a TOML file: one table ``[[case]]`` each, with a name and the settings of ``nkifix profile --case``.

    ``values`` says what the inputs hold, ``seed`` where they come from.

    Raises
    ------
    RefusalError
        There is no such file, it is no TOML, or a case cannot be read.
    """
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        read = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RefusalError(
            f"there is no case set {str(path)!r}: {error.strerror}",
            next_step=f"choose one of {', '.join(SETS)}, or name a TOML file",
        ) from error
    except ValueError as error:
        raise RefusalError(f"this is no TOML: {error}", where=str(path)) from error
    tables = read.get("case", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RefusalError("cases are tables of their own", where=str(path), next_step="begin each with [[case]]")
    return [_from_table(table, number, path) for number, table in enumerate(tables, 1)]


def _from_table(table: dict[str, Any], number: int, path: Path) -> Case:
    settings = {name: value for name, value in table.items() if name not in ("name", "values", "seed")}
    name, values, seed = table.get("name", f"case {number}"), table.get("values", "normal"), table.get("seed", 0)
    try:
        if values not in get_args(Values):
            raise RefusalError(
                f"values={values!r} is not known", next_step=f"choose among: {', '.join(get_args(Values))}"
            )
        if not isinstance(name, str) or type(seed) is not int:
            raise RefusalError("a name is a text, and a seed a whole number")
        case = case_from_settings(name, {key: str(value).lower() for key, value in settings.items()})
    except RefusalError as error:
        error.where = error.where or f"{path}, case {number}"
        raise
    return replace(case, values=values, seed=seed)
