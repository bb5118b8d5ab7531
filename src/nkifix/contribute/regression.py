"""Adding regression tests to a test file: bytes in, bytes out, and every byte that was there stays.

The file is parsed, never imported. Rows go to the end of the list that ``pytest.mark.parametrize`` takes, in the form
of the row above them; test methods go to the end of the file's last class.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence

import libcst as cst

from nkifix.codemod.source import Edit, Source, UnsureError
from nkifix.contribute.patches import Patch, Row

_OFF = frozenset({"False", "None"})
"""Values that a parameter may have if upstream's test does not know it yet: they ask for nothing."""
_REST_OF_ROW = re.compile(r"[ \t]*,[ \t]*(?:#[^\r\n]*)?(?:\r\n?|\n)")


def add_tests(data: bytes, patch: Patch) -> bytes:
    """Return the test file with the rows and methods of ``patch``.

    Raises
    ------
    UnsureError
        The file is not built as they need it.
    """
    source = Source.parse(data)
    edits = [_row_edit(source, test, rows) for test, rows in _by_test(patch.rows).items()]
    if patch.test_methods:
        edits.append(_methods_edit(source, patch.test_methods))
    result = source.splice(edits)
    Source.parse(result)
    return result


def _by_test(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.test, []).append(row)
    return grouped


def _row_edit(source: Source, test: str, rows: Sequence[Row]) -> Edit:
    """Return the edit that adds ``rows`` behind the last one of a test."""
    function = _only_function(source, test)
    names, values = _parametrization(source, function)
    last = values.elements[-1]
    line = source.line(function)
    if not isinstance(last.value, (cst.List, cst.Tuple)) or not isinstance(last.comma, cst.Comma):
        raise UnsureError(f"expected the rows of {test} to be lists or tuples, each with a comma behind it", line)
    start, end = _span_with_parentheses(source, last.value)
    rest = _REST_OF_ROW.match(source.text, end)
    if rest is None or source.text[source.line_start(start) : start].strip():
        raise UnsureError(f"expected the last row of {test} on lines of its own", line)
    opening, closing = source.text[start], source.text[end - 1]
    indent = source.text[source.line_start(start) : start]
    newline = source.newline_near(end)
    added = [
        f"{indent}{opening}{', '.join(_ordered(row, names, line))}{closing},  # {row.comment}{newline}" for row in rows
    ]
    return Edit(rest.end(), "", "".join(added))


def _span_with_parentheses(source: Source, row: cst.List | cst.Tuple) -> tuple[int, int]:
    start, end = source.span(row)
    return (source.span(row.lpar[0])[0], source.span(row.rpar[-1])[1]) if row.lpar else (start, end)


def _only_function(source: Source, name: str) -> cst.FunctionDef:
    found = [node for node in source.tree.nodes(cst.FunctionDef, source.module) if node.name.value == name]
    if len(found) != 1:
        raise UnsureError(f"expected one test {name}, found {len(found)}")
    return found[0]


def _parametrization(source: Source, function: cst.FunctionDef) -> tuple[list[str], cst.List]:
    """Return the parameters' names and the rows of a test's one ``parametrize``."""
    for decorator in function.decorators:
        call = decorator.decorator
        if not (isinstance(call, cst.Call) and source.module.code_for_node(call.func).endswith("parametrize")):
            continue
        if len(call.args) == 2 and isinstance(call.args[1].value, cst.List) and call.args[1].value.elements:
            names = ast.literal_eval(source.module.code_for_node(call.args[0].value))
            if isinstance(names, str):
                return [name.strip() for name in names.split(",")], call.args[1].value
    raise UnsureError(
        f"expected {function.name.value} to be parametrized with a string of names and a list of rows",
        source.line(function),
    )


def _ordered(row: Row, names: Sequence[str], line: int) -> list[str]:
    """Return the row's values in the test's order."""
    missing = [name for name in names if name not in row.values]
    unknown = [name for name, value in row.values.items() if name not in names and value not in _OFF]
    if missing or unknown:
        text = f"has a parameter {missing[0]}" if missing else f"lacks the parameter {unknown[0]}"
        raise UnsureError(f"{row.test} {text}, and the new row does not fit it", line)
    return [row.values[name] for name in names]


def _methods_edit(source: Source, methods: str) -> Edit:
    """Return the edit that adds ``methods`` to the end of the file's last class."""
    last = source.module.body[-1] if source.module.body else None
    if not isinstance(last, cst.ClassDef) or not isinstance(last.body, cst.IndentedBlock):
        raise UnsureError("expected the test file to end with a class")
    newline = source.newline_near(0)
    indent = last.body.indent or source.module.default_indent
    text = textwrap.indent(methods.replace("    ", indent), indent).replace("\n", newline)
    gap = newline if source.text.endswith(newline) else 2 * newline
    return Edit(len(source.text), "", gap + text)
