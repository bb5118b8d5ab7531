"""Adding up what was executed: cycles per engine, per kernel line, per instruction; bytes moved; bounds.

A profile is a sum over instructions: the profile of two launches is the sum of theirs, in one process or
in several. It rests on documented formulas alone; see :mod:`nkifix.emulator.cost.schedule` for an estimate of
the time that a launch takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nkifix.emulator.cost.chip import CHIPS, payload_class
from nkifix.emulator.cost.formulas import charges, lowered
from nkifix.emulator.engines import Engine
from nkifix.emulator.observe import Accessed, Instruction
from nkifix.emulator.params import Target

COMPUTE_ENGINES = (Engine.TENSOR, Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)
COMPILER_COPY = "tensor_copy (added by the compiler)"
"""Instruction kind of the copies out of PSUM that the compiler adds."""


@dataclass
class Use:
    """What some instructions cost together.

    Attributes
    ----------
    executed:
        Engine -> executions on it, the copies that the compiler adds included.
    cycles:
        Engine -> cycles; an engine without costed instructions is absent.
    dma_bytes:
        Bytes that DMA moved.
    """

    executed: dict[Engine, int] = field(default_factory=dict)
    cycles: dict[Engine, float] = field(default_factory=dict)
    dma_bytes: int = 0

    @property
    def count(self) -> int:
        """Executions on all engines."""
        return sum(self.executed.values())

    def add(self, engine: Engine, count: int, cycles: float | None) -> None:
        """Add ``count`` executions of ``cycles`` each; None where there is no documented cost."""
        self.executed[engine] = self.executed.get(engine, 0) + count
        if cycles is not None:
            self.cycles[engine] = self.cycles.get(engine, 0.0) + count * cycles

    def seconds(self, target: Target) -> dict[Engine, float]:
        """Time that each engine is busy."""
        return {engine: cycles / CHIPS[target].clock_hz[engine] for engine, cycles in self.cycles.items()}


@dataclass(frozen=True)
class Transfer:
    """DMA of one kind: how many bytes each descriptor can move, and how many were moved in all."""

    run_bytes: int
    payload: str
    transfers: int
    total_bytes: int


@dataclass
class Profile:
    """The cost of one or more launches.

    Attributes
    ----------
    target:
        Chip that was imitated.
    total:
        Everything.
    lines:
        Kernel file and line -> its part.
    kinds:
        Instruction -> its part.
    loaded_bytes, stored_bytes:
        Bytes that DMA moved out of HBM, and into it.
    runs:
        Contiguous bytes per descriptor -> (transfers, bytes).
    uncosted:
        Instructions without a documented formula -> executions. They are in :attr:`total` with no cycles.
    """

    target: Target
    total: Use = field(default_factory=Use)
    lines: dict[tuple[str, int], Use] = field(default_factory=dict)
    kinds: dict[str, Use] = field(default_factory=dict)
    loaded_bytes: int = 0
    stored_bytes: int = 0
    runs: dict[int, tuple[int, int]] = field(default_factory=dict)
    uncosted: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, counts: Mapping[Instruction, int], target: Target) -> Profile:
        """Add up instructions and their executions (:attr:`nkifix.emulator.observe.Observer.counts`)."""
        made = cls(target)
        for instruction, count in counts.items():
            made._add(instruction, count)
        return made

    def _add(self, instruction: Instruction, count: int) -> None:
        one = lowered(instruction)
        places = (self.total, self.lines.setdefault((instruction.file, instruction.line), Use()))
        uses = (*places, self.kinds.setdefault(one.operation, Use()))
        if instruction.engine is Engine.DMA:
            self._add_transfer(instruction, count, uses)
        charged = charges(instruction, CHIPS[self.target])
        if charged is None:
            self.uncosted[one.operation] += count
        own = charged[0].cycles if charged and instruction.engine is not Engine.DMA else None
        for use in uses:
            use.add(one.engine, count, own)
        copies = (charged or ())[0 if own is None else 1 :]
        for engine, cycles in copies:
            for use in (*places, self.kinds.setdefault(COMPILER_COPY, Use())):
                use.add(engine, count, cycles)

    def _add_transfer(self, instruction: Instruction, count: int, uses: tuple[Use, ...]) -> None:
        moved = transfer(instruction)
        size = count * moved.size_bytes
        for use in uses:
            use.dma_bytes += size
        if any(not operand.space.on_chip for operand in instruction.operands):
            self.loaded_bytes += size
        if not instruction.result.space.on_chip:
            self.stored_bytes += size
        transfers, total = self.runs.get(moved.run_bytes, (0, 0))
        self.runs[moved.run_bytes] = (transfers + count, total + size)

    @property
    def engine_seconds(self) -> dict[Engine, float]:
        """Time that each compute engine is busy."""
        busy = self.total.seconds(self.target)
        return {engine: busy.get(engine, 0.0) for engine in COMPUTE_ENGINES}

    @property
    def dma_seconds(self) -> float:
        """Time that all DMA engines need for the bytes at their peak rate."""
        return self.total.dma_bytes / CHIPS[self.target].dma_bytes_per_second

    @property
    def transfers(self) -> list[Transfer]:
        """DMA by contiguous bytes per descriptor, smallest first."""
        return [Transfer(run, payload_class(run), n, size) for run, (n, size) in sorted(self.runs.items())]

    @property
    def bound_seconds(self) -> float:
        """No schedule is shorter: the busiest engine, or the DMA."""
        return max(*self.engine_seconds.values(), self.dma_seconds)

    @property
    def roofline_seconds(self) -> float:
        """The larger of the Tensor Engine's and the DMA's busy times."""
        return max(self.engine_seconds[Engine.TENSOR], self.dma_seconds)


def transfer(instruction: Instruction) -> Accessed:
    """What a DMA moves, with the contiguous bytes that both ends allow: its descriptors' size.

    Bytes are those of the larger dtype, where the DMA casts.
    """
    ends = [*instruction.operands[:1], instruction.result]
    moved = max(ends, key=lambda end: end.dtype.itemsize)
    elements = min(end.run_bytes // end.dtype.itemsize for end in ends)
    smallest = min(ends, key=lambda end: end.size_bytes // end.dtype.itemsize)
    return smallest._replace(dtype=moved.dtype, run_bytes=elements * moved.dtype.itemsize)
