"""Memories and tensors: storage with definedness, and views onto it.

A :class:`Tensor` is always a view: a shape, strides and an offset onto a :class:`Storage`. It can be made
only by the emulator (allocation, indexing, operations), never by calling the class.
"""

from __future__ import annotations

import copy
import enum
import functools
import itertools
import linecache
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from nkifix.emulator import loops, writes
from nkifix.emulator.addresses import element_strides, names_twice
from nkifix.emulator.affine import Mask
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_position
from nkifix.emulator.numeric import F32, FLOATS, TF32, Array, Number, copy_cast, element_dtype, round_to_tf32
from nkifix.emulator.undefined import Ids, Origin, Undefined, merge, refuse_undefined

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
    element:
        The numpy dtype that the elements lie in.
    placed:
        Where it lies on chip, if the kernel chose that.
    by_engine:
        Whether an engine other than DMA made it, as its result.
    in_footprint:
        Whether an operation's result has been counted as a tensor with memory of its own.
    """

    __slots__ = (
        "_place",
        "by_engine",
        "depth",
        "dtype",
        "element",
        "first_write",
        "in_footprint",
        "is_input",
        "ledgers",
        "name",
        "owns_bytes",
        "partition_axis",
        "placed",
        "raw",
        "rounds_to_tf32",
        "serial",
        "shape",
        "size",
        "space",
        "undefined",
        "undefined_count",
        "waiting",
    )

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
        self.shape = shape
        self.size = math.prod(shape)
        self.dtype = dtype
        self.element = dtype
        self.rounds_to_tf32 = False
        if dtype.char == "V" or in_f32:  # tfloat32, and what is not to be rounded
            self.element = F32 if in_f32 and dtype in FLOATS else element_dtype(dtype)
            self.rounds_to_tf32 = dtype == TF32 and not in_f32
        self.space = space
        self.partition_axis = partition_axis
        self.name = name
        self.is_input = is_input
        self.first_write: str | None = None
        self.serial = next(_serials)
        self.owns_bytes = raw is None
        self.raw = np.empty(self.size * self.element.itemsize, dtype=np.uint8) if raw is None else raw
        self.undefined: Undefined | None = None
        self.undefined_count = 0
        self._place: tuple[str, int] | None = None
        self.placed: Placed | None = None
        self.in_footprint = False
        self.by_engine = False
        around = loops.nest()
        self.depth = 0 if around is None else len(around.levels)
        self.ledgers: list[writes.Ledger] | None = None
        self.waiting: list[loops.Waiting] | None = None

    def leave_undefined(self, place: tuple[str, int] | None = None) -> None:
        """Remember the allocation's place in the kernel and mark all elements as never written."""
        self._place = place or kernel_position()
        # The storage itself is not referred to: it must go when the kernel lets go of it, not at some later time.
        self.undefined = Undefined.everywhere(self.shape, Origin(functools.partial(_describe, self.name, self._place)))
        self.undefined_count = self.size

    @property
    def auto_placed(self) -> bool:
        """Whether it holds an operation's result, and is neither declared by the kernel nor an input."""
        return self._place is None and not self.is_input

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
        copy_cast(elements, round_to_tf32(values) if self.rounds_to_tf32 else values, where)

    def detach(self) -> None:
        """Own the bytes: copy those of a caller's array, before the first write into it."""
        if not self.owns_bytes:
            self.raw = self.raw.copy()
            self.owns_bytes = True

    def copy(self) -> Storage:
        """As it is now: what is written to either does not show in the other."""
        made = copy.copy(self)
        made.raw, made.owns_bytes, made.placed = self.raw.copy(), True, None
        if self.undefined is not None:
            made.undefined = Undefined(self.undefined.ids.copy(), self.undefined.origins)
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


@dataclass(frozen=True, eq=False)
class Gather:
    """Element addresses of a view that reaches out of bounds, or whose index is known only at run time.

    Attributes
    ----------
    address:
        Flat storage position per element; 0 where out of bounds. Shape of the view.
    in_bounds:
        Which elements exist.
    reach:
        The out-of-bounds range in words.
    indirect:
        Whether a tensor is part of the index.
    undefined_index:
        Elements whose index was never given a value, which are not in bounds.
    """

    address: npt.NDArray[np.int64]
    in_bounds: npt.NDArray[np.bool_]
    reach: str
    indirect: bool = False
    undefined_index: Undefined | None = None


