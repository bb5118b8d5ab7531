from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped

ID = "fp32-output-rounding"
PLAIN = specimen(ID)
DTYPE = b", dtype=kernel_dtype)"


def test_fixes_the_dtype_alone() -> None:
    check_fixed(ID, PLAIN, (DTYPE, b", dtype=q.dtype)"))


def test_fixes_call_on_several_lines() -> None:
    before = swapped(PLAIN, (DTYPE, b",\n        dtype = (kernel_dtype),  # narrow\n    )"))
    check_fixed(ID, before, (b"(kernel_dtype)", b"(q.dtype)"))


@pytest.mark.parametrize("dtype", [b"q.dtype", b"o.dtype"])
def test_leaves_output_of_the_right_dtype(dtype: bytes) -> None:
    check_left(ID, swapped(PLAIN, (DTYPE, b", dtype=" + dtype + b")")))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        pytest.param(b", dtype=nl.float32)", "expected dtype=kernel_dtype or dtype=q.dtype", id="another dtype"),
        pytest.param(b")", "expected a call nl.multiply(…, dtype=…)", id="no dtype"),
    ],
)
def test_refuses_another_call(call: bytes, reason: str) -> None:
    check_refused(ID, swapped(PLAIN, (DTYPE, call)), reason, at=b"out = nl.multiply")


def test_refuses_output_that_is_no_product() -> None:
    before = swapped(PLAIN, (b"nl.multiply", b"nl.add"))
    check_refused(ID, before, "expected a call nl.multiply", at=b"nl.add")
