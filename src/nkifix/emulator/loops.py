"""Which iteration of which loop runs, in which order, and what waits for the program's own order.

Source: ``nl.affine_range``, ``nl.sequential_range``, ``nl.loop_reduce`` (``nki.language`` reference, Neuron SDK
2.26). Iterations of an ``affine_range`` and programs of a grid may run in any order, associative reductions
(``+=``, ``loop_reduce``) included; ``Params(order="shuffled")`` does so. To keep the bytes of a float sum, a
reduction into a tensor of outside the loop then waits, and is applied in program order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.symbols import Affine

if TYPE_CHECKING:
    from nkifix.emulator.actions import ActionLog
    from nkifix.emulator.memory import Storage
    from nkifix.emulator.repeats import Recording


Waiting: TypeAlias = tuple[tuple[int, ...], Callable[[], Any]]
"""Where a reduction stands in program order, and the reduction."""


class Level:
    """A loop that is being executed, or the launch grid.

    Attributes
    ----------
    parallel:
        Whether its iterations may run in any order.
    ordinal:
        Number of the current iteration, counted in program order.
    step:
        How many inner loops and waiting reductions the current iteration had so far.
    waiting:
        Tensors of outside with reductions that wait for the end of this loop.
    """

    __slots__ = ("ordinal", "parallel", "step", "waiting")

    def __init__(self, *, parallel: bool) -> None:
        self.parallel = parallel
        self.ordinal = 0
        self.step = 0
        self.waiting: list[Storage] = []

    def begin(self, ordinal: int) -> None:
        """Start an iteration."""
        self.ordinal = ordinal
        self.step = 0


class LoopIndex(Affine):
    """The index of a running loop: an integer that knows its loop."""

    level: Level

    @classmethod
    def of(cls, value: int, level: Level) -> LoopIndex:
        """``value`` as the index of ``level``."""
        self = cls(value)
        self.level = level
        return self


class Nest:
    """The loops around the statement that is being executed, from the grid inwards.

    Attributes
    ----------
    levels:
        The grid first, then every running ``affine_range`` and ``sequential_range``.
    parallel:
        How many levels there are up to the innermost parallel one.
    shuffler:
        Draws the order of parallel iterations; None for program order.
    watched:
        Whether two iterations that write one element are refused.
    reducing:
        Whether a reduction is being applied, which may write an element again.
    awaited:
        The last instruction's result, if its values are still to be computed.
    recording:
        The call that is being recorded, if one is (see :mod:`nkifix.emulator.repeats`).
    writes:
        How many writes into tensors there were so far.
    """

    __slots__ = ("awaited", "levels", "parallel", "recording", "reducing", "shuffler", "watched", "writes")

    def __init__(self, grid: Level, *, shuffler: np.random.Generator | None = None, watched: bool = True) -> None:
        self.levels = [grid]
        self.parallel = 1 if grid.parallel else 0
        self.shuffler = shuffler
        self.watched = watched
        self.reducing = False
        self.awaited: Storage | None = None
        self.recording: Recording | None = None
        self.writes = 0

    def enter(self, level: Level) -> None:
        """Begin a loop."""
        self.levels[-1].step += 1
        self.levels.append(level)
        if level.parallel:
            self.parallel = len(self.levels)

    def leave(self, level: Level) -> None:
        """End a loop, and loops inside it that an exception left behind."""
        if level not in self.levels:
            return
        del self.levels[self.levels.index(level) :]
        self.parallel = max((n for n, one in enumerate(self.levels, start=1) if one.parallel), default=0)
        settle_all(level)

    def place(self, depth: int) -> tuple[int, ...]:
        """Where the current statement stands in program order, seen from a tensor declared at ``depth``."""
        return tuple(number for level in self.levels[depth:] for number in (level.ordinal, level.step))


_nest: ContextVar[Nest | None] = ContextVar("nest", default=None)

nest = _nest.get
"""The loops around the running statement; None where no kernel runs."""


def action_log() -> ActionLog | None:
    """Where actions are noted, if a call that computes is being recorded."""
    current = nest()
    return None if current is None or current.recording is None else current.recording.actions


def depends_on_more() -> None:
    """Note that the running call does, or depends on, what a record of it would not show."""
    current = nest()
    if current is not None and current.recording is not None:
        current.recording.fail()


@contextmanager
def running_in(current: Nest) -> Iterator[None]:
    """Make ``current`` the loops around whatever runs inside."""
    token = _nest.set(current)
    try:
        yield
    finally:
        _nest.reset(token)


class Loop:
    """The iterable behind ``affine_range`` and ``sequential_range``; may be iterated over more than once."""

    def __init__(self, values: range, *, parallel: bool) -> None:
        self.values = values
        self.parallel = parallel

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[LoopIndex]:
        level = Level(parallel=self.parallel)
        around = nest()
        if around is not None:
            around.enter(level)
        try:
            for ordinal in order_of(len(self.values), around.shuffler if around and self.parallel else None):
                level.begin(ordinal)
                yield LoopIndex.of(self.values[ordinal], level)
        finally:
            if around is not None:
                around.leave(level)


def order_of(count: int, shuffler: np.random.Generator | None) -> Iterable[int]:
    """In which order ``count`` iterations run."""
    return range(count) if shuffler is None else shuffler.permutation(count).tolist()


def is_first_iteration(indices: object) -> bool:
    """Whether the loops of these indices are all in their first iteration, in program order.

    ``indices`` is one index or a list of them, as ``loop_indices=`` of ``nl.loop_reduce`` takes it; a plain number (the
    index of an unrolled loop) is first where it is zero.

    Raises
    ------
    KernelFault
        For what is no index, or the index of a loop that has ended.
    """
    given = indices if isinstance(indices, (tuple, list)) else (indices,)
    current = nest()
    depends_on_more()
    given = [_original(index) for index in given]
    for index in given:
        ended = isinstance(index, LoopIndex) and current is not None and index.level not in current.levels
        if ended or not isinstance(index, (int, np.integer)) or isinstance(index, bool):
            raise KernelFault(
                "",
                f"loop_indices takes indices of loops around the call, got {index!r}",
                why="its loop has ended" if ended else "",
                next_step="pass the variables of the for loops around it: loop_indices=[i, j]",
            )
    return all(index.level.ordinal == 0 if isinstance(index, LoopIndex) else index == 0 for index in given)


def _original(index: Any) -> Any:
    """The index that a traced number stands for (:mod:`nkifix.emulator.traced`)."""
    origin = getattr(index, "origin", None)
    return index if origin is None else origin


# ---------------------------------------------------------------------------------------------- reductions


def must_wait(storage: Storage) -> bool:
    """Whether a reduction into ``storage`` has to wait: what it adds must then be kept as it is now."""
    current = nest()
    return (
        current is not None
        and current.shuffler is not None
        and storage.depth < current.parallel
        and not current.reducing
    )


def reduce(storage: Storage, apply: Callable[[], Any]) -> None:
    """Apply an associative reduction into ``storage``: now, or (in shuffled order) when its loops have ended."""
    current = nest()
    if current is None or not must_wait(storage):
        _apply(apply)
        return
    outermost = next(level for level in current.levels[storage.depth :] if level.parallel)
    if storage.waiting is None:
        storage.waiting = []
        storage.is_plain = False
        outermost.waiting.append(storage)
    current.levels[-1].step += 1
    storage.waiting.append((current.place(storage.depth), apply))


def settle(storage: Storage) -> None:
    """Apply what waits for ``storage``, in program order."""
    waiting, storage.waiting = storage.waiting, None
    storage.look_again()
    for _, apply in sorted(waiting or (), key=lambda item: item[0]):
        _apply(apply)


def settle_all(level: Level) -> None:
    """Apply all that waits for the end of ``level``."""
    waiting, level.waiting = level.waiting, []
    for storage in waiting:
        settle(storage)


class reducing:  # noqa: N801  used as a function
    """Inside, a reduction is applied, which may write elements again."""

    __slots__ = ("_before", "_nest")

    def __enter__(self) -> None:
        self._nest = nest()
        if self._nest is not None:
            self._before, self._nest.reducing = self._nest.reducing, True

    def __exit__(self, *_: object) -> None:
        if self._nest is not None:
            self._nest.reducing = self._before


def _apply(apply: Callable[[], Any]) -> None:
    with reducing():
        apply()
