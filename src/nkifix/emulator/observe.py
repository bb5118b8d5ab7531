"""Watching a launch: which instructions it executes, on what, and for which kernel line.

An operation's result is *placed* where it is assigned first (``psum[...] = nisa.nc_matmul(…)`` is one
instruction that writes ``psum``); assigning a tensor that an earlier instruction has left somewhere is a copy.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from nkifix.emulator.engines import Engine
from nkifix.emulator.layout import Layout
from nkifix.emulator.location import kernel_position
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.traced import Form, plain

if TYPE_CHECKING:
    from nkifix.emulator.repeats import Recording


class Accessed(NamedTuple):
    """An operand or a result of an instruction: all that its cost depends on.

    Attributes
    ----------
    shape:
        The elements that the mask keeps, as a box; dimension 0 is the partition dimension on chip.
    contiguous:
        Whether elements lie side by side along the last dimension.
    run_bytes:
        Longest stretch of consecutive bytes: what one DMA descriptor can move. On chip, at most one
        partition's row.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    space: Space
    contiguous: bool
    run_bytes: int

    @property
    def free_size(self) -> int:
        """Elements per partition."""
        return math.prod(self.shape[1:])

    @property
    def size_bytes(self) -> int:
        """Bytes of all its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Region(NamedTuple):
    """A part of one storage, as a box: what data dependences are found by.

    Attributes
    ----------
    storage:
        Serial number of the storage.
    row, row_end:
        First partition and the one after the last; 0 and 1 in HBM.
    start, end:
        First element and the one after the last, within a partition; in HBM, within the tensor.
    """

    storage: int
    row: int
    row_end: int
    start: int
    end: int

    def overlaps(self, other: Region) -> bool:
        """Whether both have an element in common, or may have."""
        in_rows = self.row < other.row_end and other.row < self.row_end
        return self.storage == other.storage and in_rows and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Instruction:
    """One executed instruction.

    Attributes
    ----------
    operation:
        Its name, e.g. ``nc_matmul``.
    function:
        What it computes, where its cost depends on that: ``add`` for a ``tensor_reduce``.
    engine:
        What executed it.
    result, operands:
        What it wrote and read, in order.
    file, line:
        The kernel statement that asked for it.
    """

    operation: str
    function: str
    engine: Engine
    result: Accessed
    operands: tuple[Accessed, ...]
    file: str
    line: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its result."""
        return self.result.shape


@dataclass(frozen=True)
class Input:
    """A tensor that a launch was given."""

    name: str
    shape: tuple[int, ...]


class Event(NamedTuple):
    """One instruction of a sequence, with the memory that it reads and writes.

    Attributes
    ----------
    program:
        Grid position that executed it.
    reads, writes:
        Regions of its operands, and of its result and whatever else it writes, in order.
    inputs:
        Serial number of a storage -> the launch's argument that it is.
    """

    instruction: Instruction
    program: tuple[int, ...]
    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    inputs: Mapping[int, Input]


class Pending:
    """An instruction whose result may still be placed elsewhere; with :attr:`instruction`, that is settled.

    Its places are noted while a call is recorded (see :mod:`nkifix.emulator.repeats`).
    """

    __slots__ = (
        "count",
        "engine",
        "function",
        "instruction",
        "operands",
        "operation",
        "place",
        "program",
        "read_places",
        "reads",
        "result",
        "writes",
        "written_places",
    )

    def __init__(self, operation: str, function: str, engine: Engine, result: Accessed) -> None:
        self.operation = operation
        self.function = function
        self.engine = engine
        self.result = result
        self.operands: tuple[Accessed, ...] = ()
        self.place = kernel_position()
        self.program: tuple[int, ...] = ()
        self.reads: tuple[Region, ...] = ()
        self.writes: tuple[Region, ...] = ()
        self.instruction: Instruction | None = None
        self.count: list[int] = []
        self.read_places: list[Place] = []
        self.written_places: list[Place] = []

    def key(self) -> tuple[object, ...]:
        """Equal for equal instructions, and quick to compare: of equal operands there is one object."""
        operands = tuple([id(operand) for operand in self.operands])
        return self.operation, self.function, self.engine.value, id(self.result), operands, self.place


