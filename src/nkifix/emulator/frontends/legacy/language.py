"""``neuronxcc.nki.language`` (``nl``): a subset of what is documented for Neuron SDK 2.26."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from nkifix.emulator import numeric
from nkifix.emulator.affine import AffineIndex, is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.indexing import DynamicSlice as ds
from nkifix.emulator.machine import program
from nkifix.emulator.memory import Space
from nkifix.emulator.ops import allocate, elementwise, movement, reduce, tensor_engine
from nkifix.emulator.ops.allocate import PartitionDimension as par_dim

__all__ = [
    "add",
    "affine_range",
    "arange",
    "bfloat16",
    "bool_",
    "copy",
    "divide",
    "dropout",
    "ds",
    "exp",
    "float16",
    "float32",
    "fp32",
    "full",
    "hbm",
    "int8",
    "int16",
    "int32",
    "load",
    "load_transpose2d",
    "log",
    "matmul",
    "max",
    "maximum",
    "mgrid",
    "min",
    "minimum",
    "multiply",
    "ndarray",
    "num_programs",
    "ones",
    "par_dim",
    "private_hbm",
    "program_id",
    "program_ndim",
    "psum",
    "random_seed",
    "reciprocal",
    "rsqrt",
    "sbuf",
    "sequential_range",
    "shared_hbm",
    "sqrt",
    "square",
    "static_cast",
    "static_range",
    "store",
    "subtract",
    "sum",
    "tile_size",
    "uint8",
    "uint16",
    "uint32",
    "zeros",
]

bfloat16 = ml_dtypes.bfloat16
float16 = np.float16
float32 = np.float32
int8 = np.int8
int16 = np.int16
int32 = np.int32
uint8 = np.uint8
uint16 = np.uint16
uint32 = np.uint32
bool_ = np.bool_
fp32 = SimpleNamespace(min=float(np.finfo(np.float32).min))

sbuf = Space.SBUF
psum = Space.PSUM
hbm = Space.HBM
private_hbm = Space.PRIVATE_HBM
shared_hbm = Space.SHARED_HBM

_limits = TARGETS["trn1"]
tile_size = SimpleNamespace(
    pmax=_limits.partition_max,
    gemm_stationary_fmax=_limits.matmul_stationary_free_max,
    gemm_moving_fmax=_limits.matmul_moving_free_max,
    psum_fmax=_limits.psum_free_max,
    bn_stats_fmax=_limits.bn_stats_free_max,
)
"""The documented tile limits; they are the same on all emulated targets."""


class _MGrid:
    """``nl.mgrid[0:p, 0:f]``: one index per slice, each varying along its own dimension."""

    def __getitem__(self, key: Any) -> Any:
        slices = key if isinstance(key, tuple) else (key,)
        indices = []
        for dim, part in enumerate(slices):
            whole = isinstance(part, slice) and part.step is None and is_integer(part.stop)
            if not whole or not (part.start is None or is_integer(part.start)):
                raise KernelFault("", f"nl.mgrid takes slices start:stop, got {part!r}")
            line = AffineIndex.arange(int(part.start or 0), int(part.stop))
            indices.append(line[tuple(slice(None) if d == dim else None for d in range(len(slices)))])
        return _Grid(indices)


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


def _loop(name: str, args: tuple[Any, ...]) -> range:
    if not 1 <= len(args) <= 3 or not all(is_integer(arg) for arg in args):
        raise KernelFault(
            "",
            f"nl.{name} takes one to three whole numbers, got {args!r}",
            why="loop bounds are compile-time constants",
        )
    return range(*(int(arg) for arg in args))


def affine_range(*args: int) -> range:
    """A loop whose iterations do not depend on one another. Runs in order here."""
    return _loop("affine_range", args)


def sequential_range(*args: int) -> range:
    """A loop whose iterations run in order."""
    return _loop("sequential_range", args)


def static_range(*args: int) -> range:
    """A loop that is unrolled."""
    return _loop("static_range", args)


def program_id(axis: int) -> int:
    """Position of the running program along one dimension of the launch grid."""
    return program().position[_grid_axis(axis)]


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


def ndarray(shape: Any, dtype: Any, *, buffer: Any = sbuf, name: str = "", lazy_initialization: bool = False) -> Any:
    """A tensor with undefined elements. ``lazy_initialization`` is undocumented and changes nothing."""
    return allocate.allocate(shape, dtype, buffer, name=name)


def zeros(shape: Any, dtype: Any, *, buffer: Any = sbuf, name: str = "", lazy_initialization: bool = False) -> Any:
    """A tensor of zeros."""
    return allocate.filled(shape, 0, dtype, buffer, name=name)


def ones(shape: Any, dtype: Any, *, buffer: Any = sbuf, name: str = "", lazy_initialization: bool = False) -> Any:
    """A tensor of ones."""
    return allocate.filled(shape, 1, dtype, buffer, name=name)


def full(
    shape: Any, fill_value: Any, dtype: Any, *, buffer: Any = sbuf, name: str = "", lazy_initialization: bool = False
) -> Any:
    """A tensor of one value."""
    return allocate.filled(shape, fill_value, dtype, buffer, name=name)


def load(src: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """HBM to SBUF."""
    return movement.load(src, dtype=dtype, mask=mask)


def store(dst: Any, value: Any, *, mask: Any = None) -> None:
    """SBUF (or PSUM) to HBM."""
    movement.store(dst, value, mask=mask)


def load_transpose2d(src: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """HBM to SBUF, (P, F) to (F, P)."""
    return movement.load_transposed("load_transpose2d", src, dtype=dtype, mask=mask)


def copy(src: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """A copy in SBUF."""
    return elementwise.copy(src, dtype=dtype, mask=mask)


def matmul(x: Any, y: Any, *, transpose_x: bool = False, mask: Any = None) -> Any:
    """``x @ y``; with ``transpose_x``, x is given as (K, M)."""
    return tensor_engine.matmul_any(x, y, transpose_x=transpose_x, mask=mask)


def add(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``x + y``."""
    return elementwise.binary("add", x, y, dtype=dtype, mask=mask)


