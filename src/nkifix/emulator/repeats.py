"""Calls of helpers that were recorded once and are repeated.

A kernel calls the same helper (a function decorated with ``nki.jit``) many times, on long sequences tens of thousands
of times, and each time the same instructions are executed on other parts of the same tensors. Which ones follows from
the call's arguments: the layouts of its tensors, which elements are defined, its constants, and what it finds out about
loop indices and about where its tensors begin (:mod:`nkifix.emulator.traced`). One call is executed for each answer to
all of that, and recorded; for a later one, the recorded instructions are told to who watches the launch, and what they
did to elements is done again (:mod:`nkifix.emulator.actions`).

Not repeated is what depends on more, or does more than execute instructions on its arguments: see
:meth:`Recording.fail`, :func:`_finished` and :mod:`nkifix.emulator.effects`.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np

from nkifix.emulator import effects, footprint, observe, writes
from nkifix.emulator.actions import ActionLog, Actions, Scratch
from nkifix.emulator.addresses import Box
from nkifix.emulator.engines import Engine
from nkifix.emulator.kept import Records
from nkifix.emulator.layout import Layout
from nkifix.emulator.location import kernel_position
from nkifix.emulator.loops import LoopIndex, Nest
from nkifix.emulator.machine import Program
from nkifix.emulator.memory import Storage, Tensor
from nkifix.emulator.observe import Observer, Place, Repetition
from nkifix.emulator.symbols import Affine
from nkifix.emulator.traced import Form, Log, Question, Traced, answer, plain

MOST_INSTRUCTIONS = 1 << 9
"""Writes into tensors by one recorded call: a helper that makes more calls others, which are recorded in its place."""
LEAST_INSTRUCTIONS = 16
"""Writes into tensors by one call of a helper that computes, below which it is executed as fast as it is described."""
_MOST_RECORDED = 1 << 18
"""Instructions of all recorded calls of a launch."""
MOST_BYTES = 1 << 28
"""Memory of the records of a launch that computes."""
MOST_SHORT_CALLS = 16
"""Calls of a helper that do too little to be recorded, before it is taken for a small one."""
_MOST_IN_VAIN = 64
"""Records of a helper, none of which was used, before its calls are no longer recorded."""
RECORDS_TO_BEGIN_WITH = 3
_REPEATS_PER_RECORD = 2
"""How often a helper that computes must have been repeated for another record: that takes as much as two repeats save.
"""
_CALLS_PER_RECORD = 16
"""Of its calls that no record fits, one in so many is recorded all the same: its kind may be the common one."""

_CONSTANTS = (
    bool,
    int,
    float,
    str,
    bytes,
    type(None),
    type,
    np.dtype,
    np.ufunc,
    enum.Enum,
    types.FunctionType,
    types.ModuleType,
)
"""Types of arguments that are the same wherever they are equal."""


class _UnfitError(Exception):
    """The arguments are of a kind, or in a state, that no record describes."""


class _Written(NamedTuple):
    """A write into a tensor of outside, which other iterations and programs must not write as well."""

    slot: int
    layout: Layout
    form: Form
    position: tuple[str, int]


@dataclass(eq=False)
class Record:
    """What a call did.

    Attributes
    ----------
    repetition:
        Its instructions.
    places:
        Where those regions of the repetition lie that belong to arguments: number of the region, number of the
        tensor's storage among the arguments, layout and offset.
    counts:
        The observer's counts of the instructions, and how often the call executed each.
    written:
        What it wrote of its arguments' elements.
    unwritten:
        For the arguments of which it wrote elements for the first time, what is left.
    stretch:
        What it held in memory meanwhile.
    actions:
        What it did to elements, where it computes.
    registers:
        Which accumulator registers are undefined afterwards, if that is not as it was: engine, their class, and that.
    writes:
        How many writes into tensors there were.
    warned:
        The warnings that it gave whatever its operands held: rule and kernel line, and text.
    """

    repetition: Repetition
    places: list[tuple[int, int, Layout, Form]]
    counts: list[tuple[list[int], int]]
    written: list[_Written]
    unwritten: list[tuple[int, tuple[Box, ...]]]
    stretch: footprint.Stretch
    actions: Actions | None
    registers: list[tuple[Engine, Any, Any]]
    writes: int
    warned: dict[tuple[str, str, int], str]


@dataclass(eq=False)
class _Branch:
    """What a call asks next, and what follows for each answer that came up."""

    question: Question
    answers: dict[int, _Branch | Record]


@dataclass(eq=False)
class _Call:
    """A call's arguments, described.

    Attributes
    ----------
    key:
        Equal for calls that can differ in nothing but their variables.
    values:
        The variables: loop indices, and where tensors begin.
    registers:
        Which accumulator registers are undefined.
    writes:
        How many writes into tensors there were before it.
    storages, states:
        Those of the tensors, each once, and which boxes of them were never written.
    """

    nest: Nest
    settings: _Settings
    registers: tuple[object, ...]
    key: list[object] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    writes: int = 0
    storages: list[Storage] = field(default_factory=list)
    states: list[tuple[Box, ...]] = field(default_factory=list)
    _slots: dict[int, int] = field(default_factory=dict)

    def describe(self, value: Any) -> None:
        """Add an argument to the description."""
        kind = type(value)
        if kind is Affine or kind is LoopIndex or kind is Traced:
            self.key.append(_VARIABLE)
            self.values.append(int(plain(value)))
        elif issubclass(kind, Tensor):
            self._describe_tensor(value)
        elif issubclass(kind, tuple):
            if kind is not tuple and self.settings.reader.class_has_effect(kind):
                raise _UnfitError
            self.key.append((kind, len(value)))
            for one in value:
                self.describe(one)
        else:
            self.key.append(_simple(value) if kind in _PLAIN else self.settings.of(value))

    def _describe_tensor(self, tensor: Tensor) -> None:
        storage, layout = tensor.storage, tensor.layout
        if tensor.gather is not None or tensor.result_mask is not None:
            raise _UnfitError
        if storage.placed is not None or storage.waiting is not None:
            raise _UnfitError
        if layout.kind.is_result and layout.kind.space.on_chip and not storage.in_footprint:
            raise _UnfitError
        state = _definedness(storage)
        slot = self._slots.setdefault(id(storage), len(self._slots))
        if slot == len(self.storages):
            self.storages.append(storage)
            self.states.append(state)
        offset = plain(tensor.offset)
        self.key += (slot, layout, state, bool(offset), storage.depth < self.nest.parallel)
        if offset:
            self.values.append(offset)


_VARIABLE = "a variable"
_PLAIN = frozenset({int, float, bool, str, type(None)})


class _Settings:
    """Descriptions of the constants that a launch passes around."""

    def __init__(self) -> None:
        self.reader = effects.Reader()
        self._known: dict[int, tuple[Any, tuple[object, ...]]] = {}

    def of(self, value: Any) -> tuple[object, ...]:
        """See :func:`_constant`."""
        known = self._known.get(id(value))
        if known is None:
            if len(self._known) > _MOST_SETTINGS:
                self._known.clear()
            if self.reader.has_effect(value) or self.reader.class_has_effect(type(value)):
                raise _UnfitError
            known = self._known[id(value)] = (value, _constant(value))  # holding it keeps its id its own
        return known[1]


_MOST_SETTINGS = 1 << 10


def _definedness(storage: Storage) -> tuple[Box, ...]:
    """The boxes that were never written."""
    if not (storage.is_plain or storage.unwritten):
        raise _UnfitError
    return storage.unwritten


def _simple(value: Any) -> tuple[object, ...]:
    """A description of a number, or of what is equal only to itself."""
    return type(value), value.hex() if isinstance(value, float) else value  # 0.0 equals -0.0


def _constant(value: Any) -> tuple[object, ...]:
    """A description of a constant: equal only for constants that no kernel tells apart."""
    kind = type(value)
    if isinstance(value, _CONSTANTS):
        return _simple(value)
    if kind is tuple:
        return (kind, *map(_constant, value))
    settings = getattr(kind, "__dataclass_params__", None)
    if settings is None or not settings.frozen:
        raise _UnfitError
    return kind, *[_constant(getattr(value, one.name)) for one in dataclasses.fields(value)]


class Recording:
    """A call that is being recorded.

    Attributes
    ----------
    log:
        What it finds out about its variables.
    instructions:
        What it has executed so far.
    failed:
        Whether no record can be made of it.
    warned:
        The warnings that it gave whatever its operands held: rule and kernel line, and text.
    """

    def __init__(self, call: _Call, watching: Observer | None, *, computes: bool) -> None:
        self.log = Log()
        self.failed = False
        self.is_too_long = False
        self.instructions: list[observe.Pending] = []
        self.warned: dict[tuple[str, str, int], str] = {}
        self.written: dict[_Written, None] = {}
        self.slots = {storage.serial: slot for slot, storage in enumerate(call.storages)}
        self.actions = ActionLog(self) if computes else None
        self._own: dict[int, weakref.ref[Storage]] = {}
        self._call = call
        self._watching = watching
        call.nest.recording = self
        if watching is not None:
            watching.recording = self

    def traced(self, value: Any) -> Any:
        """An argument with variables that are traced: in the order of :meth:`_Call.describe`."""
        kind = type(value)
        if kind is Affine or kind is LoopIndex or kind is Traced:
            return self.log.variable(int(plain(value)), _origin(value))
        if issubclass(kind, Tensor):
            offset = plain(value.offset)
            begins = self.log.variable(offset) if offset else 0
            return value._of(value.storage, value.layout, begins)
        if issubclass(kind, tuple):
            parts = [self.traced(one) for one in value]
            return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
        return value

    def fail(self) -> None:
        """Note that the call depends on more than its record would describe, or does more than it would repeat."""
        self.failed = True

    def stop(self) -> None:
        """Record no more."""
        if self._call.nest.recording is self:
            self._call.nest.recording = None
            if self._watching is not None:
                self._watching.recording = None

    def part(self, tensor: Tensor) -> tuple[int | None, Form]:
        """Which argument's storage a tensor lies in, and where it begins; None for a tensor of the call's own."""
        storage, offset = tensor.storage, cast(Any, tensor.offset)
        slot = self.slots.get(storage.serial)
        if slot is None:
            self._own.setdefault(storage.serial, weakref.ref(storage))
            offset = int(offset)
        return slot, Form(offset.terms, offset.const) if type(offset) is Traced else Form((), offset)

    def place(self, tensor: Tensor) -> Place:
        """Where an instruction reads or writes."""
        if tensor.gather is not None:
            self.fail()
        return tensor.storage.serial, tensor.layout, self.part(tensor)[1]

    def is_input(self, slot: int | None) -> bool:
        """Whether a storage among the arguments is one of the launch's arguments."""
        return slot is not None and self._call.storages[slot].is_input

    def executed(self, instruction: observe.Pending) -> None:
        """Take an instruction."""
        self.instructions.append(instruction)
        self.check_length(len(self.instructions))

    def check_length(self, count: int) -> None:
        """Stop where the call has done more than a record may hold."""
        if count > 2 * MOST_INSTRUCTIONS:
            self.is_too_long = True
            self.fail()
            self.stop()

    def wrote(self, tensor: Tensor, kept: object, position: tuple[str, int]) -> None:
        """Take a write that other iterations must not write as well."""
        slot = self.slots.get(tensor.storage.serial)
        if slot is None:
            return
        if kept is not None or tensor.gather is not None:
            self.fail()
            return
        self.written[_Written(slot, tensor.layout, self.part(tensor)[1], position)] = None

    @property
    def leaves_tensors(self) -> bool:
        """Whether tensors that are no arguments are still there: the call made them and keeps them, or found them."""
        return any(one() is not None for one in self._own.values())


