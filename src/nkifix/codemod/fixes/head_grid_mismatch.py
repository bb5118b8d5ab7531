"""Defect ``head-grid-mismatch``: heads or batches that no program works on are never written."""

from __future__ import annotations

from typing import ClassVar

from nkifix.codemod.anchors import added_behind, has_assertion, only_assignment, only_function, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_HEADS = "h % k_h == 0"
_GRID = "(nl.num_programs(axes=0), nl.num_programs(axes=1)) == (b, k_h)"
_ASSERTIONS = {
    _HEADS: f"""\
assert {_HEADS}, f"{{h}} query heads cannot share {{k_h}} kv heads evenly: pass a multiple of kv heads"
""",
    _GRID: f"""\
assert {_GRID}, (
    f"the grid must be one program for each batch and kv head: launch flash_fwd[{{b}}, {{k_h}}](q, k, v, ...)"
)
""",
}


class HeadGridMismatch(Fix):
    """Refuse heads that kv heads cannot share evenly, and a grid that is not (batch, kv_heads).

    before -> after::

        q_h_per_k_h = h // k_h   ->   q_h_per_k_h = h // k_h
                                      assert h % k_h == 0, …
                                      assert (…) == (b, k_h), …
    """

    id: ClassVar[str] = "head-grid-mismatch"
    title: ClassVar[str] = "heads or batches are never written where head counts or grid do not fit"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        missing = [code for test, code in _ASSERTIONS.items() if not has_assertion(source, kernel, test)]
        if not missing:
            return ()
        anchor = only_assignment(source, kernel, "q_h_per_k_h")
        if not says(anchor.value, "h // k_h"):
            raise UnsureError("expected q_h_per_k_h = h // k_h", source.line(anchor.value))
        return (added_behind(source, anchor, "".join(missing)),)
