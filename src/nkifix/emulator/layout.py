"""What is fixed about storages and views: shapes, dtypes, strides. Of equal ones there is one object.

Everything that an instruction checks before it computes depends on these alone, so a kernel's thousandth
instruction of one form looks up what the first one found (:func:`nkifix.emulator.machine.planned`). Offsets, masks
and elements are no part of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from nkifix.emulator.addresses import Box, box, element_strides, names_twice
from nkifix.emulator.numeric import F32, FLOATS, TF32, Array, element_dtype
from nkifix.emulator.traced import Traced

if TYPE_CHECKING:
    from nkifix.emulator.memory import Space
    from nkifix.emulator.observe import Accessed

Role: TypeAlias = Literal["input", "declared", "computed", "moved"]
"""A launch's argument, a tensor that the kernel declared, or a result that none of them took, an engine's or DMA's."""

_MOST = 1 << 16
"""Entries of a table before it starts anew; a kernel has some hundred."""


class Kind:
    """What is fixed about a storage.

    Attributes
    ----------
    dtype, element:
        Its dtype, and the numpy dtype that elements lie in.
    rounds_to_tf32:
        Whether elements are float32 that are rounded to tfloat32.
    in_f32:
        Whether floating elements are kept in float32, unrounded, whatever the dtype.
    partition_axis:
        Index of the partition dimension; None in HBM.
    partitions, row:
        Extent of the partition dimension, and elements per partition of one block; 1 and the size in HBM.
    is_result:
        Whether it holds an operation's result, and is neither declared by the kernel nor an input.
    whole:
        The layout of a view of all of it.
    everywhere:
        The one box that is all of it.
    """

    __slots__ = (
        "_layouts",
        "dtype",
        "element",
        "everywhere",
        "in_f32",
        "is_result",
        "partition_axis",
        "partitions",
        "role",
        "rounds_to_tf32",
        "row",
        "shape",
        "size",
        "space",
        "whole",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        space: Space,
        partition_axis: int | None,
        role: Role,
        in_f32: bool,
    ) -> None:
        self.shape = shape
        self.size = math.prod(shape)
        self.dtype = dtype
        self.element = F32 if in_f32 and dtype in FLOATS else element_dtype(dtype)
        self.in_f32 = in_f32
        self.rounds_to_tf32 = dtype == TF32 and not in_f32
        self.space = space
        self.partition_axis = partition_axis
        self.role = role
        self.is_result = role in ("computed", "moved")
        self.partitions = 1 if partition_axis is None else shape[partition_axis]
        self.row = self.size if partition_axis is None else math.prod(shape[partition_axis + 1 :])
        self.everywhere: tuple[Box, ...] = (tuple([(0, size - 1, 1) for size in shape]),)
        self._layouts: dict[object, Layout] = {}
        self.whole = self.layout(shape, element_strides(shape), partition_axis)

    def holds(self, other: Kind) -> bool:
        """Whether it can hold every element of the other kind as it is."""
        if self.dtype is other.dtype:
            return True
        return self.dtype is F32 and other.dtype in FLOATS and other.dtype is not TF32

    def layout(self, shape: tuple[int, ...], strides: tuple[int, ...], partition_axis: int | None) -> Layout:
        """The layout of a view."""
        key = (shape, strides, partition_axis)
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) > _MOST:
                self._layouts.clear()
            known = self._layouts[key] = Layout(self, shape, strides, partition_axis)
        return known


_kinds: dict[object, Kind] = {}


def kind_of(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    space: Space,
    partition_axis: int | None,
    role: Role,
    *,
    in_f32: bool = False,
) -> Kind:
    """The kind of a storage; ``in_f32`` keeps floating elements in float32, unrounded, whatever the dtype."""
    key = (shape, dtype, space, partition_axis, role, in_f32)
    known = _kinds.get(key)
    if known is None:
        if len(_kinds) > _MOST:
            _kinds.clear()
        known = _kinds[key] = Kind(*key)
    return known


class Layout:
    """How a view lies in its storage, but for where it begins.

    Attributes
    ----------
    strides, byte_strides:
        In elements, and in bytes.
    itemsize:
        Bytes between elements that lie side by side.
    partition_axis:
        Index of the view's partition dimension; None in HBM.
    names_twice:
        Whether two elements of the view have one address.
    views:
        Views of it by the form of their index (:mod:`nkifix.emulator.indexing`).
    accessed:
        What a cost depends on, once it was asked for (:mod:`nkifix.emulator.observe`).
    regions:
        By offset, the part of its storage that the view spans, once it was asked for (there, too).
    """

    __slots__ = (
        "_blank",
        "_boxes",
        "accessed",
        "byte_strides",
        "itemsize",
        "kind",
        "names_twice",
        "partition_axis",
        "regions",
        "shape",
        "strides",
        "views",
    )

    def __init__(
        self, kind: Kind, shape: tuple[int, ...], strides: tuple[int, ...], partition_axis: int | None
    ) -> None:
        self.kind = kind
        self.shape = shape
        self.strides = strides
        self.itemsize = kind.element.itemsize
        self.byte_strides = tuple([step * kind.element.itemsize for step in strides])
        self.partition_axis = partition_axis
        self.names_twice = names_twice(shape, strides)
        self.views: dict[object, Any] = {}
        self.accessed: Accessed | None = None
        self.regions: dict[int, tuple[int, int, int, int]] = {}
        self._boxes: dict[int, tuple[Box, bool]] = {}
        self._blank: Array | None = None

    def box(self, offset: Any) -> tuple[Box, bool]:
        """The box around the view in its storage's dimensions, and whether the view fills it."""
        if type(offset) is Traced:
            offset = int(offset)
        known = self._boxes.get(offset)
        if known is None:
            if len(self._boxes) > _MOST:
                self._boxes.clear()
            known = self._boxes[offset] = box(self.kind.shape, offset, self.shape, self.strides)
        return known

    def first_partition(self, offset: Any) -> int:
        """The partition of the storage that the view's first element lies in; 0 in HBM."""
        if type(offset) is Traced:
            return offset.partition(self.kind.row, self.kind.partitions)
        partition: int = offset // self.kind.row % self.kind.partitions
        return partition

    @property
    def blank(self) -> Array:
        """Zeros of the view's shape, for who computes nothing."""
        if self._blank is None:
            self._blank = np.broadcast_to(np.zeros((), dtype=self.kind.element), self.shape)
        return self._blank
