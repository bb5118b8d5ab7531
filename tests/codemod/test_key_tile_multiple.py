from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped, tabbed

ID = "key-tile-multiple"
PLAIN = specimen(ID)
LINE = b"    num_large_k_tile = (seqlen_k // LARGE_TILE_SZ)"
ANCHOR = LINE + b"\n"
ASSERTION = b"""\
    assert LARGE_TILE_SZ % (B_F_SIZE if LARGE_TILE_SZ <= 4096 else 2048) == 0, (
        f"seq_tile_size={LARGE_TILE_SZ} would lose keys: pass a multiple of {B_F_SIZE}, beyond 4096 one of 2048"
    )
"""


def test_adds_the_assertion_behind_the_line() -> None:
    check_fixed(ID, PLAIN, (ANCHOR, ANCHOR + ASSERTION))


def test_takes_over_tabs_and_line_endings() -> None:
    check_fixed(ID, tabbed(PLAIN), (tabbed(ANCHOR), tabbed(ANCHOR + ASSERTION)))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"  # as many", id="comment"),
        pytest.param(b"  # as many \\", id="comment that ends in a backslash"),
        pytest.param(b"; near = 1", id="another statement"),
        pytest.param(b" \\\n  # as many", id="continued line"),
        pytest.param(b";", id="semicolon"),
    ],
)
def test_adds_the_assertion_behind_all_that_the_line_holds(tail: bytes) -> None:
    before = swapped(PLAIN, (ANCHOR, LINE + tail + b"\n"))
    check_fixed(ID, before, (LINE + tail + b"\n", LINE + tail + b"\n" + ASSERTION))


def test_fixes_kernel_that_asserts_less() -> None:
    weak = b"    assert LARGE_TILE_SZ % B_F_SIZE == 0\n"
    before = swapped(PLAIN, (ANCHOR, ANCHOR + weak))
    check_fixed(ID, before, (ANCHOR, ANCHOR + ASSERTION))


def test_leaves_kernel_that_asserts_it() -> None:
    check_left(ID, swapped(PLAIN, (ANCHOR, ASSERTION + ANCHOR)))


def test_refuses_another_number_of_tiles() -> None:
    before = swapped(PLAIN, (b"seqlen_k // LARGE_TILE_SZ", b"seqlen_k // 2048"))
    check_refused(ID, before, "expected num_large_k_tile = seqlen_k // LARGE_TILE_SZ", at=b"// 2048")
