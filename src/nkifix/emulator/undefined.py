"""Which elements were never given a value, and where that began.

A NaN fill cannot tell "never written" from "computed NaN", and integers have no NaN; so every tensor
carries definedness beside its data. Undefined elements may be computed with: shipped kernels do so on the
masked-off part of a masked load. They may not reach a result (see :func:`refuse_undefined`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.location import kernel_location

Ids = npt.NDArray[np.uint8]
MAX_ORIGINS = 255
"""Ids are one byte; a tensor that collects more origins than this names the last one for the rest."""


@dataclass(eq=False)
class Origin:
    """Why some elements are undefined.

    Attributes
    ----------
    describe:
        Says which tensor, and where it came to be; called only when a message needs it.
    first_read:
        The first operation that read such an element, with ``file:line``; None until one does.
    """

    describe: Callable[[], str]
    first_read: str | None = field(default=None)


class Undefined:
    """Undefined elements of one array.

    Attributes
    ----------
    ids:
        0 where the element is defined, else 1 + the index of its origin. Shape of the array.
    origins:
        What the ids stand for.
    """

    __slots__ = ("ids", "origins")

    def __init__(self, ids: Ids, origins: tuple[Origin, ...]) -> None:
        self.ids = ids
        self.origins = origins

    @classmethod
    def everywhere(cls, shape: tuple[int, ...], origin: Origin) -> Undefined:
        """All elements of ``shape`` undefined, sharing one origin (a read-only broadcast)."""
        return cls(np.broadcast_to(np.uint8(1), shape), (origin,))

    def present(self) -> list[Origin]:
        """The origins that at least one element has."""
        if len(self.origins) == 1:
            return list(self.origins)
        return [self.origins[i - 1] for i in np.unique(self.ids) if i]

    def note_read(self, operation: str) -> None:
        """Remember ``operation`` as first reader of every origin that has none yet."""
        for origin in self.present():
            if origin.first_read is None:
                origin.first_read = f"{operation} at {kernel_location()}"

    def merged_into(self, origins: tuple[Origin, ...]) -> tuple[Ids, tuple[Origin, ...]]:
        """These ids, renumbered for a tensor that already has ``origins``; and its new origins."""
        table = [0]
        merged = list(origins)
        for origin in self.origins:
            if origin not in merged and len(merged) < MAX_ORIGINS:
                merged.append(origin)
            table.append(merged.index(origin) + 1 if origin in merged else MAX_ORIGINS)
        return np.array(table, dtype=np.uint8)[self.ids], tuple(merged)


def merge(shape: tuple[int, ...], parts: Sequence[Undefined | None]) -> Undefined | None:
    """Undefinedness of an element-by-element result: undefined where any operand is."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    ids = np.zeros(shape, dtype=np.uint8)
    origins: tuple[Origin, ...] = ()
    for part in known:
        part_ids, origins = part.merged_into(origins)
        np.copyto(ids, part_ids, where=(ids == 0))
    return Undefined(ids, origins)


def reduced(undefined: Undefined | None, axes: tuple[int, ...], shape: tuple[int, ...]) -> Undefined | None:
    """Undefinedness after a reduction over ``axes``: one undefined element spoils its sum."""
    if undefined is None:
        return None
    return Undefined(np.max(undefined.ids, axis=axes).reshape(shape), undefined.origins)


def refuse_undefined(undefined: Undefined, *, operation: str, happened: str) -> None:
    """Raise for the first undefined element, in row-major order.

    Raises
    ------
    UndefinedReadFault
        Names the operation, the tensor, the first reader and the kernel line of each.
    """
    positions = np.argwhere(undefined.ids)
    if not len(positions):
        return
    first = tuple(int(i) for i in positions[0])
    origin = undefined.origins[int(undefined.ids[first]) - 1]
    reader = origin.first_read or f"{operation} at {kernel_location()}"
    raise UndefinedReadFault(
        "",
        f"{operation} {happened}: {len(positions)} of {undefined.ids.size} elements, the first at {first}",
        why=f"{origin.describe()} was never given a value there; first read by {reader}",
        next_step="write every element before it is used, or mask the operation that uses it",
    )
