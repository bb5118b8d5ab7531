"""Turning ``tensor[...]`` into a view: strides where possible, a gather where not.

Source: "NKI programming model", tile indexing (Neuron SDK 2.26). Rules that the documents leave open are
listed in docs/fidelity.md, "Indexing".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nkifix.emulator import observe
from nkifix.emulator.affine import AffineIndex, Predicate, evaluate_mask, is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import Layout
from nkifix.emulator.loops import LoopIndex, depends_on_more
from nkifix.emulator.machine import params
from nkifix.emulator.memory import Gather, Space, Tensor
from nkifix.emulator.numeric import INTEGERS
from nkifix.emulator.symbols import Affine, Nonlinear, QuasiAffine
from nkifix.emulator.traced import Traced, plain
from nkifix.emulator.undefined import Undefined, merge

_PLAIN = frozenset({int, Affine, QuasiAffine, LoopIndex, Traced})
"""Types of integers that any index may be made of; others are looked at more closely."""


class DynamicSlice:
    """``nl.ds(start, size)``: the elements start … start + size - 1 of a dimension."""

    __slots__ = ("size", "start")

    def __init__(self, start: int, size: int) -> None:
        if type(size) is not int or size < 1 or type(start) not in _PLAIN:
            for name, value, least in (("start", start, None), ("size", size, 1)):
                if not is_integer(value) or (least is not None and value < least):
                    raise KernelFault("", f"nl.ds takes whole numbers and a size of at least 1, got {name}={value!r}")
        self.start = start
        self.size = size

    def __repr__(self) -> str:
        return f"nl.ds(start={self.start}, size={self.size})"


@dataclass(frozen=True)
class _Axis:
    """Address of one source dimension as an affine function of the result's dimensions."""

    const: int
    coeffs: dict[int, int]
    """Result dimension -> step."""
    low: int
    high: int


@dataclass(frozen=True)
class RuntimeIndex:
    """An integer tile plus a compile-time index: a position that is known only at run time."""

    tile: Tensor
    offset: AffineIndex


@dataclass(frozen=True)
class MaskedOperand:
    """``tile[predicate]``: an operand of a matmul, of which only some elements take part ("NKI API masking").

    Attributes
    ----------
    kept:
        Which take part, in the tile's shape.
    """

    tensor: Tensor
    kept: npt.NDArray[np.bool_]


def masked_operand(tensor: Tensor, predicate: Predicate) -> MaskedOperand:
    """``tensor`` where ``predicate`` holds."""
    kept = evaluate_mask(predicate)
    try:
        return MaskedOperand(tensor, np.broadcast_to(np.asarray(True if kept is None else kept), tensor.shape))
    except ValueError:
        raise KernelFault(
            "",
            f"a mask of shape {predicate.shape} does not fit an operand of shape {tensor.shape}",
            next_step="build the mask from the indices of the operand",
        ) from None


def view(tensor: Tensor, key: Any) -> Tensor:
    """The view ``tensor[key]``.

    Raises
    ------
    KernelFault
        For an index that the language does not have. An index out of bounds makes a view that raises
        when it is used, since the operation that uses it may mask it.
    """
    parts = key if type(key) is tuple else (key,)
    form, starts = _form(parts) if tensor.gather is None else (None, [])
    known: _Form | None = None
    if form is not None:
        known = tensor.layout.views.get(form)
        if known is None and Traced in map(type, starts):
            known = _found(tensor, parts, form)
        if known is not None:
            offset = tensor.offset
            for start, (step, low, high) in zip(starts, known.places):  # noqa: B905  as many, by construction
                if type(start) is Traced:
                    if not start.is_within(low, high):
                        break
                elif not low <= start <= high:
                    break
                offset += start * step
            else:
                return tensor._of(tensor.storage, known.layout, offset)
    made = _view(tensor, parts)
    if form is not None and made.gather is None and known is None:
        tensor.layout.views[form] = _Form(made.layout, _places(tensor, parts))
    return made


