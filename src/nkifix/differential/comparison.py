"""Two kernels on one case: both answers, how right each is, how they differ, and what that comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nkifix.backends import Latency
from nkifix.differential.adapters import NotExpressibleError
from nkifix.differential.budget import Accuracy, accuracy, budget, is_trivial, row_errors
from nkifix.differential.cases import POISONS, Array, Case, blank_inputs
from nkifix.differential.differences import Differences, differences
from nkifix.differential.kernels import Answered, Crashed, Inputs, LoadedKernel, Result
from nkifix.differential.matrix import Refused
from nkifix.differential.models import Scaled
from nkifix.differential.oracle import Float64s, exact, reference
from nkifix.differential.status import Status
from nkifix.emulator import machine
from nkifix.emulator.cost.profile import Profile
from nkifix.emulator.engines import Engine
from nkifix.emulator.observe import Event, Instruction, observing

Kinds = npt.NDArray[np.uint8]
"""A kind per tile of 128 queries and 512 keys."""

TILE_QUERIES, CHUNK_KEYS = 128, 512
"""Sides of the tiles that a mask tracker tells apart."""
DEFAULT_TILE_KEYS = 2048
"""Keys per tile where the config does not say: the contract's default."""

Row = Case | Refused | Scaled


def case_of(row: Row) -> Case:
    """The call of a row."""
    return row if isinstance(row, Case) else row.case


@dataclass(frozen=True)
class Cost:
    """What one kernel's call cost, by documented formulas.

    Attributes
    ----------
    cycles:
        Engine's name -> cycles.
    busy_seconds:
        Engine's name, or DMA -> how long it is busy.
    """

    cycles: Mapping[str, float]
    busy_seconds: Mapping[str, float]
    dma_bytes: int

    @property
    def bound_seconds(self) -> float:
        """No schedule is shorter: the busiest engine's time, or DMA's."""
        return max(self.busy_seconds.values(), default=0.0)


@dataclass(frozen=True)
class Side:
    """One kernel's part.

    Attributes
    ----------
    result:
        What it did.
    accuracy:
        Against the oracle; None where it gave no answer, or the call has none.
    fault:
        Why its answer cannot be one, however close it is; "" where it can.
    tiles:
        What became of each tile of the score matrix, as a mask tracker saw it; None where none watched.
    latency:
        Measured times, from hardware alone.
    poisoned_rows:
        Query rows that hold NaN or Inf, though they do not see the key that does: a tile that the kernel computes for
        them holds it, and a weight of zero times NaN is NaN. None where the inputs are finite.
    """

    result: Result
    accuracy: Accuracy | None = None
    fault: str = ""
    cost: Cost | None = None
    tiles: Kinds | None = None
    latency: Latency | None = None
    poisoned_rows: int | None = None

    @property
    def right(self) -> bool:
        """Whether it answered, and rightly."""
        return self.accuracy is not None and self.accuracy.right and not self.fault

    @property
    def crashed(self) -> bool:
        """Whether it gave no answer."""
        return isinstance(self.result, Crashed)

    @property
    def answer(self) -> Array | None:
        """What it answered."""
        return self.result.output if isinstance(self.result, Answered) else None


@dataclass(frozen=True)
class Compared:
    """One case, compared.

    Attributes
    ----------
    reference_error:
        Largest error of an independent low-precision reference: what one may expect of either.
    reason:
        Why the case could not be called, where it could not.
    truth:
        The oracle's answer; None where the call has none.
    """

    row: Row
    status: Status
    baseline: Side
    comparison: Side
    differences: Differences | None = None
    reference_error: float | None = None
    reason: str = ""
    truth: Float64s | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def case(self) -> Case:
        """The call."""
        return case_of(self.row)


class Tracker(Protocol):
    """Draws the mask of a launch from its events, as :class:`nkifix.profiling.mask.MaskTracker` does."""

    @property
    def picture(self) -> Any:
        """What it saw, as :attr:`kinds`."""

    def __call__(self, event: Event) -> None:
        """Follow one event."""


