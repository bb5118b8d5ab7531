"""Reductions over the iterations of a loop, and over the programs of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import functions, loops
from nkifix.emulator.affine import Mask, is_integer
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops import elementwise
from nkifix.emulator.ops.operand import Assignable, assign, fit_mask, result_dtype

ASSOCIATIVE = frozenset(functions.BINARY) & {
    "add",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
}
"""Operators whose result does not depend on how a reduction is grouped."""


class LoopReduction(Assignable):
    """What ``nl.loop_reduce`` gives: a tile to combine with what it is assigned to ("the destination is also the rhs").

    Where the kernel binds it to a name, the tensor that had the name before is out of reach; so it can only be
    assigned to elements of a tensor.
    """

    def __init__(self, name: str, tile: Tensor, dtype: np.dtype[Any], kept: Mask) -> None:
        self.name = name
        self.tile = tile
        self.dtype = dtype
        self.kept = kept

    @property
    def shape(self) -> tuple[int, ...]:
        """The tile's shape."""
        return self.tile.shape

    def assign_to(self, destination: Tensor) -> None:
        """Combine the destination with the tile, now or (in shuffled order) when its loop has ended."""
        if self.kept is False:
            return
        if destination.shape != self.shape:
            raise KernelFault(
                "err_store_dst_shape_smaller_than_other_shape",
                f"loop_reduce of a tile of shape {self.shape} into {destination.shape}",
                why="the destination is an operand too",
                next_step="index the destination with the tile's shape",
            )
        tile = self.tile.snapshot() if loops.must_wait(destination.storage) else self.tile

        def combine() -> None:
            assign(destination, elementwise.combine(self.name, destination, tile, self.dtype, self.kept))

        loops.reduce(destination.storage, combine)


def loop_reduce(data: object, op: object, loop_indices: object, *, dtype: object, mask: object) -> LoopReduction:
    """A tile that is combined, by an associative operator, with the tensor that it is assigned to.

    Default dtype: the tile's.
    """
    operation = "loop_reduce"
    name = functions.operation_name(op, ASSOCIATIVE, "op")
    tile = operand(operation, "x", data)
    loops.is_first_iteration(loop_indices)  # refuses what is no index of a running loop
    return LoopReduction(name, tile, result_dtype(dtype, tile.dtype), fit_mask(mask, tile.shape))


def all_reduce(data: object, op: object, program_axes: Any, *, dtype: object, mask: object) -> Tensor:
    """A tile reduced over the programs along grid dimensions; only where there is one such program.

    Raises
    ------
    KernelFault
        Where several programs would have to exchange tiles: they run one after another here.
    """
    operation = "all_reduce"
    functions.operation_name(op, ASSOCIATIVE, "op")
    grid = program().launch.grid
    axes = program_axes if isinstance(program_axes, (tuple, list)) else (program_axes,)
    if not all(is_integer(axis) and 0 <= axis < len(grid) for axis in axes):
        raise KernelFault(
            "", f"{operation}: program_axes={program_axes!r}, the launch grid has {len(grid)} dimension(s)"
        )
    if any(grid[axis] > 1 for axis in axes):
        raise KernelFault(
            "",
            f"{operation} over several programs of the grid {grid} is not emulated",
            why="the emulator runs programs one after another, so none has the tiles of those that follow",
            next_step="store partial results to HBM, and reduce them in a second kernel",
        )
    return elementwise.copy(data, dtype=dtype, mask=mask, operation=operation)
