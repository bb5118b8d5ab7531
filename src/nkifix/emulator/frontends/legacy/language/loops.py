"""Loops, positions in the launch grid, and compile-time indices of ``nl``."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.affine import AffineIndex, is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.indexing import DynamicSlice as ds
from nkifix.emulator.loops import Loop, depends_on_more
from nkifix.emulator.machine import program
from nkifix.emulator.symbols import Affine

__all__ = [
    "affine_range",
    "arange",
    "ds",
    "mgrid",
    "num_programs",
    "program_id",
    "program_ndim",
    "sequential_range",
    "static_range",
]


class _MGrid:
    """``nl.mgrid[0:p, 0:f]``: one index per slice, each varying along its own dimension."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[int, int], ...], _Grid] = {}

    def __getitem__(self, key: Any) -> _Grid:
        slices = key if isinstance(key, tuple) else (key,)
        bounds = tuple([self._bounds(part) for part in slices])
        made = self._made.get(bounds)
        if made is None:
            rank = len(bounds)
            made = self._made[bounds] = _Grid(
                AffineIndex.arange(*pair)[tuple(slice(None) if d == dim else None for d in range(rank))]
                for dim, pair in enumerate(bounds)
            )
        return made

    @staticmethod
    def _bounds(part: Any) -> tuple[int, int]:
        whole = isinstance(part, slice) and part.step is None and is_integer(part.stop)
        if not whole or not (part.start is None or is_integer(part.start)):
            raise KernelFault("", f"nl.mgrid takes slices start:stop, got {part!r}")
        return int(part.start or 0), int(part.stop)


class _Grid(tuple):  # type: ignore[type-arg]
    """The indices of an ``nl.mgrid``; ``.p`` is the first, ``.x``, ``.y``, ``.z`` and ``.w`` the following."""

    __slots__ = ()
    p = property(lambda self: self[0])
    x = property(lambda self: self[1])
    y = property(lambda self: self[2])
    z = property(lambda self: self[3])
    w = property(lambda self: self[4])


mgrid = _MGrid()


def arange(*args: int) -> AffineIndex:
    """``arange(stop)`` or ``arange(start, stop)``: a compile-time index."""
    bounds = (0, *args) if len(args) == 1 else args
    if len(bounds) != 2 or not all(is_integer(bound) for bound in bounds):
        raise KernelFault("", f"nl.arange takes stop, or start and stop, as whole numbers, got {args!r}")
    return AffineIndex.arange(int(bounds[0]), int(bounds[1]))


def _values(name: str, args: tuple[Any, ...]) -> range:
    if not 1 <= len(args) <= 3 or not all(is_integer(arg) for arg in args):
        raise KernelFault(
            "",
            f"nl.{name} takes one to three whole numbers, got {args!r}",
            why="loop bounds are compile-time constants",
            next_step=f"for i in nl.{name}(stop), or (start, stop), or (start, stop, step)",
        )
    return range(*(int(arg) for arg in args))


def affine_range(*args: int, **directives: Any) -> Loop:
    """A loop whose iterations do not depend on one another. Compiler ``directives`` change nothing here."""
    return Loop(_values("affine_range", args), parallel=True)


def sequential_range(*args: int, **directives: Any) -> Loop:
    """A loop whose iterations run in order. Compiler ``directives`` change nothing here."""
    return Loop(_values("sequential_range", args), parallel=False)


def static_range(*args: int, **directives: Any) -> range:
    """A loop that is unrolled: its index is a plain number."""
    return _values("static_range", args)


def program_id(axis: int) -> int:
    """Position of the running program along one dimension of the launch grid."""
    depends_on_more()
    return Affine(program().position[_grid_axis(axis)])


def num_programs(axes: Any = None) -> int:
    """Number of programs along the given dimensions (default: in the whole grid)."""
    grid = program().launch.grid
    chosen = range(len(grid)) if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
    total = 1
    for axis in chosen:
        total *= grid[_grid_axis(axis)]
    return total


def program_ndim() -> int:
    """Number of dimensions of the launch grid; 0 for a call without brackets."""
    return len(program().launch.grid)


def _grid_axis(axis: Any) -> int:
    rank = len(program().launch.grid)
    if not is_integer(axis) or not 0 <= axis < rank:
        raise KernelFault(
            "",
            f"the launch grid has {rank} dimension(s), axis {axis!r} is none of them",
            next_step="launch with brackets: kernel[grid](...)",
        )
    return int(axis)
