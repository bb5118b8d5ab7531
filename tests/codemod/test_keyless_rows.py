from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_refused, specimen, swapped, tabbed

ID = "keyless-rows"
PLAIN = specimen(ID)
LINE = b"        out = nl.multiply(nl.load(q[rows, :]), nl.load(weights[rows, :]), dtype=q.dtype)\n"
ZEROS = b"""\
        if sliding_window > 0 and first_keyless < seqlen_q:  # queries without a key give zeros
            i_p, i_f = nl.mgrid[0:B_P_SIZE, 0:B_D_SIZE]
            out[...] = nisa.affine_select(
                pred=(i * B_P_SIZE + i_p + 0 * i_f < first_keyless), on_true_tile=out, on_false_value=0.0
            )
"""
BEHIND = b"        first_keyless = seqlen_k - 1 + sliding_window\n" + ZEROS
AHEAD = (
    b"""\
        first_keyless = seqlen_k - 1 if config.windowed_context_encoding else seqlen_k - 1 + sliding_window
"""
    + ZEROS
)
FIELD = b"class FlashConfig:\n    windowed_context_encoding = False\n\n\n"


def test_clears_rows_behind_the_output() -> None:
    check_fixed(ID, PLAIN, (LINE, LINE + BEHIND))


def test_counts_the_window_ahead_where_there_is_one() -> None:
    before = swapped(PLAIN, (b"@nki.jit\n", FIELD + b"@nki.jit\n"))
    check_fixed(ID, before, (LINE, LINE + AHEAD))


def test_takes_over_tabs() -> None:
    check_fixed(ID, tabbed(PLAIN), (tabbed(LINE), tabbed(LINE + BEHIND)))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(b"pred=rows, on_true_tile=near, on_false_value=0.0", id="another tile"),
        pytest.param(b"pred=rows, on_true_tile=out, on_false_value=1.0", id="another value"),
        pytest.param(b"rows, out, 0.0", id="no keywords"),
    ],
)
def test_fixes_kernel_that_selects_something_else(arguments: bytes) -> None:
    other = b"        near = nisa.affine_select(" + arguments + b")\n"
    check_fixed(ID, swapped(PLAIN, (LINE, other + LINE)), (LINE, LINE + BEHIND))


@pytest.mark.parametrize(
    ("old", "new", "reason", "at"),
    [
        pytest.param(
            b"left_window_size + 1",
            b"left_window_size",
            "expected sliding_window = left_window_size + 1",
            b"sliding_window = left",
            id="window",
        ),
        pytest.param(
            b"        rows =", b"        i = 2 * i\n        rows =", "expected i = i0 * attn_core", b"i = 2", id="tile"
        ),
        pytest.param(
            b", dtype=q.dtype)\n        nl", b")\n        nl", "nl.multiply(…, dtype=…)", b"out = nl", id="dtype"
        ),
        pytest.param(b"nl.multiply", b"nl.add", "expected a call nl.multiply(…, dtype=…)", b"nl.add", id="no product"),
    ],
)
def test_refuses_other_code(old: bytes, new: bytes, reason: str, at: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (old, new)), reason, at=at)
