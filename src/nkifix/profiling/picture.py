"""Drawing a mask picture: as text, as a PNG, and as a page that stands alone."""

from __future__ import annotations

import html
import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nkifix.profiling.mask import TILE_KEYS, TILE_QUERIES, Kind, Picture

SYMBOLS = {Kind.SKIPPED: "·", Kind.BOUNDARY: "▒", Kind.FULL: "█", Kind.WASTED: "x"}
LABELS = {
    Kind.SKIPPED: "skipped",
    Kind.BOUNDARY: "boundary",
    Kind.FULL: "full",
    Kind.WASTED: "computed, then wholly masked",
}
COLOURS = {Kind.SKIPPED: "#e8e8ee", Kind.BOUNDARY: "#e8a33d", Kind.FULL: "#3f6fb5", Kind.WASTED: "#c8453c"}
DARK_COLOURS = {Kind.SKIPPED: "#2b2d33", Kind.BOUNDARY: "#e0a04a", Kind.FULL: "#6f9fe0", Kind.WASTED: "#e0655c"}

_SYMBOL_ROWS, _SYMBOL_COLUMNS = 64, 96


def legend(picture: Picture) -> str:
    """What there is how often, in words."""
    total = picture.kinds.size
    parts = [f"{SYMBOLS[kind]} {picture.count(kind)} {LABELS[kind]}" for kind in Kind if picture.count(kind)]
    return f"{total} tiles of {TILE_QUERIES} queries x {TILE_KEYS} keys: " + ", ".join(parts)


def text(picture: Picture) -> str:
    """One symbol for each tile, queries downwards and keys to the right.

    Large pictures take several tiles to a symbol, which is ``▒`` where these differ.
    """
    rows, columns = picture.kinds.shape
    tall, wide = -(-rows // _SYMBOL_ROWS), -(-columns // _SYMBOL_COLUMNS)
    lines = []
    for row in range(0, rows, tall):
        parts = [picture.kinds[row : row + tall, column : column + wide] for column in range(0, columns, wide)]
        lines.append("".join(SYMBOLS[_common(part)] for part in parts))
    return "\n".join(lines) + "\n"


def _common(part: npt.NDArray[np.uint8]) -> Kind:
    first = part.flat[0]
    return Kind(int(first)) if (part == first).all() else Kind.BOUNDARY


def png(picture: Picture, pixels_per_row: int = 8) -> bytes:
    """An image with a palette: a tile is ``pixels_per_row`` high and four times as wide, as its sides are.

    Format: "Portable Network Graphics (PNG) Specification", W3C.
    """
    tall, wide = pixels_per_row, pixels_per_row * TILE_KEYS // TILE_QUERIES
    pixels = np.repeat(np.repeat(picture.kinds, tall, axis=0), wide, axis=1)
    height, width = pixels.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # a line begins with its filter type, 0 for none
    lines[:, 1:] = pixels
    palette = b"".join(bytes.fromhex(COLOURS[kind][1:]) for kind in Kind)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def page(picture: Picture, title: str, facts: str) -> str:
    """A page with the picture as vector graphics, readable in light and dark."""
    rows, columns = picture.kinds.shape
    rectangles = "".join(
        f'<rect class="k{kind.value}" x="{4 * start}" y="{row}" width="{4 * length}" height="1"/>'
        for row, start, length, kind in _runs(picture)
    )
    keys = "".join(
        f'<li><span class="k{kind.value}"></span>{LABELS[kind]}: {picture.count(kind):,}</li>' for kind in Kind
    )
    return _PAGE.format(
        title=html.escape(title),
        facts=html.escape(facts),
        light=_styles(COLOURS),
        dark=_styles(DARK_COLOURS),
        width=4 * columns,
        height=rows,
        rectangles=rectangles,
        keys=keys,
        axes=f"{picture.seq_q:,} queries downwards, {picture.seq_k:,} keys to the right",
    )


def _styles(colours: dict[Kind, str]) -> str:
    return " ".join(f".k{kind.value} {{ fill: {colour}; background: {colour}; }}" for kind, colour in colours.items())


def _runs(picture: Picture) -> Iterator[tuple[int, int, int, Kind]]:
    """(row, first column, columns, kind) of neighbours in a row that are alike."""
    for row, kinds in enumerate(picture.kinds.tolist()):
        start = 0
        for kind, alike in itertools.groupby(kinds):
            length = sum(1 for _ in alike)
            yield row, start, length, Kind(kind)
            start += length


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1c1d21; background: #fff; }}
svg {{ width: 100%; height: auto; max-height: 80vh; shape-rendering: crispEdges; }}
ul {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; }}
li span {{ display: inline-block; width: 1em; height: 1em; margin-right: .5em; vertical-align: -.1em; }}
{light}
@media (prefers-color-scheme: dark) {{
body {{ color: #e6e6ea; background: #17181c; }}
{dark}
}}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{facts}</p>
<ul>{keys}</ul>
<svg viewBox="0 0 {width} {height}" role="img" aria-label="Tiles of the score matrix">{rectangles}</svg>
<p>{axes}.</p>
</body>
</html>
"""
