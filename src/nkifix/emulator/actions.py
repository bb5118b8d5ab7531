"""What a recorded call does to its tensors' elements, and doing it again.

An operation computes with a function of arrays that lie in tensors, and of constants. While a call is recorded
(:mod:`nkifix.emulator.repeats`), each such computation is noted when it happens, with the arrays as they lie: in memory
that the call's own tensors have, which is used again, or in a tensor that the call was given, where another call is
given another part. A computation that cannot be told so is no action, and its call is not repeated.
"""

from __future__ import annotations

import bisect
import enum
import math
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nkifix.emulator import loops
from nkifix.emulator.affine import AffineIndex, Predicate
from nkifix.emulator.layout import Kind, Layout
from nkifix.emulator.location import kernel_position
from nkifix.emulator.numeric import F32, Array, Number, cast, copy_cast, round_to_tf32
from nkifix.emulator.traced import Form, Traced

if TYPE_CHECKING:
    from nkifix.emulator.machine import Program
    from nkifix.emulator.memory import Storage, Tensor
    from nkifix.emulator.repeats import Recording


class Moved(partial[Array]):
    """A computation that moves elements and rounds none: it may leave them in any dtype that holds them."""


def may_warn(function: Callable[..., Array]) -> Callable[..., Array]:
    """Mark a function that may warn of its operands: the warning belongs to the line that computes."""
    function.warns = True  # type: ignore[attr-defined]
    return function


def put(kind: Kind, elements: Array, values: Array | Number, where: Any = None) -> None:
    """Write ``values`` into elements of a storage of that kind, rounded once to the dtype."""
    _put(kind, elements, values, where)
    log = loops.action_log()
    if log is not None:
        log.was_put(kind, elements, values, where)


def deliver(compute: Callable[[Array | None], Array | Number], kind: Kind, own: Kind, elements: Array) -> None:
    """Leave an instruction's result, of a tile of ``kind``, in elements of a storage of kind ``own``."""
    direct = _may_be_left(compute, kind, own)
    _deliver(direct, kind, own, compute, elements)
    log = loops.action_log()
    if log is not None:
        log.delivered(direct, kind, own, compute, elements)


def _put(kind: Kind, elements: Array, values: Array | Number, where: Any) -> None:
    copy_cast(elements, round_to_tf32(values) if kind.rounds_to_tf32 else values, where)


def _may_be_left(compute: object, kind: Kind, own: Kind) -> bool:
    """Whether a computation's last step may write a tile of ``kind`` into elements of a storage of kind ``own``."""
    if own.rounds_to_tf32 or kind.rounds_to_tf32:
        return False
    return own.element is F32 and (kind.element is F32 or type(compute) is Moved)


def _deliver(
    direct: bool, kind: Kind, own: Kind, compute: Callable[..., Array | Number], elements: Array, *operands: Any
) -> None:
    values = compute(*operands, elements if direct else None)
    if values is elements:
        return
    if kind.rounds_to_tf32:
        values = round_to_tf32(values)
    elif own.element is not kind.element:
        values = cast(np.asarray(values), kind.element)
    _put(own, elements, values, None)


class Shared:
    """What several results of one instruction are made from, computed once, in memory of its own."""

    def __init__(self, compute: partial[Array] | None) -> None:
        self.compute = compute
        self.values: Array | None = None

    def begin(self) -> None:
        """Compute it."""
        assert self.compute is not None
        function, operands = self.compute.func, self.compute.args
        self.set(function, *operands)
        log = loops.action_log()
        if log is not None:
            log.did(self.set, function, *operands, warns=hasattr(function, "warns"))

    def set(self, function: Callable[..., Array], *operands: Any) -> None:
        """Compute it from other operands."""
        values = np.asarray(function(*operands))
        given = [one for one in operands if isinstance(one, np.ndarray)]
        self.values = values.copy() if any(np.may_share_memory(values, one) for one in given) else values

    def __call__(self) -> Array:
        """The values."""
        if self.values is None:
            self.begin()
        assert self.values is not None
        return self.values


def shared_values(shared: Shared, _: Array | None) -> Array:
    """A computation that gives what is shared."""
    return shared()


