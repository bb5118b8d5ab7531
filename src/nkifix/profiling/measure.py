"""Running a kernel on a case under observation."""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nkifix.differential.adapters import NotExpressibleError
from nkifix.differential.cases import DTYPES, Case
from nkifix.differential.kernels import Crashed, Inputs, loaded
from nkifix.differential.references import Reference
from nkifix.emulator import Params, Target
from nkifix.emulator.cost.profile import COMPUTE_ENGINES, Profile, Use
from nkifix.emulator.cost.schedule import Schedule, Scheduler
from nkifix.emulator.engines import Engine
from nkifix.emulator.footprint import Footprint, measuring
from nkifix.emulator.observe import Consumer, observing
from nkifix.errors import RefusalError

_LABEL = "kernel"


@dataclass(frozen=True)
class EngineUse:
    """One engine's part.

    Attributes
    ----------
    executed:
        Instructions, the copies that the compiler adds included.
    cycles:
        None for DMA, which has bytes instead.
    busy_seconds:
        Cycles at the engine's clock; for DMA, bytes at the peak rate of all DMA engines.
    share:
        Busy time over the estimated latency.
    """

    engine: Engine
    executed: int
    cycles: float | None
    busy_seconds: float
    share: float


@dataclass(frozen=True)
class LineUse:
    """One kernel line's part.

    Attributes
    ----------
    file:
        The kernel file's name in reports.
    text:
        The line, without its indentation.
    engine:
        Which is longest busy with it; None where nothing of it has a documented cost.
    cycles:
        Engine -> cycles.
    busy_seconds:
        Busy times of all engines and of DMA, added.
    """

    file: str
    line: int
    text: str
    engine: Engine | None
    executed: int
    cycles: Mapping[Engine, float]
    busy_seconds: float


@dataclass(frozen=True)
class Measurement:
    """What a kernel costs on a case: estimated from documented formulas, measured on no device.

    Attributes
    ----------
    computed:
        Whether the arithmetic was done, too; costs do not depend on it.
    warned:
        What the emulator warned of.
    """

    reference: Reference
    case: Case
    target: Target
    computed: bool
    profile: Profile
    schedule: Schedule
    footprint: Footprint
    files: Mapping[str, str]
    warned: tuple[str, ...]

    @property
    def engines(self) -> list[EngineUse]:
        """A row for each engine, DMA last."""
        total, latency = self.profile.total, self.schedule.latency_seconds
        rows = []
        for engine in (*COMPUTE_ENGINES, Engine.DMA):
            is_dma = engine is Engine.DMA
            busy = self.profile.dma_seconds if is_dma else self.profile.engine_seconds[engine]
            cycles = None if is_dma else total.cycles.get(engine, 0.0)
            rows.append(
                EngineUse(engine, total.executed.get(engine, 0), cycles, busy, busy / latency if latency else 0.0)
            )
        return rows

    @property
    def lines(self) -> list[LineUse]:
        """A row for each kernel line, the costliest first."""
        rows = [self._line(file, line, use) for (file, line), use in self.profile.lines.items()]
        return sorted(rows, key=lambda row: (-row.busy_seconds, row.file, row.line))

    def _line(self, file: str, line: int, use: Use) -> LineUse:
        busy = use.seconds(self.target)
        if use.dma_bytes:
            busy[Engine.DMA] = self.profile.dma_seconds * use.dma_bytes / self.profile.total.dma_bytes
        longest = max(busy, key=lambda engine: busy[engine], default=None)
        text = _text(self.reference, line) if file in self.files else linecache.getline(file, line).strip()
        return LineUse(self.files.get(file, file), line, text, longest, use.count, use.cycles, sum(busy.values()))


def _text(reference: Reference, line: int) -> str:
    lines = reference.source.decode(errors="replace").splitlines()
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def measure(
    reference: Reference,
    case: Case,
    target: Target,
    *,
    compute: bool = True,
    spans: bool = False,
    consumers: Sequence[Consumer] = (),
) -> Measurement:
    """Run one call of a kernel on the emulator and add up what it executes.

    Parameters
    ----------
    compute:
        False leaves the arithmetic out: much faster, same costs.
    spans:
        Keep when each instruction runs, for a trace.
    consumers:
        Who takes the events, too.

    Raises
    ------
    RefusalError
        The kernel cannot be imported, or raises on this case.
    """
    scheduler = Scheduler(target, spans=spans)
    params = Params(target=target, arithmetic=compute)
    with loaded({_LABEL: reference.source}, params, functions={_LABEL: reference.function}) as kernels:
        kernel = kernels[_LABEL]
        try:
            with measuring() as footprints, observing(scheduler, *consumers) as observer:
                result = kernel.call(case, None if compute else blank_inputs(case))
        except NotExpressibleError as error:
            raise RefusalError(
                f"{reference.name} cannot be asked for this case: {error}",
                where=reference.file,
                next_step="choose another case",
            ) from error
        files = {str(kernel.file): reference.file}
        warned = tuple(kernel.warned)
    if isinstance(result, Crashed):
        raise RefusalError(
            f"{reference.name} does not run on this case: {result.in_words()}",
            where=f"{reference.file}:{result.line}" if result.line else reference.file,
            why=f"case {case.name}, {target}",
            next_step="choose another case, or fix the kernel first: " + reference.name.split("+fix")[0] + "+fix",
        )
    profile = Profile.of(observer.counts, target)
    return Measurement(reference, case, target, compute, profile, scheduler.schedule, footprints[-1], files, warned)


def blank_inputs(case: Case) -> Inputs:
    """Inputs of the case's shapes and dtype, for a run whose values do not matter."""
    q, k, v = (np.zeros(shape, dtype=DTYPES[case.dtype]) for shape in case.shapes)
    return q, k, v
