"""Memories and tensors: storage with definedness, and views onto it.

A :class:`Tensor` is always a view: a shape, strides and an offset onto a :class:`Storage`. It can be made
only by the emulator (allocation, indexing, operations), never by calling the class.
"""

from __future__ import annotations

import enum
import linecache
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nkifix.emulator.affine import Mask
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_position
from nkifix.emulator.numeric import Array, Number, copy_cast
from nkifix.emulator.undefined import Ids, Origin, Undefined


class Space(enum.Enum):
    """A memory of the device. The values are the names that kernels use."""

    SBUF = "sbuf"
    PSUM = "psum"
    HBM = "hbm"
    PRIVATE_HBM = "private_hbm"
    SHARED_HBM = "shared_hbm"

    @property
    def on_chip(self) -> bool:
        """True for SBUF and PSUM, whose first tile dimension is the partition dimension."""
        return self in (Space.SBUF, Space.PSUM)


def element_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of ``shape``, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


class Storage:
    """One allocation: raw bytes, dtype, memory, and which elements are still undefined.

    Parameters
    ----------
    partition_axis:
        Index of the partition dimension; None in HBM. Dimensions before it are block dimensions.
    name:
        Name for messages; empty where the kernel gave none (then its source line is read on demand).
    """

    __slots__ = (
        "_place",
        "dtype",
        "first_write",
        "is_input",
        "name",
        "owns_bytes",
        "partition_axis",
        "raw",
        "shape",
        "size",
        "space",
        "undefined",
        "undefined_count",
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
    ) -> None:
        self.shape = shape
        self.size = math.prod(shape)
        self.dtype = dtype
        self.space = space
        self.partition_axis = partition_axis
        self.name = name
        self.is_input = is_input
        self.first_write: str | None = None
        self.owns_bytes = raw is None
        self.raw = np.empty(self.size * dtype.itemsize, dtype=np.uint8) if raw is None else raw
        self.undefined: Undefined | None = None
        self.undefined_count = 0
        self._place: tuple[str, int] | None = None

    def leave_undefined(self) -> None:
        """Remember the allocation's place in the kernel and mark all elements as never written."""
        self._place = kernel_position()
        self.undefined = Undefined.everywhere(self.shape, Origin(self.describe))
        self.undefined_count = self.size

    @property
    def auto_placed(self) -> bool:
        """Whether it holds an operation's result, and is neither declared by the kernel nor an input."""
        return self._place is None and not self.is_input

    def describe(self) -> str:
        """The tensor's name and allocation, for messages."""
        if self._place is None:
            return f"tensor {self.name!r}" if self.name else "a tensor"
        file, line = self._place
        assigned = re.match(r"\s*(\w+)\s*(?::[^=]+)?=(?!=)", linecache.getline(file, line))
        name = self.name or (assigned.group(1) if assigned else "")
        return f"tensor {name!r} of {file}:{line}" if name else f"the tensor of {file}:{line}"

    def flat(self) -> Array:
        """All elements in storage order, as a one-dimensional view."""
        elements: Array = np.ndarray((self.size,), self.dtype, buffer=self.raw)
        return elements

    def array(self) -> Array:
        """All elements in the storage's shape, as a view."""
        elements: Array = np.ndarray(self.shape, self.dtype, buffer=self.raw)
        return elements

    def detach(self) -> None:
        """Own the bytes: copy those of a caller's array, before the first write into it."""
        if not self.owns_bytes:
            self.raw = self.raw.copy()
            self.owns_bytes = True

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