class _Step(NamedTuple):
    """One action.

    Attributes
    ----------
    function:
        Takes the operands.
    operands:
        In order; where the call's arguments come in, anything.
    views, predicates:
        Numbers of those operands, and which view they are, or which predicate.
    position:
        The kernel line, where the action may warn.
    """

    function: Callable[..., object]
    operands: list[Any]
    views: tuple[tuple[int, int], ...]
    predicates: tuple[tuple[int, tuple[tuple[Form, AffineIndex, str], ...]], ...]
    position: tuple[str, int] | None


class Actions(NamedTuple):
    """What a call does to elements.

    Attributes
    ----------
    views:
        The parts of its arguments: number of the storage, layout and offset.
    shared:
        What it computes for several results.
    """

    steps: list[_Step]
    views: list[tuple[int, Layout, Form]]
    shared: list[Shared]

    def repeat(self, storages: Sequence[Storage], values: Sequence[int], current: Program) -> None:
        """Do it again, in the running program, on the arguments' storages and with the values of its variables."""
        arrays: list[Array] = []
        for slot, layout, form in self.views:
            begin = form.at(values) * layout.itemsize
            arrays.append(np.ndarray(layout.shape, layout.kind.element, storages[slot].raw, begin, layout.byte_strides))
        for function, operands, views, predicates, position in self.steps:
            for number, view in views:
                operands[number] = arrays[view]
            for number, terms in predicates:
                operands[number] = _predicate(terms, values)
            current.at = position
            function(*operands)
        current.at = None
        for computed in self.shared:
            computed.values = None


def _predicate(terms: tuple[tuple[Form, AffineIndex, str], ...], values: Sequence[int]) -> Predicate:
    return Predicate(
        tuple([(AffineIndex(form.at(values), one.coeffs, one.extents), relation) for form, one, relation in terms])
    )


_CONSTANTS = (
    bool,
    int,
    float,
    str,
    type(None),
    np.generic,
    np.dtype,
    np.ufunc,
    slice,
    type,
    enum.Enum,
    types.FunctionType,
    Shared,
    Kind,
)


