"""Allocation and initialisation of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nkifix.emulator import numeric
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import check_free_size, check_partitions
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import Kind, kind_of
from nkifix.emulator.machine import planned, program
from nkifix.emulator.memory import Space, Storage, Tensor
from nkifix.emulator.numeric import Array
from nkifix.emulator.ops.operand import Scalar, write_result
from nkifix.emulator.placement import declare


class PartitionDimension(int):
    """A size marked as the partition dimension (``nl.par_dim``)."""


def allocate(shape: Sequence[Any], dtype: Any, space: object, *, name: str = "") -> Tensor:
    """A tensor whose elements are undefined.

    On chip, the partition dimension is the marked one, else the first; dimensions before it are block
    dimensions. In shared HBM, all programs of a launch get the same memory.
    """
    current = program()
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    space, plan = declare.requested(space)
    kind = planned(_plan_allocation, (), sizes, tuple(map(type, sizes)), dtype, space)
    if kind.space is Space.SHARED_HBM:
        return current.tensor_type._whole(current.share(kind.shape, kind.dtype, name))
    storage = Storage.declared(kind, name)
    declare.declared(storage, plan)
    return current.tensor_type._whole(storage)


def _plan_allocation(sizes: tuple[Any, ...], _types: tuple[type, ...], dtype: Any, space: object) -> Kind:
    """Check a declaration's shape, dtype and memory; a size's type marks the partition dimension."""
    if not all(is_integer(size) and size > 0 for size in sizes):
        raise KernelFault("", f"a shape is made of positive whole numbers, got {sizes!r}")
    if not isinstance(space, Space):
        raise KernelFault("", f"buffer={space!r} is no memory", next_step="use nl.sbuf, nl.psum or nl.shared_hbm")
    axis = _partition_axis(sizes, space) if space.on_chip else None
    plain = tuple(int(size) for size in sizes)
    stored = numeric.storage_dtype(dtype)
    return kind_of(plain, stored, space, axis, "declared", in_f32=program().launch.in_f32)


def _partition_axis(sizes: tuple[Any, ...], space: Space) -> int:
    marked = [axis for axis, size in enumerate(sizes) if isinstance(size, PartitionDimension)]
    if len(marked) > 1:
        raise KernelFault("", "a tensor has one partition dimension, got several nl.par_dim")
    axis = marked[0] if marked else 0
    if len(sizes) - axis < 2:
        raise KernelFault(
            "",
            f"an on-chip tensor needs a partition and a free dimension, got shape {tuple(map(int, sizes))}",
            why="insufficient rank: SBUF and PSUM tensors have at least two dimensions",
            next_step="add a free dimension of 1: (128, 1)",
        )
    check_partitions(int(sizes[axis]), "an on-chip tensor")
    if space is Space.PSUM:
        limit = program().launch.limits.psum_free_max
        check_free_size("a PSUM tensor", tuple(int(size) for size in sizes[axis + 1 :]), limit)
    return axis


def filled(shape: Sequence[Any], value: object, dtype: Any, space: object, *, name: str = "") -> Tensor:
    """An on-chip tensor with every element set to a number."""
    if isinstance(space, Space) and not space.on_chip:
        raise KernelFault(
            "err_hbm_tensor_with_init_value_not_supported",
            f"a tensor in {space.value} cannot be created with a value",
            why="no engine writes HBM; a DMA copies into it",
            next_step="create it with nl.ndarray, and nl.store a tile into it",
        )
    declare.refuse_value(space)
    if not isinstance(value, Scalar):
        raise KernelFault("", f"a fill value is a number, got {type(value).__name__}")
    tensor = allocate(shape, dtype, space, name=name)
    write_result("memset", tensor, lambda: value, function="" if value else "zero")
    return tensor


def like(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor, its partition dimension marked."""
    axis = tensor.partition_axis
    return tuple(PartitionDimension(size) if number == axis else size for number, size in enumerate(tensor.shape))


def constant(values: Array, dtype: object) -> Tensor:
    """A tensor in HBM with elements that are known when the kernel is compiled. Default dtype: the array's."""
    current = program()
    target = numeric.storage_dtype(values.dtype if dtype is None else dtype)
    storage = Storage(values.shape, target, Space.HBM, partition_axis=None, in_f32=current.launch.in_f32)
    storage.leave_undefined()
    tensor = current.tensor_type._whole(storage)
    tensor.write(values, None)
    return tensor