@dataclass(frozen=True, eq=False)
class Gather:
    """Element addresses of a view that reaches out of bounds.

    Attributes
    ----------
    address:
        Flat storage position per element; 0 where out of bounds. Shape of the view.
    in_bounds:
        Which elements exist; at least one does not.
    reach:
        The out-of-bounds range in words.
    """

    address: npt.NDArray[np.int64]
    in_bounds: npt.NDArray[np.bool_]
    reach: str


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
        itemsize = storage.dtype.itemsize
        strides = tuple([s * itemsize for s in self.strides])
        values: Array = np.ndarray(self.shape, storage.dtype, storage.raw, self.offset * itemsize, strides)
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
        outside = Origin(lambda: f"{storage.describe()}, out of bounds and masked off,")
        beyond = Undefined((~gather.in_bounds).astype(np.uint8), (outside,))
        if storage.undefined is None:
            return values, beyond
        inner_ids = storage.undefined.ids.reshape(storage.size)[gather.address]
        ids, origins = beyond.merged_into(storage.undefined.origins)
        return values, Undefined(np.where(gather.in_bounds, inner_ids, ids), origins)

    def check_bounds(self, mask: Mask) -> None:
        """Raise ``err_tensor_access_out_of_bound`` where an element outside is not masked off."""
        gather = self.gather
        if gather is None:
            return
        used = ~gather.in_bounds if mask is None else ~gather.in_bounds & mask
        if used.any():
            raise KernelFault(
                "err_tensor_access_out_of_bound",
                f"{int(used.sum())} element(s) outside of {self.storage.describe()}, shape {self.storage.shape}",
                why=gather.reach,
                next_step="mask the access (mask=index < size), or loop over whole tiles only",
            )

    def write(self, values: Array | Number, undefined: Undefined | None, mask: Mask = None) -> None:
        """Write ``values`` where ``mask`` keeps them, rounded once to the dtype; elsewhere nothing changes.

        Raises
        ------
        KernelFault
            ``err_store_dst_shape_smaller_than_other_shape`` where two values would go to one element.
        """
        if mask is False:
            return
        storage = self.storage
        storage.detach()
        keep = None if mask is None else np.broadcast_to(mask, self.shape)
        if self.gather is not None:
            self._write_gathered(self.gather, values, undefined, keep)
            return
        self._refuse_repetition()
        copy_cast(self._values(), values, keep)
        if storage.undefined is not None or undefined is not None:
            self._update_ids(undefined, keep)

    def _write_gathered(
        self, gather: Gather, values: Array | Number, undefined: Undefined | None, keep: npt.NDArray[np.bool_] | None
    ) -> None:
        self.check_bounds(keep)
        chosen = gather.in_bounds if keep is None else gather.in_bounds & keep
        address = gather.address[chosen]
        ordered = np.sort(address)
        if (ordered[1:] == ordered[:-1]).any():
            self._refuse_two_values()
        rounded = np.empty(address.shape, dtype=self.dtype)
        copy_cast(rounded, np.broadcast_to(values, self.shape)[chosen])
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
        before = int(np.count_nonzero(window != 0))
        np.copyto(window, new, where=True if keep is None else keep)
        self._settle(ids, origins, int(np.count_nonzero(window != 0)) - before)

    def _refuse_two_values(self) -> NoReturn:
        raise KernelFault(
            "err_store_dst_shape_smaller_than_other_shape",
            f"a destination of shape {self.shape} names some elements of {self.storage.describe()} twice",
            why="one instruction writes one value to an element",
            next_step="index the destination so that every element occurs once",
        )

    def _refuse_repetition(self) -> None:
        steps = [(abs(step), extent) for step, extent in zip(self.strides, self.shape, strict=True) if extent > 1]
        reach = 0
        for step, extent in sorted(steps):
            if step <= reach:
                break
            reach += step * (extent - 1)
        else:
            return  # each step goes beyond all that the smaller ones reach
        places = np.zeros(1, dtype=np.int64)
        for step, extent in steps:
            places = np.add.outer(places, step * np.arange(extent)).ravel()
        if len(np.unique(places)) < len(places):
            self._refuse_two_values()

    def _settle(self, ids: Ids, origins: tuple[Origin, ...], change: int) -> None:
        storage = self.storage
        storage.undefined_count += change
        storage.undefined = Undefined(ids, origins) if storage.undefined_count else None

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("numpy cannot compute on a device tensor; use the nl.* and nisa.* functions")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self.dtype}, buffer={self.space.value})"
