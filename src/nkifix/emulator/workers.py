"""When the programs of a grid run in several processes, and what then has to be as in one.

Answers, errors, warnings, output and counts are those of one process; see :mod:`nkifix.emulator.team` for how. Not seen
here is what a kernel does to Python objects of outside (a list that it appends to): that stays in the worker.

It is always one process

- for a grid of one program, and in shuffled order;
- where somebody looks at every instruction, or at the footprint;
- in a process of :mod:`multiprocessing` (joblib and pytest-xdist included): whoever started it shares out the cores;
- with another Python thread alive, or with JAX loaded, whose threads a forked process would lack;
- for a kernel whose programs read what others wrote, store into a parameter, or write the same elements. The first
  program tells most of that, and the rest comes to light: then all that the workers did is thrown away.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeAlias

import numpy as np

from nkifix.emulator import footprint, observe, team, worker
from nkifix.emulator.faults import EmulatorWarning
from nkifix.emulator.machine import Launch
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.errors import RefusalError

VARIABLE = "NKIFIX_WORKERS"
"""Environment variable: the number of processes where :class:`~nkifix.emulator.params.Params` says nothing."""

_LEAST_SAVING_S = 0.1
"""Two workers that have nothing to do take 30 to 40 ms with torch loaded, 60 to 70 ms in a process of 1 GB: a fork
copies the tables of the parent's memory, and the pages that either writes. So most of the saving remains."""

_Layout: TypeAlias = "tuple[tuple[int, ...], np.dtype[Any], str, tuple[str, int] | None]"
"""Shape, dtype, name and place of an output."""


@dataclass(eq=False)
class _Record:
    """What earlier launches of a kernel have shown.

    Attributes
    ----------
    seconds:
        How long one program takes; None where none ran.
    suited:
        Whether programs may run in several processes.
    outputs:
        What the kernel allocates in shared HBM; None where that is not known, or where the first program leaves
        something else to the others.
    """

    seconds: float | None = None
    suited: bool = True
    outputs: list[_Layout] | None = None


_MOST_RECORDS = 256
_records: OrderedDict[object, _Record] = OrderedDict()


def run(launch: Launch, inputs: Sequence[Storage], arguments: Sequence[object], execute: worker.Execute) -> Any:
    """Execute every program, and return what the last one returned."""
    total = len(launch.positions)
    most, forced = _processes(launch, total)
    if most < 2:
        returned = None
        for position in launch.programs():
            returned = execute(position)
        return returned
    record = _recorded(launch, arguments)
    done, returned = 0, None
    began = time.perf_counter()
    while done < total and not _pays(record, done, total, most, forced=forced):
        returned = execute(launch.begin(done))
        done += 1
        record.seconds = (time.perf_counter() - began) / done
        record.suited &= not _has_order(launch, inputs, is_last=done == total)
    if done < total:
        result = _with_team(launch, inputs, execute, done, min(most, total - done), record)
        if result is not None:
            done, returned, record.seconds = result.stop, result.returned, result.seconds
    for number in range(done, total):  # where a program did not go through in a worker, it is the first, and fails
        returned = execute(launch.begin(number))
    layouts = [(one.shape, one.dtype, one.name, one.place) for one in launch.outputs]
    record.outputs = None if launch.places else layouts
    return returned


def _has_order(launch: Launch, inputs: Sequence[Storage], *, is_last: bool) -> bool:
    """Whether the programs so far show that others must run in this process, after them."""
    if launch.needs_order or any(storage.first_write is not None for storage in inputs):
        return True
    if is_last or not launch.outputs:
        return False
    return all(storage.is_defined for storage in launch.outputs)  # the others write the same again, or nothing


def _with_team(
    launch: Launch, inputs: Sequence[Storage], execute: worker.Execute, start: int, count: int, record: _Record
) -> team.Result | None:
    """The programs from ``start`` on in processes; None where they must run in this one, as if nothing had been."""
    if start == 0:
        launch.outputs[:] = [_foreseen(layout, launch.in_f32) for layout in record.outputs or ()]
    result = None
    try:
        result = team.run(launch, inputs, execute, start, count)
    except team.WorkerDied as error:
        _tell(launch, f"a worker process died ({error}): the launch is computed again, in one process")
    except OSError as error:
        _tell(launch, f"no worker processes ({error.strerror}): the launch is computed in one process")
    if result is None:
        record.suited = False
        if start == 0:
            launch.outputs.clear()
        return None
    stop = start
    while stop < result.stop and not (_raises_warnings() and _warned(result.reports[stop])):
        worker.give(launch, result.reports[stop])
        stop += 1
    return result._replace(stop=stop)


