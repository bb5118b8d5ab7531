"""The bytes of SBUF and PSUM that a program's directly allocated tensors share, and who wrote each last.

A tensor keeps its elements in memory of its own. Only tensors (or blocks of one) whose places overlap are
tracked: a write then takes the bytes over, and a read finds the elements that another write took. Such a read
is refused by the rule ``overwritten-tensor``; without the rule it gives what the other write left there.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import kernel_location
from nkifix.emulator.memory import Storage, Tensor

Flags = npt.NDArray[np.bool_]
Rectangle = tuple[int, int, int, int]
"""First partition and the one after the last; first byte and the one after the last."""


class _Block:
    """A block of a tensor, for messages: its name, and where it was last written."""

    __slots__ = ("name", "written")

    def __init__(self, name: str) -> None:
        self.name = name
        self.written = ""


class Memory:
    """SBUF or PSUM of one program.

    Parameters
    ----------
    partitions, row_bytes:
        Its size.
    keeps_bytes:
        Whether to keep what is written too; needed where reads of overwritten tensors are not refused.
    """

    def __init__(self, partitions: int, row_bytes: int, *, keeps_bytes: bool) -> None:
        # Pages of zeros that nothing writes cost nothing.
        self.owner = np.zeros((partitions, row_bytes), dtype=np.uint32)
        self.contents = np.zeros((partitions, row_bytes), dtype=np.uint8) if keeps_bytes else None
        self.blocks: list[_Block] = [_Block("nobody")]
        self.tensors: weakref.WeakSet[Placed] = weakref.WeakSet()

    def add(self, storage: Storage, places: Sequence[tuple[int, int]]) -> Placed:
        """Put a tensor at ``places``: first partition and first byte of each block, row by row."""
        placed = Placed(self, storage, places)
        sharing = [other for other in self.tensors if placed.overlaps(other)]
        if sharing or placed.shares_with_itself():
            placed.tracked = True
        for other in sharing:
            other.track()
        self.tensors.add(placed)
        return placed


class Placed:
    """The places of one tensor's blocks.

    Attributes
    ----------
    tracked:
        Whether its bytes may be another's too.
    """

    def __init__(self, memory: Memory, storage: Storage, places: Sequence[tuple[int, int]]) -> None:
        axis = storage.partition_axis
        assert axis is not None
        self.memory = memory
        self.elements = storage.flat()
        self.dtype = storage.dtype
        self.partitions = storage.shape[axis]
        self.row_bytes = math.prod(storage.shape[axis + 1 :]) * storage.dtype.itemsize
        self.partition_of = np.array([partition for partition, _ in places], dtype=np.int64)
        self.byte_of = np.array([byte for _, byte in places], dtype=np.int64)
        self.first = len(memory.blocks)
        name, blocks = storage.describe(), storage.shape[:axis]
        memory.blocks.extend(_Block(f"block {block} of {name}" if block else name) for block in np.ndindex(blocks))
        self.tracked = False

    def rectangles(self) -> list[Rectangle]:
        """What the blocks cover, in order."""
        return [
            (int(p), int(p) + self.partitions, int(b), int(b) + self.row_bytes)
            for p, b in zip(self.partition_of, self.byte_of, strict=True)
        ]

    def overlaps(self, other: Placed) -> bool:
        """Whether some byte belongs to both."""
        theirs = set(other.rectangles())
        return any(_meet(mine, one) for mine in set(self.rectangles()) for one in theirs)

    def shares_with_itself(self) -> bool:
        """Whether two blocks have bytes in common."""
        covered = self.rectangles()
        unique = sorted(set(covered), key=lambda r: (r[2], r[0]))
        return len(unique) < len(covered) or any(
            _meet(one, later) for n, one in enumerate(unique) for later in unique[n + 1 :] if later[2] < one[3]
        )

    def track(self) -> None:
        """From now on its bytes may be another's: until now they were its own."""
        if self.tracked:
            return
        self.tracked = True
        raw = _as_bytes(self.elements, self.dtype).reshape(len(self.byte_of), self.partitions, self.row_bytes)
        for block, (top, bottom, left, right) in enumerate(self.rectangles()):
            self.memory.owner[top:bottom, left:right] = self.first + block
            if self.memory.contents is not None:
                self.memory.contents[top:bottom, left:right] = raw[block]

    def wrote(self, tensor: Tensor, keep: Flags | None) -> None:
        """Take over the bytes of the view's elements that ``keep`` keeps: they have just been written."""
        if not self.tracked:
            return
        cells = self._cells(tensor)
        location = kernel_location()
        for number in np.unique(cells.ids):
            self.memory.blocks[number].written = location
        chosen = _in_bounds(tensor, keep)
        cells.put(self.memory.owner, np.asarray(cells.ids, dtype=np.uint32)[..., None], chosen)
        if self.memory.contents is not None:
            values = tensor.storage.flat()[_addresses(tensor)]
            cells.put(self.memory.contents, _as_bytes(values, tensor.storage.dtype), chosen)

    def check(self, tensor: Tensor, keep: Flags | None) -> None:
        """Look for elements that were written since by others, before the view is read.

        Raises
        ------
        KernelFault
            ``overwritten-tensor`` where there are some; where bytes are kept, the elements change instead.
        """
        if not self.tracked:
            return
        cells = self._cells(tensor)
        owner = cells.get(self.memory.owner)
        others = owner != np.asarray(cells.ids, dtype=np.uint32)[..., None]
        if not others.any():  # over all at once: one element's bytes at a time is slow
            return
        chosen = _in_bounds(tensor, keep)
        lost = others.any(axis=-1) & _written(tensor) & (True if chosen is None else chosen)
        if not lost.any():
            return
        if self.memory.contents is None:
            mine = np.broadcast_to(cells.ids, lost.shape)[lost][0]
            self._refuse(int(mine), next(int(other) for other in owner[lost][0] if other != mine))
        _take_over(tensor, cells.get(self.memory.contents), lost)

    def _refuse(self, mine: int, theirs: int) -> NoReturn:
        block, other = self.memory.blocks[mine], self.memory.blocks[theirs]
        raise KernelFault(
            "overwritten-tensor",
            f"{block.name}, written at {block.written}, is read after {other.name} was written over it "
            f"at {other.written}",
            why="both were given places that overlap, and both are needed at the same time",
            next_step="give them places of their own, or more physical tiles (num_free_tiles, num_bank_tiles)",
        )

    def _cells(self, tensor: Tensor) -> Cells:
        """The physical bytes of a view's elements, and the number of the block that each belongs to."""
        window = self._window(tensor)
        if window is not None:
            return window
        itemsize = tensor.dtype.itemsize
        row = self.row_bytes // itemsize
        number, within = np.divmod(_addresses(tensor), self.partitions * row)
        rows = self.partition_of[number] + within // row
        columns = (self.byte_of[number] + within % row * itemsize)[..., None] + np.arange(itemsize)
        return _Scattered(self.first + number, rows[..., None], columns)

    def _window(self, tensor: Tensor) -> _Window | None:
        """The view as strides over the physical memory; None where it spans blocks, or wraps around rows."""
        steps = [(stride, extent) for stride, extent in zip(tensor.strides, tensor.shape, strict=True)]
        if tensor.gather is not None or any(stride < 0 for stride, _ in steps):
            return None
        pitch, itemsize = self.memory.owner.shape[1], tensor.dtype.itemsize
        row = self.row_bytes // itemsize
        block, within = divmod(tensor.offset, self.partitions * row)
        first, start = divmod(within, row)
        down = [stride // row if extent > 1 else 0 for stride, extent in steps]
        along = [stride % row if extent > 1 else 0 for stride, extent in steps]
        last = first + sum(step * (extent - 1) for step, (_, extent) in zip(down, steps, strict=True))
        end = start + sum(step * (extent - 1) for step, (_, extent) in zip(along, steps, strict=True))
        if last >= self.partitions or end >= row:
            return None
        origin = (int(self.partition_of[block]) + first) * pitch + int(self.byte_of[block]) + start * itemsize
        strides = [rows * pitch + columns * itemsize for rows, columns in zip(down, along, strict=True)]
        return _Window(self.first + block, origin, (*tensor.shape, itemsize), (*strides, 1))


class Cells(Protocol):
    """Physical bytes of a view's elements: arrays have the view's dimensions, and one more for the bytes."""

    ids: Any

    def get(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Their part of one of the memory's arrays."""

    def put(self, array: npt.NDArray[Any], value: npt.NDArray[Any], chosen: Flags | None) -> None:
        """Write into it, for the chosen elements."""


class _Window:
    """Bytes that are strided in the physical memory, of one block: the common case."""

    def __init__(self, ids: int, origin: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.ids, self.origin, self.shape, self.strides = ids, origin, shape, strides

    def get(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        size = array.itemsize
        window: npt.NDArray[Any] = np.ndarray(
            self.shape, array.dtype, array.data, self.origin * size, [step * size for step in self.strides]
        )
        return window

    def put(self, array: npt.NDArray[Any], value: npt.NDArray[Any], chosen: Flags | None) -> None:
        np.copyto(self.get(array), value, where=True if chosen is None else chosen[..., None])


class _Scattered:
    """Bytes anywhere: a view over several blocks, or one that gathers."""

    def __init__(self, ids: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> None:
        self.ids, self.rows, self.columns = ids, rows, columns

    def get(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = array[self.rows, self.columns]
        return found

    def put(self, array: npt.NDArray[Any], value: npt.NDArray[Any], chosen: Flags | None) -> None:
        taken = np.ones(self.ids.shape, dtype=bool) if chosen is None else chosen
        array[self.rows[taken], self.columns[taken]] = np.broadcast_to(value, self.columns.shape)[taken]


def _addresses(tensor: Tensor) -> npt.NDArray[np.int64]:
    """Position of each of a view's elements in its storage; 0 for one out of bounds."""
    if tensor.gather is not None:
        return tensor.gather.address
    address: npt.NDArray[np.int64] = np.array(tensor.offset, dtype=np.int64)
    for stride, extent in zip(tensor.strides, tensor.shape, strict=True):
        address = address[..., None] + stride * np.arange(extent, dtype=np.int64)
    return address


def _in_bounds(tensor: Tensor, keep: Flags | None) -> Flags | None:
    kept = None if keep is None else np.broadcast_to(keep, tensor.shape)
    if tensor.gather is None:
        return kept
    return tensor.gather.in_bounds if kept is None else tensor.gather.in_bounds & kept


def _written(tensor: Tensor) -> Any:
    """Which elements were ever given a value."""
    undefined = tensor.storage.undefined
    return True if undefined is None else undefined.ids.reshape(-1)[_addresses(tensor)] == 0


def _as_bytes(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[np.uint8]:
    """Elements as the device stores them; one more dimension, for the bytes."""
    stored = values if values.dtype.itemsize == dtype.itemsize else values.astype(dtype)
    raw: npt.NDArray[np.uint8] = np.ascontiguousarray(stored).reshape(*stored.shape, 1).view(np.uint8)
    return raw


def _take_over(tensor: Tensor, raw: npt.NDArray[np.uint8], lost: Flags) -> None:
    """Give the lost elements what the memory holds in their place."""
    storage = tensor.storage
    same = storage.element.itemsize == storage.dtype.itemsize
    found = np.ascontiguousarray(raw[lost]).view(storage.element if same else storage.dtype).reshape(-1)
    storage.flat()[_addresses(tensor)[lost]] = found


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