TrackerType = Callable[[int, int], Tracker]
"""(queries, keys) -> tracker."""


def compare(
    row: Row, baseline: LoadedKernel, comparison: LoadedKernel, *, tracker: TrackerType | None = None
) -> Compared:
    """Call both kernels on one row of the matrix, and judge.

    Parameters
    ----------
    tracker:
        Who watches which tiles are computed, if anybody.
    """
    try:
        if isinstance(row, Refused):
            return _compare_refusals(row, baseline, comparison)
        result = _compare_answers(case_of(row), baseline, comparison, tracker)
        return _priced(row, result, baseline, comparison) if isinstance(row, Scaled) else result
    except NotExpressibleError as error:
        nothing = Side(Crashed("NotExpressibleError", str(error), None))
        return Compared(row, Status.NOT_EXPRESSIBLE, nothing, nothing, reason=str(error))


def _compare_answers(
    case: Case, baseline: LoadedKernel, comparison: LoadedKernel, tracker: TrackerType | None
) -> Compared:
    inputs, clean = case.inputs(), case.clean.inputs()
    truth = exact(case.clean, *clean)
    allowed = budget(case.clean, *clean, truth)
    sides = [_judged(case, inputs, kernel, truth, allowed, tracker) for kernel in (baseline, comparison)]
    first, second = sides
    gap = None
    if first.answer is not None and second.answer is not None:
        gap = differences(first.answer, second.answer)
    status = _status(first, second, gap)
    if second.answer is not None and not _steady(case, inputs, comparison, second.answer):
        status = Status.UNSTEADY
    errors = row_errors(reference(case.clean, *clean).output, truth)
    return Compared(case, status, first, second, gap, float(np.max(errors, initial=0.0)), truth=truth)


def _judged(
    case: Case,
    inputs: Inputs,
    kernel: LoadedKernel,
    truth: Float64s,
    allowed: Float64s,
    tracker: TrackerType | None,
) -> Side:
    watch = tracker(case.seq_q, case.seq_k) if tracker else None
    with observing(*filter(None, (watch,))) as watching:
        result = kernel.call(case, inputs)
    side = Side(result, cost=_cost(watching.counts) if watching.counts else None)
    if side.answer is None:
        return side
    tiles = None if watch is None else watch.picture.kinds
    answer, poisoned = _excused(case, side.answer, truth, tiles)
    fault = kernel.backend.suspicion(answer) if kernel.backend.is_hardware else ""
    return replace(
        side,
        accuracy=accuracy(answer, truth, allowed),
        fault=fault or _fault(answer, truth, inputs),
        tiles=tiles,
        latency=kernel.latency(case, inputs),
        poisoned_rows=poisoned,
    )


def _excused(case: Case, answer: Array, truth: Float64s, tiles: Kinds | None) -> tuple[Array, int | None]:
    """The answer to judge, and how many rows were poisoned.

    Rows that see the poisoned key have no right answer. Rows that do not see it may hold NaN or Inf where a tile that
    is computed for them holds the key.
    """
    if case.values not in POISONS or answer.shape != truth.shape:
        return answer, None
    seen = case.visible()[:, case.poisoned_key]
    endless: npt.NDArray[np.bool_] = np.any(~np.isfinite(answer.astype(np.float32)), axis=-1)
    poisoned: npt.NDArray[np.bool_] = endless & ~seen & _meets_poison(case, tiles)
    judged = np.where(np.expand_dims(seen | poisoned, -1), truth, answer).astype(answer.dtype)
    return judged, int(np.count_nonzero(poisoned))


