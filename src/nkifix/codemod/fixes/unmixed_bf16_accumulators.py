"""Defect ``unmixed-bf16-accumulators``: without mixed precision, sums and maxima have the digits of the input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import end_with_parentheses, only_assignment, only_function, says
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

_FLOAT32 = ("np.dtype(np.float32)", "np.float32", "nl.float32")
_DOCUMENTED = re.compile(r"Otherwise\s+the\s+(intermediates)\s+will\b")


class UnmixedBf16Accumulators(Fix):
    """Accumulate in float32 whatever the dtype of the inputs.

    before -> after::

        acc_type = np.dtype(np.float32) if …   ->   acc_type = np.dtype(np.float32)

    and the docstring says that only the matmul operands have the type of the inputs.
    """

    id: ClassVar[str] = "unmixed-bf16-accumulators"
    title: ClassVar[str] = "mixed_precision=False accumulates in bfloat16 or float16"
    kind: ClassVar[Kind] = "precision"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        value = only_assignment(source, kernel, "acc_type").value
        if any(says(value, dtype) for dtype in _FLOAT32):
            return ()
        if not (
            isinstance(value, cst.IfExp)
            and any(says(value.body, dtype) for dtype in _FLOAT32)
            and says(value.test, "mixed_precision")
            and says(value.orelse, "kernel_dtype")
        ):
            raise UnsureError(
                "expected acc_type to be float32 if mixed_precision, else kernel_dtype", source.line(value)
            )
        start, (_, end) = end_with_parentheses(source, value.body), source.span(value)
        return (Edit(start, source.text[start:end], ""), *_documented(source, kernel))


def _documented(source: Source, kernel: cst.FunctionDef) -> Iterator[Edit]:
    """Put the docstring's sentence right, if it has the one that is wrong now."""
    start, end = source.span(kernel)
    for found in _DOCUMENTED.finditer(source.text, start, end):
        yield Edit(found.start(1), found[1], "matmul operands")
