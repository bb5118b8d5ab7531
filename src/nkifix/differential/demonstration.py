"""The project's main claim on one kernel file: it crashes, the fix is small, the fixed file is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from nkifix.differential.budget import budget, is_trivial, largest_error
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
    stock_error, fixed_error:
        Largest absolute difference from the float64 oracle; None where the kernel crashed.
    stock_to_fixed:
        Largest absolute difference of both answers, 0.0 for identical bytes; None where one crashed.
    tolerance:
        The budget that the errors are held against.
    failed:
        What did not hold, in words; "" where all held.
    """

    case: Case
    stock: Result
    fixed: Result
    stock_error: float | None
    fixed_error: float | None
    stock_to_fixed: float | None
    identical: bool
    tolerance: float
    failed: str


@dataclass(frozen=True)
class Demonstration:
    """All rows, and the cases left out because the file's ``FlashConfig`` lacks a field."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether everything claimed held."""
        return all(not row.failed for row in self.rows)

    @property
    def crash(self) -> Crashed | None:
        """How the default call of the stock kernel ended; None where it did not crash."""
        stock = self.rows[0].stock
        return stock if isinstance(stock, Crashed) else None


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
    return Demonstration(tuple(rows), tuple(left_out))


def _row(case: Case, stock_kernel: LoadedKernel, fixed_kernel: LoadedKernel) -> Row:
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    tolerance = budget(case, q, k, v, truth)
    stock, fixed = stock_kernel.call(case), fixed_kernel.call(case)
    stock_error, fixed_error = _error(stock, truth), _error(fixed, truth)
    identical, difference = _compared(stock, fixed)
    failed = _expected_crash(stock) if case in CRASHING else _expected_identity(stock_error, tolerance, identical)
    return Row(
        case=case,
        stock=stock,
        fixed=fixed,
        stock_error=stock_error,
        fixed_error=fixed_error,
        stock_to_fixed=difference,
        identical=identical,
        tolerance=tolerance,
        failed="; ".join(filter(None, (failed, _expected_right(fixed, fixed_error, tolerance)))),
    )


def _error(result: Result, truth: Float64s) -> float | None:
    return largest_error(result.output, truth) if isinstance(result, Answered) else None


def _compared(stock: Result, fixed: Result) -> tuple[bool, float | None]:
    if not (isinstance(stock, Answered) and isinstance(fixed, Answered)):
        return False, None
    a, b = stock.output, fixed.output
    identical = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    wide: Any = b.astype("float64")
    return identical, 0.0 if identical else largest_error(a, wide)


def _expected_crash(stock: Result) -> str:
    if isinstance(stock, Crashed) and stock.type_name == "UnboundLocalError" and "'causal_mask'" in stock.message:
        return ""
    seen = "it answered" if isinstance(stock, Answered) else stock.in_words()
    return f"the stock kernel was to raise UnboundLocalError for 'causal_mask', but {seen}"


def _expected_right(fixed: Result, error: float | None, tolerance: float) -> str:
    if not isinstance(fixed, Answered) or error is None:
        return f"the fixed kernel crashed: {fixed.in_words()}" if isinstance(fixed, Crashed) else ""
    if is_trivial(fixed.output):
        return "the fixed kernel's answer is one constant"
    return "" if error <= tolerance else "the fixed kernel's error is over its budget"


def _expected_identity(stock_error: float | None, tolerance: float, identical: bool) -> str:
    if stock_error is None or stock_error > tolerance:
        return "the stock kernel was to be right here, but is not"
    return "" if identical else "stock and fixed answers differ"
