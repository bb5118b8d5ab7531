"""Defect ``zero-left-window``: a window of the query alone does not switch the causal mask on."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import only_assignment, only_function, replaced, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError


class ZeroLeftWindow(Fix):
    """Let a left window of 0 imply the causal mask, as every other one does.

    before -> after::

        True if left_window_size > 0 else …   ->   True if left_window_size >= 0 else …
    """

    id: ClassVar[str] = "zero-left-window"
    title: ClassVar[str] = "window_size=(0, -1) without the causal flag attends to everything"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        value = only_assignment(source, only_function(source), "use_causal_mask").value
        if isinstance(value, cst.IfExp) and says(value.body, "True") and says(value.orelse, "use_causal_mask"):
            if says(value.test, "left_window_size >= 0"):
                return ()
            if says(value.test, "left_window_size > 0"):
                assert isinstance(value.test, cst.Comparison)
                return (replaced(source, value.test.comparisons[0].operator, ">="),)
        raise UnsureError(
            "expected use_causal_mask to become True if left_window_size > 0, else to stay", source.line(value)
        )