Consumer = Callable[[Event], None]
"""Takes the events of a launch, one by one, in order."""

Place: TypeAlias = tuple[int, Layout, Form]
"""Where a recorded instruction reads or writes: serial number of the storage, layout and offset of the view."""


class Repetition(NamedTuple):
    """The instructions of a call that was recorded, to be executed again.

    Attributes
    ----------
    steps:
        Instruction, and the numbers of the regions that it reads and writes.
    regions:
        Regions of tensors that live in the call alone, and are new each time; None for those of other tensors.
    """

    steps: tuple[tuple[Instruction, tuple[int, ...], tuple[int, ...]], ...]
    regions: tuple[Region | None, ...]


class RepeatedCall(NamedTuple):
    """All events of a call that was recorded, as :class:`Event` is one.

    Attributes
    ----------
    others:
        The regions that the repetition leaves open, by number.
    program, inputs:
        As of an event.
    """

    repetition: Repetition
    others: Sequence[tuple[int, Region]]
    program: tuple[int, ...]
    inputs: Mapping[int, Input]


@runtime_checkable
class Repeater(Protocol):
    """A consumer that can take all events of a repeated call at once."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""

    def repeat(self, call: RepeatedCall) -> None:
        """Take the events of a call."""


class Observer:
    """Collects what is executed.

    Parameters
    ----------
    consumers:
        Who takes every event, soon after it happened.
    sequence:
        Whether to keep every event in :attr:`events`, too.

    Attributes
    ----------
    program:
        Grid position that is running.
    inputs:
        Serial number of a storage -> the launch's argument that it is.
    """

    def __init__(self, consumers: Sequence[Consumer] = (), *, sequence: bool = False) -> None:
        self.program: tuple[int, ...] = ()
        self.inputs: dict[int, Input] = {}
        self._events: list[Event] | None = [] if sequence else None
        self._consumers = [*consumers, *([] if self._events is None else [self._events.append])]
        self._queue: deque[Pending] = deque()
        self._counted: dict[tuple[object, ...], tuple[Instruction, list[int]]] = {}
        self._operands: list[Accessed] = []
        self._reads: list[Region] = []
        self._unplaced: dict[int, Pending] = {}
        self._repeaters = [one for one in self._consumers if isinstance(one, Repeater)]
        self._read_places: list[Place] = []
        self.recording: Recording | None = None

    def read(self, tensor: Tensor, kept: tuple[int, ...] | None = None) -> None:
        """Note an operand of the coming instruction."""
        storage = tensor.storage
        self._operands.append(accessed(tensor, kept))
        if self._consumers:
            self._reads.append(region(tensor))
            if storage.is_input:
                self.note_input(storage)
        if self.recording is not None:
            self._read_places.append(self.recording.place(tensor))
        made = self._unplaced.pop(storage.serial, None)
        if made is not None:
            self._settle(made)

    def note_input(self, storage: Storage) -> None:
        """Note that a storage is an argument of the launch."""
        if storage.serial not in self.inputs:
            self.inputs[storage.serial] = Input(storage.name, storage.shape)

    def executed(
        self,
        operation: str,
        engine: Engine,
        result: Tensor,
        *,
        function: str = "",
        kept: tuple[int, ...] | None = None,
        others: Sequence[Tensor] = (),
    ) -> None:
        """Note an instruction: what was read since the last one are its operands; it also wrote ``others``."""
        made = Pending(operation, function, engine, accessed(result, kept))
        made.operands = tuple(self._operands)
        made.program = self.program
        self._operands.clear()
        if self._consumers:
            made.reads = tuple(self._reads)
            made.writes = tuple([region(tensor) for tensor in (result, *others)])
            self._reads.clear()
            self._queue.append(made)
        if self.recording is not None:
            made.read_places, self._read_places = self._read_places, []
            made.written_places = [self.recording.place(tensor) for tensor in (result, *others)]
            self.recording.executed(made)
        if result.storage.auto_placed:
            self._unplaced[result.storage.serial] = made
        else:
            self._settle(made)

    def assigned(self, source: Tensor, destination: Tensor) -> None:
        """Note ``destination[...] = source``: a fresh result is placed there, anything else is copied."""
        made = self._unplaced.pop(source.storage.serial, None)
        if made is None:
            self.read(source)
            self.executed("tensor_copy", Engine.VECTOR, destination)
            return
        shape = made.result.shape
        made.result = accessed(destination, None if shape == destination.shape else shape)
        if self._consumers:
            made.writes = (region(destination), *made.writes[1:])
        if self.recording is not None:
            made.written_places[:1] = [self.recording.place(destination)]
        self._settle(made)

    def _settle(self, made: Pending) -> None:
        key = made.key()
        counted = self._counted.get(key)
        if counted is None:
            one = Instruction(made.operation, made.function, made.engine, made.result, made.operands, *made.place)
            counted = self._counted[key] = (one, [0])
        made.instruction, made.count = counted
        made.count[0] += 1
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the consumers what is settled, as far as nothing before it is open."""
        queue = self._queue
        while queue and queue[0].instruction is not None:
            made = queue.popleft()
            assert made.instruction is not None
            event = Event(made.instruction, made.program, made.reads, made.writes, self.inputs)
            for consume in self._consumers:
                consume(event)

    def finish(self) -> None:
        """Results that nobody read or placed stay where they are."""
        for made in self._unplaced.values():
            self._settle(made)
        self._unplaced.clear()

    @property
    def is_amid(self) -> bool:
        """Whether an instruction is not settled yet."""
        return bool(self._operands or self._queue or self._unplaced)

    @property
    def can_repeat(self) -> bool:
        """Whether a recorded call can be repeated now, for all consumers."""
        return len(self._repeaters) == len(self._consumers) and not self.is_amid

    def repeat(
        self,
        repetition: Repetition,
        others: Sequence[tuple[int, Region]],
        counts: Sequence[tuple[list[int], int]],
    ) -> None:
        """Take a call that was recorded: its instructions, regions of tensors of outside, and how often to count it."""
        for count, times in counts:
            count[0] += times
        call = RepeatedCall(repetition, others, self.program, self.inputs)
        for one in self._repeaters:
            one.repeat(call)

    @property
    def only_counts(self) -> bool:
        """Whether nobody wants to know more than how often each instruction was executed."""
        return not self._consumers

    def add(self, counts: Mapping[Instruction, int]) -> None:
        """Count instructions that another process has executed."""
        for one, count in counts.items():
            operands = tuple([id(_same(operand)) for operand in one.operands])
            place = (one.file, one.line)
            key = (one.operation, one.function, one.engine.value, id(_same(one.result)), operands, place)
            self._counted.setdefault(key, (one, [0]))[1][0] += count

    @property
    def counts(self) -> Counter[Instruction]:
        """How often each instruction was executed."""
        self.finish()
        counts: Counter[Instruction] = Counter()
        for instruction, (count,) in self._counted.values():
            counts[instruction] += count
        return counts

    @property
    def events(self) -> list[Event]:
        """Every instruction in order, with the memory that it used.

        Raises
        ------
        ValueError
            Where the sequence was not asked for.
        """
        if self._events is None:
            raise ValueError("the observer keeps no sequence: use observing(sequence=True)")
        self.finish()
        return self._events

    def __iter__(self) -> Iterator[Instruction]:
        return (event.instruction for event in self.events)


