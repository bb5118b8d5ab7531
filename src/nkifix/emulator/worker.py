"""What a worker process does: programs of a launch, until there are no more or one fails, and an account of them."""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from nkifix.emulator import observe
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import Launch
from nkifix.emulator.memory import Storage, Tensor

Execute: TypeAlias = Callable[[tuple[int, ...]], Any]
"""Runs the program at a grid position, and returns what it returns."""

Bits: TypeAlias = "npt.NDArray[np.uint8]"
"""Whether each element was written, eight elements a byte."""

TOKEN_BYTES = 8
"""A piece of work in the pipe: number of its first program, and of the one after its last."""


class Printed(NamedTuple):
    """What a program wrote to stdout or stderr."""

    stream: str
    text: str


class Warned(NamedTuple):
    """A warning, whatever becomes of it by the parent's filters."""

    warning: Warning
    file: str
    line: int


class Report(NamedTuple):
    """A program that went through."""

    events: list[Printed | Warned]
    counts: Counter[observe.Instruction]


class Account(NamedTuple):
    """What a worker did.

    Attributes
    ----------
    reports:
        By the program's number.
    failed:
        Number of the program that did not go through, after which the worker stopped.
    needs_order:
        Whether a program did what means the same only in one process.
    written:
        For each output, the elements that the worker wrote.
    returned:
        What the launch's last program returned, see :func:`_packed`.
    seconds:
        How long the programs took.
    """

    reports: dict[int, Report]
    failed: int | None
    needs_order: bool
    written: list[Bits]
    returned: Any
    seconds: float


def work(
    launch: Launch, tensors: list[Storage], execute: Execute, tokens: int, shared: list[Bits], parent: int
) -> bytes:
    """Execute programs until there are no more, or one fails; give the account."""
    launch.in_worker = True
    outputs = list(launch.outputs)
    for storage, raw in zip(outputs, shared, strict=True):
        storage.raw = raw
        storage.leave_undefined(storage.place)  # what it wrote itself will be defined
    reports: dict[int, Report] = {}
    failed: int | None = None
    returned: Any = None
    last = len(launch.positions) - 1
    began = time.perf_counter()
    for number in _taken(tokens):
        if os.getppid() != parent:
            os._exit(1)
        try:
            with _recorded() as report:
                value = execute(launch.begin(number))
            returned = _packed(value, tensors) if number == last else None
            reports[number] = report
        except BaseException as error:
            failed = number
            launch.needs_order |= isinstance(error, KernelFault) and error.code == _UNORDERED
        launch.needs_order |= any(storage.first_write is not None for storage in tensors)
        if failed is not None or launch.needs_order:
            for _ in _taken(tokens):
                pass  # nobody is to begin another program
            break
    seconds = time.perf_counter() - began
    written = [_written(storage) for storage in outputs]
    account = Account(reports, failed, launch.needs_order, written, returned, seconds)
    try:
        return pickle.dumps(account)
    except Exception:  # a warning that cannot be sent
        return pickle.dumps(account._replace(reports={}, needs_order=True))


_UNORDERED = "err_unexpected_output_dependencies"


def _taken(tokens: int) -> Iterator[int]:
    """Numbers of programs, as long as there are any."""
    while token := os.read(tokens, TOKEN_BYTES):
        yield from range(int.from_bytes(token[:4], "little"), int.from_bytes(token[4:], "little"))


def _written(storage: Storage) -> Bits:
    """The elements that are defined."""
    if storage.undefined is None:
        return np.packbits(np.ones(storage.size, dtype=np.bool_))
    return np.packbits(storage.undefined.ids == 0)


class _Text(io.TextIOBase):
    """A stream that keeps what is written."""

    def __init__(self, stream: str, events: list[Printed | Warned]) -> None:
        self._stream = stream
        self._events = events

    def write(self, text: str) -> int:
        self._events.append(Printed(self._stream, text))
        return len(text)


@contextmanager
def _recorded() -> Iterator[Report]:
    """Keep what a program prints and warns of, and count what it executes."""
    report = Report([], Counter())
    events = report.events

    def show(warning: Any, _category: type[Warning], file: str, line: int, *_: object) -> None:
        events.append(Warned(warning, file, line))

    with redirect_stdout(_Text("stdout", events)), redirect_stderr(_Text("stderr", events)), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show  # type: ignore[assignment]
        if observe.observer() is None:
            yield report
            return
        with observe.observing() as seen:
            yield report
        report.counts.update(seen.counts)


class _View(NamedTuple):
    """A tensor of the launch, to be found again in the parent."""

    kind: type[Tensor]
    storage: int
    view: tuple[Any, ...]


class _Unknown(Exception):
    """A value that only the process that made it can use."""


def _packed(value: Any, tensors: list[Storage]) -> Any:
    """What a program returned, for another process: its tensors by number.

    Raises
    ------
    _Unknown
        For anything else than outputs and inputs; the parent then executes the program itself.
    """
    if isinstance(value, (tuple, list)):
        return tuple(_packed(item, tensors) for item in value)
    numbers = [number for number, one in enumerate(tensors) if isinstance(value, Tensor) and one is value.storage]
    if not numbers or value.gather is not None or value.result_mask is not None:
        raise _Unknown
    return _View(type(value), numbers[0], (value.shape, value.strides, value.offset, value.partition_axis))


def unpacked(value: Any, tensors: list[Storage]) -> Any:
    """What the last program returned, here."""
    if isinstance(value, _View):
        return value.kind._new(tensors[value.storage], *value.view)
    return tuple(unpacked(item, tensors) for item in value) if value is not None else None


def give(launch: Launch, report: Report) -> None:
    """Let what a worker's program printed, warned of and executed have happened here."""
    for event in report.events:
        if isinstance(event, Printed):
            getattr(sys, event.stream).write(event.text)
        elif getattr(event.warning, "rule", ""):
            launch.warn(event.warning, event.file, event.line)  # type: ignore[arg-type]
        else:
            names = _module_of(event.file)
            registry = names.setdefault("__warningregistry__", {})
            category = type(event.warning)
            warnings.warn_explicit(event.warning, category, event.file, event.line, names.get("__name__"), registry)
    watching = observe.observer()
    if watching is not None:
        watching.add(report.counts)


def _module_of(file: str) -> dict[str, Any]:
    """Names of the module that a file was loaded as."""
    named = [vars(module) for module in list(sys.modules.values())]
    return next((names for names in named if names.get("__file__") == file), {})
