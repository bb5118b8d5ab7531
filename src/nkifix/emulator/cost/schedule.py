"""An estimate of when each instruction runs. An estimate: no clock of a device stands behind it.

:data:`ASSUMPTIONS` says what the estimate assumes; :class:`nkifix.emulator.cost.profile.Profile` has the bounds
that need no such assumptions.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nkifix.emulator.cost.chip import CHIPS, DMA_ENGINES, Chip
from nkifix.emulator.cost.formulas import charges, lowered
from nkifix.emulator.cost.profile import COMPILER_COPY, transfer
from nkifix.emulator.engines import Engine
from nkifix.emulator.observe import Event, Instruction, Region, RepeatedCall, Repetition
from nkifix.emulator.params import Target

DEPENDENT_CYCLES = 100
"""Overhead of an instruction that reads what its engine wrote just before ([A1], cost models)."""

ASSUMPTIONS = (
    "Every engine executes its instructions in the order of the kernel; the compiler may reorder them.",
    "An instruction starts when its operands are written, and when what it overwrites was read.",
    f"An instruction that reads what its engine wrote just before waits {DEPENDENT_CYCLES} cycles more.",
    "NeuronCore-v2: Vector and GpSimd do not use SBUF, Vector and Scalar not PSUM at the same time.",
    f"A DMA's descriptors are spread evenly over up to {DMA_ENGINES} DMA engines, each at its documented peak rate.",
    "A DMA begins a fixed time after its data and destination are ready; a DMA engine moves one part after another.",
    "Every tensor has memory of its own: nothing waits for SBUF or PSUM to be freed, and nothing spills.",
    "Programs of a grid run one after another on one NeuronCore.",
    "Instructions without a documented cost take no time.",
)
"""What the estimate takes for granted, in words."""


class Span(NamedTuple):
    """One instruction, or a copy that the compiler adds for it, on its track.

    Attributes
    ----------
    track:
        Engine; DMA engines by their number, as ``DMA 3``.
    start, end:
        Seconds since the launch.
    """

    track: str
    kind: str
    start: float
    end: float
    instruction: Instruction


@dataclass(frozen=True)
class Schedule:
    """When everything runs, estimated.

    Attributes
    ----------
    latency_seconds:
        End of the last instruction.
    spans:
        Everything that was scheduled, in the kernel's order; empty unless asked for.
    """

    target: Target
    latency_seconds: float
    spans: list[Span]


class _Part:
    """A region of a storage: until when it is being written, by which instruction, and until when it is read.

    Attributes
    ----------
    near:
        The parts of the storage that have an element in common with this one, itself among them.
    """

    __slots__ = ("near", "number", "read_end", "written_end")

    def __init__(self) -> None:
        self.written_end = 0.0
        self.number = -1
        self.read_end = 0.0
        self.near = [self]


class _Parts(dict[Region, _Part]):
    """The regions of one storage that were used so far."""

    def __missing__(self, region: Region) -> _Part:
        part = _Part()
        for other, theirs in self.items():
            if region.overlaps(other):
                part.near.append(theirs)
                theirs.near.append(part)
        self[region] = part
        return part


class _Step(NamedTuple):
    """A stay on one compute engine.

    Attributes
    ----------
    dependent_seconds:
        What it takes longer where it reads what the engine wrote just before.
    waits_for, holds:
        Numbers of the memory ports that must be free, and of those that it occupies.
    """

    engine: Engine
    seconds: float
    dependent_seconds: float
    kind: str
    waits_for: tuple[int, ...]
    holds: tuple[int, ...]


@dataclass(frozen=True)
class _Plan:
    """What one instruction does, whenever it runs.

    Attributes
    ----------
    steps:
        Stays on compute engines, one after the other.
    dma_width, dma_seconds:
        On how many DMA engines, and how long on each; 0 for no DMA.
    """

    steps: tuple[_Step, ...]
    dma_width: int = 0
    dma_seconds: float = 0.0


class _Machine:
    """Engines, memory ports and DMA engines, and until when each is busy."""

    def __init__(self, chip: Chip, spans: list[Span] | None) -> None:
        self.chip = chip
        self.spans = spans
        self.engine_free: dict[Engine, float] = defaultdict(float)
        self.engine_last: dict[Engine, int] = defaultdict(lambda: -1)
        # A port is an engine's way into a memory that it does not use together with another engine.
        ports = [(engine, memory) for *pair, memory in chip.shared_access for engine in pair]
        self._ports = {port: number for number, port in enumerate(dict.fromkeys(ports))}
        self.port_free = [0.0] * len(self._ports)
        self.dma_free = [(0.0, engine) for engine in range(DMA_ENGINES)]
        self._plans: dict[int, tuple[Instruction, _Plan | None]] = {}

    def run(self, one: Instruction, ready: float, waited_for: int, number: int) -> float:
        """Run one instruction from ``ready`` on; when it ends. It costs no time where nothing is documented."""
        known = self._plans.get(id(one))
        if known is None:
            known = self._plans[id(one)] = (one, self._plan(one))  # holding it keeps its id its own
        plan = known[1]
        if plan is None:
            return ready
        for step in plan.steps:
            engine = step.engine
            start = self.engine_free[engine]
            if ready > start:
                start = ready
            if waited_for >= 0 and self.engine_last[engine] == waited_for:
                start += step.dependent_seconds
            for port in step.waits_for:
                if self.port_free[port] > start:
                    start = self.port_free[port]
            ready = self.engine_free[engine] = start + step.seconds
            self.engine_last[engine] = number
            for port in step.holds:
                self.port_free[port] = ready
            if self.spans is not None:
                self.spans.append(Span(engine.value, step.kind, start, ready, one))
            waited_for = -1
        return self._move(plan, one, ready) if plan.dma_width else ready

    def _plan(self, one: Instruction) -> _Plan | None:
        charged = charges(one, self.chip)
        if charged is None:
            return None
        is_dma = one.engine is Engine.DMA
        kinds = [] if is_dma else [lowered(one).operation]
        kinds += [COMPILER_COPY] * (len(charged) - len(kinds))
        spaces = {access.space.value for access in (one.result, *one.operands)}
        steps = [
            self._step(engine, cycles, kind, spaces) for (engine, cycles), kind in zip(charged, kinds, strict=True)
        ]
        if not is_dma:
            return _Plan((*steps[1:], steps[0]))  # copies come before what reads them
        moved = transfer(one)
        width = min(DMA_ENGINES, max(1, moved.size_bytes // max(1, moved.run_bytes)))
        return _Plan(tuple(steps), width, moved.size_bytes / width / self.chip.dma_engine_bytes_per_second)

    def _step(self, engine: Engine, cycles: float, kind: str, spaces: set[str]) -> _Step:
        clock_hz = self.chip.clock_hz[engine]
        shared = [one for one in self.chip.shared_access if one[2] in spaces and engine in one[:2]]
        others = [(second if first is engine else first, memory) for first, second, memory in shared]
        return _Step(
            engine,
            cycles / clock_hz,
            DEPENDENT_CYCLES / clock_hz,
            kind,
            tuple([self._ports[port] for port in others]),
            tuple([self._ports[engine, memory] for _, _, memory in shared]),
        )

    def _move(self, plan: _Plan, one: Instruction, ready: float) -> float:
        """Spread one DMA over the DMA engines that are free first; when its last part ends."""
        last = ready
        for free, engine in [heapq.heappop(self.dma_free) for _ in range(plan.dma_width)]:
            start = max(ready + self.chip.dma_latency_seconds, free)
            end = start + plan.dma_seconds
            heapq.heappush(self.dma_free, (end, engine))
            last = max(last, end)
            if self.spans is not None:
                self.spans.append(Span(f"DMA {engine}", one.operation, start, end, one))
        return last


class Scheduler:
    """Estimates when each event runs, as the events come (see :func:`nkifix.emulator.observe.observing`).

    Parameters
    ----------
    spans:
        Keep the answer for each instruction, not only the end.
    """

    def __init__(self, target: Target, *, spans: bool = False) -> None:
        self.target = target
        self._spans: list[Span] = []
        self._machine = _Machine(CHIPS[target], self._spans if spans else None)
        self._storages: dict[int, _Parts] = {}
        self._repeated: dict[int, list[_Part]] = {}
        self._repetitions: list[Repetition] = []
        self._program: tuple[int, ...] | None = None
        self._began = 0.0
        self._latency = 0.0
        self._number = 0

    def __call__(self, event: Event) -> None:
        """Put one event on its engine."""
        if event.program != self._program:
            self._begin(event.program)
        read = [self._part(region, event.inputs) for region in event.reads]
        written = [self._part(region, ()) for region in event.writes]
        self._execute(event.instruction, read, written)

    def repeat(self, call: RepeatedCall) -> None:
        """Put the events of a repeated call on their engines: as if they came one by one."""
        if call.program != self._program:
            self._begin(call.program)
        parts = self._parts_of(call.repetition)
        for number, region in call.others:
            parts[number] = self._part(region, call.inputs)
        for one, read, written in call.repetition.steps:
            self._execute(one, [parts[number] for number in read], [parts[number] for number in written])

    def _part(self, region: Region, inputs: Collection[int]) -> _Part:
        """The part of its storage that is ``region``; of one of the inputs, as long as nothing writes it, any."""
        parts = self._storages.get(region.storage)
        if parts is None:
            if region.storage in inputs:
                return _Part()  # there from the start
            parts = self._storages[region.storage] = _Parts()
        return parts[region]

    def _parts_of(self, repetition: Repetition) -> list[_Part]:
        """The parts of the tensors that live in the call alone, new; and parts to be replaced."""
        parts = self._repeated.get(id(repetition))
        if parts is None:
            storages: dict[int, _Parts] = defaultdict(_Parts)
            parts = [_Part() if one is None else storages[one.storage][one] for one in repetition.regions]
            self._repeated[id(repetition)] = parts
            self._repetitions.append(repetition)  # holding it keeps its id its own
        for part in parts:
            part.written_end = part.read_end = 0.0
            part.number = -1
        return list(parts)

    def _begin(self, program: tuple[int, ...]) -> None:
        """Start another program, with memory of its own."""
        self._program, self._storages, self._began = program, {}, self._latency

    def _execute(self, one: Instruction, read: Sequence[_Part], written: Sequence[_Part]) -> None:
        """Run an instruction when its operands are written and its destinations free."""
        ready, last = self._ready(read, written)
        end = self._machine.run(one, ready, last, self._number)
        for part in read:
            if end > part.read_end:
                part.read_end = end
        for part in written:
            part.written_end, part.number = end, self._number
        if end > self._latency:
            self._latency = end
        self._number += 1

    def _ready(self, read: Sequence[_Part], written: Sequence[_Part]) -> tuple[float, int]:
        """When an instruction may start, and the number of that which wrote its latest operand, if it waits for one."""
        ready, last = self._began, -1
        for part in read:
            for near in part.near:
                if near.written_end > ready:
                    ready, last = near.written_end, near.number
        for part in written:
            for near in part.near:
                if near.written_end > ready:
                    ready, last = near.written_end, -1
                if near.read_end > ready:
                    ready, last = near.read_end, -1
        return ready, last

    @property
    def schedule(self) -> Schedule:
        """The schedule of all events so far."""
        return Schedule(self.target, self._latency, self._spans)


def scheduled(events: Iterable[Event], target: Target, *, spans: bool = False) -> Schedule:
    """Estimate when each of ``events`` runs; ``spans`` keeps the answer per instruction, not only the end."""
    scheduler = Scheduler(target, spans=spans)
    for event in events:
        scheduler(event)
    return scheduler.schedule
