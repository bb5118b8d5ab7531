from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped, tabbed

ID = "head-grid-mismatch"
PLAIN = specimen(ID)
LINE = b"    q_h_per_k_h = h // k_h"
ANCHOR = LINE + b"\n"
HEADS = b"""\
    assert h % k_h == 0, f"{h} query heads cannot share {k_h} kv heads evenly: pass a multiple of kv heads"
"""
GRID = b"""\
    assert (nl.num_programs(axes=0), nl.num_programs(axes=1)) == (b, k_h), (
        f"the grid must be one program for each batch and kv head: launch flash_fwd[{b}, {k_h}](q, k, v, ...)"
    )
"""
ASSERTION = HEADS + GRID


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


@pytest.mark.parametrize(("there", "added"), [(HEADS, GRID), (GRID, HEADS)], ids=["grid", "heads"])
def test_adds_only_the_assertion_that_is_missing(there: bytes, added: bytes) -> None:
    before = swapped(PLAIN, (ANCHOR, there + ANCHOR))
    check_fixed(ID, before, (ANCHOR, ANCHOR + added))


def test_leaves_kernel_with_both_assertions() -> None:
    check_left(ID, swapped(PLAIN, (ANCHOR, ASSERTION + ANCHOR)))


def test_refuses_another_share_of_heads() -> None:
    before = swapped(PLAIN, (b"h // k_h", b"max(1, h // k_h)"))
    check_refused(ID, before, "expected q_h_per_k_h = h // k_h", at=b"max(1")
