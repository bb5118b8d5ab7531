"""Known defects of the real kernel file that raise nothing on a device: the emulator or the oracle sees each.

They are what "right before the fix" is measured against: a harness that let one of these pass would prove nothing.
The fix of the misspelled name must leave all of them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.differential.budget import accuracy, budget
from nkifix.differential.cases import Case, DtypeName
from nkifix.differential.kernels import Answered, Crashed
from nkifix.differential.oracle import exact
from nkifix.emulator import KernelFault, UndefinedReadFault
from tests.differential.calls import Kernels
from tests.upstream.files import TRN1

pytestmark = pytest.mark.upstream

TILES = {"seq_tile_size": 512}
CALL = Case(name="causal", head_dim=32, seq_q=256, seq_k=512, window_size=(-2, -1), config=TILES)
FULL = replace(CALL, name="full", use_causal_mask=False, window_size=(-1, -1))
NOT_WRITTEN = "[err_tensor_output_not_written_to]"


def table(cases: Sequence[tuple[str, Case, str]], files: Sequence[tuple[str, str]] = TRN1) -> list[Any]:
    """Each call on each tag, in the versions that it names."""
    return [
        pytest.param(file, version, case, id=f"{file[0]}, {version}, {name}")
        for file in files
        for name, case, versions in cases
        for version in versions.split()
    ]


def crash(kernels: Kernels, version: str, case: Case) -> Crashed:
    result = kernels[version].call(case)
    assert isinstance(result, Crashed), "it answered"
    return result


def error_over_budget(kernels: Kernels, version: str, case: Case) -> float:
    """How wrong the kernel is, once it is known that the budget tells."""
    result = kernels[version].call(case)
    assert isinstance(result, Answered), result
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    measured = accuracy(result.output, truth, budget(case, q, k, v, truth))
    assert not measured.right, measured
    return measured.error


# ------------------------------------------------------------------------------------- seen by the emulator

BOTH = "stock fixed"
FLOATS: tuple[DtypeName, ...] = ("float32", "float16")


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table(
        [
            ("200 queries", replace(CALL, seq_q=200), BOTH),
            ("129 queries", replace(CALL, seq_q=129), BOTH),
            ("full, 200 queries", replace(FULL, seq_q=200), "fixed"),
            ("window, 300 queries", replace(CALL, seq_q=300, window_size=(63, -1)), BOTH),
        ]
    ),
    indirect=["kernels"],
)
def test_unwritten_query_rows_is_caught_by_the_emulator(kernels: Kernels, version: str, case: Case) -> None:
    message = crash(kernels, version, case).message
    unwritten = case.seq_q % 128 * case.head_dim
    first = case.seq_q // 128 * 128
    assert message.startswith(f"{NOT_WRITTEN} {unwritten} of {case.seq_q * case.head_dim} elements")
    assert f"the first at (0, 0, {first}, 0)" in message


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table([("100 queries", replace(CALL, seq_q=100), BOTH), ("full, 64", replace(FULL, seq_q=64), "fixed")]),
    indirect=["kernels"],
)
def test_unwritten_query_rows_below_one_tile_is_caught_by_the_emulator(
    kernels: Kernels, version: str, case: Case
) -> None:
    # No tile at all: the kernel asks for a buffer of no width before it comes to its output.
    assert crash(kernels, version, case).type_name == KernelFault.__name__


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table(
        [
            *((f"tile {n}", replace(CALL, seq_k=n, config={"seq_tile_size": n}), BOTH) for n in (640, 768, 1000, 1280)),
            *((f"full, tile {n}", replace(FULL, seq_k=n, config={"seq_tile_size": n}), "fixed") for n in (640, 1000)),
        ]
    ),
    indirect=["kernels"],
)
def test_key_tile_multiple_is_caught_by_the_emulator(kernels: Kernels, version: str, case: Case) -> None:
    seen = crash(kernels, version, case)
    assert seen.type_name == UndefinedReadFault.__name__
    assert "was never given a value there; first read by nc_matmul" in seen.message


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table(
        [
            ("7 heads on 2", replace(CALL, heads=7, kv_heads=2), BOTH),
            ("2 heads on 4", replace(CALL, heads=2, kv_heads=4), BOTH),
            ("full, 3 heads on 2", replace(FULL, heads=3, kv_heads=2), "fixed"),
        ]
    ),
    indirect=["kernels"],
)
def test_head_grid_mismatch_of_heads_is_caught_by_the_emulator(kernels: Kernels, version: str, case: Case) -> None:
    assert crash(kernels, version, case).message.startswith(NOT_WRITTEN)


@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
@pytest.mark.parametrize("kernels", [pytest.param(file, id=file[0]) for file in TRN1], indirect=True)
@pytest.mark.parametrize("version", BOTH.split())
@pytest.mark.parametrize(
    ("grid", "code"),
    [
        pytest.param((1, 2), "err_tensor_output_not_written_to", id="a batch left out"),
        pytest.param((2, 1), "err_tensor_output_not_written_to", id="a head left out"),
        pytest.param((1, 1), "err_tensor_output_not_written_to", id="both"),
        pytest.param((3, 2), "err_tensor_access_out_of_bound", id="a batch too many"),
        pytest.param((2, 3), "err_tensor_access_out_of_bound", id="a head too many"),
    ],
)
def test_head_grid_mismatch_of_the_grid_is_caught_by_the_emulator(
    kernels: Kernels, version: str, grid: tuple[int, int], code: str
) -> None:
    case = replace(CALL, batch=2, heads=2, kv_heads=2)
    module = kernels[version].module
    with pytest.raises(KernelFault) as fault:
        module.flash_fwd[grid](*case.inputs(), **case.keywords(module.FlashConfig))
    assert fault.value.code == code


# --------------------------------------------------------------------------------------- seen by the oracle


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table(
        [
            ("zero-left-window", replace(CALL, use_causal_mask=False, window_size=(0, -1)), BOTH),
            ("key-tile-multiple, a key dropped", replace(FULL, seq_k=513, config={"seq_tile_size": 513}), "fixed"),
            ("mask-constant, full", replace(FULL, head_dim=128, values="very negative logits"), "fixed"),
            ("mask-constant, causal", replace(CALL, head_dim=128, values="very negative logits"), BOTH),
            ("scale-zero", replace(CALL, softmax_scale=0.0), BOTH),
            ("keyless-rows", replace(CALL, seq_q=1024, window_size=(127, -1)), BOTH),
            ("unmixed-bf16-accumulators", replace(CALL, seq_q=512, mixed_precision=False), BOTH),
        ]
    ),
    indirect=["kernels"],
)
def test_silently_wrong_answer_is_over_budget(kernels: Kernels, version: str, case: Case) -> None:
    assert error_over_budget(kernels, version, case) > 0.01


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table(
        [
            (
                f"window {left + 1}",
                replace(
                    CALL,
                    seq_q=512,
                    seq_k=1024,
                    window_size=(left, -1),
                    config={**TILES, "windowed_context_encoding": True},
                ),
                BOTH,
            )
            for left in (99, 199)
        ],
        TRN1[1:],
    ),
    indirect=["kernels"],
)
def test_wcte_window_alignment_is_over_budget(kernels: Kernels, version: str, case: Case) -> None:
    assert error_over_budget(kernels, version, case) > 0.1


@pytest.mark.parametrize(
    ("kernels", "version", "case"),
    table([(dtype, replace(CALL, dtype=dtype), BOTH) for dtype in FLOATS]),
    indirect=["kernels"],
)
def test_fp32_output_rounding_is_seen_in_the_bits(kernels: Kernels, version: str, case: Case) -> None:
    result = kernels[version].call(case)
    assert isinstance(result, Answered)
    rounded = result.output.astype(ml_dtypes.bfloat16).astype(result.output.dtype)
    np.testing.assert_array_equal(result.output, rounded)