def subtract(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``x - y``."""
    return elementwise.binary("subtract", x, y, dtype=dtype, mask=mask)


def multiply(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``x * y``."""
    return elementwise.binary("multiply", x, y, dtype=dtype, mask=mask)


def divide(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``x / y``."""
    return elementwise.binary("divide", x, y, dtype=dtype, mask=mask)


def maximum(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """The larger of both, element by element."""
    return elementwise.binary("maximum", x, y, dtype=dtype, mask=mask)


def minimum(x: Any, y: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """The smaller of both, element by element."""
    return elementwise.binary("minimum", x, y, dtype=dtype, mask=mask)


def exp(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Exponential."""
    return elementwise.unary("exp", x, dtype=dtype, mask=mask)


def log(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Natural logarithm."""
    return elementwise.unary("log", x, dtype=dtype, mask=mask)


def sqrt(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Square root."""
    return elementwise.unary("sqrt", x, dtype=dtype, mask=mask)


def rsqrt(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Reciprocal of the square root."""
    return elementwise.unary("rsqrt", x, dtype=dtype, mask=mask)


def square(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Square."""
    return elementwise.unary("square", x, dtype=dtype, mask=mask)


def reciprocal(x: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``1 / x``."""
    return elementwise.unary("reciprocal", x, dtype=dtype, mask=mask)


def sum(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Sum over trailing free dimensions."""
    return reduce.reduce_free("add", x, axis, dtype=dtype, mask=mask, operation="sum")


def max(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Largest element over trailing free dimensions."""
    return reduce.reduce_free("max", x, axis, dtype=dtype, mask=mask, operation="max")


def min(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """Smallest element over trailing free dimensions."""
    return reduce.reduce_free("min", x, axis, dtype=dtype, mask=mask, operation="min")


def random_seed(seed: Any) -> None:
    """Seed the random numbers that follow."""
    allocate.seed_random(seed)


def dropout(x: Any, rate: Any, *, dtype: Any = None, mask: Any = None) -> Any:
    """``x`` with each element dropped (set to zero) with probability ``rate``."""
    return allocate.dropout(x, rate, dtype=dtype, mask=mask)


def static_cast(x: Any, dtype: Any) -> Any:
    """A tile or a host array, cast to ``dtype``."""
    if isinstance(x, np.ndarray):
        return numeric.cast(x, numeric.storage_dtype(dtype))
    return elementwise.copy(x, dtype=dtype)
