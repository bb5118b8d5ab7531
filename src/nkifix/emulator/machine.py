"""The running program: which grid position executes, on which chip, and what it allocated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import EmulatorWarning, KernelFault
from nkifix.emulator.hardware import TARGETS, CoreLimits
from nkifix.emulator.location import kernel_position
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.params import Params


@dataclass(eq=False)
class Launch:
    """One kernel call: what all programs of its grid share.

    Attributes
    ----------
    grid:
        Extent per SPMD dimension; () for a call without brackets.
    outputs:
        Tensors in shared HBM, in allocation order: the n-th allocation of every program is the same memory.
    warned:
        Warnings that were given already, so that a loop warns once.
    """

    params: Params
    grid: tuple[int, ...]
    outputs: list[Storage] = field(default_factory=list)
    warned: set[tuple[str, str, int]] = field(default_factory=set)

    @property
    def limits(self) -> CoreLimits:
        """Limits of the target's NeuronCore."""
        return TARGETS[self.params.target]


@dataclass(eq=False)
class Program:
    """One grid position of a launch.

    Attributes
    ----------
    position:
        Program id per SPMD dimension.
    random:
        Generator behind random numbers; None until the kernel seeds it.
    tensor_type:
        The front end's tensor class: results come as the tensors of the language that asked for them.
    """

    launch: Launch
    position: tuple[int, ...]
    shared_allocations: int = 0
    random: np.random.Generator | None = None
    tensor_type: type[Tensor] = Tensor

    def share(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Storage:
        """The next tensor in shared HBM: allocated by the first program, found again by the others."""
        outputs, number = self.launch.outputs, self.shared_allocations
        self.shared_allocations += 1
        if number == len(outputs):
            storage = Storage(shape, dtype, Space.SHARED_HBM, partition_axis=None, name=name)
            storage.leave_undefined()
            outputs.append(storage)
        elif (outputs[number].shape, outputs[number].dtype) != (shape, dtype):
            raise KernelFault(
                "",
                f"program {self.position} allocates shared_hbm tensor {number} as {shape} {dtype}",
                why=f"an earlier program allocated it as {outputs[number].shape} {outputs[number].dtype}",
                next_step="allocate the same shared_hbm tensors in every program, in the same order",
            )
        return outputs[number]

    def warn(self, rule: str, text: str) -> None:
        """Give an :class:`EmulatorWarning`, once per rule and kernel line of a launch."""
        file, line = kernel_position()
        if (rule, file, line) not in self.launch.warned:
            self.launch.warned.add((rule, file, line))
            warnings.warn_explicit(text, EmulatorWarning, file, line, registry=_warned)


@dataclass(frozen=True)
class Accessed:
    """An operand or a result of an executed instruction: what a cost depends on."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    space: Space


@dataclass(frozen=True)
class Instruction:
    """One executed operation.

    Attributes
    ----------
    operation:
        Its name, e.g. ``nc_matmul``.
    engine:
        What executed it.
    result:
        What it wrote.
    operands:
        What it read, in order.
    file, line:
        The kernel statement that asked for it.
    """

    operation: str
    engine: Engine
    result: Accessed
    operands: tuple[Accessed, ...]
    file: str
    line: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its result."""
        return self.result.shape


class Observer:
    """Collects what is executed, in order.

    Attributes
    ----------
    seen:
        The instructions.
    reading:
        Operands that were read since the last instruction.
    """

    def __init__(self) -> None:
        self.seen: list[Instruction] = []
        self.reading: list[Accessed] = []

    def read(self, tensor: Tensor) -> None:
        """Note an operand of the coming instruction."""
        self.reading.append(Accessed(tensor.shape, tensor.dtype, tensor.space))

    def executed(self, operation: str, engine: Engine, result: Tensor) -> None:
        """Note an instruction: what was read since the last one are its operands."""
        written = Accessed(result.shape, result.dtype, result.space)
        self.seen.append(Instruction(operation, engine, written, tuple(self.reading), *kernel_position()))
        self.reading.clear()


_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observing() -> Iterator[list[Instruction]]:
    """Collect the operations that launches inside the context execute, in order, of all their programs."""
    observer = Observer()
    token = _observer.set(observer)
    try:
        yield observer.seen
    finally:
        _observer.reset(token)


def observer() -> Observer | None:
    """Who collects what is executed, if anybody does."""
    return _observer.get()


def enforces(rule: str) -> bool:
    """Whether the running launch enforces a rule."""
    return params().enforces(rule)


_warned: dict[Any, Any] = {}
"""What the warnings module has shown already, so that its filters work as everywhere else."""

_program: ContextVar[Program | None] = ContextVar("program", default=None)
_params: ContextVar[Params | None] = ContextVar("params", default=None)
_default = Params()


def running() -> bool:
    """Whether a kernel is being executed."""
    return _program.get() is not None


def program() -> Program:
    """The running program.

    Raises
    ------
    KernelFault
        ``err_nki_api_outside_of_nki_kernel`` where no kernel runs.
    """
    current = _program.get()
    if current is None:
        raise KernelFault(
            "err_nki_api_outside_of_nki_kernel",
            "an NKI function was called while no kernel runs",
            why="tensors exist only inside a kernel launch",
            next_step="call it inside a function decorated with nki.jit, and launch that",
        )
    return current


@contextmanager
def executing(current: Program) -> Iterator[None]:
    """Make ``current`` the running program."""
    token = _program.set(current)
    try:
        yield
    finally:
        _program.reset(token)


def params() -> Params:
    """The parameters of the running kernel; where none runs, those that the next launch uses."""
    current = _program.get()
    return current.launch.params if current is not None else _params.get() or _default


def set_default(chosen: Params) -> None:
    """Use ``chosen`` where no context chose otherwise, in all threads: a new thread inherits no context."""
    global _default
    _default = chosen


@contextmanager
def using(chosen: Params) -> Iterator[None]:
    """Use ``chosen`` for all launches inside the context."""
    token = _params.set(chosen)
    try:
        yield
    finally:
        _params.reset(token)
