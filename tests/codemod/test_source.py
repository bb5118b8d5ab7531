from __future__ import annotations

import tokenize
from collections.abc import Iterator
from typing import Any

import libcst as cst
import pytest

from nkifix.codemod.source import Edit, Source, UnsureError

LONG = 3000


def refusal(data: bytes) -> tuple[str, int | None]:
    with pytest.raises(UnsureError) as caught:
        Source.parse(data)
    return caught.value.reason, caught.value.line


@pytest.mark.parametrize(
    ("data", "reason", "line"),
    [
        pytest.param(b"a = 1\r\nb = \0", "NUL byte", 2, id="binary"),
        pytest.param(b"\0", "NUL byte", 1, id="NUL alone"),
        pytest.param(b"\x7fELF\x02\x01\x01\0\0", "NUL byte", 1, id="ELF"),
        pytest.param(b"a = 1\n" * 200_000, "more than 1,048,576", None, id="huge"),
        pytest.param(b"# coding: nonsense\n", "no usable encoding: unknown encoding", 1, id="unknown encoding"),
        pytest.param(b"\xef\xbb\xbf# coding: latin-1\n", "no usable encoding", 1, id="BOM against cookie"),
        pytest.param(b"\r\r\r# \xff\n", "not utf-8 text", 4, id="not UTF-8"),
        pytest.param(b"# \xff\n", "no usable encoding: invalid or missing encoding", 1, id="not UTF-8 at once"),
        pytest.param(b"# coding: rot13\n", "not rot13 text", 1, id="no text encoding"),
        pytest.param(b"# coding: undefined\n", "not undefined text", 1, id="encoding that refuses"),
        pytest.param(b"a = 1\nb = (\n", "does not parse: '(' was never closed", 2, id="cut short"),
        pytest.param(b"a = 1\n\n  b = 1\n", "does not parse: unexpected indent", 3, id="indented"),
        pytest.param(b"print 'a'\n", "does not parse", 1, id="Python 2"),
        pytest.param(b"# coding: unicode_escape\n\\x00", "does not parse: source code", None, id="escaped NUL"),
        pytest.param(b"# coding: raw_unicode_escape\n'\\ud800'", "does not parse", None, id="lone surrogate"),
        pytest.param(b"\nif 1:\n \\\n  x\n", "LibCST does not parse it", 4, id="LibCST alone"),
        pytest.param(b"x = " + b"(" * LONG + b")" * LONG, "too many nested parentheses", 1, id="parentheses"),
        pytest.param(b"x = " + b"-" * 20_000 + b"1", "nested too deeply", None, id="signs"),
        pytest.param(b"x = " + b"1 + " * 20_000 + b"1", "nested too deeply", None, id="sum"),
        pytest.param(b"x = 1" + b" and 1" * 20_000, "more than 3,000 tokens", 1, id="conjunction"),
        pytest.param(b"\nx = (1" + b"\n and 1" * 1_000 + b")", "nested too deeply", None, id="shorter conjunction"),
        pytest.param(b"if x: 0\n" + b"elif x: 0\n" * 20_000, "nested too deeply", None, id="branches"),
        pytest.param(b"if x: 0\n" + b"elif x: 0\n" * 900, "nested too deeply", None, id="fewer branches"),
    ],
)
def test_refuses_what_is_no_readable_python(data: bytes, reason: str, line: int | None) -> None:
    found = refusal(data)
    assert reason in found[0]
    if "parentheses" not in reason and "too deeply" not in reason:
        assert found[1] == line


def test_reads_file_of_the_greatest_size() -> None:
    assert Source.parse(b"#" * (1 << 20)).encoding == "utf-8"


def test_error_speaks_its_reason() -> None:
    assert str(UnsureError("reason", 3)) == "reason"


def test_refuses_where_the_tokenizer_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(readline: object) -> Iterator[Any]:
        raise tokenize.TokenError("EOF in multi-line statement", (1, 0))

    monkeypatch.setattr(tokenize, "generate_tokens", give_up)
    assert "EOF in multi-line statement" in refusal(b"a = 1\n")[0]


def test_refuses_where_the_parser_loses_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cst, "parse_module", lambda view: cst.Module(body=[]))
    assert refusal(b"a = 1\n") == ("the parser does not give the file back as it was", None)


@pytest.mark.parametrize("before", [b"", b"b = 1\n", b"b = 1\n" * 2_000], ids=["first", "second", "last"])
def test_counts_tokens_of_each_statement_alone(before: bytes) -> None:
    three_thousand = b"[" + b"1, " * 1_498 + b"]\n"
    assert Source.parse(before + b"a = " + three_thousand).text.endswith("]\n")
    assert "more than 3,000 tokens" in refusal(before + b"a = -" + three_thousand)[0]


