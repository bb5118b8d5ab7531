from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped, tabbed

ID = "unwritten-query-rows"
PLAIN = specimen(ID)
LINE = b"    n_tile_q = seqlen_q // B_P_SIZE"
ANCHOR = LINE + b"  # whole tiles\n"
ASSERTION = b"""\
    assert seqlen_q % B_P_SIZE == 0, (
        f"seqlen_q={seqlen_q} is no multiple of {B_P_SIZE}, the rows behind the last one would not be written: "
        "pad q with zeros and drop those rows of the output"
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


def test_leaves_kernel_that_asserts_it_in_other_words() -> None:
    check_left(ID, swapped(PLAIN, (LINE, b"    assert (seqlen_q%B_P_SIZE)==0\n" + LINE)))


@pytest.mark.parametrize("value", [b"-(-seqlen_q // B_P_SIZE)", b"seqlen_q // 128"])
def test_refuses_another_number_of_tiles(value: bytes) -> None:
    before = swapped(PLAIN, (b"seqlen_q // B_P_SIZE", value))
    check_refused(ID, before, "expected n_tile_q = seqlen_q // B_P_SIZE", at=value)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"    if seqlen_q: n_tile_q = seqlen_q // B_P_SIZE\n", id="behind a colon"),
        pytest.param(b"    near = 1; n_tile_q = seqlen_q // B_P_SIZE\n", id="second"),
    ],
)
def test_refuses_line_that_is_not_its_own_or_adds_behind_it(line: bytes) -> None:
    before = swapped(PLAIN, (ANCHOR, line))
    if b"if" in line:
        check_refused(ID, before, "on a line of its own", at=line.strip())
    else:
        check_fixed(ID, before, (line, line + ASSERTION))


def test_refuses_module_on_one_line() -> None:
    check_refused(ID, b"def flash_fwd(): n_tile_q = seqlen_q // B_P_SIZE", "on a line of its own", at=b"def")
