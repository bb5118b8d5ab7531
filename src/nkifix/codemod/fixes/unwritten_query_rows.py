"""Defect ``unwritten-query-rows``: queries past the last whole tile get no answer, and nobody is told."""

from __future__ import annotations

from typing import ClassVar

from nkifix.codemod.anchors import added_behind, has_assertion, only_assignment, only_function, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_TEST = "seqlen_q % B_P_SIZE == 0"
_ASSERTION = f"""\
assert {_TEST}, (
    f"seqlen_q={{seqlen_q}} is no multiple of {{B_P_SIZE}}, the rows behind the last one would not be written: "
    "pad q with zeros and drop those rows of the output"
)
"""


class UnwrittenQueryRows(Fix):
    """Refuse a number of queries that leaves a tile unfinished.

    before -> after::

        n_tile_q = seqlen_q // B_P_SIZE   ->   n_tile_q = seqlen_q // B_P_SIZE
                                               assert seqlen_q % B_P_SIZE == 0, …
    """

    id: ClassVar[str] = "unwritten-query-rows"
    title: ClassVar[str] = "rows past the last multiple of 128 queries are never written"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        if has_assertion(source, kernel, _TEST):
            return ()
        anchor = only_assignment(source, kernel, "n_tile_q")
        if not says(anchor.value, "seqlen_q // B_P_SIZE"):
            raise UnsureError("expected n_tile_q = seqlen_q // B_P_SIZE", source.line(anchor.value))
        return (added_behind(source, anchor, _ASSERTION),)
