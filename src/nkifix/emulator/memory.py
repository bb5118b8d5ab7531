"""Tensors: views onto storage.

A :class:`Tensor` is always a view: a shape, strides and an offset onto a :class:`Storage`. It can be made
only by the emulator (allocation, indexing, operations), never by calling the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nkifix.emulator import actions, loops, writes
from nkifix.emulator.addresses import Box, disjoint, without
from nkifix.emulator.affine import Mask
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import Layout
from nkifix.emulator.numeric import Array, Number
from nkifix.emulator.storage import Compute as Compute
from nkifix.emulator.storage import Space as Space
from nkifix.emulator.storage import Storage as Storage
from nkifix.emulator.traced import plain
from nkifix.emulator.undefined import Ids, Origin, Undefined, merge, refuse_undefined

_MOST_BOXES = 8
"""Boxes of unwritten elements before each element is kept track of by itself."""


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

    __slots__ = ("gather", "layout", "offset", "result_mask", "storage")
    __array_ufunc__ = None

    storage: Storage
    layout: Layout
    offset: int
    gather: Gather | None
    result_mask: Mask

    def __new__(cls, *_: object, **__: object) -> Tensor:
        raise TypeError("a tensor cannot be constructed; use nl.ndarray, nl.zeros, nl.full or nl.load")

    @classmethod
    def _of(
        cls, storage: Storage, layout: Layout, offset: int, gather: Gather | None = None, result_mask: Mask = None
    ) -> Tensor:
        self = object.__new__(cls)
        self.storage = storage
        self.layout = layout
        self.offset = offset
        self.gather = gather
        self.result_mask = result_mask
        return self

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
        layout = storage.kind.layout(shape, strides, partition_axis)
        return cls._of(storage, layout, offset, gather, result_mask)

    @classmethod
    def _whole(cls, storage: Storage, *, result_mask: Mask = None) -> Tensor:
        """A view of all of ``storage``."""
        return cls._of(storage, storage.kind.whole, 0, None, result_mask)

    def snapshot(self) -> Tensor:
        """The same view onto a copy of the bytes: the elements as they are now."""
        return self._of(self.storage.copy(), self.layout, self.offset, self.gather, self.result_mask)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self.layout.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between neighbours along each dimension, in elements."""
        return self.layout.strides

    @property
    def partition_axis(self) -> int | None:
        """Index of the partition dimension; None in HBM."""
        return self.layout.partition_axis

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element dtype."""
        return self.layout.kind.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.layout.shape)

    @property
    def space(self) -> Space:
        """The memory it lives in."""
        return self.layout.kind.space

    def _values(self) -> Array:
        layout = self.layout
        element = layout.kind.element
        begin = plain(self.offset) * layout.itemsize
        values: Array = np.ndarray(layout.shape, element, self.storage.raw, begin, layout.byte_strides)
        log = loops.action_log()
        if log is not None:
            log.lies(values, self)
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
        if storage.unwritten and self._is_apart(storage.unwritten):
            return values, None
        undefined = storage.undefined
        if undefined is None:
            return values, None
        ids = self._ids(undefined)
        return values, Undefined(ids, undefined.origins) if ids.any() else None

    def is_plainly_defined(self) -> bool:
        """Whether its elements can be read as they lie: all exist, none is undefined, and nothing waits or shares them.

        Only the quick tests are made: an answer of False says nothing.
        """
        storage = self.storage
        if self.gather is not None:
            return False
        if storage.is_plain:
            return True
        if storage.waiting is not None or storage.placed is not None:
            return False
        if storage.unwritten:
            return self._is_apart(storage.unwritten)
        return storage.undefined is None

    def _is_apart(self, boxes: tuple[Box, ...]) -> bool:
        """Whether no element lies in one of the boxes, for certain."""
        mine, _ = self.layout.box(self.offset)
        for one in boxes:  # noqa: SIM110  a generator costs more than the test
            if not disjoint(mine, one):
                return False
        return True

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
        undefined = storage.undefined
        if undefined is not None:
            ids = undefined.ids.reshape(storage.size)[gather.address]
            ids = np.where(gather.in_bounds, ids, np.uint8(0))
            inner = Undefined(ids, undefined.origins) if ids.any() else None
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

    def write(self, values: Array | Number | Storage | None, undefined: Undefined | None, mask: Mask = None) -> None:
        """Write ``values`` where ``mask`` keeps them, rounded once to the dtype; elsewhere nothing changes.
        Without values, the elements only become defined. A storage of the view's shape whose values are awaited
        (:attr:`Storage.is_awaited`) is computed straight into the view.

        Raises
        ------
        KernelFault
            ``err_store_dst_shape_smaller_than_other_shape`` where two values would go to one element.
        """
        if mask is False:
            return
        keep = None if mask is None else np.broadcast_to(mask, self.shape)
        repeated = self._announce(values, keep)
        if self.gather is not None:
            self._write_gathered(self.gather, values, undefined, keep)
        else:
            self._write_strided(values, undefined, keep)
        if repeated is not None and values is not None:
            repeated.written()
        placed = self.storage.placed
        if placed is not None:
            placed.wrote(self, keep)

    def _announce(self, values: object, keep: npt.NDArray[np.bool_] | None) -> writes.Repeated | None:
        """What comes before a write: results that rest on the old elements, and the ledger of parallel writes."""
        storage = self.storage
        around = loops.nest()
        if around is not None:
            around.writes += 1
            if around.awaited is not None:
                if around.awaited is not values:
                    around.awaited.settle()
                around.awaited = None
        if storage._lent:
            storage.recall()
        if storage.waiting is not None:
            loops.settle(storage)
        if not storage.owns_bytes:
            storage.detach()
        if around is not None and storage.depth < around.parallel:
            return writes.note(self, keep, around)
        return None

    def _write_strided(
        self,
        values: Array | Number | Storage | None,
        undefined: Undefined | None,
        keep: npt.NDArray[np.bool_] | None,
    ) -> None:
        if self.layout.names_twice:
            self._refuse_two_values()
        storage = self.storage
        if isinstance(values, Storage):
            self._receive(values)
        elif values is not None:
            storage.put(self._values(), values, keep)
        if storage.unwritten and undefined is None:
            self._update_boxes(keep)
        elif undefined is not None or storage.undefined is not None:
            self._update_ids(undefined, keep)

    def _receive(self, source: Storage) -> None:
        """Compute an awaited result into the view, which must hold its elements as they are, and lends them to it."""
        actions.deliver(source.take_compute(), source.kind, self.layout.kind, self._values())
        self.storage.lend(self._values, source)

    def _write_gathered(
        self,
        gather: Gather,
        values: Array | Number | Storage | None,
        undefined: Undefined | None,
        keep: npt.NDArray[np.bool_] | None,
    ) -> None:
        self.check_bounds(keep)
        loops.depends_on_more()
        if isinstance(values, Storage):
            values = values.array()
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

    def _update_boxes(self, keep: npt.NDArray[np.bool_] | None) -> None:
        """Take what was just written out of the unwritten boxes, or turn to single elements."""
        storage = self.storage
        if self._is_apart(storage.unwritten):
            return
        mine, filled = self.layout.box(self.offset)
        if filled and keep is None:
            left = [piece for one in storage.unwritten for piece in without(one, mine)]
            if len(left) <= _MOST_BOXES:
                storage.unwritten = tuple(left)
                if not left:
                    storage.look_again()
                return
        self._update_ids(None, keep)

    def _update_ids(self, undefined: Undefined | None, keep: npt.NDArray[np.bool_] | None) -> None:
        storage = self.storage
        if undefined is None and keep is None and math.prod(self.shape) == storage.size:
            # No element occurs twice, so as many as the storage has are all of them.
            storage.undefined_count = 0
            storage.undefined = None
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
