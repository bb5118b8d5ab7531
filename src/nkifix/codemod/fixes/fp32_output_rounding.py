"""Defect ``fp32-output-rounding``: an output of more digits than bfloat16 is rounded to bfloat16 first."""

from __future__ import annotations

from typing import ClassVar

from nkifix.codemod.anchors import keyword, only_assignment, only_function, replaced, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError


class Fp32OutputRounding(Fix):
    """Round the output once, to the dtype that it has.

    before -> after::

        out = nl.multiply(…, dtype=kernel_dtype)   ->   out = nl.multiply(…, dtype=q.dtype)
    """

    id: ClassVar[str] = "fp32-output-rounding"
    title: ClassVar[str] = "mixed precision rounds a float32 or float16 output to bfloat16"
    kind: ClassVar[Kind] = "precision"

    def find(self, source: Source) -> tuple[Edit, ...]:
        value = only_assignment(source, only_function(source), "out").value
        dtype = keyword(source, value, "nl.multiply", "dtype")
        if says(dtype, "q.dtype") or says(dtype, "o.dtype"):
            return ()
        if not says(dtype, "kernel_dtype"):
            raise UnsureError("expected dtype=kernel_dtype or dtype=q.dtype", source.line(dtype))
        return (replaced(source, dtype, "q.dtype"),)
