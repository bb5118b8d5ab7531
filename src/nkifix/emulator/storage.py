"""Allocations: bytes, dtype, memory, and which elements were never given a value."""

from __future__ import annotations

import copy
import enum
import functools
import itertools
import linecache
import math
import re
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nkifix.emulator import actions, loops, writes
from nkifix.emulator.addresses import Box
from nkifix.emulator.layout import Kind, kind_of
from nkifix.emulator.location import kernel_position
from nkifix.emulator.numeric import Array, Number
from nkifix.emulator.undefined import Ids, Origin, Undefined

if TYPE_CHECKING:
    from nkifix.emulator.placement.arena import Placed


class Space(enum.Enum):
    """A memory of the device. The values are the names that kernels use."""

    SBUF = "sbuf"
    PSUM = "psum"
    HBM = "hbm"
    PRIVATE_HBM = "private_hbm"
    SHARED_HBM = "shared_hbm"

    __hash__ = object.__hash__  # members are unique, and this one is quick

    @property
    def on_chip(self) -> bool:
        """True for SBUF and PSUM, whose first tile dimension is the partition dimension."""
        return self in (Space.SBUF, Space.PSUM)


_serials = itertools.count()
Compute: TypeAlias = Callable[[Array | None], Array | Number]
"""Values of an instruction's result. Given an array in which they may be left, of the result's shape and in the
dtype that they are computed in, it uses that for its last step, and only then."""