def test_counts_neither_comments_nor_empty_lines() -> None:
    assert Source.parse(b"a = [\n" + b"# one\n\n" * 2_000 + b"]\n").text.endswith("]\n")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a = 1\nfind_me = 2\n", id="LF"),
        pytest.param(b"a = 1\r\nfind_me = 2\r\n", id="CRLF"),
        pytest.param(b"a = 1\rfind_me = 2\r", id="CR"),
        pytest.param(b"a = 1\r\nb = '''\r\n\r'''\nfind_me = 2", id="mixed, no final newline"),
        pytest.param(b"\xef\xbb\xbffind_me = 2\n", id="BOM"),
        pytest.param(b"if 1:\n\t'\xc3\xbc'; find_me = 2\n", id="tab and a wide character"),
        pytest.param(b"# coding: latin-1\n'\xfc'; find_me = 2\n", id="latin-1"),
        pytest.param(b"\r# coding: latin-1\r'\xfc'; find_me = 2\r", id="latin-1, CR"),
        pytest.param(b"# coding: shift_jis\n'\x83\x5c'; find_me = 2\n", id="a backslash inside a character"),
        pytest.param(b"\x0c\nif 1:\n \x0c  \x0c pass\n\x0c\x0cfind_me = 2\n", id="form feeds"),
        pytest.param(b"if 1:\n    \x0cfind_me\n".replace(b"    \x0c", b"\x0c  "), id="form feed before indent"),
        pytest.param(b"a = 1 + \\\r\n 2\r\nfind_me = 2", id="continued line"),
    ],
)
def test_position_of_a_node_leads_back_to_the_bytes(data: bytes) -> None:
    source = Source.parse(data)
    names: list[cst.Name] = []

    class Names(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            if node.value == "find_me":
                names.append(node)

    source.module.visit(Names())
    start, end = source.span(names[0])
    assert source.text[start:end] == "find_me"
    edit = Edit(start, "find_me", "found")
    assert source.splice([edit]) == data.replace(b"find_me", b"found")
    line = data[: data.index(b"find_me")].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
    assert source.lines_of([edit]) == (source.line(names[0]),) == (line,)


TEXT = b"abc = 1\ndef_ = 2\n"


def test_splice_makes_the_same_edit_once() -> None:
    source = Source.parse(TEXT)
    assert source.splice([Edit(0, "abc", "x"), Edit(8, "def_", "y"), Edit(0, "abc", "x")]) == b"x = 1\ny = 2\n"


def test_splice_inserts_beside_another_edit() -> None:
    source = Source.parse(TEXT)
    edits = [Edit(3, "", "!"), Edit(0, "abc", "x"), Edit(0, "", "?")]
    assert source.splice(edits) == b"?x! = 1\ndef_ = 2\n"


def test_lines_of_counts_every_line_touched() -> None:
    assert Source.parse(TEXT).lines_of([Edit(8, "def_", "x"), Edit(4, "= 1\nd", "")]) == (1, 2)


def test_refuses_edits_that_overlap() -> None:
    with pytest.raises(UnsureError, match="two changes want the same characters") as caught:
        Source.parse(TEXT).splice([Edit(8, "def_", "x"), Edit(10, "f", "y")])
    assert caught.value.line == 2


def test_refuses_edit_that_does_not_fit_the_text() -> None:
    with pytest.raises(UnsureError, match="does not lead back") as caught:
        Source.parse(TEXT).splice([Edit(8, "abc", "x")])
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("data", "new", "reason"),
    [
        pytest.param(b"# coding: utf-7\nabc = 1 # +AOk-\n", "x", "does not give back", id="ambiguous"),
        pytest.param(b"# coding: ascii\nabc = 1\n", "ü", "cannot write the file back", id="missing character"),
    ],
)
def test_refuses_encoding_that_cannot_write_the_file(data: bytes, new: str, reason: str) -> None:
    source = Source.parse(data)
    with pytest.raises(UnsureError, match=reason):
        source.splice([Edit(source.text.index("abc"), "abc", new)])


@pytest.mark.parametrize("head", [b"", b"# coding: unicode_escape\n"], ids=["parser", "decoder"])
def test_parsing_keeps_quiet_about_the_files_own_faults(recwarn: pytest.WarningsRecorder, head: bytes) -> None:
    Source.parse(head + b"'\\d' is 1\n")
    assert list(recwarn) == []
