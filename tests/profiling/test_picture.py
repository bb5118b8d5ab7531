from __future__ import annotations

import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from nkifix.profiling.mask import Kind, Picture
from nkifix.profiling.picture import COLOURS, DARK_COLOURS, LABELS, legend, page, png, text

SMALL = Picture(384, 1024, np.array([[1, 0], [2, 1], [3, 2]], dtype=np.uint8))


def test_text_has_one_symbol_for_each_tile() -> None:
    assert text(SMALL) == "▒·\n█▒\nx█\n"


def test_large_text_takes_several_tiles_to_a_symbol() -> None:
    kinds = np.zeros((128, 192), dtype=np.uint8)
    kinds[0, 0] = Kind.FULL
    kinds[2:, :] = Kind.FULL
    lines = text(Picture(128 * 128, 192 * 512, kinds)).splitlines()
    assert len(lines) == 64
    assert lines[0] == "▒" + "·" * 95
    assert set(lines[1:]) == {"█" * 96}


def test_legend_counts_what_there_is() -> None:
    assert legend(SMALL) == (
        "6 tiles of 128 queries x 512 keys: · 1 skipped, ▒ 2 boundary, █ 2 full, x 1 computed, then wholly masked"
    )


def decoded(data: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Chunks of a PNG by name, checked; and its lines."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        place += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    return chunks, [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]


def test_png_is_one_with_a_palette() -> None:
    chunks, lines = decoded(png(SMALL, pixels_per_row=2))
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert chunks[b"IHDR"] == struct.pack(">IIBBBBB", 16, 6, 8, 3, 0, 0, 0)
    assert chunks[b"PLTE"] == b"".join(bytes.fromhex(COLOURS[kind][1:]) for kind in Kind)
    assert lines == [bytes([0, *[left] * 8, *[right] * 8]) for left, right in SMALL.kinds for _ in range(2)]


class Parsed(HTMLParser):
    """Tags of a page, which must be closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rectangles: list[tuple[int, ...]] = []
        self.links: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.rectangles.append(tuple(int(found[name] or 0) for name in ("x", "y", "width")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_stands_alone_and_covers_every_tile() -> None:
    made = page(SMALL, "A <mask>", "facts & figures")
    parsed = Parsed(made)
    assert parsed.links == []
    assert "<h1>A &lt;mask&gt;</h1>" in made
    assert "facts &amp; figures" in made
    assert sorted(parsed.rectangles) == [(0, 0, 4), (0, 1, 4), (0, 2, 4), (4, 0, 4), (4, 1, 4), (4, 2, 4)]
    assert all(label in made for label in LABELS.values())


def test_neighbours_in_a_row_are_one_rectangle() -> None:
    parsed = Parsed(page(Picture(128, 2048, np.array([[2, 2, 1, 0]], dtype=np.uint8)), "t", "f"))
    assert parsed.rectangles == [(0, 0, 8), (8, 0, 4), (12, 0, 4)]


def luminance(colour: str) -> float:
    parts = [int(part, 16) / 255 for part in re.findall("..", colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [COLOURS, DARK_COLOURS], ids=["light", "dark"])
def test_computed_tiles_stand_out_from_skipped_ones(colours: dict[Kind, str]) -> None:
    for kind in (Kind.FULL, Kind.WASTED):
        high, low = sorted((luminance(colours[kind]), luminance(colours[Kind.SKIPPED])), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 2
