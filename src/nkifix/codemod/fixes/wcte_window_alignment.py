"""Defect ``wcte-window-alignment``: windowed context encoding skips keys that a tile's later queries see."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import CORE, KERNEL, only_function, replaced, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_FIELD = "windowed_context_encoding"
_TILES = {CORE: "q_tile_idx", KERNEL: "i"}
"""Function -> its number of the query tile."""
_LINE_LENGTH = 120


class WcteWindowAlignment(Fix):
    """Skip keys that no query of the tile sees, asking the last query, which sees furthest, instead of the first.

    before -> after, in the two tests for windowed context encoding::

        i * B_P_SIZE + sliding_window >= …   ->   (i + 1) * B_P_SIZE + sliding_window > …

    A file from before windowed context encoding has no such defect.
    """

    id: ClassVar[str] = "wcte-window-alignment"
    title: ClassVar[str] = "windowed context encoding loses keys where the window is no multiple of 128"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        functions = {name: only_function(source, name) for name in _TILES}
        names = (name.value for name in source.tree.nodes(cst.Name, source.module))
        if _FIELD not in names:
            return ()
        return tuple(edit for name, function in functions.items() for edit in _edits(source, function, _TILES[name]))


def _edits(source: Source, function: cst.FunctionDef, tile: str) -> tuple[Edit, ...]:
    tests = [node for node in source.tree.nodes(cst.Comparison, function) if len(node.comparisons) == 1]
    for test in tests:
        if _compares(test, f"({tile} + 1) * B_P_SIZE + sliding_window", cst.GreaterThan):
            return ()
    expected = f"{tile} * B_P_SIZE + sliding_window"
    wrong = [test for test in tests if _compares(test, expected, cst.GreaterThanEqual)]
    if len(wrong) != 1:
        where = source.line(wrong[1] if wrong else function)
        raise UnsureError(f"expected one test {expected} >= … in {function.name.value}, found {len(wrong)}", where)
    (number,) = (name for name in source.tree.nodes(cst.Name, wrong[0].left) if name.value == tile)
    edits = (replaced(source, number, f"({tile} + 1)"), replaced(source, wrong[0].comparisons[0].operator, ">"))
    return _broken_line(source, wrong[0], edits) or edits


def _broken_line(source: Source, test: cst.Comparison, edits: tuple[Edit, Edit]) -> tuple[Edit, Edit] | None:
    """Break the line before the operator if the edits would make it too long and parentheses allow it."""
    (start, end), (number, operator) = source.span(test), edits
    indent = source.text[source.line_start(start) : start]
    length = len(indent.expandtabs(4)) + end - start + sum(len(edit.after) - len(edit.before) for edit in edits)
    if not test.lpar or indent.strip(" \t") or length <= _LINE_LENGTH:
        return None
    gap = source.span(test.left)[1]
    before = source.text[gap : operator.end]
    if before != f" {operator.before}":
        return None
    return number, Edit(gap, before, f"{source.newline_near(gap)}{indent}{operator.after}")


def _compares(test: cst.Comparison, left: str, operator: type[cst.BaseCompOp]) -> bool:
    return says(test.left, left) and isinstance(test.comparisons[0].operator, operator)
