"""The running program: which grid position executes, on which chip, and what it allocated."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from nkifix.emulator import footprint, loops, observe
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import EmulatorWarning, KernelFault
from nkifix.emulator.hardware import TARGETS, CoreLimits
from nkifix.emulator.location import kernel_frame, kernel_position
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.params import Params

if TYPE_CHECKING:
    from nkifix.emulator.repeats import Repeats


@dataclass(eq=False)
class Launch:
    """One kernel call: what all programs of its grid share.

    Attributes
    ----------
    grid:
        Extent per SPMD dimension; () for a call without brackets.
    code:
        The kernel function's code; None where a test runs instructions without one.
    outputs:
        Tensors in shared HBM, in allocation order: the n-th allocation of every program is the same memory.
    warned:
        Warnings that were given already, so that a loop warns once.
    level:
        The grid as the outermost loop around every statement.
    shuffler:
        Draws the order of programs and parallel iterations; None for program order.
    force_automatic:
        Whether direct allocations are treated as automatic ones.
    accepted:
        Layouts of operands that :func:`nkifix.emulator.checks.operand` has found legal.
    plans:
        What instructions have found out about operands of the same layouts (:func:`planned`).
    places:
        Where direct allocations lie, by declaration (see :mod:`nkifix.emulator.placement.declare`).
    needs_order:
        Whether a program did what means the same only where all programs run in one process, in order: it read a
        tensor in shared HBM, say.
    in_worker:
        Whether other programs run in other processes, which know the outputs so far and no others.
    repeats:
        Calls that are recorded; None where iterations run in other orders.
    """

    params: Params
    grid: tuple[int, ...]
    force_automatic: bool = False
    code: CodeType | None = None
    outputs: list[Storage] = field(default_factory=list)
    warned: set[tuple[str, str, int]] = field(default_factory=set)
    accepted: set[tuple[object, ...]] = field(init=False)
    plans: dict[tuple[object, ...], Any] = field(init=False)
    places: dict[object, Any] = field(default_factory=dict)
    needs_order: bool = False
    in_worker: bool = False
    repeats: Repeats | None = field(init=False)
    level: loops.Level = field(init=False)
    shuffler: np.random.Generator | None = field(init=False)

    def __post_init__(self) -> None:
        self.level = loops.Level(parallel=math.prod(self.grid) > 1)
        self.accepted, self.plans = _found_with(self.params)
        self.repeats = None
        if self.params.order == "program":
            from nkifix.emulator.repeats import Repeats

            self.repeats = Repeats()
        self.shuffler = np.random.default_rng(self.params.seed) if self.params.order == "shuffled" else None

    @functools.cached_property
    def positions(self) -> list[tuple[int, ...]]:
        """The grid positions, in program order."""
        return list(itertools.product(*map(range, self.grid)))

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for launches that execute a kernel of that code alike, however many processes share the programs."""
        return self.code, repr(self.grid), replace(self.params, workers=None), self.force_automatic

    def begin(self, number: int) -> tuple[int, ...]:
        """Start the program of that number: its grid position."""
        self.level.begin(number)
        return self.positions[number]

    def programs(self) -> Iterator[tuple[int, ...]]:
        """The grid positions, in the order in which they run."""
        for number in loops.order_of(len(self.positions), self.shuffler):
            yield self.begin(number)
        loops.settle_all(self.level)

    def warn(self, warning: EmulatorWarning, file: str, line: int) -> None:
        """Give a warning about a kernel line, once per rule and line."""
        key = (warning.rule, file, line)
        if key not in self.warned:
            self.warned.add(key)
            warnings.warn_explicit(warning, EmulatorWarning, file, line, registry=_warned)

    @property
    def in_f32(self) -> bool:
        """Whether floating elements keep float32 values, whatever their dtype."""
        return self.params.storage == "fp32"

    @property
    def limits(self) -> CoreLimits:
        """Limits of the target's NeuronCore."""
        return TARGETS[self.params.target]


_Found: TypeAlias = tuple[set[tuple[object, ...]], dict[tuple[object, ...], Any]]
_found: dict[Params, _Found] = {}


def _found_with(params: Params) -> _Found:
    """:attr:`Launch.accepted` and :attr:`Launch.plans`, which all launches with the same parameters share."""
    if params not in _found and len(_found) >= _MOST_PARAMS:
        _found.clear()
    return _found.setdefault(params, (set(), {}))


_MOST_PARAMS = 16


