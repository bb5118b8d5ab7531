"""Dtypes, casts and arithmetic, as the engines do them: float32 inside, one rounding at the end.

Sources: "NKI API shared fields" (supported dtypes, type promotion, supported math operators), Neuron SDK
2.26. Choices where documents are silent are recorded in docs/fidelity.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import KernelFault

Array = npt.NDArray[Any]
F32 = np.dtype(np.float32)
BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = {BF16: 16, np.dtype(np.float16): 16, F32: 32}
"""Floating dtypes that can be stored on the device, with their width in bits."""
INTEGERS = {np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)}
Number: TypeAlias = bool | int | float | np.bool_ | np.integer[Any] | np.floating[Any]
"""Compile-time numbers."""
BOOL = np.dtype(np.bool_)


def storage_dtype(dtype: Any) -> np.dtype[Any]:
    """The numpy dtype for a dtype given by the kernel.

    Raises
    ------
    KernelFault
        For a dtype that the device cannot store.
    """
    resolved: np.dtype[Any] | None
    try:
        resolved = np.dtype(dtype)
    except TypeError:
        resolved = None
    if resolved is None or not (resolved in FLOATS or resolved in INTEGERS or resolved == BOOL):
        raise KernelFault(
            "",
            f"{dtype!r} is no dtype that this emulator can store",
            next_step="use nl.float32, nl.bfloat16, nl.float16, nl.bool_ or an 8-, 16- or 32-bit integer",
        )
    return resolved


def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Result dtype of two operands (``nki.api.shared``, type promotion)."""
    if a == b:
        return a
    a, b = (np.dtype(np.uint8) if d == BOOL else d for d in (a, b))
    if a in FLOATS or b in FLOATS:
        if a in FLOATS and b in FLOATS:
            # Two different 16-bit formats meet in float32.
            return a if FLOATS[a] > FLOATS[b] else b if FLOATS[b] > FLOATS[a] else F32
        return a if a in FLOATS else b
    wider = np.promote_types(a, b)
    return wider if wider in INTEGERS else F32


def scalar_dtype(value: object) -> np.dtype[Any]:
    """Dtype that a number counts as: bool uint8, int int32, float float32; a typed one (``np.int8(2)``) its own."""
    if isinstance(value, np.generic) and (value.dtype in FLOATS or value.dtype in INTEGERS):
        return value.dtype
    if isinstance(value, (bool, np.bool_)):
        return np.dtype(np.uint8)
    return np.dtype(np.int32) if isinstance(value, (int, np.integer)) else F32


def as_f32(values: Array) -> npt.NDArray[np.float32]:
    """``values`` in float32; the same array where it is float32 already."""
    converted: npt.NDArray[np.float32] = values if values.dtype == F32 else values.astype(F32)
    return converted


def copy_cast(destination: Array, values: Array | Number, where: npt.NDArray[np.bool_] | None = None) -> None:
    """Write ``values`` into ``destination``, rounded once to its dtype (nearest even; integers saturate)."""
    keep: Any = True if where is None else where
    source = np.asarray(values)
    if source.dtype == np.float64:
        source = source.astype(F32)  # compile-time numbers reach the engines as float32
    if destination.dtype in INTEGERS and source.dtype != destination.dtype:
        source = _saturated(source, np.iinfo(destination.dtype))
    np.copyto(destination, source, casting="unsafe", where=keep)


def _saturated(values: Array, limits: np.iinfo[Any]) -> Array:
    """``values`` rounded to nearest even and held within ``limits``; NaN becomes 0."""
    if values.dtype == BOOL:
        return values
    if np.issubdtype(values.dtype, np.integer):
        own = np.iinfo(values.dtype)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
    else:
        values = np.nan_to_num(np.rint(values.astype(np.float64)), nan=0.0)
        low, high = limits.min, limits.max
    held: Array = np.clip(values, low, high)
    return held


def cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """``values`` rounded once to ``dtype``; the same array where it has that dtype already."""
    if values.dtype == dtype:
        return values
    result: Array = np.empty(values.shape, dtype=dtype)
    copy_cast(result, values)
    return result


def sum_last_axes(values: npt.NDArray[np.float32], keep: int) -> npt.NDArray[np.float32]:
    """Sum of float32 ``values`` over all axes after the first ``keep``.

    The order is frozen, since byte identity between kernels rests on it (docs/fidelity.md, "Sums"): the
    reduced elements are laid out contiguously in row-major order and summed pairwise: a run of more than
    128 elements is cut in two near its middle (at a multiple of 8, the shorter part first); a run of 8 to
    128 goes round-robin into 8 accumulators that are combined as ((0+1)+(2+3))+((4+5)+(6+7)), and its last
    0 to 7 elements are added one by one; so is a run of less than 8.
    """
    rows = np.ascontiguousarray(values).reshape(*values.shape[:keep], -1)
    return _pairwise(rows)


_NUMPY_RUN = 4096
"""Longest run whose sum is left to numpy: some of its versions cut longer ones at their buffer's size."""


def _pairwise(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    count = rows.shape[-1]
    if count > _NUMPY_RUN:
        half = count // 2
        half -= half % 8
        return _pairwise(rows[..., :half]) + _pairwise(rows[..., half:])
    result: npt.NDArray[np.float32] = np.add.reduce(rows, axis=-1, dtype=np.float32)
    return result


def _rsqrt(x: Array) -> Array:
    result: Array = np.float32(1.0) / np.sqrt(x)
    return result


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "copy": lambda x: x,
    "exp": np.exp,
    "log": np.log,
    "reciprocal": np.reciprocal,
    "rsqrt": _rsqrt,
    "sqrt": np.sqrt,
    "square": np.square,
}
"""Functions of one float32 array, by the name of the ``nl`` or ``np`` function that stands for them."""

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
"""Functions of two arrays, by name."""

_EXACT_ON_INTEGERS = frozenset({"add", "subtract", "multiply"})
"""Binary functions that GpSimd computes on 32-bit integers as integers; all others go through float32."""

REDUCTIONS = frozenset({"add", "max", "min"})

_ALIASES = {
    "amax": "max",
    "amin": "min",
    "maximum": "max",
    "minimum": "min",
    "sum": "add",
}


def working_dtype(name: str, *operands: np.dtype[Any]) -> np.dtype[Any]:
    """In what :data:`BINARY` ``name`` is computed: float32, or integers wide enough to hold every result."""
    if name not in _EXACT_ON_INTEGERS or not all(dtype in INTEGERS for dtype in operands):
        return F32
    unsigned = all(dtype.kind == "u" for dtype in operands)
    return np.dtype(np.uint64) if unsigned and name == "multiply" else np.dtype(np.int64)


def operation_name(op: object, allowed: Any, argument: str) -> str:
    """Name of an operation that was passed as a function (``np.exp``, ``nl.max``, …).

    Raises
    ------
    KernelFault
        Where it is none of ``allowed``.
    """
    name = getattr(op, "__name__", None)
    name = _ALIASES.get(name, name) if isinstance(name, str) else None
    if name is None or name not in allowed:
        raise KernelFault(
            "",
            f"{argument}={op!r} is not supported",
            why="only the documented operators exist on the engines",
            next_step=f"use one of {', '.join(f'nl.{n}' for n in sorted(allowed))}",
        )
    return name


def reduce_last_axes(values: npt.NDArray[np.float32], keep: int, name: str) -> npt.NDArray[np.float32]:
    """Reduce float32 ``values`` over all axes after the first ``keep`` with add, max or min."""
    if name == "add":
        return sum_last_axes(values, keep)
    rows = np.ascontiguousarray(values).reshape(*values.shape[:keep], -1)
    reducer = np.maximum if name == "max" else np.minimum
    result: npt.NDArray[np.float32] = reducer.reduce(rows, axis=-1)
    return result
