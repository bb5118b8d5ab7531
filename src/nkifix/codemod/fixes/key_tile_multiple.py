"""Defect ``key-tile-multiple``: some key tile sizes drop keys, or read memory that was never written."""

from __future__ import annotations

from typing import ClassVar

from nkifix.codemod.anchors import added_behind, has_assertion, only_assignment, only_function, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_TEST = "LARGE_TILE_SZ % (B_F_SIZE if LARGE_TILE_SZ <= 4096 else 2048) == 0"
_ASSERTION = f"""\
assert {_TEST}, (
    f"seq_tile_size={{LARGE_TILE_SZ}} would lose keys: pass a multiple of {{B_F_SIZE}}, beyond 4096 one of 2048"
)
"""


class KeyTileMultiple(Fix):
    """Refuse a key tile that the two loops over it do not cover.

    Scores are taken in blocks of 512 keys, weights in halves of the tile or, beyond 4096 keys, in blocks of 2048.

    before -> after::

        num_large_k_tile = seqlen_k // LARGE_TILE_SZ   ->   num_large_k_tile = seqlen_k // LARGE_TILE_SZ
                                                            assert LARGE_TILE_SZ % (…) == 0, …
    """

    id: ClassVar[str] = "key-tile-multiple"
    title: ClassVar[str] = "a seq_tile_size that is no multiple of 512 drops keys or reads uninitialised memory"
    kind: ClassVar[Kind] = "silent"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        if has_assertion(source, kernel, _TEST):
            return ()
        anchor = only_assignment(source, kernel, "num_large_k_tile")
        if not says(anchor.value, "seqlen_k // LARGE_TILE_SZ"):
            raise UnsureError("expected num_large_k_tile = seqlen_k // LARGE_TILE_SZ", source.line(anchor.value))
        return (added_behind(source, anchor, _ASSERTION),)