def accessed(tensor: Tensor, kept: tuple[int, ...] | None = None) -> Accessed:
    """What a cost depends on of one tensor; ``kept`` is the box that a mask leaves of it. Equal ones are identical.

    Block dimensions count as free ones: their elements lie in the same partitions.
    """
    if tensor.gather is not None or kept is not None:
        return _same(_accessed(tensor, tensor.shape if kept is None else kept))
    known = tensor.layout.accessed
    if known is None:
        known = tensor.layout.accessed = _same(_accessed(tensor, tensor.shape))
    return known


_distinct: dict[Accessed, Accessed] = {}


def _same(one: Accessed) -> Accessed:
    return _distinct.setdefault(one, one)


def _accessed(tensor: Tensor, shape: tuple[int, ...]) -> Accessed:
    strides, axis = tensor.strides, tensor.partition_axis
    if axis and len(shape) == tensor.ndim:
        shape = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        strides = (strides[axis], *strides[:axis], *strides[axis + 1 :])
    return Accessed(
        shape,
        tensor.dtype,
        tensor.space,
        strides[-1:] in ((1,), ()) or shape[-1] == 1,
        _run(tensor, shape, strides) * tensor.dtype.itemsize,
    )


def _run(tensor: Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements that lie side by side in memory; on chip a row belongs to one partition."""
    if tensor.gather is not None:
        return 1
    run = 1
    first = 1 if tensor.space.on_chip else 0
    for extent, stride in zip(reversed(shape[first:]), reversed(strides[first:]), strict=False):
        if extent == 1:
            continue
        if stride != run:
            break
        run *= extent
    return run


def region(tensor: Tensor) -> Region:
    """The part of its storage that a view spans, as a box."""
    if tensor.gather is not None:
        return Region(tensor.storage.serial, *_whole_box(tensor.layout))
    return region_at(tensor.storage.serial, tensor.layout, plain(tensor.offset))


def region_at(serial: int, layout: Layout, offset: int) -> Region:
    """:func:`region` of the view of that layout and offset onto the storage of that serial number."""
    known: dict[int, _Box] = layout.regions
    box = known.get(offset)
    if box is None:
        if len(known) > _MOST_BOXES:
            known.clear()
        box = known[offset] = _box(layout, offset)
    return Region(serial, *box)


_Box = tuple[int, int, int, int]
_MOST_BOXES = 1 << 16


def _box(layout: Layout, offset: int) -> _Box:
    kind, axis = layout.kind, layout.partition_axis
    spans = [stride * (extent - 1) for stride, extent in zip(layout.strides, layout.shape, strict=True)]
    if axis is None or kind.partition_axis is None:
        return 0, 1, offset, offset + sum(spans) + 1
    block, within = divmod(offset, kind.partitions * kind.row)
    first, column = divmod(within, kind.row)
    span = sum(spans[:axis]) + sum(spans[axis + 1 :])
    if column + span >= kind.row:
        return _whole_box(layout)
    low = block * kind.row + column
    return first, first + layout.shape[axis], low, low + span + 1


def _whole_box(layout: Layout) -> _Box:
    kind = layout.kind
    if layout.partition_axis is None or kind.partition_axis is None:
        return 0, 1, 0, kind.size
    return 0, kind.partitions, 0, kind.size // kind.partitions


def kept_box(mask: object, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The box that a mask's kept elements span; None for all of ``shape``."""
    if not isinstance(mask, np.ndarray):
        return None
    box = []
    for axis in range(mask.ndim):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(int(held[-1] - held[0]) + 1 if len(held) else 0)
    return tuple(box) if tuple(box) != shape else None


_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


observer = _observer.get
"""Who collects what is executed; None if nobody does."""


@contextmanager
def observing(*consumers: Consumer, sequence: bool = False) -> Iterator[Observer]:
    """Collect what launches inside the context execute, of all their programs.

    ``consumers`` get every event soon after it happened, all of them by the end of the context.
    """
    watching = Observer(consumers, sequence=sequence)
    token = _observer.set(watching)
    try:
        yield watching
        watching.finish()
    finally:
        _observer.reset(token)