def _origin(value: Any) -> Any:
    return value.origin if type(value) is Traced else value


@dataclass(eq=False)
class _Helper:
    """What is known of a helper.

    Attributes
    ----------
    is_measured:
        Whether a call has shown how much it does.
    is_unfit:
        Whether its calls are always executed.
    records, in_vain:
        How often a call was recorded, and how often since one was repeated.
    repeats:
        How often repeating a call saved something.
    others:
        Calls that no record fitted.
    """

    is_measured: bool = False
    is_unfit: bool = False
    records: int = 0
    in_vain: int = 0
    repeats: int = 0
    others: int = 0


class Repeats:
    """The recorded calls of a launch.

    Attributes
    ----------
    records:
        They, and those that earlier launches have left.
    """

    def __init__(self) -> None:
        self.records = Records()
        self._helpers: defaultdict[Callable[..., Any], _Helper] = defaultdict(_Helper)
        self._settings = _Settings()

    def call(
        self, current: Program, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call ``function``, or repeat what it did."""
        nest, watching, helper = current.nest, observe.observer(), self._helpers[function]
        if nest.recording is not None or helper.is_unfit:
            return function(*args, **kwargs)
        if sys.getprofile() is not None:  # somebody wants to see each call
            return function(*args, **kwargs)
        if not helper.is_measured:
            return self._measure(nest, helper, function, args, kwargs, computes=current.computes)
        if not (watching is None or watching.can_repeat) or (current.computes and not current.postpones):
            return function(*args, **kwargs)
        call = _Call(nest, self._settings, _registers(current))
        try:
            call.key += (function, kernel_position(), tuple(kwargs), call.registers)
            call.key += self._settings.reader.outer_values()
            for value in (*args, *kwargs.values()):
                call.describe(value)
            key = tuple(call.key)
            self.records.check(self._settings.reader.read)
            known = self.records.calls.get(key)
        except (_UnfitError, TypeError):  # or what cannot be hashed
            return function(*args, **kwargs)
        record = _followed(known, call.values)
        if record is not None and _repeat(record, current, call, watching):
            helper.in_vain = 0
            helper.repeats += record.writes >= LEAST_INSTRUCTIONS  # others save nothing
            return None
        if record is not None or not self._may_record(helper, current):
            return function(*args, **kwargs)
        return self._record(current, call, key, function, args, kwargs, watching)

    def _may_record(self, helper: _Helper, current: Program) -> bool:
        """Whether another record of a helper's calls is worth its while."""
        if helper.in_vain > _MOST_IN_VAIN:
            helper.is_unfit = True
            return False
        helper.others += 1
        if self.records.instructions > _MOST_RECORDED or self.records.bytes > MOST_BYTES:
            return False
        if not current.computes or self.records.will_be_used(current.launch):
            return True
        allowed = RECORDS_TO_BEGIN_WITH + helper.repeats // _REPEATS_PER_RECORD + helper.others // _CALLS_PER_RECORD
        return helper.records < allowed

    def _measure(
        self,
        nest: Nest,
        helper: _Helper,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        computes: bool,
    ) -> Any:
        """Call a helper for the first time that it does much, and see whether its calls can be recorded at all."""
        before = nest.writes
        returned = function(*args, **kwargs)
        count, least = nest.writes - before, LEAST_INSTRUCTIONS if computes else 0
        helper.others += 1
        if returned is None and count < least and helper.others < MOST_SHORT_CALLS:
            return None  # it may have had nothing to do
        helper.is_measured = True
        suits = returned is None and least <= count <= MOST_INSTRUCTIONS
        helper.is_unfit = not suits or self._settings.reader.has_effect(function)
        return returned

    def _record(
        self,
        current: Program,
        call: _Call,
        key: tuple[object, ...],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        watching: Observer | None,
    ) -> Any:
        if current.computes:
            _settle(call)
        before = (current.shared_allocations, current.random)
        begin = footprint.mark()
        call.writes = call.nest.writes
        recording = Recording(call, watching, computes=current.computes)
        arguments = [recording.traced(value) for value in args]
        keywords = {name: recording.traced(value) for name, value in kwargs.items()}
        try:
            returned = function(*arguments, **keywords)
        finally:
            recording.stop()
        helper = self._helpers[function]
        if returned is not None:
            helper.is_unfit = True
            return _untraced(returned)
        helper.is_unfit |= recording.is_too_long
        after = (current.shared_allocations, current.random)
        record = None if after != before else _finished(recording, current, call, watching, begin, self.records.scratch)
        helper.in_vain += 1
        helper.records += 1
        if record is None:
            return None
        records = self.records
        records.instructions += len(recording.instructions)
        if record.actions is not None:
            records.actions += len(record.actions.steps)
        records.calls[key] = _grown(records.calls.get(key), list(recording.log.observed.items()), record)
        return None


def _registers(current: Program) -> tuple[object, ...]:
    """Which accumulator registers are undefined."""
    return tuple(
        [
            (engine, None if one.undefined is None else one.undefined.ids.tobytes())
            for engine, one in _held(current).items()
        ]
    )


def _held(current: Program) -> dict[Engine, Any]:
    """The program's accumulator registers (:mod:`nkifix.emulator.ops.accumulators`)."""
    return cast(dict[Engine, Any], current.registers)


def _untraced(value: Any) -> Any:
    """A returned value without traced numbers."""
    if type(value) is Traced:
        return Affine(value.value) if value.origin is None else value.origin
    if isinstance(value, Tensor) and type(cast(Any, value.offset)) is Traced:
        return value._of(value.storage, value.layout, plain(value.offset), value.gather, value.result_mask)
    if type(value) in (tuple, list):
        return type(value)([_untraced(one) for one in value])
    return value


def _followed(known: _Branch | Record | None, values: Sequence[int]) -> Record | None:
    """The record of a call for which everything that was asked has the same answer."""
    while type(known) is _Branch:
        known = known.answers.get(answer(known.question, values))
    return known if type(known) is Record else None


def _grown(known: _Branch | Record | None, observed: list[tuple[Question, int]], record: Record) -> _Branch | Record:
    """The branches in ``known``, and one more for what was observed."""
    if not observed:
        return record
    (question, found), *others = observed
    if type(known) is not _Branch or known.question != question:
        known = _Branch(question, {})  # what two calls ask first follows from what they have in common
    known.answers[found] = _grown(known.answers.get(found), others, record)
    return known


def _settle(call: _Call) -> None:
    """Compute what is still to be computed, and let go of who has borrowed elements: nothing of it is the call's."""
    if call.nest.awaited is not None:
        call.nest.awaited.settle()
        call.nest.awaited = None
    for storage in call.storages:
        storage.recall()
        _ = storage.raw


def _finished(
    recording: Recording,
    current: Program,
    call: _Call,
    watching: Observer | None,
    begin: tuple[int, int, int],
    scratch: Scratch,
) -> Record | None:
    """The record of a call that has ended, if there can be one."""
    done = recording.instructions
    stretch = footprint.stretch_since(begin)
    if recording.failed or stretch is None or recording.leaves_tensors:
        return None
    if watching is not None and watching.is_amid:
        return None
    try:
        states = [_definedness(storage) for storage in call.storages]
    except _UnfitError:
        return None
    # Iterations inside of the call were told apart by how these writes lay to each other: that must not change.
    moving = {(one.slot, one.form.terms) for one in recording.written}
    if len(moving) > len({slot for slot, _ in moving}):
        return None
    slots = recording.slots
    numbers: dict[Place, int] = {}
    steps = []
    for one in done:
        if one.instruction is None or any(recording.is_input(slots.get(serial)) for serial, *_ in one.written_places):
            return None
        read = tuple([numbers.setdefault(place, len(numbers)) for place in one.read_places])
        written = tuple([numbers.setdefault(place, len(numbers)) for place in one.written_places])
        steps.append((one.instruction, read, written))
    own = [
        None if serial in slots else observe.region_at(serial, layout, form.const) for serial, layout, form in numbers
    ]
    others = [
        (number, slots[serial], layout, form) for (serial, layout, form), number in numbers.items() if serial in slots
    ]
    times = Counter([id(one.count) for one in done])
    counts = [(count, times[id(count)]) for count in {id(one.count): one.count for one in done}.values()]
    changed = [(slot, after) for slot, after in enumerate(states) if after != call.states[slot]]
    repetition = Repetition(tuple(steps), tuple(own))
    actions = None if recording.actions is None else recording.actions.actions(scratch)
    registers: list[tuple[Engine, Any, Any]] = []
    if _registers(current) != call.registers:
        registers = [(engine, type(held), held.undefined) for engine, held in _held(current).items()]
    return Record(
        repetition,
        others,
        counts,
        list(recording.written),
        changed,
        stretch,
        actions,
        registers,
        call.nest.writes - call.writes,
        recording.warned,
    )


def _repeat(record: Record, current: Program, call: _Call, watching: Observer | None) -> bool:
    """Do what the recorded call did; False, and nothing, where another iteration wrote one of the elements."""
    storages, values, nest = call.storages, call.values, call.nest
    if not _note_writes(record, call):
        return False
    held = _held(current)
    for engine, kind, undefined in record.registers:
        if engine not in held:
            held[engine] = kind(engine)
        held[engine].undefined = undefined
    current.warn_again(record.warned)
    if record.actions is not None:
        _settle(call)
        record.actions.repeat(storages, values, current)
    for slot, unwritten in record.unwritten:
        storages[slot].unwritten = unwritten
        if not unwritten:
            storages[slot].look_again()
    nest.writes += record.writes
    footprint.repeat(record.stretch)
    if watching is not None:
        _tell(record, call, watching)
    return True


def _note_writes(record: Record, call: _Call) -> bool:
    """Note what the call writes of its arguments; False, and nothing, where another iteration wrote it, too."""
    storages, values, nest = call.storages, call.values, call.nest
    noted = []
    for slot, layout, form, position in record.written:
        storage = storages[slot]
        if storage.depth < nest.parallel:
            tensor = Tensor._of(storage, layout, form.at(values))
            noted.append((writes.Region(tensor, None, position), storage))
    if not all(writes.is_apart(region, storage, nest) for region, storage in noted):
        return False
    for region, storage in noted:
        writes.repeat(region, storage, nest)
    return True


def _tell(record: Record, call: _Call, watching: Observer) -> None:
    """Tell who watches the launch what was executed."""
    storages, values = call.storages, call.values
    for storage in storages:
        if storage.is_input:
            watching.note_input(storage)
    others = [
        (number, observe.region_at(storages[slot].serial, layout, form.at(values)))
        for number, slot, layout, form in record.places
    ]
    watching.repeat(record.repetition, others, record.counts)
