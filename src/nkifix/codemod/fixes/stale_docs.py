"""Defect ``stale-docs``: the docstring names arguments that there are not, and a comment the wrong mask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import only_function
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.fixes.misspelled_causal_mask import comment_edits
from nkifix.codemod.source import Edit, Source

_OLD_ARGUMENT = re.compile(r"(?<![^\r\n])[ \t]*-[ \t]*(causal_mask)[ \t]*:")
_OLD_FIELD = re.compile(r"(?<![^\r\n])[ \t]*(?:-[ \t]*)?training[ \t]*:[^\r\n]*(?:\r\n?|\n)")
_UNUSED_FIELD = "lse_dtype"


class StaleDocs(Fix):
    """Name the arguments that there are.

    before -> after::

        - causal_mask: …      ->   - use_causal_mask: …      (docstring of the kernel)
        training: …           ->                             (the line goes)
        lse_dtype: str = ""   ->   lse_dtype: str = ""  # unused
        # casual mask         ->   # causal mask

    Words that are not there need no fix: a kernel with other docs counts as fixed.
    """

    id: ClassVar[str] = "stale-docs"
    title: ClassVar[str] = "docstring and comments name things that do not exist"
    kind: ClassVar[Kind] = "doc"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        return (*_docstring_edits(source, kernel), *_field_edits(source), *comment_edits(source))


def _docstring_edits(source: Source, kernel: cst.FunctionDef) -> Iterator[Edit]:
    docstring = _docstring(kernel)
    if docstring is None:
        return
    start, end = source.span(docstring)
    for found in _OLD_ARGUMENT.finditer(source.text, start, end):
        yield Edit(found.start(1), found[1], "use_causal_mask")
    for found in _OLD_FIELD.finditer(source.text, start, end):
        yield Edit(found.start(), found[0], "")


def _docstring(function: cst.FunctionDef) -> cst.SimpleString | None:
    first = function.body.body[0]
    expression = first.body[0] if isinstance(first, cst.SimpleStatementLine) else None
    if isinstance(expression, cst.Expr) and isinstance(expression.value, cst.SimpleString):
        return expression.value
    return None


def _field_edits(source: Source) -> Iterator[Edit]:
    """Say that the field is unused, where it is and nothing stands behind it."""
    if sum(name.value == _UNUSED_FIELD for name in source.tree.nodes(cst.Name, source.module)) != 1:
        return
    for line in source.tree.nodes(cst.SimpleStatementLine, source.module):
        if isinstance(line.body[-1], cst.AnnAssign):
            target = line.body[-1].target
            trailing = line.trailing_whitespace
            if isinstance(target, cst.Name) and target.value == _UNUSED_FIELD and trailing.comment is None:
                yield Edit(source.span(line.body[-1])[1], "", "  # unused")