def _found(tensor: Tensor, parts: tuple[Any, ...], form: object) -> _Form | None:
    """What an index of that form gives, found with the values that its traced numbers have now; None where it leaves
    the bounds.
    """
    now = tuple([_untraced(part) for part in parts])
    view(tensor, now)
    known: _Form | None = tensor.layout.views.get(form)
    return known


def _untraced(part: Any) -> Any:
    if type(part) is DynamicSlice:
        return DynamicSlice(plain(part.start), part.size)
    if type(part) is AffineIndex:
        return AffineIndex(plain(part.const), part.coeffs, part.extents)
    return slice(plain(part.start), plain(part.stop)) if type(part) is slice else plain(part)


class _Form(NamedTuple):
    """What an index of one form gives, wherever it starts.

    Attributes
    ----------
    places:
        For each number in the index: elements from one to the next, and the smallest and largest within bounds.
    """

    layout: Layout
    places: tuple[tuple[int, int, int], ...]


def _form(parts: tuple[Any, ...]) -> tuple[tuple[object, ...] | None, list[Any]]:
    """What the shape and the strides of a view depend on, and the numbers that only its offset depends on.

    None for an index that must be looked at more closely.
    """
    form: list[object] = []
    starts: list[Any] = []
    for part in parts:
        kind = type(part)
        if kind is DynamicSlice:
            start, own = part.start, part.size
        elif kind is slice:
            if part.start is None and part.stop is None and part.step is None:
                form.append(None)
                continue
            start, stop = part.start or 0, part.stop
            if part.step is not None or type(stop) not in _PLAIN or type(start) not in _PLAIN:
                return None, starts
            own = int(stop - start)
        elif kind in _PLAIN:
            start, own = part, _INTEGER
        elif kind is AffineIndex:
            start, own = part.const, (part.coeffs, part.extents)
        elif part is Ellipsis:
            form.append(part)
            continue
        else:
            return None, starts
        if type(start) not in _PLAIN:
            return None, starts
        form.append(own)
        starts.append(start if type(start) is Traced else int(start))
    return tuple(form), starts


_INTEGER = "an integer"


def _places(tensor: Tensor, parts: tuple[Any, ...]) -> tuple[tuple[int, int, int], ...]:
    """:attr:`_Form.places` of an index that was found legal."""
    places = []
    affine = any(isinstance(part, AffineIndex) for part in parts)
    whole = parts if affine else _expanded(parts, tensor.ndim)
    for axis, (part, size, step) in enumerate(zip(whole, tensor.shape, tensor.strides, strict=True)):
        if isinstance(part, AffineIndex):
            lowest, highest = part.bounds()
            places.append((step, part.const - lowest, size - 1 - (highest - part.const)))
        elif not isinstance(part, slice) or part != slice(None):
            _, _, extent = _slice_of(part, size, axis)
            places.append((step, 0, size - (extent or 1)))
    return tuple(places)


