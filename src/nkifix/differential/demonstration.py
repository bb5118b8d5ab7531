"""The project's main claim on one kernel file: it crashes, the fix is small, the fixed file is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from nkifix.differential.budget import Accuracy, accuracy, budget, is_trivial, largest_error
from nkifix.differential.cases import Case
from nkifix.differential.kernels import Answered, Crashed, LoadedKernel, Result, loaded
from nkifix.differential.oracle import Float64s, exact

TILES_OF_512 = {"seq_tile_size": 512}

CRASHING = (
    Case(name="default call"),
    Case(name="full attention", use_causal_mask=False),
    Case(name="full, fewer queries", use_causal_mask=False, head_dim=128, seq_q=512),
    Case(name="default, grouped heads", heads=2, head_dim=32),
)
"""Calls that the misspelled name makes crash, by its trigger: a left window of -1, whatever the causal flag."""

WORKING = (
    Case(name="causal, window (-2, -1)", window_size=(-2, -1)),
    Case(
        name="causal, d 128, V transposed",
        window_size=(-2, -1),
        head_dim=128,
        seq_q=512,
        config={"should_transpose_v": True},
    ),
    Case(name="causal, tiles of 512", window_size=(-2, -1), seq_q=1024, seq_k=1024, config=TILES_OF_512),
    Case(name="causal, more queries", window_size=(-2, -1), seq_q=1024, seq_k=512, config=TILES_OF_512),
    Case(
        name="causal, batch 2, 4/2 heads",
        window_size=(-2, -1),
        batch=2,
        heads=4,
        kv_heads=2,
        seq_q=512,
        seq_k=512,
        config=TILES_OF_512,
    ),
    Case(name="causal, 3/1 heads", window_size=(-2, -1), heads=3, seq_q=512, seq_k=512, config=TILES_OF_512),
    Case(name="window (127, -1)", window_size=(127, -1), seq_q=1024, seq_k=1024, config=TILES_OF_512),
    Case(name="window (300, -1)", window_size=(300, -1), use_causal_mask=False),
    Case(name="windowed context", window_size=(511, -1), seq_q=512, config={"windowed_context_encoding": True}),
)
"""Calls on which the stock kernel is right: the fix must not change a byte of their answers."""


@dataclass(frozen=True)
class Row:
    """One case: what both kernels did, and whether what is claimed of it held.

    Attributes
    ----------
    stock_accuracy, fixed_accuracy:
        The answers against the float64 oracle; None where the kernel crashed.
    stock_to_fixed:
        Largest absolute difference of both answers, 0.0 for identical bytes; None where one crashed.
    failed:
        What did not hold, in words; "" where all held.
    """

    case: Case
    stock: Result
    fixed: Result
    stock_accuracy: Accuracy | None
    fixed_accuracy: Accuracy | None
    stock_to_fixed: float | None
    identical: bool
    failed: str


@dataclass(frozen=True)
class Demonstration:
    """All rows, the cases left out because the file's ``FlashConfig`` lacks a field, and the emulator's warnings."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether something was claimed, and everything claimed held."""
        return bool(self.rows) and all(not row.failed for row in self.rows)


def demonstrate(
    stock: bytes,
    fixed: bytes,
    *,
    progress: Callable[[str], None],
    cases: tuple[Case, ...] = CRASHING + WORKING,
) -> Demonstration:
    """Run both versions of a kernel file on the emulator, case by case.

    Parameters
    ----------
    stock, fixed:
        The file's bytes before and after the fix.
    progress:
        Called with the name of each case before it runs.
    cases:
        What to run. Those of :data:`CRASHING` are claimed to crash before; all others to be right before.

    Raises
    ------
    RefusalError
        Where a version cannot be imported.
    """
    rows, left_out = [], []
    with loaded({"stock": stock, "fixed": fixed}) as kernels:
        known = {field.name for field in fields(kernels["stock"].module.FlashConfig)}
        for case in cases:
            if set(case.config) <= known:
                progress(case.name)
                rows.append(_row(case, kernels["stock"], kernels["fixed"]))
            else:
                left_out.append(case.name)
        warnings = {text: None for kernel in kernels.values() for text in kernel.warned}
    return Demonstration(tuple(rows), tuple(left_out), tuple(warnings))


def _row(case: Case, stock_kernel: LoadedKernel, fixed_kernel: LoadedKernel) -> Row:
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    allowed = budget(case, q, k, v, truth)
    stock, fixed = stock_kernel.call(case), fixed_kernel.call(case)
    stock_accuracy, fixed_accuracy = _accuracy(stock, truth, allowed), _accuracy(fixed, truth, allowed)
    identical, difference = _compared(stock, fixed)
    before = _expected_crash(stock) if case in CRASHING else _expected_identity(stock_accuracy, identical, difference)
    return Row(
        case=case,
        stock=stock,
        fixed=fixed,
        stock_accuracy=stock_accuracy,
        fixed_accuracy=fixed_accuracy,
        stock_to_fixed=difference,
        identical=identical,
        failed="; ".join(filter(None, (before, _expected_right(fixed, fixed_accuracy)))),
    )


def _accuracy(result: Result, truth: Float64s, allowed: Float64s) -> Accuracy | None:
    return accuracy(result.output, truth, allowed) if isinstance(result, Answered) else None


def _compared(stock: Result, fixed: Result) -> tuple[bool, float | None]:
    if not (isinstance(stock, Answered) and isinstance(fixed, Answered)):
        return False, None
    a, b = stock.output, fixed.output
    identical = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return identical, 0.0 if identical else largest_error(a, b.astype(np.float64))


def _expected_crash(stock: Result) -> str:
    if isinstance(stock, Crashed) and stock.type_name == "UnboundLocalError" and "'causal_mask'" in stock.message:
        return ""
    seen = "it answered" if isinstance(stock, Answered) else f"it raised {stock.in_words()}"
    return f"the stock kernel was to raise UnboundLocalError for 'causal_mask', but {seen}"


def _expected_right(fixed: Result, accuracy: Accuracy | None) -> str:
    if isinstance(fixed, Crashed):
        return f"the fixed kernel raised {fixed.in_words()}"
    assert accuracy is not None
    if is_trivial(fixed.output):
        return "the fixed kernel's answer is one constant"
    return "" if accuracy.right else f"the fixed kernel's answer is wrong by up to {accuracy.error:.1e}"


def _expected_identity(stock: Accuracy | None, identical: bool, difference: float | None) -> str:
    if stock is None or not stock.right:
        seen = "it crashed" if stock is None else f"it is wrong by up to {stock.error:.1e}"
        return f"the stock kernel was to be right here, but {seen}"
    if identical:
        return ""
    return "stock and fixed answers differ" + ("" if difference is None else f" by up to {difference:.1e}")
