"""Defect ``default-window-tile-skip``: the default window computes the key tiles that no query sees."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import only_function, replaced, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError


class DefaultWindowTileSkip(Fix):
    """Skip the key tiles above the diagonal for the documented window (-1, -1), too.

    The window counts the query itself, so (-1, -1) gives 0, and only (-2, -1) and below gave a negative number.

    before -> after::

        if … and sliding_window < 0:   ->   if … and sliding_window <= 0:
    """

    id: ClassVar[str] = "default-window-tile-skip"
    title: ClassVar[str] = "the default window computes the key tiles above the diagonal for nothing"
    kind: ClassVar[Kind] = "speed"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        tests = [node.test for node in source.tree.nodes(cst.If, kernel)]
        if any(_is_causal(test, "sliding_window <= 0") for test in tests):
            return ()
        wrong = [test for test in tests if _is_causal(test, "sliding_window < 0")]
        if len(wrong) != 1:
            raise UnsureError(
                f"expected one if for the causal mask and sliding_window < 0, found {len(wrong)}", source.line(kernel)
            )
        (operator,) = source.tree.nodes(cst.LessThan, wrong[0])
        return (replaced(source, operator, "<="),)


def _is_causal(test: cst.BaseExpression, window: str) -> bool:
    """Whether ``test`` asks for the causal mask and that condition of the window."""
    return (
        isinstance(test, cst.BooleanOperation)
        and isinstance(test.operator, cst.And)
        and says(test.left, "use_causal_mask")
        and says(test.right, window)
    )