def _view(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    if tensor.gather is not None and tensor.gather.indirect:
        raise KernelFault(
            "",
            "a view whose index is known only at run time cannot be indexed again",
            next_step="write all indices in one pair of brackets",
        )
    _refuse_nonlinear(tensor, parts)
    tensor.check_bounds(None)  # what reaches out of bounds can be masked where it is used, not indexed again
    if any(isinstance(part, (Tensor, RuntimeIndex)) for part in parts):
        return _indirect(tensor, parts)
    if any(isinstance(part, AffineIndex) for part in parts):
        return _advanced(tensor, parts)
    return _basic(tensor, _expanded(parts, tensor.ndim))


def _refuse_nonlinear(tensor: Tensor, parts: tuple[Any, ...]) -> None:
    """The tracer turns an index into strides: a product of two loop indices has none."""
    for part in parts:
        start = part.start if isinstance(part, (slice, DynamicSlice)) else getattr(part, "const", part)
        if isinstance(start, Nonlinear) and params().enforces("index-not-affine"):
            raise KernelFault(
                "index-not-affine",
                f"{tensor.storage.describe()} is indexed by {start.in_words}, here {start:d}",
                why="the compiler turns an index into strides, and this has none",
                next_step="index with integer * index + index, or make one loop an nl.static_range",
            )


def _expanded(parts: tuple[Any, ...], rank: int) -> list[Any]:
    """``parts`` with the ellipsis and missing trailing dimensions written out."""
    ellipses = sum(part is Ellipsis for part in parts)
    given = len(parts) - ellipses
    if ellipses > 1 or given > rank:
        raise KernelFault("", f"too many indices for a tensor of rank {rank}: {len(parts)}")
    missing = [slice(None)] * (rank - given)
    if not ellipses:
        return [*parts, *missing]
    cut = next(i for i, part in enumerate(parts) if part is Ellipsis)
    return [*parts[:cut], *missing, *parts[cut + 1 :]]


def _basic(tensor: Tensor, parts: list[Any]) -> Tensor:
    axes: list[_Axis] = []
    shape: list[int] = []
    partition_axis: int | None = None
    on_chip = tensor.partition_axis is not None
    for axis, (part, size) in enumerate(zip(parts, tensor.shape, strict=True)):
        start, step, extent = _slice_of(part, size, axis)
        is_partition = axis == tensor.partition_axis
        if extent is None and not is_partition:
            # An integer drops its dimension; on the partition dimension it leaves a row of one.
            axes.append(_Axis(start, {}, start, start))
            continue
        extent = 1 if extent is None else extent
        if is_partition:
            partition_axis = len(shape)
        axes.append(_Axis(start, {len(shape): step}, start, start + step * (extent - 1)))
        shape.append(extent)
    if on_chip and len(shape) < 2:
        # On-chip views keep rank 2, so that buf[:, i] is a (P, 1) column that can be written.
        shape.append(1)
    return _from_axes(tensor, axes, tuple(shape), partition_axis)


def _slice_of(part: Any, size: int, axis: int) -> tuple[int, int, int | None]:
    """Start, step and extent of one basic index; extent None for an integer."""
    if is_integer(part):
        return int(part), 1, None
    if isinstance(part, DynamicSlice):
        return int(part.start), 1, int(part.size)
    if isinstance(part, slice):
        start = 0 if part.start is None else part.start
        stop = size if part.stop is None else part.stop
        step = 1 if part.step is None else part.step
        if not (is_integer(start) and is_integer(stop) and is_integer(step)) or step < 1:
            raise KernelFault("", f"a slice takes whole numbers and a positive step, got {part} on dimension {axis}")
        if stop <= start:
            raise KernelFault("", f"the slice {part} of dimension {axis} (size {size}) is empty")
        return int(start), int(step), -(-(int(stop) - int(start)) // int(step))
    raise KernelFault(
        "",
        f"{part!r} is no index for dimension {axis}",
        next_step="use an integer, a slice, nl.ds, or nl.arange / nl.mgrid",
    )


def _advanced(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    _check_complete(tensor, parts, (AffineIndex,))
    indices = [_affine(part) for part in parts]
    rank = max(len(index.extents) for index in indices)
    if rank < 2:
        raise KernelFault(
            "err_1d_arange_not_supported",
            "a tile cannot be indexed by a one-dimensional nl.arange",
            why="a tile has a partition and a free dimension",
            next_step="write nl.arange(n)[:, None] and nl.arange(m)[None, :]",
        )
    space = sum(indices[1:], start=indices[0])
    axes = [_axis(index, rank) for index in indices]
    return _from_axes(tensor, axes, space.extents, None if tensor.partition_axis is None else 0)


def _check_complete(tensor: Tensor, parts: tuple[Any, ...], kinds: tuple[type, ...]) -> None:
    """Refuse slices beside index ranges, and an index range that is missing for a dimension."""
    if not all(isinstance(part, kinds) or is_integer(part) for part in parts) or len(parts) != tensor.ndim:
        raise KernelFault(
            "err_unsupported_mixing_basic_advanced_tensor_indexing",
            "an index with nl.arange / nl.mgrid must give one such index (or an integer) per dimension",
            why=f"the tensor has {tensor.ndim} dimensions; slices and index ranges cannot be mixed",
            next_step="write nl.arange(n)[None, :] in place of the slice, or slices everywhere",
        )


def _affine(part: Any) -> AffineIndex:
    return part if isinstance(part, AffineIndex) else AffineIndex(int(part), (), ())


def _axis(index: AffineIndex, rank: int) -> _Axis:
    padding = rank - len(index.extents)
    return _Axis(index.const, {padding + d: c for d, c in enumerate(index.coeffs) if c}, *index.bounds())


def _from_axes(tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...], partition_axis: int | None) -> Tensor:
    if partition_axis is not None:
        _check_partition_walk(tensor, axes, shape, partition_axis)
    offset = tensor.offset
    strides = [0] * len(shape)
    for axis, stride in zip(axes, tensor.strides, strict=True):
        offset += axis.const * stride
        for dim, coeff in axis.coeffs.items():
            strides[dim] += coeff * stride
    gather = None
    if any(axis.low < 0 or axis.high >= size for axis, size in zip(axes, tensor.shape, strict=True)):
        gather = _gather(tensor, axes, shape)
    return type(tensor)._new(tensor.storage, shape, tuple(strides), offset, partition_axis, gather=gather)


def _check_partition_walk(tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...], partition_axis: int) -> None:
    """On chip, partitions are walked one by one and all alike ("Advanced tensor indexing", programming model)."""
    for number, axis in enumerate(axes):
        for dim, extent in enumerate(shape):
            step = axis.coeffs.get(dim, 0)
            if number == tensor.partition_axis:
                legal = step == (1 if dim == partition_axis else 0)
            else:
                legal = step == 0 or dim != partition_axis
            if extent > 1 and not legal:
                raise KernelFault(
                    "",
                    f"an index on chip walks the partitions in steps, or differently per partition: dimension {number}",
                    why="flexible indexing exists along the free dimensions only; partitions are taken one by one",
                    next_step="take consecutive partitions with the first dimension, or nisa.nc_transpose the tile",
                )


def _gather(
    tensor: Tensor, axes: list[_Axis], shape: tuple[int, ...], tiles: Sequence[Tensor | None] | None = None
) -> Gather:
    address = np.full(shape, tensor.offset, dtype=np.int64)
    in_bounds = np.ones(shape, dtype=np.bool_)
    reaches = []
    unknown: list[Undefined | None] = []
    for number, (axis, size, stride) in enumerate(zip(axes, tensor.shape, tensor.strides, strict=True)):
        position = np.full((1,) * len(shape), axis.const, dtype=np.int64)
        for dim, coeff in axis.coeffs.items():
            line = coeff * np.arange(shape[dim], dtype=np.int64)
            position = position + line.reshape([extent if d == dim else 1 for d, extent in enumerate(shape)])
        low, high = axis.low, axis.high
        if tiles is not None and tiles[number] is not None:
            base, undefined = _index_values(tiles[number], len(shape))
            position = position + base
            low, high = int(position.min()), int(position.max())
            unknown.append(undefined)
        if low < 0 or high >= size:
            reaches.append(f"dimension {number} has size {size}, the index runs over [{low}, {high}]")
            in_bounds &= (position >= 0) & (position < size)
        address += position * stride
    undefined_index = merge(shape, unknown)
    if undefined_index is not None:
        in_bounds &= undefined_index.ids == 0
    return Gather(np.where(in_bounds, address, 0), in_bounds, "; ".join(reaches), tiles is not None, undefined_index)


def _index_values(tile: Tensor | None, rank: int) -> tuple[npt.NDArray[np.int64], Undefined | None]:
    """The elements of an index tile, 0 where undefined, and which are undefined; aligned on the left."""
    assert tile is not None
    depends_on_more()
    values, undefined = tile.read()
    watching = observe.observer()
    if watching is not None:
        watching.read(tile)
    shape = _left(tile.shape, rank)
    if not params().arithmetic:
        return np.zeros(shape, dtype=np.int64), None
    numbers = values.astype(np.int64).reshape(shape)
    if undefined is None:
        return numbers, None
    undefined.note_read("indexing")
    ids = undefined.ids.reshape(shape)
    return np.where(ids == 0, numbers, 0), Undefined(ids, undefined.origins)


# ------------------------------------------------------------------------------------- tensors as indices


def _indirect(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    """A view whose place depends on integer tiles: rows of HBM, or a scalar offset on chip.

    A tile's first dimension is the partition dimension of the view, so its shape is aligned on the left.
    Its values are those at the time of indexing.
    """
    _check_complete(tensor, parts, (Tensor, RuntimeIndex, AffineIndex))
    tiles = [part if isinstance(part, Tensor) else getattr(part, "tile", None) for part in parts]
    indices = [part.offset if isinstance(part, RuntimeIndex) else _constant_or_affine(part) for part in parts]
    rank = max(*(len(index.extents) for index in indices), *(tile.ndim for tile in tiles if tile is not None))
    axes = [_axis(index, rank) for index in indices]
    for tile in tiles:
        if tile is not None:
            _check_index_tile(tile)
    shape = _common_shape([_left(tile.shape, rank) for tile in tiles if tile is not None], indices)
    if tensor.partition_axis is None:
        _check_rows(axes, tiles, shape)
    else:
        _check_scalar_offset(tensor, tiles)
        _check_partition_walk(tensor, axes, shape, 0)
    gather = _gather(tensor, axes, shape, tiles)
    partition_axis = None if tensor.partition_axis is None else 0
    return type(tensor)._new(tensor.storage, shape, (0,) * rank, tensor.offset, partition_axis, gather=gather)


def _constant_or_affine(part: Any) -> AffineIndex:
    return AffineIndex(0, (), ()) if isinstance(part, Tensor) else _affine(part)


def _left(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return shape + (1,) * (rank - len(shape))


def _common_shape(shapes: list[tuple[int, ...]], indices: list[AffineIndex]) -> tuple[int, ...]:
    shapes = shapes + [index.extents for index in indices]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = ", ".join(map(str, shapes))
        raise KernelFault("", f"indices of shapes {listed} do not broadcast") from None


def _check_index_tile(tile: Tensor) -> None:
    if tile.space is not Space.SBUF:
        raise KernelFault(
            "err_unsupported_memory",
            f"a tensor in {tile.space.value} cannot be an index",
            why="indices are read from SBUF",
            next_step="load it first: nl.load(indices)",
        )
    if tile.dtype not in INTEGERS:
        raise KernelFault("", f"a tensor as index holds integers, got {tile.dtype}", next_step="cast it to nl.int32")


def _check_rows(axes: list[_Axis], tiles: list[Tensor | None], shape: tuple[int, ...]) -> None:
    """HBM: a tile stands on the partition or a block dimension, and has one element per partition."""
    walked = False
    for axis, tile in zip(axes, tiles, strict=True):
        varies = any(shape[dim] > 1 for dim in axis.coeffs)
        if tile is not None:
            along_free = any(size > 1 for size in tile.shape[1:]) or any(dim and shape[dim] > 1 for dim in axis.coeffs)
            if walked or along_free:
                raise KernelFault(
                    "err_indirect_indices_free_dim",
                    f"a tile of shape {tile.shape} as index stands on a free dimension, or varies along one",
                    why="a DMA takes whole rows from places that are known only at run time",
                    next_step="put it on the first dimension that varies: hbm[idx_tile[i_p, 0], i_f]",
                )
            varies = varies or tile.shape[0] > 1
        walked = walked or varies


def _check_scalar_offset(tensor: Tensor, tiles: list[Tensor | None]) -> None:
    """On chip: the offset is one number, and leaves the partitions alone."""
    for number, tile in enumerate(tiles):
        if tile is not None and (math.prod(tile.shape) != 1 or number == tensor.partition_axis):
            raise KernelFault(
                "err_indirect_indices_free_dim",
                f"a tile of shape {tile.shape} as index of an on-chip tensor, on dimension {number}",
                why="on chip an instruction takes one offset at run time, within each partition",
                next_step="index with a single element, idx_tile[0, i], on a free dimension, and loop",
            )