@dataclass(eq=False)
class Program:
    """One grid position of a launch.

    Attributes
    ----------
    position:
        Program id per SPMD dimension.
    random:
        Generator behind random numbers; None until the kernel seeds it.
    registers:
        Accumulator registers per engine (see :mod:`nkifix.emulator.ops.accumulators`).
    tensor_type:
        The front end's tensor class: results come as the tensors of the language that asked for them.
    nest:
        The loops around the running statement.
    computes:
        Whether elements are computed.
    postpones:
        Whether a result may be computed when it is assigned or read. Not while lifetimes are measured: until then its
        operands stay alive.
    arena:
        What the program has allocated directly (see :mod:`nkifix.emulator.placement.declare`).
    at:
        The kernel line whose action is done again; None where the kernel itself runs.
    """

    launch: Launch
    position: tuple[int, ...]
    shared_allocations: int = 0
    random: np.random.Generator | None = None
    registers: dict[Engine, object] = field(default_factory=dict)
    tensor_type: type[Tensor] = Tensor
    nest: loops.Nest = field(init=False)
    computes: bool = field(init=False)
    postpones: bool = field(init=False)
    arena: object = None
    at: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        watched = self.launch.params.enforces("err_unexpected_output_dependencies")
        self.nest = loops.Nest(self.launch.level, shuffler=self.launch.shuffler, watched=watched)
        self.computes = self.launch.params.arithmetic
        self.postpones = not footprint.is_measured()

    def share(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Storage:
        """The next tensor in shared HBM: allocated by the first program, found again by the others."""
        self._refuse_helper(name)
        outputs, number = self.launch.outputs, self.shared_allocations
        self.shared_allocations += 1
        if self.launch.in_worker and [(one.shape, one.dtype) for one in outputs[number : number + 1]] != [
            (shape, dtype)
        ]:
            self.launch.needs_order = True
        if number == len(outputs):
            storage = Storage(shape, dtype, Space.SHARED_HBM, partition_axis=None, name=name, in_f32=self.launch.in_f32)
            storage.leave_undefined()
            storage.depth = 0  # it lives as long as the launch, wherever its first program allocates it
            outputs.append(storage)
        elif (outputs[number].shape, outputs[number].dtype) != (shape, dtype):
            raise KernelFault(
                "",
                f"program {self.position} allocates shared_hbm tensor {number} as {shape} {dtype}",
                why=f"an earlier program allocated it as {outputs[number].shape} {outputs[number].dtype}",
                next_step="allocate the same shared_hbm tensors in every program, in the same order",
            )
        return outputs[number]

    def _refuse_helper(self, name: str) -> None:
        frame = kernel_frame()
        while frame is not None and frame.f_code.co_name in ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"):
            frame = frame.f_back
        if self.launch.code is None or frame is None or frame.f_code is self.launch.code:
            return
        if self.launch.params.enforces("err_shared_hbm_must_in_kernel_level"):
            raise KernelFault(
                "err_shared_hbm_must_in_kernel_level",
                f"the function {frame.f_code.co_name} creates a shared_hbm tensor {name}".rstrip(),
                why="outputs belong to the kernel as a whole, so only its own top level creates them",
                next_step=f"create it in {self.launch.code.co_name}, and pass it to {frame.f_code.co_name}",
            )

    def warn(self, rule: str, text: str) -> None:
        """Give an :class:`EmulatorWarning`, once per rule and kernel line of a launch."""
        self._warn(rule, text, *(self.at or kernel_position()))

    def warn_of_code(self, rule: str, text: str) -> None:
        """Give one that does not depend on what the operands hold: a call that is repeated gives it again."""
        file, line = kernel_position()
        if self.nest.recording is not None:
            self.nest.recording.warned[rule, file, line] = text
        self._warn(rule, text, file, line)

    def warn_again(self, warned: Mapping[tuple[str, str, int], str]) -> None:
        """Give the warnings of a call that is repeated."""
        for (rule, file, line), text in warned.items():
            self._warn(rule, text, file, line)

    def _warn(self, rule: str, text: str, file: str, line: int) -> None:
        if (rule, file, line) not in self.launch.warned:
            warning = EmulatorWarning(text)
            warning.rule = rule
            self.launch.warn(warning, file, line)


def reads(tensor: Tensor) -> None:
    """Note that a program reads a tensor in HBM: where the launch writes it, the order of programs matters."""
    if tensor.space is Space.SHARED_HBM:
        program().launch.needs_order = True


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


Plan = TypeVar("Plan")


def planned(make: Callable[..., Plan], operands: tuple[object, ...], *fixed: object) -> Plan:
    """``make(*operands, *fixed)``, or what it gave before for operands of the same layouts.

    ``make`` checks an instruction's operands and says what follows from their layouts, and from nothing else of them;
    of an operand that is a number, what follows from its type.
    """
    plans = program().launch.plans
    key: list[object] = [make, *fixed]
    for one in operands:
        if not isinstance(one, Tensor):
            key.append(type(one))
        elif one.gather is None:
            key.append(one.layout)
        else:
            return make(*operands, *fixed)
    whole = tuple(key)
    try:
        plan: Plan | None = plans.get(whole)
    except TypeError:  # what cannot be hashed is no legal argument, as make will say
        return make(*operands, *fixed)
    if plan is None:
        if len(plans) > _MOST_PLANS:
            plans.clear()
        plan = plans[whole] = make(*operands, *fixed)
    return plan


_MOST_PLANS = 1 << 14


@contextmanager
def executing(current: Program) -> Iterator[None]:
    """Make ``current`` the running program."""
    token = _program.set(current)
    watching = observe.observer()
    if watching is not None:
        watching.program = current.position
    try:
        with loops.running_in(current.nest):
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
