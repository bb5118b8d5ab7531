"""How much of SBUF and PSUM a program's tensors take over time, and where they no longer fit.

Counted is what a kernel holds: a tensor it declared, from the declaration on, and an instruction's result that
is read where it is, until nothing refers to it any more. Tensors that are allocated automatically may be more
than fit: the compiler then spills, which costs time and is no error. Blocks that share a directly allocated
place count once.

Source: "NKI programming model" and "NKI performance guide" (spilling), Neuron SDK 2.26.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from nkifix.emulator.hardware import CoreLimits
from nkifix.emulator.location import kernel_position
from nkifix.emulator.memory import Space, Storage

Address: TypeAlias = tuple[int, int]
"""PSUM bank (0 in SBUF), and byte within a partition."""


class Sample(NamedTuple):
    """What is held after a tensor came or went.

    Attributes
    ----------
    file, line:
        The kernel statement that was executed.
    sbuf_bytes, psum_bytes:
        Bytes per partition.
    """

    file: str
    line: int
    sbuf_bytes: int
    psum_bytes: int


@dataclass(frozen=True)
class Footprint:
    """The footprint of one launch, over all its programs; each has a NeuronCore's memory of its own.

    Attributes
    ----------
    peak_sbuf_bytes_per_partition, peak_psum_bytes_per_partition:
        The most that any program held at a time.
    spill:
        ``file:line`` where what a program held in SBUF first exceeded it; None where all fits.
    timeline:
        Every change, program after program.
    """

    peak_sbuf_bytes_per_partition: int
    peak_psum_bytes_per_partition: int
    spill: str | None
    timeline: list[Sample]


class Stretch:
    """A part of a timeline that begins and ends alike, to be repeated.

    Parameters
    ----------
    samples:
        What was held meanwhile.
    sbuf_bytes, psum_bytes:
        What was held before, and then again.
    """

    def __init__(self, samples: list[Sample], sbuf_bytes: int, psum_bytes: int) -> None:
        self._samples = {(sbuf_bytes, psum_bytes): samples}
        self._begin = (sbuf_bytes, psum_bytes)
        self.most_sbuf_bytes = max([one.sbuf_bytes for one in samples], default=sbuf_bytes) - sbuf_bytes

    def samples_from(self, sbuf_bytes: int, psum_bytes: int) -> list[Sample]:
        """The samples where that much is held before."""
        known = self._samples.get((sbuf_bytes, psum_bytes))
        if known is None:
            sbuf, psum = sbuf_bytes - self._begin[0], psum_bytes - self._begin[1]
            first = self._samples[self._begin]
            known = [Sample(one.file, one.line, one.sbuf_bytes + sbuf, one.psum_bytes + psum) for one in first]
            self._samples[sbuf_bytes, psum_bytes] = known
        return known


@dataclass(eq=False)
class _Recording:
    """A launch that is being measured."""

    limits: CoreLimits
    held: dict[Space, int] = field(default_factory=lambda: {Space.SBUF: 0, Space.PSUM: 0})
    shared: Counter[tuple[Space, Address, int]] = field(default_factory=Counter)
    timeline: list[Sample] = field(default_factory=list)
    spill: str | None = None
    alive: dict[int, weakref.ref[Any]] = field(default_factory=dict)

    def when_gone(self, storage: Storage, release: Callable[[], None]) -> None:
        """Call ``release`` when nothing refers to the bytes any more, on the kernel line where that happens."""

        def gone(reference: weakref.ref[Any]) -> None:
            del self.alive[id(reference)]
            release()

        reference = weakref.ref(storage.raw, gone)
        self.alive[id(reference)] = reference  # a weak reference that is let go of itself calls nothing

    def change(self, space: Space, size_bytes: int) -> None:
        self.held[space] += size_bytes
        file, line = kernel_position()
        self.timeline.append(Sample(file, line, self.held[Space.SBUF], self.held[Space.PSUM]))
        if self.spill is None and self.held[Space.SBUF] > self.limits.sbuf_usable_bytes:
            self.spill = f"{file}:{line}"

    def change_places(self, space: Space, places: frozenset[Address], bytes_per_tile: int, by: int) -> None:
        """As :meth:`change`, for tiles at addresses: those of several tensors count once."""
        changed = 0
        for place in places:
            key = (space, place, bytes_per_tile)
            before = self.shared[key] > 0
            self.shared[key] += by
            changed += (self.shared[key] > 0) - before
        self.change(space, changed * bytes_per_tile)

    def repeat(self, stretch: Stretch) -> None:
        samples = stretch.samples_from(self.held[Space.SBUF], self.held[Space.PSUM])
        self.timeline += samples
        if self.spill is None and stretch.most_sbuf_bytes + self.held[Space.SBUF] > self.limits.sbuf_usable_bytes:
            over = next(one for one in samples if one.sbuf_bytes > self.limits.sbuf_usable_bytes)
            self.spill = f"{over.file}:{over.line}"

    def footprint(self) -> Footprint:
        return Footprint(
            max((sample.sbuf_bytes for sample in self.timeline), default=0),
            max((sample.psum_bytes for sample in self.timeline), default=0),
            self.spill,
            self.timeline,
        )


_results: ContextVar[list[Footprint] | None] = ContextVar("footprints", default=None)
_recording: ContextVar[_Recording | None] = ContextVar("recording", default=None)


@contextmanager
def measuring() -> Iterator[list[Footprint]]:
    """Collect the footprint of each launch inside the context, in order."""
    results: list[Footprint] = []
    token = _results.set(results)
    try:
        yield results
    finally:
        _results.reset(token)


@contextmanager
def launched(limits: CoreLimits) -> Iterator[None]:
    """Measure the launch that runs inside, if anybody asked for it."""
    results = _results.get()
    if results is None:
        yield
        return
    recording = _Recording(limits)
    token = _recording.set(recording)
    try:
        yield
    finally:
        _recording.reset(token)
        results.append(recording.footprint())


def is_measured() -> bool:
    """Whether the running launch is measured."""
    return _recording.get() is not None


def mark() -> tuple[int, int, int]:
    """Where the timeline stands: its length, and the bytes per partition of SBUF and PSUM that are held."""
    recording = _recording.get()
    if recording is None:
        return 0, 0, 0
    return len(recording.timeline), recording.held[Space.SBUF], recording.held[Space.PSUM]


def stretch_since(begin: tuple[int, int, int]) -> Stretch | None:
    """What the timeline shows since a :func:`mark`; None unless as much is held as then."""
    recording = _recording.get()
    if mark()[1:] != begin[1:]:
        return None
    return Stretch([] if recording is None else recording.timeline[begin[0] :], *begin[1:])


def repeat(stretch: Stretch) -> None:
    """Take that as happening again."""
    recording = _recording.get()
    if recording is not None:
        recording.repeat(stretch)


def lives(storage: Storage, tiles: int | frozenset[Address], bytes_per_tile: int) -> None:
    """Count a tensor from now on, until nothing refers to its bytes.

    ``tiles`` is how many it has, or where they are: tiles that share an address count once.
    """
    recording = _recording.get()
    if recording is None:
        return
    space = storage.space
    if isinstance(tiles, int):
        recording.change(space, tiles * bytes_per_tile)
        recording.when_gone(storage, lambda: recording.change(space, -tiles * bytes_per_tile))
    else:
        recording.change_places(space, tiles, bytes_per_tile, 1)
        recording.when_gone(storage, lambda: recording.change_places(space, tiles, bytes_per_tile, -1))
