"""Rows and methods added to a test file, and every other byte left."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nkifix.codemod.source import UnsureError
from nkifix.contribute.patches import Patch, Row
from nkifix.contribute.regression import add_tests

PLAIN = """\
import pytest


class TestIt:
    @pytest.mark.parametrize("a, \\
        b", [
    [1, 2],  # first
    [3, 4],  # second
    ])
    def test_sum(self, a, b):
        assert a + b
"""
ROW = Row("test_sum", {"a": "5", "b": "None", "c": "False"}, "third")


def patch(*rows: Row, methods: str = "", folder: Path = Path("nowhere")) -> Patch:
    if methods:
        (folder / "tests.py").write_text(methods, encoding="utf-8")
    words = {"title": "", "kind": "crash", "problem": "", "cause": "", "change": "", "reproduction": "", "related": ""}
    return Patch(folder=folder, id="it", versions=(), follow_ups=(), rows=rows, **words)


def added(text: str, *rows: Row) -> str:
    return add_tests(text.encode(), patch(*rows)).decode()


def test_row_stands_behind_the_last_one() -> None:
    assert added(PLAIN, ROW) == PLAIN.replace("second\n", "second\n    [5, None],  # third\n")


def test_rows_keep_their_order() -> None:
    again = Row("test_sum", {"a": "6", "b": "7"}, "fourth")
    assert "# third\n    [6, 7],  # fourth\n    ])" in added(PLAIN, ROW, again)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("\n", "\r\n", "    [5, None],  # third\r\n", id="CRLF"),
        pytest.param("    ", "\t", "\t[5, None],  # third\n", id="tabs"),
        pytest.param("[3, 4],", "(3, 4) ,", "    (5, None),  # third\n", id="tuples"),
        pytest.param("# second", "", "    [5, None],  # third\n", id="no comment"),
        pytest.param("import pytest", "\ufeffimport pytest", "    [5, None],  # third\n", id="BOM"),
        pytest.param("[3, 4],", "[\n        3, 4\n    ],", "    [5, None],  # third\n", id="row of three lines"),
    ],
)
def test_row_takes_the_form_of_the_file(old: str, new: str, expected: str) -> None:
    before = PLAIN.replace(old, new)
    after = added(before, ROW)
    assert after.replace(expected, "", 1) == before
    assert after.count(expected) == 1


def test_values_stand_in_the_order_of_the_test() -> None:
    text = PLAIN.replace('"a, ', '"b, ').replace("        b", "        a")
    assert "[None, 5],  # third" in added(text, ROW)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        pytest.param("test_sum", "test_other", "one test test_sum, found 0", id="no such test"),
        pytest.param("class TestIt", "def test_sum(): ...\nclass TestIt", "found 2", id="two tests"),
        pytest.param("[3, 4],  # second\n    ]", "[3, 4],]", "on lines of its own", id="closing bracket on the line"),
        pytest.param("[1, 2],  # first\n    [3, 4]", "[1, 2], [3, 4]", "on lines of its own", id="two rows on a line"),
        pytest.param("[3, 4],", "[3, 4]", "comma behind it", id="no comma"),
        pytest.param("[3, 4],", "ROWS,", "lists or tuples", id="rows by name"),
        pytest.param("        b", "        b, d", "has a parameter d", id="a new parameter"),
        pytest.param("a, \\\n        b", "a", "lacks the parameter b", id="a parameter less"),
        pytest.param("parametrize", "other", "parametrized with a string", id="not parametrized"),
        pytest.param('"a, \\\n        b"', '("a", "b")', "parametrized with a string", id="names in a tuple"),
        pytest.param(
            PLAIN[PLAIN.index(", [\n") :], ", ROWS)\n    def test_sum(): ...\n", "a list of rows", id="a name"
        ),
        pytest.param("[3, 4],", "[3, 4", "does not parse", id="no Python"),
    ],
)
def test_refuses_a_test_of_another_form(old: str, new: str, why: str) -> None:
    row = Row("test_sum", {"a": "5", "b": "6"}, "third")
    assert old in PLAIN
    with pytest.raises(UnsureError, match=why):
        added(PLAIN.replace(old, new), row)


METHODS = "def test_more(self):\n    if True:\n        assert 1\n"


@pytest.mark.parametrize(
    ("before", "indent"),
    [
        pytest.param(PLAIN, "    ", id="spaces"),
        pytest.param(PLAIN.replace("    ", "\t"), "\t", id="tabs"),
        pytest.param(PLAIN.replace("\n", "\r\n"), "    ", id="CRLF"),
        pytest.param(PLAIN.rstrip("\n"), "    ", id="no last newline"),
    ],
)
def test_method_ends_the_class(tmp_path: Path, before: str, indent: str) -> None:
    after = add_tests(before.encode(), patch(methods=METHODS, folder=tmp_path)).decode()
    newline = "\r\n" if "\r\n" in before else "\n"
    lines = ["", f"{indent}def test_more(self):", f"{2 * indent}if True:", f"{3 * indent}assert 1", ""]
    assert after == before.rstrip("\r\n") + newline + newline.join(lines)
    (last,) = (node for node in ast.parse(after).body if isinstance(node, ast.ClassDef))
    assert [node.name for node in last.body if isinstance(node, ast.FunctionDef)] == ["test_sum", "test_more"]


def test_rows_and_methods_go_together(tmp_path: Path) -> None:
    after = add_tests(PLAIN.encode(), patch(ROW, methods=METHODS, folder=tmp_path)).decode()
    assert "# third" in after
    assert after.endswith("            assert 1\n")


@pytest.mark.parametrize("text", ["", "x = 1\n", "class A: x = 1\n"], ids=["empty", "no class", "class on a line"])
def test_refuses_methods_where_no_class_ends_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnsureError, match="end with a class"):
        add_tests(text.encode(), patch(methods=METHODS, folder=tmp_path))
