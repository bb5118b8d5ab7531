"""The real kernel file of both tags: its crash, and that the fix of the misspelled name changes nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import pytest

from nkifix.differential.cases import Array, Case, DtypeName
from tests.differential import calls
from tests.differential.calls import Kernels
from tests.upstream.files import TRN1, TRN2
from tests.upstream_clone import TAGS

pytestmark = pytest.mark.upstream

OLD, _ = TAGS
FLOATS: tuple[DtypeName, ...] = ("float32", "float16")
NEWER_FIELD = "windowed_context_encoding"


def table(cases: Sequence[Case], files: Iterable[tuple[str, str]] = TRN1) -> list[Any]:
    """Each case on each tag whose ``FlashConfig`` has its fields."""
    return [
        pytest.param(file, case, id=f"{file[0]}, {case.name}")
        for file in files
        for case in cases
        if not (file[0] == OLD and NEWER_FIELD in case.config)
    ]


@pytest.mark.parametrize(("kernels", "case"), table(calls.CRASHES_BEFORE), indirect=["kernels"])
def test_crashing_call_is_right_after_the_fix(kernels: Kernels, case: Case) -> None:
    calls.check_crashes_then_right(kernels, case)


@pytest.mark.parametrize(("kernels", "case"), table((*calls.RIGHT_BEFORE, *calls.ONLY_UPSTREAM)), indirect=["kernels"])
def test_right_call_is_unchanged_by_the_fix(kernels: Kernels, case: Case) -> None:
    calls.check_unchanged(kernels, case)


# The file takes another way to a transposed V where the chip is newer.
ON_TRN2 = (*calls.LAYOUTS, calls.MASKS[0], calls.HEADS[1], *calls.AHEAD[:1])


@pytest.mark.parametrize(("kernels", "case"), table(ON_TRN2, TRN2), indirect=["kernels"])
def test_right_call_is_unchanged_by_the_fix_on_trn2(kernels: Kernels, case: Case) -> None:
    calls.check_unchanged(kernels, case)


@pytest.mark.parametrize(
    ("kernels", "case"),
    table([case for case in calls.CRASHES_BEFORE if "V transposed" in case.name or case.name == "full"], TRN2),
    indirect=["kernels"],
)
def test_crashing_call_is_right_after_the_fix_on_trn2(kernels: Kernels, case: Case) -> None:
    calls.check_crashes_then_right(kernels, case)


@pytest.mark.parametrize(
    ("kernels", "case"),
    table([case for case in calls.CRASHES_BEFORE if case.use_causal_mask is not False]),
    indirect=["kernels"],
)
def test_default_window_answers_as_the_causal_mask_that_always_worked(kernels: Kernels, case: Case) -> None:
    spelled_out = replace(case, window_size=(-2, -1))
    assert calls.answer(kernels["fixed"], case).tobytes() == calls.answer(kernels["stock"], spelled_out).tobytes()


def as_bf16(answer: Array) -> bytes:
    return answer.astype(ml_dtypes.bfloat16).tobytes()


@pytest.mark.parametrize(
    ("kernels", "case"),
    table(
        [
            replace(case, dtype=dtype, name=f"{case.name}, {dtype}")
            for case in (calls.MASKS[1], calls.MASKS[7], calls.HEADS[1], calls.LAYOUTS[0])
            for dtype in FLOATS
        ]
    ),
    indirect=["kernels"],
)
def test_other_dtypes_are_unchanged_by_the_fix_up_to_bf16(kernels: Kernels, case: Case) -> None:
    before, after = calls.answer(kernels["stock"], case), calls.answer(kernels["fixed"], case)
    assert as_bf16(before) == as_bf16(after)


@pytest.mark.parametrize("kernels", [pytest.param(file, id=file[0]) for file in TRN1], indirect=True)
@pytest.mark.parametrize("version", ["stock", "fixed"])
def test_kernel_without_a_grid_of_two_dimensions_says_so(kernels: Kernels, version: str) -> None:
    q, k, v = calls.MASKS[0].inputs()
    with pytest.raises(AssertionError, match="Expect spmd grid with 2 dimensions, got 1 instead!"):
        kernels[version].module.flash_fwd[1](q, k, v)
