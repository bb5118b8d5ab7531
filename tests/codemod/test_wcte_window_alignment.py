from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped

ID = "wcte-window-alignment"
PLAIN = specimen(ID)
IN_CORE = b"q_tile_idx * B_P_SIZE + sliding_window >= first_key"
IN_KERNEL = b"i * B_P_SIZE + sliding_window >= 512"
CORE = (IN_CORE, b"(q_tile_idx + 1) * B_P_SIZE + sliding_window > first_key")
KERNEL = (b"near = " + IN_KERNEL, b"near = (i + 1) * B_P_SIZE + sliding_window > 512")


def test_fixes_both_tests() -> None:
    check_fixed(ID, PLAIN, CORE, KERNEL)


@pytest.mark.parametrize(("done", "left"), [(CORE, KERNEL), (KERNEL, CORE)], ids=["kernel", "core"])
def test_fixes_the_test_that_is_left(done: tuple[bytes, bytes], left: tuple[bytes, bytes]) -> None:
    check_fixed(ID, swapped(PLAIN, done), left)


def test_leaves_file_from_before_windowed_context_encoding() -> None:
    check_left(ID, PLAIN.replace(b"windowed_context_encoding", b"windowed"))


@pytest.mark.parametrize(
    ("gap", "new_gap"),
    [
        pytest.param(b" >= ", b"\n            > ", id="too long"),
        pytest.param(b">=", b">", id="no space to break at"),
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_breaks_line_that_would_be_too_long(gap: bytes, new_gap: bytes, ending: bytes) -> None:
    def near(left: bytes, operator: bytes, end: bytes) -> bytes:
        text = b"near = (\n            " + left + b" * B_P_SIZE + sliding_window" + operator + end + b"\n        )"
        return text.replace(b"\n", ending)

    end = b"512 + " + b"0 * sliding_window + " * 2 + b"0 * " + b"x" * 24
    before = PLAIN.replace(b"\n", ending).replace(b"near = " + IN_KERNEL, near(b"i", gap, end))
    check_fixed(ID, before, CORE, (near(b"i", gap, end), near(b"(i + 1)", new_gap, end)))


@pytest.mark.parametrize(
    ("old", "new", "reason", "at"),
    [
        pytest.param(
            IN_CORE, b"True", "one test q_tile_idx * B_P_SIZE + sliding_window >= …", b"def _flash", id="core"
        ),
        pytest.param(b"near = " + IN_KERNEL, b"near = True", "in flash_fwd, found 0", b"def flash_fwd", id="kernel"),
        pytest.param(
            b"near = " + IN_KERNEL, b"near = 0 <= " + IN_KERNEL, "in flash_fwd, found 0", b"def flash_fwd", id="chained"
        ),
        pytest.param(b"if near:", b"if " + IN_KERNEL + b":", "in flash_fwd, found 2", b"if i *", id="two"),
    ],
)
def test_refuses_other_tests(old: bytes, new: bytes, reason: str, at: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (old, new)), reason, at=at)