class Scratch:
    """Memory for the tensors that calls make: one call's at a time, so that all of them have the same.

    Attributes
    ----------
    bytes:
        How much there is.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._block = np.empty(0, np.uint8)

    def block(self, size: int) -> npt.NDArray[np.uint8]:
        """Memory of at least so many bytes. What was given before stays with who has it."""
        if size > self._block.size:
            self._block = np.empty(max(size, 2 * self._block.size), np.uint8)
            self.bytes += self._block.size
        return self._block


_ALIGNMENT_BYTES = 64


class _Taken(NamedTuple):
    """A part of a block: where it begins and ends, and the last step that uses it."""

    begin: int
    end: int
    last: int


class _Mover:
    """Where arrays in memory that a call's tensors had lie in a block.

    Tensors have the same place where one is used only after the other: the block is then small enough for a cache.
    """

    def __init__(self, made: Sequence[npt.NDArray[np.uint8]], steps: Sequence[_Step], scratch: Scratch) -> None:
        self._made = sorted((_address(raw), raw.size) for raw in made)
        spans: dict[int, tuple[int, int]] = {}
        for position, step in enumerate(steps):
            for number in filter(None, map(self._number, step.operands)):
                first, _ = spans.get(number, (position, position))
                spans[number] = first, position
        self._begins: dict[int, int] = {}
        taken: list[_Taken] = []
        end = 0
        for number, (first, last) in sorted(spans.items(), key=lambda item: item[1]):
            taken = [one for one in taken if one.last >= first]
            size = -(-self._made[number - 1][1] // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
            begin = _gap(taken, size)
            self._begins[number] = begin
            taken = sorted([*taken, _Taken(begin, begin + size, last)])
            end = max(end, begin + size)
        self._block = scratch.block(end)

    def _number(self, operand: Any) -> int:
        """The number of the memory that an array lies in, from 1; 0 for what lies elsewhere, or is no array."""
        if not isinstance(operand, np.ndarray) or not operand.size:
            return 0
        address = _address(operand)
        number = bisect.bisect_right(self._made, (address, math.inf))
        return number if number and address < sum(self._made[number - 1]) else 0

    def moved(self, operand: Any) -> Any:
        """The array in the block; what lies elsewhere, or is no array, as it is."""
        number = self._number(operand)
        if not number:
            return operand
        begin = self._begins[number] + _address(operand) - self._made[number - 1][0]
        return np.ndarray(operand.shape, operand.dtype, self._block, begin, operand.strides)


def _gap(taken: Sequence[_Taken], size: int) -> int:
    """The first place of that size between ``taken``, which are in order."""
    begin = 0
    for one in taken:
        if one.begin - begin >= size:
            break
        begin = max(begin, one.end)
    return begin


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


class ActionLog:
    """Notes the actions of a call that is being recorded."""

    def __init__(self, recording: Recording) -> None:
        self.steps: list[_Step] = []
        self._made: list[npt.NDArray[np.uint8]] = []
        self._recording = recording
        self._arrays: dict[int, tuple[Array, int | None, int | None]] = {}
        self._views: dict[tuple[int, Layout, Form], int] = {}

    def actions(self, scratch: Scratch) -> Actions:
        """All of them, to be done in that memory."""
        mover = _Mover(self._made, self.steps, scratch)
        shared: dict[int, Shared] = {}

        def moved(value: Any) -> Any:
            if isinstance(value, Shared):
                return shared.setdefault(id(value), Shared(None))  # the call's own holds on to memory of its tensors
            return mover.moved(value)

        steps = []
        for one in self.steps:
            owner = getattr(one.function, "__self__", None)
            function = moved(owner).set if isinstance(owner, Shared) else one.function
            steps.append(one._replace(function=function, operands=list(map(moved, one.operands))))
        return Actions(steps, list(self._views), list(shared.values()))

    def made(self, raw: npt.NDArray[np.uint8]) -> None:
        """Note memory of a tensor that the call makes; what is in it, it puts there."""
        self._made.append(raw)

    def lies(self, array: Array, tensor: Tensor) -> None:
        """Note that an array is the elements of a tensor."""
        slot, form = self._recording.part(tensor)
        view = None if slot is None else self._views.setdefault((slot, tensor.layout, form), len(self._views))
        self._arrays[id(array)] = (array, view, slot)  # holding it keeps its id its own

    def delivered(self, direct: bool, kind: Kind, own: Kind, compute: object, elements: Array) -> None:
        """Note a :func:`deliver`."""
        if isinstance(compute, partial) and not compute.keywords:
            function = partial(_deliver, direct, kind, own, compute.func)
            self._note(function, (elements, *compute.args), written=elements, warns=hasattr(compute.func, "warns"))
        else:
            self._recording.fail()

    def was_put(self, kind: Kind, elements: Array, values: Array | Number, where: Any) -> None:
        """Note a :func:`put`."""
        self._note(partial(_put, kind), (elements, values, where), written=elements)

    def did(self, function: Callable[..., object], *operands: Any, warns: bool = False) -> None:
        """Note any other computation."""
        self._note(function, operands, warns=warns)

    def owns(self, elements: Array) -> None:
        """Note that an array is memory of a tensor of the call's own."""
        self._arrays[id(elements)] = (elements, None, None)

    def _note(
        self,
        function: Callable[..., object],
        operands: tuple[Any, ...],
        *,
        written: Array | None = None,
        warns: bool = False,
    ) -> None:
        if written is not None and id(written) in self._arrays:
            _, _, slot = self._arrays[id(written)]
            if self._recording.is_input(slot):
                self._recording.fail()  # whether it was stored into decides what the launch gives back
        views, predicates = [], []
        for number, one in enumerate(operands):
            if isinstance(one, np.ndarray):
                known = self._arrays.get(id(one))
                if known is None:
                    if one.ndim and one.dtype != np.bool_:  # numbers and masks follow from what is known of the call
                        self._recording.fail()
                elif known[1] is not None:
                    views.append((number, known[1]))
            elif type(one) is Predicate:
                predicates.append((number, tuple([(_form(term.const), term, rel) for term, rel in one.terms])))
            elif not _is_constant(one):
                self._recording.fail()
        position = kernel_position() if warns else None
        self.steps.append(_Step(function, list(operands), tuple(views), tuple(predicates), position))
        self._recording.check_length(len(self.steps))


def _form(const: Any) -> Form:
    return Form(const.terms, const.const) if type(const) is Traced else Form((), int(const))


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all((isinstance(one, np.ndarray) and not one.ndim) or _is_constant(one) for one in value)
    return type(value) is not Traced and isinstance(value, _CONSTANTS)
