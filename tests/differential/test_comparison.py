"""What two kernels' answers come to, on kernels made to give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nkifix.backends import EmulatorBackend, Latency
from nkifix.differential.cases import Array, Case
from nkifix.differential.comparison import Compared, case_of, compare
from nkifix.differential.kernels import LoadedKernel, loaded
from nkifix.differential.matrix import Refused
from nkifix.differential.models import Scaled
from nkifix.differential.oracle import exact, low_precision
from nkifix.differential.references import resolve
from nkifix.differential.signatures import signature_differences
from nkifix.differential.status import Status
from nkifix.profiling.mask import MaskTracker

CASE = Case(name="causal", head_dim=8, seq_q=16, seq_k=16, heads=2, kv_heads=2)

PLAIN = """
from dataclasses import dataclass, field

calls = []


@dataclass(frozen=True)
class FlashConfig:
    seq_tile_size: int = 2048


class Kernel:
    def __getitem__(self, grid):
        return self

    def __call__(self, q, k, v, window_size=None, use_causal_mask=True, config=None):
        calls.append(q)
        return answer(q, k, v)


flash_fwd = Kernel()
"""
RIGHT = "return right(q, k, v)"
WRONG = "return right(q, k, v) + right(q, k, v)"
CRASH = 'raise LookupError("no")'


def source(body: str) -> bytes:
    """A kernel file that computes on no device: its answer is ``body``."""
    return (PLAIN + f"\n\ndef answer(q, k, v):\n    {dedent(body)}\n").encode()


def right(q: Array, k: Array, v: Array) -> Array:
    return low_precision(replace(CASE, head_dim=q.shape[2]), q, k, v)


def compared(baseline: str, comparison: str, row: Any = CASE, backend: Any = None) -> Compared:
    with loaded({"baseline": source(baseline), "comparison": source(comparison)}, backend=backend) as kernels:
        for kernel in kernels.values():
            kernel.module.right = right  # type: ignore[attr-defined]
            kernel.module.np = np  # type: ignore[attr-defined]
        return compare(row, kernels["baseline"], kernels["comparison"])


CLOSE = "answer = right(q, k, v).copy(); answer.flat[5] = answer.astype('f4').flat[5] * 1.004; return answer"
"""One element of bfloat16 goes to its neighbour."""


@pytest.mark.parametrize(
    ("baseline", "comparison", "status"),
    [
        (RIGHT, RIGHT, Status.IDENTICAL),
        (RIGHT, CLOSE, Status.WITHIN_BUDGET),
        (CRASH, RIGHT, Status.CRASH_CURED),
        (WRONG, RIGHT, Status.ANSWER_CURED),
        (CRASH, CRASH, Status.BOTH_CRASHED),
        (WRONG, WRONG, Status.BOTH_WRONG),
        (RIGHT, WRONG, Status.REGRESSED),
        (RIGHT, CRASH, Status.CRASHED),
        (WRONG, CRASH, Status.CRASHED),
        (CRASH, WRONG, Status.STILL_WRONG),
        (WRONG, WRONG.replace("+", "*"), Status.WRONG_OTHERWISE),
        (RIGHT, "return right(q, k, v) if len(calls) % 2 else -right(q, k, v)", Status.UNSTEADY),
        (RIGHT, "if len(calls) > 1: raise OSError\n    return right(q, k, v)", Status.UNSTEADY),
    ],
)
def test_status_of_two_answers(baseline: str, comparison: str, status: Status) -> None:
    assert compared(baseline, comparison).status is status


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param("return np.zeros_like(v)", "every element is 0", id="zeros"),
        pytest.param("return np.full_like(v, 2)", "every element is 2", id="constant"),
        pytest.param("return v", "the answer is a copy of V", id="copy of V"),
        pytest.param("return right(q, k, v).astype('f4')", "the dtype is float32, not bfloat16", id="dtype"),
        pytest.param("return right(q, k, v)[:, :1]", "the shape is (1, 1, 16, 8), not (1, 2, 16, 8)", id="shape"),
    ],
)
def test_answer_that_takes_no_work_never_passes(body: str, fault: str) -> None:
    found = compared(RIGHT, body)
    assert found.status is Status.REGRESSED
    assert found.comparison.fault == fault


def test_copy_of_v_is_right_where_a_query_sees_one_key() -> None:
    case = replace(CASE, window_size=(0, -1))
    found = compared("return v", "return v", case)
    assert found.status is Status.IDENTICAL


def test_errors_stand_beside_that_of_a_reference() -> None:
    found = compared(RIGHT, WRONG)
    assert found.baseline.accuracy is not None
    assert found.comparison.accuracy is not None
    assert found.baseline.accuracy.error == found.reference_error
    assert found.comparison.accuracy.error > 10 * found.baseline.accuracy.error
    assert found.differences is not None
    assert found.differences.first == (0, 0, 0, 0)
    assert found.truth is not None
    np.testing.assert_array_equal(found.truth, exact(CASE, *CASE.inputs()))


def test_call_that_a_kernel_does_not_have_is_open_and_says_why() -> None:
    found = compared(RIGHT, RIGHT, replace(CASE, config={"windowed_context_encoding": True}))
    assert found.status is Status.NOT_EXPRESSIBLE
    assert found.reason == "its FlashConfig has no windowed_context_encoding"


# --------------------------------------------------------------------------------------------- refusals

REFUSED = Refused(CASE, "no", grid=(3,), v_shape=(1, 2, 8))


@pytest.mark.parametrize(
    ("baseline", "comparison", "status"),
    [
        (CRASH, CRASH, Status.REFUSED),
        (RIGHT, CRASH, Status.REFUSED),
        (CRASH, "return v", Status.REFUSAL_LOST),
        ("return v", "return v", Status.NEITHER_REFUSED),
    ],
)
def test_status_of_a_call_without_a_meaning(baseline: str, comparison: str, status: Status) -> None:
    found = compared(baseline, comparison, REFUSED)
    assert found.status is status
    assert found.case is CASE


def test_call_without_a_meaning_has_the_shape_it_asks_for() -> None:
    found = compared("return v", "raise LookupError(v.shape)", REFUSED)
    assert found.comparison.result.message == "(1, 2, 8)"  # type: ignore[union-attr]


# ----------------------------------------------------------------------------------------------- poison

POISONED = replace(CASE, seq_q=300, seq_k=640, head_dim=8, values="NaN at one key", config={"seq_tile_size": 512})
CLEAN = "answer = clean(q, k, v).copy(); "


def poisoned(body: str, *, tiles: Mapping[str, str] | None = None, case: Case = POISONED) -> Compared:
    """A right answer, spoiled by ``body``, against itself; ``tiles`` are what was computed."""

    def clean(*_: Array) -> Array:
        return low_precision(case.clean, *case.clean.inputs())

    def tracker(queries: int, keys: int) -> Any:
        made = type("Tracker", (), {"__call__": lambda self, event: None})()
        made.picture = SimpleNamespace(kinds=np.array([list(map(int, row)) for row in tiles or ()], dtype=np.uint8))
        return made

    with loaded({"one": source(CLEAN + body + "; return answer")}) as kernels:
        kernels["one"].module.clean = clean  # type: ignore[attr-defined]
        return compare(case, kernels["one"], kernels["one"], tracker=tracker if tiles else None)


def test_rows_that_see_the_poison_may_hold_anything() -> None:
    case = replace(POISONED, seq_q=640)  # the key is 480
    found = poisoned("answer[:, :, 480:] = float('nan')", case=case)
    assert found.status is Status.IDENTICAL
    assert found.comparison.poisoned_rows == 0


@pytest.mark.parametrize(
    ("tiles", "rows", "status"),
    [
        pytest.param(None, "0:2", Status.IDENTICAL, id="tile that must be computed"),
        pytest.param(["20", "20", "20"], "0:2", Status.IDENTICAL, id="tile that was computed"),
        pytest.param(["02", "20", "20"], "0:2", Status.BOTH_WRONG, id="tile that was skipped"),
        pytest.param(["20", "02", "20"], "130:132", Status.BOTH_WRONG, id="second tile skipped"),
    ],
)
def test_rows_whose_tile_holds_the_poison_may_be_poisoned_and_are_counted(
    tiles: Any, rows: str, status: Status
) -> None:
    found = poisoned(f"answer[:, :, {rows}] = float('inf')", tiles=tiles)  # two heads
    assert found.status is status
    assert found.comparison.poisoned_rows == (4 if status is Status.IDENTICAL else 0)


def test_rows_that_are_finite_must_be_right_beside_the_poison() -> None:
    found = poisoned("answer[:, :, 0:2] = 7.0")
    assert found.status is Status.BOTH_WRONG


def test_finite_inputs_have_no_poisoned_rows() -> None:
    assert compared(RIGHT, RIGHT).comparison.poisoned_rows is None


# -------------------------------------------------------------------------------- real kernel, hardware


@pytest.fixture(scope="module")
def vendored() -> Any:
    with loaded({"vendored": resolve("vendored").source}) as kernels:
        yield kernels["vendored"]


def test_costs_and_tiles_are_those_of_the_call(vendored: LoadedKernel) -> None:
    found = compare(replace(CASE, seq_q=130, seq_k=600), vendored, vendored, tracker=MaskTracker)
    cost = found.comparison.cost
    assert cost is not None
    assert cost.dma_bytes > 0
    assert cost.bound_seconds == max(cost.busy_seconds.values()) > 0
    assert found.comparison.tiles is not None
    assert found.comparison.tiles.tolist() == [[1, 0], [1, 0]]
    assert found.baseline.latency is None


def test_scaled_call_is_priced_at_its_full_length(vendored: LoadedKernel) -> None:
    row = Scaled(CASE, replace(CASE, seq_q=256, seq_k=256))
    found, small, large = (compare(one, vendored, vendored) for one in (row, row.case, row.priced))
    assert found.row is row
    assert case_of(row) is CASE
    assert found.status is Status.IDENTICAL
    assert found.comparison.cost == large.comparison.cost != small.comparison.cost


def test_scaled_call_that_crashes_has_no_price() -> None:
    found = compared(RIGHT, CRASH, Scaled(CASE, CASE))
    assert found.status is Status.CRASHED
    assert found.comparison.crashed


class Hardware(EmulatorBackend):
    """A backend that measures, and suspects."""

    is_hardware = True

    def latency(self, *args: Any, **keywords: Any) -> Latency | None:
        return Latency((1.0, 2.0, 3.0))


def test_hardware_measures_and_its_zeros_are_flagged() -> None:
    found = compared(RIGHT, "return np.zeros_like(v)", backend=Hardware())
    assert found.comparison.fault == "every element is zero"
    assert found.baseline.latency == Latency((1.0, 2.0, 3.0))


# -------------------------------------------------------------------------------------------- signatures


def test_same_kernel_has_no_signature_differences(vendored: LoadedKernel) -> None:
    assert signature_differences(vendored, vendored) == []


def test_signature_differences_are_told_in_words() -> None:
    header = "from dataclasses import dataclass, field\n\n@dataclass\nclass FlashConfig:\n"
    one = header + "    size: int = 1\n    old: str = ''\ndef flash_fwd(q, k, v, scale=None, gone=1): ...\n"
    other = header + "    names: list = field(default_factory=list)\n    size: int = 2\n"
    other += "def flash_fwd(q, v, k, scale=1.0, seed=0): ...\n"
    with loaded({"one": one.encode(), "other": other.encode()}) as kernels:
        assert signature_differences(kernels["one"], kernels["other"]) == [
            "parameter scale: None in the baseline, 1.0 in the comparison",
            "parameter gone (1): only the baseline has it",
            "parameter seed (0): only the comparison has it",
            "order of parameters: q, k, v, scale, gone in the baseline, q, v, k, scale, seed in the comparison",
            "FlashConfig field size: 1 in the baseline, 2 in the comparison",
            "FlashConfig field old (''): only the baseline has it",
            "FlashConfig field names (no default): only the comparison has it",
        ]
