from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, specimen, swapped

ID = "stale-docs"
PLAIN = specimen(ID)
ARGUMENT = (b"- causal_mask:", b"- use_causal_mask:")
FIELD = (b"        training: ignored, too\n", b"")
UNUSED = (b'lse_dtype: str = ""', b'lse_dtype: str = ""  # unused')
COMMENT = (b"# casual mask", b"# causal mask")


def test_fixes_docstring_field_and_comment() -> None:
    check_fixed(ID, PLAIN, ARGUMENT, FIELD, UNUSED, COMMENT)


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
def test_takes_the_whole_line_with_its_ending(ending: bytes) -> None:
    changes = [(old.replace(b"\n", ending), new) for old, new in (ARGUMENT, FIELD, UNUSED, COMMENT)]
    check_fixed(ID, PLAIN.replace(b"\n", ending), *changes)


def test_leaves_the_same_words_outside_the_docstring() -> None:
    more = b'\n\nNOTES = """\n -  causal_mask: no\ntraining: no\n"""\n'
    check_fixed(ID, PLAIN + more, ARGUMENT, FIELD, UNUSED, COMMENT)


def test_leaves_field_that_is_read() -> None:
    before = PLAIN + b"\n\nprint(FlashConfig.lse_dtype)\n"
    check_fixed(ID, before, ARGUMENT, FIELD, COMMENT)


def test_leaves_comment_behind_the_field() -> None:
    before = swapped(PLAIN, (UNUSED[0], UNUSED[0] + b"  # of old"))
    check_fixed(ID, before, ARGUMENT, FIELD, COMMENT)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"def flash_fwd():\n    pass\n", id="no docstring"),
        pytest.param(b"def flash_fwd(): pass\n", id="one line"),
        pytest.param(b"def flash_fwd():\n    if tile:\n        pass\n", id="a branch first"),
        pytest.param(b"def flash_fwd():\n    tile()\n", id="a call first"),
        pytest.param(b'def flash_fwd():\n    """Copies."""\n', id="another docstring"),
    ],
)
def test_leaves_kernel_without_those_docs(head: bytes) -> None:
    check_left(ID, head)
