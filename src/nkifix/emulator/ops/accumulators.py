"""The accumulator registers of the Scalar and Vector engines: one float32 per partition, across instructions.

An instruction's ``reduce_cmd`` says what happens to them. Sources: ``nisa.activation``, ``nisa.select_reduce``
and ``nisa.reduce_cmd`` (``nki.isa`` reference, Neuron SDK 2.26). Registers are counted from the first
partition of the instruction's tile; before the first reset they hold nothing defined.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nkifix.emulator import functions, loops
from nkifix.emulator.affine import Mask
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import params, program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops.columns import reduce_rows, rows, undefined_rows, write_column
from nkifix.emulator.undefined import Origin, Undefined


class ReduceCommand(enum.IntEnum):
    """What an instruction does with the accumulator registers."""

    idle = 0
    reset = 1
    reduce = 2
    reset_reduce = 3


class Registers:
    """The registers of one engine, while one program runs.

    Attributes
    ----------
    values:
        Shape (partitions of the chip, 1), float32.
    undefined:
        Which of them hold nothing defined; None for none.
    """

    def __init__(self, engine: Engine) -> None:
        count = program().launch.limits.partition_max
        self.values = np.zeros((count, 1), dtype=F32)
        origin = Origin(lambda: f"an accumulator register of the {engine.value} Engine")
        self._never_set = Undefined(np.ones((count, 1), dtype=np.uint8), (origin,))
        self.undefined: Undefined | None = self._never_set

    def lose(self, used: slice) -> None:
        """Forget what the registers hold: an instruction may have changed them."""
        ids, origins = self._current()
        ids[used] = 0
        fresh, origins = self._never_set.merged_into(origins)
        ids[used] = fresh[used]
        self.undefined = Undefined(ids, origins)

    def reset(self, used: slice, start: float) -> None:
        """Set registers to a start value."""
        self.values[used] = start
        if self.undefined is not None:
            self.update(used, None, None)

    def update(self, used: slice, undefined: Undefined | None, taking_part: Any) -> None:
        """Note which registers are undefined now; ``taking_part`` says which of them were set."""
        ids, origins = self._current()
        new: Any = np.zeros_like(ids[used])
        if undefined is not None:
            new, origins = undefined.merged_into(origins)
        ids[used] = new if taking_part is None else np.where(taking_part, new, ids[used])
        self.undefined = Undefined(ids, origins) if ids.any() else None

    def _current(self) -> tuple[Any, tuple[Origin, ...]]:
        if self.undefined is None:
            return np.zeros(self.values.shape, dtype=np.uint8), ()
        return self.undefined.ids.copy(), self.undefined.origins

    def window(self, used: slice) -> Undefined | None:
        """Which of the registers ``used`` are undefined."""
        if self.undefined is None or not self.undefined.ids[used].any():
            return None
        return Undefined(self.undefined.ids[used], self.undefined.origins)


def registers(engine: Engine) -> Registers:
    """The running program's registers of an engine."""
    held = program().registers
    if engine not in held:
        held[engine] = Registers(engine)
    found = held[engine]
    assert isinstance(found, Registers)
    return found


def accumulate(
    operation: str,
    engine: Engine,
    command: ReduceCommand,
    reduction: str | None,
    compute: Callable[[], Array],
    shape: tuple[int, ...],
    undefined: Undefined | None,
    kept: Mask,
) -> None:
    """Carry out ``command`` with an instruction's float32 results ``compute()`` of ``shape``.

    ``reduction`` is a name of :data:`functions.REDUCTIONS`, needed where results are reduced.
    """
    held, used = registers(engine), slice(0, shape[0])
    if command in (ReduceCommand.reset, ReduceCommand.reset_reduce):
        start = _start(reduction)
        held.reset(used, start)
        _note(_set_values, engine, used, start)
    if command in (ReduceCommand.reduce, ReduceCommand.reset_reduce):
        if reduction is None:
            raise KernelFault(
                "", f"{operation}: reduce_cmd={command.name} needs a reduce_op", next_step="pass reduce_op=nl.add"
            )
        _combine(engine, held, used, reduction, compute, shape, undefined, kept)


def _start(reduction: str | None) -> float:
    neutral = 0.0 if reduction is None else functions.REDUCTIONS[reduction].neutral
    assert neutral is not None
    return neutral + 0.0  # the sum's neutral element is -0.0, but its register starts from 0.0


def _note(function: Callable[..., None], *operands: Any) -> None:
    """Note what happens to the registers' values, where a call is recorded."""
    log = loops.action_log()
    if log is not None:
        log.did(function, *operands)


def _set_values(engine: Engine, used: slice, value: float) -> None:
    registers(engine).values[used] = value


def _take_in(engine: Engine, used: slice, reduction: str, compute: Callable[[], Array], kept: Mask) -> None:
    """Reduce ``compute()``, together with what the registers hold, into them."""
    held, taking_part = registers(engine), _taking_part(kept)
    new = reduce_rows(reduction, compute(), kept).reshape(-1, 1)
    both = np.stack([held.values[used], new], axis=1)[..., 0]
    combined = functions.REDUCTIONS[reduction].combine(both, 1).reshape(-1, 1)
    held.values[used] = combined if taking_part is None else np.where(taking_part, combined, held.values[used])


def _taking_part(kept: Mask) -> Any:
    return rows(kept, kept.ndim).reshape(-1, 1) if isinstance(kept, np.ndarray) else None


def _values_of(engine: Engine, used: slice) -> Array:
    values: Array = registers(engine).values[used].copy()
    return values


def _combine(
    engine: Engine,
    held: Registers,
    used: slice,
    reduction: str,
    compute: Callable[[], Array],
    shape: tuple[int, ...],
    undefined: Undefined | None,
    kept: Mask,
) -> None:
    taking_part = _taking_part(kept)
    if params().arithmetic:
        _take_in(engine, used, reduction, compute, kept)
        _note(_take_in, engine, used, reduction, compute, kept)
    spoiled, before = undefined_rows(undefined, kept, shape), held.window(used)
    if spoiled is not None:
        ids, origins = spoiled.merged_into(() if before is None else before.origins)
        after = Undefined(ids if before is None else np.where(before.ids != 0, before.ids, ids), origins)
        held.update(used, after, taking_part)


def read_out(engine: Engine, destination: Tensor, kept: Mask, rank: int) -> None:
    """Write the registers into ``destination``, one per partition that the mask keeps."""
    held, used = registers(engine), slice(0, destination.shape[0])
    write_column(destination, partial(_values_of, engine, used), held.window(used), kept, rank)