def _foreseen(layout: _Layout, in_f32: bool) -> Storage:
    """An output as an earlier launch had it, with no element written."""
    shape, dtype, name, place = layout
    storage = Storage(shape, dtype, Space.SHARED_HBM, partition_axis=None, name=name, in_f32=in_f32)
    storage.leave_undefined(place)
    storage.depth = 0
    return storage


def _warned(report: worker.Report) -> bool:
    return any(isinstance(event, worker.Warned) for event in report.events)


def _raises_warnings() -> bool:
    """Whether some warning is an error: it is raised inside of the program, which therefore runs here."""
    return any(action == "error" for action, *_ in warnings.filters)


def _tell(launch: Launch, text: str) -> None:
    place = (launch.code.co_filename, launch.code.co_firstlineno) if launch.code else ("<no kernel>", 0)
    warnings.warn_explicit(text, EmulatorWarning, *place)


def _pays(record: _Record, done: int, total: int, most: int, *, forced: bool) -> bool:
    """Whether several processes may execute the rest, and save enough."""
    if not record.suited or (done == 0 and record.outputs is None):
        return False
    if forced or record.seconds is None:
        return forced
    rest = total - done
    return record.seconds * (rest - math.ceil(rest / most)) >= _LEAST_SAVING_S


# ------------------------------------------------------------------------------------------- how many


def _processes(launch: Launch, total: int) -> tuple[int, bool]:
    """The most processes that may share a launch, and whether they do even where it does not pay."""
    wanted = _wanted(launch.params.workers)
    if total < 2 or wanted == 1 or launch.shuffler is not None or reason_against() or _watched():
        return 1, False
    return min(wanted or _cores(), total), wanted is not None


def _wanted(chosen: int | None) -> int | None:
    """How many are asked for; None for as many as pay.

    Raises
    ------
    RefusalError
        Where :data:`VARIABLE` holds no number of processes.
    """
    text = os.environ.get(VARIABLE, "")
    if chosen is not None or not text:
        return chosen
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise RefusalError(
            f"{VARIABLE}={text!r} is no number of processes",
            next_step=f"set {VARIABLE} to a whole number of at least 1, or unset it",
        )
    return int(text)


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def reason_against() -> str:
    """Why this process must not fork, or should not; empty where it may."""
    if sys.platform != "linux":
        return "fork is safe on Linux only"
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return "a worker of pytest-xdist"
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and (processes.parent_process() or processes.current_process().daemon):
        return "a process of multiprocessing"
    if threading.active_count() > 1 or threading.current_thread() is not threading.main_thread():
        return "threads"
    if "jax" in sys.modules:
        return "JAX"
    return ""


def _watched() -> bool:
    """Whether somebody needs more of the programs than how often they execute what."""
    watching = observe.observer()
    return footprint.is_measured() or (watching is not None and not watching.only_counts)


# ------------------------------------------------------------------------------------------- records


def _recorded(launch: Launch, arguments: Sequence[object]) -> _Record:
    """What is known of launches like this one."""
    if launch.code is None:
        return _Record()
    key = (launch.kind, tuple(map(_kind, arguments)))
    record = _records.setdefault(key, _Record())
    _records.move_to_end(key)
    if len(_records) > _MOST_RECORDS:
        _records.popitem(last=False)
    return record


def _kind(argument: object) -> object:
    """What of an argument may decide how long a kernel runs; nothing that keeps the caller's objects alive."""
    if isinstance(argument, tuple):
        return tuple(map(_kind, argument))
    if isinstance(argument, Tensor):
        return argument.storage.shape, argument.storage.dtype
    if argument is None or isinstance(argument, (bool, int, float, str)):
        return type(argument), argument
    return (type(argument), repr(argument)) if is_dataclass(argument) else type(argument)