class Tensor:
    """A view onto device memory: what kernels hold, index and pass to operations.

    Attributes
    ----------
    shape, dtype:
        As in numpy. On-chip tensors keep rank >= 2; dimension ``partition_axis`` is the partition one.
    result_mask:
        On a masked operation's result: the elements it produced. Assignment leaves the others alone.
    """

    __slots__ = ("gather", "offset", "partition_axis", "result_mask", "shape", "storage", "strides")
    __array_ufunc__ = None

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    partition_axis: int | None
    gather: Gather | None
    result_mask: Mask

    def __new__(cls, *_: object, **__: object) -> Tensor:
        raise TypeError("a tensor cannot be constructed; use nl.ndarray, nl.zeros, nl.full or nl.load")

    @classmethod
    def _new(
        cls,
        storage: Storage,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        offset: int,
        partition_axis: int | None,
        *,
        gather: Gather | None = None,
        result_mask: Mask = None,
    ) -> Tensor:
        self = object.__new__(cls)
        self.storage = storage
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.partition_axis = partition_axis
        self.gather = gather
        self.result_mask = result_mask
        return self

    @classmethod
    def _whole(cls, storage: Storage, *, result_mask: Mask = None) -> Tensor:
        """A view of all of ``storage``."""
        strides = element_strides(storage.shape)
        axis = storage.partition_axis
        return cls._new(storage, storage.shape, strides, 0, axis, result_mask=result_mask)

    def snapshot(self) -> Tensor:
        """The same view onto a copy of the bytes: the elements as they are now."""
        return type(self)._new(
            self.storage.copy(),
            self.shape,
            self.strides,
            self.offset,
            self.partition_axis,
            gather=self.gather,
            result_mask=self.result_mask,
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element dtype."""
        return self.storage.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def space(self) -> Space:
        """The memory it lives in."""
        return self.storage.space

    def _values(self) -> Array:
        storage = self.storage
        itemsize = storage.element.itemsize
        strides = tuple([s * itemsize for s in self.strides])
        values: Array = np.ndarray(self.shape, storage.element, storage.raw, self.offset * itemsize, strides)
        return values

    def _window_of_ids(self, ids: Ids) -> Ids:
        window: Ids = np.ndarray(self.shape, np.uint8, ids, self.offset, self.strides)
        return window

    def read(self, mask: Mask = None) -> tuple[Array, Undefined | None]:
        """The elements (a view where possible) and which of them are undefined.

        Raises
        ------
        KernelFault
            ``err_tensor_access_out_of_bound`` where an unmasked element does not exist.
        """
        storage = self.storage
        if storage.waiting is not None:
            loops.settle(storage)
        if storage.placed is not None and mask is not False:
            storage.placed.check(self, mask)
        if self.gather is not None:
            return self._read_gathered(self.gather, mask)
        values = self._values()
        if storage.undefined is None:
            return values, None
        ids = self._ids(storage.undefined)
        return values, Undefined(ids, storage.undefined.origins) if ids.any() else None

    def _ids(self, undefined: Undefined) -> Ids:
        if not undefined.ids.flags.writeable:
            return np.broadcast_to(np.uint8(1), self.shape)
        return self._window_of_ids(undefined.ids)

    def _read_gathered(self, gather: Gather, mask: Mask) -> tuple[Array, Undefined | None]:
        self.check_bounds(mask)
        storage = self.storage
        values = storage.flat()[gather.address]
        beyond = None
        if not gather.in_bounds.all():
            outside = Origin(lambda: f"{storage.describe()}, out of bounds and masked off,")
            beyond = Undefined((~gather.in_bounds).astype(np.uint8), (outside,))
        inner = None
        if storage.undefined is not None:
            ids = storage.undefined.ids.reshape(storage.size)[gather.address]
            ids = np.where(gather.in_bounds, ids, np.uint8(0))
            inner = Undefined(ids, storage.undefined.origins) if ids.any() else None
        return values, merge(self.shape, (inner, beyond))

    def check_bounds(self, mask: Mask) -> None:
        """Refuse an element outside, or one with an undefined index, that is not masked off.

        Raises
        ------
        KernelFault
            ``err_tensor_access_out_of_bound``.
        UndefinedReadFault
            Where a part of the index was never given a value.
        """
        gather = self.gather
        if gather is None:
            return
        used = ~gather.in_bounds if mask is None else ~gather.in_bounds & mask
        if gather.undefined_index is not None:
            unknown = np.where(used, gather.undefined_index.ids, np.uint8(0))
            refuse_undefined(
                Undefined(unknown, gather.undefined_index.origins),
                operation="indexing",
                happened="uses an undefined index",
            )
        if used.any():
            raise KernelFault(
                "err_tensor_access_out_of_bound",
                f"{int(used.sum())} element(s) outside of {self.storage.describe()}, shape {self.storage.shape}",
                why=gather.reach,
                next_step="mask the access (mask=index < size), or loop over whole tiles only",
            )

    def write(self, values: Array | Number | None, undefined: Undefined | None, mask: Mask = None) -> None:
        """Write ``values`` where ``mask`` keeps them, rounded once to the dtype; elsewhere nothing changes.
        Without values, the elements only become defined.

        Raises
        ------
        KernelFault
            ``err_store_dst_shape_smaller_than_other_shape`` where two values would go to one element.
        """
        if mask is False:
            return
        storage = self.storage
        if storage.waiting is not None:
            loops.settle(storage)
        storage.detach()
        keep = None if mask is None else np.broadcast_to(mask, self.shape)
        around = loops.nest()
        repeated = None
        if around is not None and storage.depth < around.parallel:
            repeated = writes.note(self, keep, around)
        if self.gather is not None:
            self._write_gathered(self.gather, values, undefined, keep)
        else:
            if names_twice(self.shape, self.strides):
                self._refuse_two_values()
            if values is not None:
                storage.put(self._values(), values, keep)
            if storage.undefined is not None or undefined is not None:
                self._update_ids(undefined, keep)
        if repeated is not None and values is not None:
            repeated.written()
        if storage.placed is not None:
            storage.placed.wrote(self, keep)

    def _write_gathered(
        self,
        gather: Gather,
        values: Array | Number | None,
        undefined: Undefined | None,
        keep: npt.NDArray[np.bool_] | None,
    ) -> None:
        self.check_bounds(keep)
        chosen = gather.in_bounds if keep is None else gather.in_bounds & keep
        address = gather.address[chosen]
        ordered = np.sort(address)
        if (ordered[1:] == ordered[:-1]).any():
            self._refuse_two_values()
        if values is not None:
            rounded = np.empty(address.shape, dtype=self.storage.element)
            self.storage.put(rounded, np.broadcast_to(values, self.shape)[chosen])
            self.storage.flat()[address] = rounded
        if self.storage.undefined is None and undefined is None:
            return
        ids, origins = self.storage.writable_ids()
        new: Any = 0
        if undefined is not None:
            new_ids, origins = undefined.merged_into(origins)
            new = np.broadcast_to(new_ids, self.shape)[chosen]
        flat_ids = ids.reshape(self.storage.size)
        before = int(np.count_nonzero(flat_ids[address] != 0))
        flat_ids[address] = new
        self._settle(ids, origins, int(np.count_nonzero(flat_ids[address] != 0)) - before)

    def _update_ids(self, undefined: Undefined | None, keep: npt.NDArray[np.bool_] | None) -> None:
        storage = self.storage
        if undefined is None and keep is None and math.prod(self.shape) == storage.size:
            # No element occurs twice, so as many as the storage has are all of them.
            storage.undefined = None
            storage.undefined_count = 0
            return
        ids, origins = storage.writable_ids()
        new: Any = 0
        if undefined is not None:
            new, origins = undefined.merged_into(origins)
        window = self._window_of_ids(ids)
        before = int(np.count_nonzero(window))
        if undefined is None and keep is None:
            window[...] = 0
            self._settle(ids, origins, -before)
            return
        np.copyto(window, new, where=True if keep is None else keep)
        self._settle(ids, origins, int(np.count_nonzero(window)) - before)

    def _refuse_two_values(self) -> NoReturn:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"a destination of shape {self.shape} names some elements of {self.storage.describe()} twice",
            why="one instruction writes one value to an element",
            next_step="index the destination so that every element occurs once",
        )

    def _settle(self, ids: Ids, origins: tuple[Origin, ...], change: int) -> None:
        storage = self.storage
        count = storage.undefined_count + change
        storage.undefined_count = count
        storage.undefined = Undefined(ids, origins) if count else None

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("numpy cannot compute on a device tensor; use the nl.* and nisa.* functions")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self.dtype}, buffer={self.space.value})"