def _meets_poison(case: Case, tiles: Kinds | None) -> npt.NDArray[np.bool_]:
    """Queries for whose tile of 128 the key tile with the poisoned key is computed; where none watched, must be."""
    size = case.config.get("seq_tile_size", DEFAULT_TILE_KEYS)
    first = case.poisoned_key // size * size
    if tiles is None:
        needed: npt.NDArray[np.bool_] = np.any(case.visible()[:, first : first + size], axis=1)
        of_tile = [needed[start : start + TILE_QUERIES].any() for start in range(0, case.seq_q, TILE_QUERIES)]
    else:
        last = min(first + size, case.seq_k) - 1
        of_tile = list((tiles[:, first // CHUNK_KEYS : last // CHUNK_KEYS + 1] != 0).any(axis=1))
    meets: npt.NDArray[np.bool_] = np.repeat(np.array(of_tile), TILE_QUERIES)[: case.seq_q]
    return meets


def _priced(row: Scaled, result: Compared, baseline: LoadedKernel, comparison: LoadedKernel) -> Compared:
    """The result with the costs of the full length, which needs no arithmetic."""
    sides = []
    for side, kernel in ((result.baseline, baseline), (result.comparison, comparison)):
        if side.cost is None or side.crashed:
            sides.append(side)
            continue
        with machine.using(replace(machine.params(), arithmetic=False)), observing() as watching:
            kernel.call(row.priced, blank_inputs(row.priced))
        sides.append(replace(side, cost=_cost(watching.counts)))
    return replace(result, row=row, baseline=sides[0], comparison=sides[1])


def _cost(counts: Mapping[Instruction, int]) -> Cost:
    profile = Profile.of(counts, machine.params().target)
    cycles = {engine.value: float(cycles) for engine, cycles in profile.total.cycles.items()}
    busy = {engine.value: seconds for engine, seconds in profile.engine_seconds.items()}
    return Cost(cycles, {**busy, Engine.DMA.value: profile.dma_seconds}, profile.total.dma_bytes)


def _fault(answer: Array, truth: Float64s, inputs: Inputs) -> str:
    """What no budget forgives: an answer of another kind, or one that takes no work."""
    q, _, v = inputs
    if answer.shape != truth.shape:
        return f"the shape is {answer.shape}, not {truth.shape}"
    if answer.dtype != q.dtype:
        return f"the dtype is {answer.dtype}, not {q.dtype}"
    if is_trivial(answer) and not is_trivial(truth):
        return f"every element is {float(answer.flat[0]):g}"
    for values in (v, np.swapaxes(v, 2, 3)):
        if values.shape == answer.shape and np.array_equal(values.astype(np.float64), answer.astype(np.float64)):
            return "" if np.array_equal(values.astype(np.float64), truth) else "the answer is a copy of V"
    return ""


def _status(baseline: Side, comparison: Side, gap: Differences | None) -> Status:
    if comparison.crashed:
        return Status.BOTH_CRASHED if baseline.crashed else Status.CRASHED
    if comparison.right:
        if baseline.crashed:
            return Status.CRASH_CURED
        if not baseline.right:
            return Status.ANSWER_CURED
        return Status.IDENTICAL if gap is not None and gap.identical else Status.WITHIN_BUDGET
    if baseline.crashed:
        return Status.STILL_WRONG
    if baseline.right:
        return Status.REGRESSED
    return Status.BOTH_WRONG if gap is not None and gap.identical else Status.WRONG_OTHERWISE


def _steady(case: Case, inputs: Inputs, kernel: LoadedKernel, answer: Array) -> bool:
    """Whether a second run gives the same bytes; on the emulator, one in another order of what is independent."""
    shuffled = replace(machine.params(), order="shuffled", seed=case.seed)
    with machine.using(shuffled):
        again = kernel.call(case, inputs)
    return isinstance(again, Answered) and again.output.tobytes() == answer.tobytes()


def _compare_refusals(row: Refused, baseline: LoadedKernel, comparison: LoadedKernel) -> Compared:
    q, k, v = row.case.inputs()
    if row.v_shape is not None:
        v = np.resize(v, row.v_shape)
    first, second = (Side(kernel.call(row.case, (q, k, v), grid=row.grid)) for kernel in (baseline, comparison))
    if second.crashed:
        status = Status.REFUSED
    else:
        status = Status.REFUSAL_LOST if first.crashed else Status.NEITHER_REFUSED
    return Compared(row, status, first, second)