class Storage:
    """One allocation: raw bytes, dtype, memory, and which elements are still undefined.

    Parameters
    ----------
    partition_axis:
        Index of the partition dimension; None in HBM. Dimensions before it are block dimensions.
    name:
        Name for messages; empty where the kernel gave none (then its source line is read on demand).
    in_f32:
        Keep floating elements in float32, unrounded, whatever the dtype.

    Attributes
    ----------
    kind:
        What is fixed about it.
    placed:
        Where it lies on chip, if the kernel chose that.
    in_footprint:
        Whether an operation's result has been counted as a tensor with memory of its own.
    unwritten:
        Boxes that no write has reached yet, as long as that is all there is to say of undefined elements.
    is_plain:
        Whether elements can be read as they lie: none is undefined, and nothing waits for the tensor or shares its
        place. False says nothing.
    """

    # What few storages have is found in the class until one gets it.
    name = ""
    owns_bytes = True
    is_plain = True
    first_write: str | None = None
    placed: Placed | None = None
    in_footprint = False
    ledgers: list[writes.Ledger] | None = None
    waiting: list[loops.Waiting] | None = None
    unwritten: tuple[Box, ...] = ()
    _count = 0
    _place: tuple[str, int] | None = None
    _serial: int | None = None
    _elementwise: Undefined | None = None
    _raw: npt.NDArray[np.uint8] | None = None
    _compute: Compute | None = None
    _source: Callable[[], Array] | None = None
    _lent: tuple[weakref.ref[Storage], ...] = ()

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        space: Space,
        *,
        partition_axis: int | None,
        name: str = "",
        raw: npt.NDArray[np.uint8] | None = None,
        is_input: bool = False,
        in_f32: bool = False,
    ) -> None:
        self.kind = kind_of(shape, dtype, space, partition_axis, "input" if is_input else "moved", in_f32=in_f32)
        self.name = name
        if raw is not None:
            self._raw = raw
            self.owns_bytes = False
        around = loops.nest()
        self.depth = 0 if around is None else len(around.levels)

    @classmethod
    def declared(cls, kind: Kind, name: str) -> Storage:
        """The storage of a tensor that the running statement declares: nothing of it is written."""
        self = cls.__new__(cls)
        self.kind = kind
        if name:
            self.name = name
        around = loops.nest()
        self.depth = 0 if around is None else len(around.levels)
        self._place = kernel_position()
        self.unwritten = kind.everywhere
        self.is_plain = False
        return self

    @classmethod
    def of_result(cls, kind: Kind, compute: Compute | None, around: loops.Nest) -> Storage:
        """The storage of an instruction's result, which is computed when it is needed."""
        self = cls.__new__(cls)
        self.kind = kind
        self.depth = len(around.levels)
        self._compute = compute
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self.kind.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.kind.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self.kind.dtype

    @property
    def element(self) -> np.dtype[Any]:
        """The numpy dtype that the elements lie in."""
        return self.kind.element

    @property
    def space(self) -> Space:
        """The memory that it is in."""
        return self.kind.space

    @property
    def partition_axis(self) -> int | None:
        """Index of the partition dimension; None in HBM."""
        return self.kind.partition_axis

    @property
    def is_input(self) -> bool:
        """Whether it is an argument of the launch."""
        return self.kind.role == "input"

    @property
    def auto_placed(self) -> bool:
        """Whether it holds an operation's result, and is neither declared by the kernel nor an input."""
        return self.kind.is_result

    @property
    def serial(self) -> int:
        """A number that no other storage has."""
        if self._serial is None:
            self._serial = next(_serials)
        return self._serial

    @property
    def raw(self) -> npt.NDArray[np.uint8]:
        """The bytes."""
        if self._raw is None:
            self._raw = np.empty(self.kind.size * self.kind.element.itemsize, dtype=np.uint8)
            log = loops.action_log()
            if log is not None:
                log.made(self._raw)
            if self._compute is not None:
                compute, self._compute = self._compute, None
                self._fill(compute)
            elif self._source is not None:
                source, self._source = self._source, None
                self.put(self._own_elements(), source())
        return self._raw

    @raw.setter
    def raw(self, given: npt.NDArray[np.uint8]) -> None:
        self._raw = given

    @property
    def is_awaited(self) -> bool:
        """Whether its values are still to be computed."""
        return self._compute is not None

    def settle(self) -> None:
        """Compute its values now, if they are still to be computed: something that they rest on is about to change."""
        if self._compute is not None and self._raw is None:
            _ = self.raw

    def take_compute(self) -> Compute:
        """How its values are computed, for whoever puts them elsewhere and then lends them (:meth:`lend`)."""
        compute, self._compute = self._compute, None
        assert compute is not None
        return compute

    def lend(self, values: Callable[[], Array], borrower: Storage) -> None:
        """Let ``borrower`` take its elements from here, as long as nothing is written here."""
        borrower._source = values
        self._lent = (*self._lent, weakref.ref(borrower))

    def recall(self) -> None:
        """Let go of who has borrowed elements, with a copy: something is about to be written."""
        lent, self._lent = self._lent, ()
        for one in lent:
            borrower = one()
            if borrower is not None:
                _ = borrower.raw

    def _fill(self, compute: Compute) -> None:
        actions.deliver(compute, self.kind, self.kind, self._own_elements())

    def _own_elements(self) -> Array:
        """:meth:`array`, of a result that the running call makes."""
        elements = self.array()
        log = loops.action_log()
        if log is not None:
            log.owns(elements)
        return elements

    def leave_undefined(self, place: tuple[str, int] | None = None) -> None:
        """Remember the allocation's place in the kernel and mark all elements as never written."""
        self._place = place or kernel_position()
        kind = self.kind
        self.kind = kind_of(kind.shape, kind.dtype, kind.space, kind.partition_axis, "declared", in_f32=kind.in_f32)
        self.unwritten = kind.everywhere
        self.is_plain = False

    @property
    def undefined(self) -> Undefined | None:
        """Which elements are undefined; from now on, each is kept track of by itself."""
        if self.unwritten:
            if self.unwritten == self.kind.everywhere:
                self._elementwise, self._count = Undefined.everywhere(self.shape, self._origin()), self.size
            else:
                ids: Ids = np.zeros(self.shape, dtype=np.uint8)
                for box in self.unwritten:
                    ids[tuple(slice(first, last + 1) for first, last, _ in box)] = 1
                self._elementwise = Undefined(ids, (self._origin(),))
                self._count = int(np.count_nonzero(ids))
            self.unwritten = ()
        return self._elementwise

    @undefined.setter
    def undefined(self, changed: Undefined | None) -> None:
        self.unwritten = ()
        self._elementwise = changed
        self.look_again()

    def look_again(self) -> None:
        """Find out whether it is plain."""
        defined = not self.unwritten and self._elementwise is None
        self.is_plain = defined and self.waiting is None and self.placed is None

    @property
    def undefined_count(self) -> int:
        """How many elements are undefined."""
        if self.unwritten:
            return sum(math.prod([last - first + 1 for first, last, _ in box]) for box in self.unwritten)
        return self._count

    @undefined_count.setter
    def undefined_count(self, count: int) -> None:
        self._count = count

    def _origin(self) -> Origin:
        # The storage itself is not referred to: it must go when the kernel lets go of it, not at some later time.
        return Origin(functools.partial(_describe, self.name, self._place))

    @property
    def is_defined(self) -> bool:
        """Whether every element was given a value."""
        return not self.unwritten and self._elementwise is None

    @property
    def place(self) -> tuple[str, int] | None:
        """File and line of its declaration; None where the kernel did not declare it."""
        return self._place

    def describe(self) -> str:
        """The tensor's name and allocation, for messages."""
        return _describe(self.name, self._place)

    def flat(self) -> Array:
        """All elements in storage order, as a one-dimensional view."""
        elements: Array = np.ndarray((self.size,), self.element, buffer=self.raw)
        return elements

    def array(self) -> Array:
        """All elements in the storage's shape, as a view."""
        elements: Array = np.ndarray(self.shape, self.element, buffer=self.raw)
        return elements

    def put(self, elements: Array, values: Array | Number, where: npt.NDArray[np.bool_] | None = None) -> None:
        """Write ``values`` into a view of the elements, rounded once to the dtype."""
        actions.put(self.kind, elements, values, where)

    def detach(self) -> None:
        """Own the bytes: copy those of a caller's array, before the first write into it."""
        if not self.owns_bytes:
            loops.depends_on_more()
            self.raw = self.raw.copy()
            self.owns_bytes = True

    def copy(self) -> Storage:
        """As it is now: what is written to either does not show in the other."""
        loops.depends_on_more()
        bytes_now = self.raw.copy()
        made = copy.copy(self)
        made.raw, made.owns_bytes, made.placed, made._lent = bytes_now, True, None, ()
        if made._elementwise is not None:
            made._elementwise = Undefined(made._elementwise.ids.copy(), made._elementwise.origins)
        return made

    def writable_ids(self) -> tuple[Ids, tuple[Origin, ...]]:
        """Ids that can be written, materialised on first use."""
        current = self.undefined
        if current is None:
            ids: Ids = np.zeros(self.shape, dtype=np.uint8)
            origins: tuple[Origin, ...] = ()
        elif not current.ids.flags.writeable:
            ids, origins = current.ids.copy(), current.origins
        else:
            return current.ids, current.origins
        self.undefined = Undefined(ids, origins)
        return ids, origins


def _describe(name: str, place: tuple[str, int] | None) -> str:
    if place is None:
        return f"tensor {name!r}" if name else "a tensor"
    file, line = place
    assigned = re.match(r"\s*(\w+)\s*(?::[^=]+)?=(?!=)", linecache.getline(file, line))
    known = name or (assigned.group(1) if assigned else "")
    return f"tensor {known!r} of {file}:{line}" if known else f"the tensor of {file}:{line}"
