"""The bytes of a tensor as elements of another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.layout import kind_of
from nkifix.emulator.loops import depends_on_more
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Storage, Tensor
from nkifix.emulator.numeric import F32, FLOATS, TF32, dtype_name, storage_dtype
from nkifix.emulator.undefined import Ids, Undefined


def reinterpret(tensor: Tensor, dtype: object) -> Tensor:
    """A view of the same bytes as ``dtype``; where the element's size changes, so does the last dimension.

    Raises
    ------
    KernelFault
        Where the bytes of the last dimension do not lie side by side, or are no whole number of elements.
    """
    target = storage_dtype(dtype)
    tensor.check_bounds(None)
    depends_on_more()  # a record does not follow bytes from one tensor into another
    _refuse_without_bits(tensor, target)
    before, after = tensor.dtype.itemsize, target.itemsize
    strides = tensor.strides if tensor.shape[-1] > 1 else (*tensor.strides[:-1], 1)
    steps = [*strides[:-1], tensor.offset, tensor.shape[-1], tensor.storage.shape[-1]]
    if tensor.gather is not None or (
        before != after and (strides[-1] != 1 or any(step * before % after for step in steps))
    ):
        raise KernelFault(
            "",
            f"a view of shape {tensor.shape} and {dtype_name(tensor.dtype)} cannot be seen as {dtype_name(target)}",
            why="the elements of its last dimension must lie side by side and fill whole elements of the new dtype",
            next_step="view the whole tensor first, and index the result",
        )
    if before != after:
        strides = (*(step * before // after for step in strides[:-1]), 1)
    shape = (*tensor.shape[:-1], tensor.shape[-1] * before // after)
    storage = Reinterpreted.of(tensor.storage, target)
    return type(tensor)._new(storage, shape, strides, tensor.offset * before // after, tensor.partition_axis)


def _refuse_without_bits(tensor: Tensor, target: np.dtype[Any]) -> None:
    """Elements that are kept in float32 do not have the bits of their dtype."""
    narrow = [dtype for dtype in (tensor.dtype, target) if dtype in FLOATS and dtype not in (F32, TF32)]
    if narrow and program().launch.in_f32:
        raise KernelFault(
            "",
            f"the bits of a {dtype_name(narrow[0])} tensor are looked at, but floats are kept in float32",
            why="the emulation runs with storage=fp32",
            next_step="run it with storage=precise",
        )


class Reinterpreted(Storage):
    """A storage seen as elements of another dtype: bytes and definedness are the original's.

    An original element is undefined while any part of it is.
    """

    original: Storage
    is_plain = False

    def look_again(self) -> None:
        """It is never plain: what there is to know, its original knows."""

    @classmethod
    def of(cls, original: Storage, dtype: np.dtype[Any]) -> Reinterpreted:
        """``original`` as ``dtype``."""
        original.settle()
        self = cls.__new__(cls)
        self.__dict__.update({name: value for name, value in vars(original).items() if name not in _OWN})
        self.original = original
        kind = original.kind
        shape = (*original.shape[:-1], original.shape[-1] * original.dtype.itemsize // dtype.itemsize)
        self.kind = kind_of(shape, dtype, kind.space, kind.partition_axis, kind.role)
        return self

    def detach(self) -> None:
        """Detach the original."""
        self.original.detach()

    @property
    def is_defined(self) -> bool:
        """Whether the original is."""
        return self.original.is_defined

    @property
    def undefined(self) -> Undefined | None:
        """Which elements are undefined, regrouped from the original's."""
        known = self.original.undefined
        if known is None:
            return None
        if not known.ids.flags.writeable:
            return Undefined.everywhere(self.shape, known.origins[0])
        return Undefined(_regrouped(known.ids, self.shape), known.origins)

    @undefined.setter
    def undefined(self, changed: Undefined | None) -> None:
        original = self.original
        original.undefined, original.undefined_count = None, 0
        if changed is not None and changed.ids.any():
            ids = _regrouped(changed.ids, original.shape)
            original.undefined, original.undefined_count = Undefined(ids, changed.origins), int(np.count_nonzero(ids))

    @property
    def undefined_count(self) -> int:
        """How many elements are undefined."""
        known = self.undefined
        return 0 if known is None else int(np.count_nonzero(known.ids))

    @undefined_count.setter
    def undefined_count(self, count: int) -> None:
        """Follows from :attr:`undefined`."""


def _forwarded(name: str) -> property:
    def get(self: Reinterpreted) -> Any:
        return getattr(self.original, name)

    def put(self: Reinterpreted, value: Any) -> None:
        setattr(self.original, name, value)

    return property(get, put, doc=f"The original's ``{name}``.")


_FORWARDED = ("_lent", "first_write", "owns_bytes", "raw", "waiting")
_OWN = frozenset(
    {
        "_lent",
        "_source",
        "first_write",
        "owns_bytes",
        "waiting",
        "unwritten",
        "is_plain",
        "_compute",
        "_count",
        "_elementwise",
        "_raw",
    }
)
"""Attributes that stay the original's alone."""

for _name in _FORWARDED:
    setattr(Reinterpreted, _name, _forwarded(_name))


def _regrouped(ids: Ids, shape: tuple[int, ...]) -> Ids:
    """Ids for elements of another size: repeated for parts of an element, the largest for several elements."""
    count, wanted = ids.shape[-1], shape[-1]
    if wanted >= count:
        return np.repeat(ids, wanted // count, axis=-1)
    grouped: npt.NDArray[np.uint8] = ids.reshape(*shape, count // wanted).max(axis=-1)
    return grouped
