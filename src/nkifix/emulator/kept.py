"""Records of helper calls that outlive their launch, for launches like it.

A kernel is launched again and again: over layers, training steps, or the repeats of a measurement. What its helpers do
is recorded in the first launches (:mod:`nkifix.emulator.repeats`) and repeated in all later ones of the same kernel,
grid and parameters, as long as all that its code names is what it was (:attr:`nkifix.emulator.effects.Reader.read`).
A launch takes the records for itself and gives them back at its end, so no two threads share their memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from nkifix.emulator import observe
from nkifix.emulator.actions import Scratch

if TYPE_CHECKING:
    from nkifix.emulator.machine import Launch

MOST_BYTES = 1 << 27
"""Memory of all records that are kept between launches."""
_BYTES_PER_ACTION = 1 << 12
"""About what one takes, without the memory of tensors."""
_MOST_LAUNCHES = 32
"""How many kinds of launches have their records kept."""

_EQUAL = (bool, int, float, str, bytes, type(None), tuple, frozenset, range, slice, np.generic, np.dtype)
"""Types of objects that are the same where they read the same."""


@dataclass(eq=False)
class Records:
    """Records of calls, by their descriptions.

    Attributes
    ----------
    code:
        The kernel's, which therefore keeps its identity.
    calls:
        The records, by key; what they are is the business of :mod:`nkifix.emulator.repeats`.
    read:
        What the code of the recorded helpers names, in the order in which it was read.
    instructions, actions:
        How many they hold.
    scratch:
        The memory of their tensors.
    launches:
        How many launches in a row have found the same code.
    """

    code: CodeType | None = None
    calls: dict[tuple[object, ...], Any] = field(default_factory=dict)
    read: list[object] = field(default_factory=list)
    instructions: int = 0
    actions: int = 0
    launches: int = 0
    scratch: Scratch = field(default_factory=Scratch)
    _checked: int = 0

    def begin(self) -> None:
        """Begin a launch, which reads its code anew."""
        self._checked = 0
        self.launches += 1

    def will_be_used(self, launch: Launch) -> bool:
        """Whether a record is likely to pay, even where nothing of the launch was repeated yet.

        Other programs do what the first one does, and other launches what this one does; but what a worker process
        records ends with it.
        """
        return not launch.in_worker and (self.launches > 1 or len(launch.positions) > 1)

    @property
    def bytes(self) -> int:
        """About how much memory they take."""
        return self.scratch.bytes + self.actions * _BYTES_PER_ACTION

    def check(self, read: list[object]) -> None:
        """Forget all records if the launch has read something else than when they were made."""
        for number in range(self._checked, len(read)):
            if number == len(self.read):
                self.read.append(read[number])
            elif not _is_same(self.read[number], read[number]):
                self.read = read[: number + 1]
                self._forget()
                self.launches = 1
        self._checked = len(read)

    def forget_inner(self, code: CodeType) -> None:
        """Forget the calls of functions that a kernel of that code defines itself: the next launch has others."""
        inner = set(_inner_codes(code))
        gone = [key for key in self.calls if getattr(key[0], "__code__", None) in inner]
        for key in gone:
            del self.calls[key]
        if gone:
            self.launches = 0  # what the next launch records may be in vain, too
            if not self.calls:
                self._forget()

    def _forget(self) -> None:
        self.calls.clear()
        self.instructions = self.actions = 0
        self.scratch = Scratch()


def _is_same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and isinstance(one, _EQUAL) and repr(one) == repr(other))


def _inner_codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _inner_codes(one)


_kept: OrderedDict[object, Records] = OrderedDict()


@contextmanager
def lent_to(launch: Launch) -> Iterator[None]:
    """Let ``launch`` have the records of launches like it, and keep what it leaves.

    Not where somebody watches what is executed, or nothing is computed: then records hold other things.
    """
    if launch.repeats is None or launch.code is None or not launch.params.arithmetic or observe.observer() is not None:
        yield
        return
    key = (id(launch.code), launch.kind)  # two files may hold kernels of equal code, and other helpers
    records = _kept.pop(key, None) or Records(launch.code)
    records.begin()
    launch.repeats.records = records
    try:
        yield
    finally:
        records.forget_inner(launch.code)
        if records.calls:
            _kept[key] = records
            _limit()


def _limit() -> None:
    """Let go of the records that were used longest ago, where they are too many."""
    with suppress(KeyError):  # another thread was quicker
        while len(_kept) > _MOST_LAUNCHES or sum([one.bytes for one in list(_kept.values())]) > MOST_BYTES:
            _kept.popitem(last=False)


def forget() -> None:
    """Let go of all of them."""
    _kept.clear()
