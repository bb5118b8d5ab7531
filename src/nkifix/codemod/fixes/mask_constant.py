"""Defect ``mask-constant``: a real score may lie below the number that stands for "masked"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import (
    CORE,
    KERNEL,
    Assignment,
    added_before,
    keyword,
    only_assignment,
    only_function,
    replaced,
    says,
    without_comment,
)
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_OLD = -9984.0
_HELPER = "smallest_finite"
_CALL = f"{_HELPER}(acc_type)"
_CODE = f'''\
def {_HELPER}(dtype):
    """Value for what is masked: no score lies below it, and unlike -inf it may be subtracted from itself."""
    if dtype == nl.float32:
        return nl.fp32.min
    return -65504.0 if dtype == nl.float16 else -3.3895313892515355e38
'''


class MaskConstant(Fix):
    """Hide keys, and begin maxima and sums, with the smallest finite value of the accumulators' dtype.

    before -> after::

        NEG_INFINITY = -9984.0   ->   NEG_INFINITY = smallest_finite(acc_type)
        fill_value=-9984.0       ->   fill_value=smallest_finite(acc_type)       (l_buffer, m_buffer)
                                 ->   def smallest_finite(dtype): …

    A comment about the old number goes with it. In the mixed precision that users have this is float32's; otherwise the
    accumulators may have the query's dtype, in which float32's would be an infinity.
    """

    id: ClassVar[str] = "mask-constant"
    title: ClassVar[str] = "masked keys win over scores below about -9974"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        core = only_function(source, CORE)
        edits = [edit for value in _values(source, core) for edit in _edits(source, value)]
        helpers = source.tree.nodes(cst.FunctionDef, source.module)
        if edits and not any(node.name.value == _HELPER for node in helpers):
            edits.append(added_before(source, core, _CODE))
        return tuple(edits)


def _values(source: Source, core: cst.FunctionDef) -> Iterator[Assignment]:
    """Yield the places of the mask's fill and of the start of the running maximum and sum."""
    kernel = only_function(source, KERNEL)
    yield only_assignment(source, core, "NEG_INFINITY")
    for name in ("l_buffer", "m_buffer"):
        start = only_assignment(source, kernel, name)
        yield Assignment(start.line, keyword(source, start.value, "nl.full", "fill_value"))


def _edits(source: Source, place: Assignment) -> Iterator[Edit]:
    if says(place.value, _CALL):
        return
    if not _is_old(place.value):
        raise UnsureError(f"expected {_OLD} or {_CALL}", source.line(place.value))
    yield replaced(source, place.value, _CALL)
    trailing = place.line.trailing_whitespace
    if trailing.comment is not None and str(_OLD) in trailing.comment.value:
        yield without_comment(source, trailing)


def _is_old(value: cst.BaseExpression) -> bool:
    """Whether it is the old constant, in whatever spelling."""
    if isinstance(value, cst.UnaryOperation) and isinstance(value.operator, cst.Minus):
        number = value.expression
        return isinstance(number, (cst.Float, cst.Integer)) and number.evaluated_value == -_OLD
    return False
