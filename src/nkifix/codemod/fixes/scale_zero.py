"""Defect ``scale-zero``: a softmax scale of 0.0 is taken for none."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import only_assignment, only_function, replaced, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_NAME = "softmax_scale"


class ScaleZero(Fix):
    """Take the default scale only where none is given.

    before -> after::

        softmax_scale = softmax_scale or …   ->   softmax_scale = softmax_scale if softmax_scale is not None else …
    """

    id: ClassVar[str] = "scale-zero"
    title: ClassVar[str] = "softmax_scale=0.0 is replaced by the default"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        value = only_assignment(source, only_function(source), _NAME).value
        if isinstance(value, cst.IfExp) and any(says(value.test, f"{_NAME} {test} None") for test in ("is", "is not")):
            return ()
        if (
            isinstance(value, cst.BooleanOperation)
            and isinstance(value.operator, cst.Or)
            and says(value.left, _NAME)
            and not isinstance(value.right, (cst.IfExp, cst.Lambda, cst.NamedExpr))
        ):
            return (replaced(source, value.operator, f"if {_NAME} is not None else"),)
        raise UnsureError(f"expected {_NAME} = {_NAME} or a default", source.line(value))
