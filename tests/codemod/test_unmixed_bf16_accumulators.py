from __future__ import annotations

import pytest

from tests.codemod.fixing import check_fixed, check_left, check_refused, specimen, swapped

ID = "unmixed-bf16-accumulators"
PLAIN = specimen(ID)
VALUE = b"(np.float32) if mixed_precision else kernel_dtype"
DOCS = (b"Otherwise the intermediates\n", b"Otherwise the matmul operands\n")


def test_fixes_the_dtype_and_the_docs() -> None:
    check_fixed(ID, PLAIN, (b"(np.float32) if mixed_precision else kernel_dtype", b"(np.float32)"), DOCS)


@pytest.mark.parametrize("dtype", [b"np.dtype(np.float32)", b"nl.float32", b"np.dtype((np.float32),)"])
def test_fixes_other_spellings_of_the_dtype(dtype: bytes) -> None:
    before = swapped(PLAIN, (VALUE, dtype + b" if mixed_precision else (kernel_dtype)  # sums"))
    check_fixed(ID, before, (b" if mixed_precision else (kernel_dtype)  #", b"  #"), DOCS)


def test_fixes_annotated_assignment() -> None:
    before = swapped(PLAIN, (b"acc_type = ", b"acc_type: object = "), (b"    total =", b"    near: int\n    total ="))
    check_fixed(ID, before, (VALUE, b"(np.float32)"), DOCS)


def test_fixes_choice_on_several_lines() -> None:
    before = swapped(
        PLAIN, (VALUE, b"(\n        np.float32\n        if mixed_precision\n        else kernel_dtype\n    )")
    )
    check_fixed(ID, before, (b"\n        if mixed_precision\n        else kernel_dtype\n", b"\n"), DOCS)


def test_fixes_kernel_with_other_docs() -> None:
    check_fixed(ID, swapped(PLAIN, (b"the intermediates", b"all")), (VALUE, b"(np.float32)"))


def test_leaves_docs_of_a_kernel_that_is_right() -> None:
    check_left(ID, swapped(PLAIN, (VALUE, b"np.float32")))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"kernel_dtype", id="narrow"),
        pytest.param(b"np.float64 if mixed_precision else kernel_dtype", id="wider"),
        pytest.param(b"np.float32 if near else kernel_dtype", id="another question"),
        pytest.param(b"np.float32 if mixed_precision else q.dtype", id="another dtype"),
    ],
)
def test_refuses_another_choice(value: bytes) -> None:
    check_refused(ID, swapped(PLAIN, (VALUE, value)), "expected acc_type to be float32 if mixed", at=b"acc_type = ")
