"""Defect ``keyless-rows``: a query that sees no key answers with what happens to be there."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import added_behind, keyword, only_assignment, only_function, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_FIELD = "windowed_context_encoding"
_WINDOW = "seqlen_k - 1 + sliding_window"
_AHEAD = f"seqlen_k - 1 if config.{_FIELD} else {_WINDOW}"
_CODE = """\
first_keyless = {first}
if sliding_window > 0 and first_keyless < seqlen_q:  # queries without a key give zeros
    i_p, i_f = nl.mgrid[0:B_P_SIZE, 0:B_D_SIZE]
    out[...] = nisa.affine_select(
        pred=(i * B_P_SIZE + i_p + 0 * i_f < first_keyless), on_true_tile=out, on_false_value=0.0
    )
"""


class KeylessRows(Fix):
    """Give zeros for the queries whose whole window lies behind the last key.

    before -> after::

        out = nl.multiply(…)   ->   out = nl.multiply(…)
                                    first_keyless = seqlen_k - 1 + sliding_window
                                    if sliding_window > 0 and first_keyless < seqlen_q:
                                        out[...] = nisa.affine_select(…, on_true_tile=out, on_false_value=0.0)

    Nothing is added to a call in which every query sees a key.
    """

    id: ClassVar[str] = "keyless-rows"
    title: ClassVar[str] = "a query whose window lies behind the last key gives a mean of values, not zeros"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        if any(_clears(call) for call in source.tree.nodes(cst.Call, kernel)):
            return ()
        anchor = only_assignment(source, kernel, "out")
        keyword(source, anchor.value, "nl.multiply", "dtype")
        for name, value in (("sliding_window", "left_window_size + 1"), ("i", "i0 * attn_core_tile_size + i1")):
            _require(source, kernel, name, value)
        ahead = any(name.value == _FIELD for name in source.tree.nodes(cst.Name, source.module))
        return (added_behind(source, anchor, _CODE.format(first=_AHEAD if ahead else _WINDOW)),)


def _clears(call: cst.Call) -> bool:
    """Whether it is a selection between ``out`` and zero."""
    if not says(call.func, "nisa.affine_select"):
        return False
    given = {argument.keyword.value: argument.value for argument in call.args if argument.keyword is not None}
    return {"on_true_tile", "on_false_value"} <= set(given) and (
        says(given["on_true_tile"], "out") and says(given["on_false_value"], "0.0")
    )


def _require(source: Source, kernel: cst.FunctionDef, name: str, value: str) -> None:
    """Refuse where ``name`` is anything but ``value``."""
    for statement in source.tree.nodes(cst.Assign, kernel):
        if says(statement.targets[0].target, name) and not says(statement.value, value):
            raise UnsureError(f"expected {name} = {value}", source.line(statement))
