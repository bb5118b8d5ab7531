"""Dtypes and casts, as the engines do them: float32 inside an operation, one rounding at its end.

Sources: "NKI API shared fields" (supported dtypes, type promotion), Neuron SDK 2.26. Choices where documents
are silent are recorded in docs/fidelity.md. Sums are in :mod:`nkifix.emulator.sums`, functions in
:mod:`nkifix.emulator.functions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import KernelFault

Array = npt.NDArray[Any]
Number: TypeAlias = bool | int | float | np.bool_ | np.integer[Any] | np.floating[Any]
"""Compile-time numbers."""


@dataclass(frozen=True)
class MissingDtype:
    """A dtype of the device that the installed ml_dtypes does not have: can be named, not used."""

    name: str


def _of_ml_dtypes(name: str) -> np.dtype[Any] | MissingDtype:
    scalar = getattr(ml_dtypes, name, None)
    return MissingDtype(name) if scalar is None else np.dtype(scalar)


F32 = np.dtype(np.float32)
F16 = np.dtype(np.float16)
BF16 = np.dtype(ml_dtypes.bfloat16)
TF32 = np.dtype("V4")
"""TensorFloat-32, in the four bytes of a float32 whose last 13 mantissa bits are zero."""
E5M2 = np.dtype(ml_dtypes.float8_e5m2)
E4M3 = _of_ml_dtypes("float8_e4m3")
"""The IEEE-like format (with infinities, largest finite number 240); ml_dtypes 0.5 and newer."""

FLOATS: dict[np.dtype[Any], tuple[int, int]] = {
    F32: (8, 23),
    TF32: (8, 10),
    BF16: (8, 7),
    F16: (5, 10),
    E5M2: (5, 2),
} | ({E4M3: (4, 3)} if isinstance(E4M3, np.dtype) else {})
"""Floating dtypes of the device -> bits of their exponent and of their mantissa."""
INTEGERS = {np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)}
BOOL = np.dtype(np.bool_)
SCALARS_OF_ML_DTYPES: tuple[type[Any], ...] = tuple(dtype.type for dtype in FLOATS if dtype not in (F32, F16, TF32))
"""Scalar types that are no ``np.floating``."""


def storage_dtype(dtype: Any) -> np.dtype[Any]:
    """The numpy dtype for a dtype given by the kernel.

    Raises
    ------
    KernelFault
        For a dtype that the device cannot store.
    """
    if isinstance(dtype, MissingDtype):
        raise KernelFault(
            "",
            f"nl.{dtype.name} needs a newer ml_dtypes than {ml_dtypes.__version__}",
            why="numpy itself has no such dtype",
            next_step="install ml_dtypes 0.5 or newer",
        )
    resolved: np.dtype[Any] | None
    try:
        resolved = np.dtype(dtype)
    except TypeError:
        resolved = None
    if resolved is None or not (resolved in FLOATS or resolved in INTEGERS or resolved == BOOL):
        raise KernelFault(
            "",
            f"{dtype!r} is no dtype that this emulator can store",
            next_step="use a dtype of nl: a float of 8, 16 or 32 bits, nl.bool_ or an 8-, 16- or 32-bit integer",
        )
    return resolved


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The dtype's name in ``nl``."""
    return "tfloat32" if dtype == TF32 else dtype.name


def element_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The numpy dtype in which elements of ``dtype`` lie in memory; another one for tfloat32 only."""
    return F32 if dtype == TF32 else dtype


def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Result dtype of two operands (``nki.api.shared``, type promotion)."""
    if a == b:
        return a
    a, b = (np.dtype(np.uint8) if d == BOOL else d for d in (a, b))
    if a in FLOATS and b in FLOATS:
        return _wider_float(a, b)
    if a in FLOATS or b in FLOATS:
        return a if a in FLOATS else b
    wider = np.promote_types(a, b)
    return wider if wider in INTEGERS else F32


def _wider_float(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The format whose exponent and mantissa hold the other's; bfloat16 for two of 8 bits, else float32."""
    (exponent_a, mantissa_a), (exponent_b, mantissa_b) = FLOATS[a], FLOATS[b]
    if exponent_a >= exponent_b and mantissa_a >= mantissa_b:
        return a
    if exponent_b >= exponent_a and mantissa_b >= mantissa_a:
        return b
    return BF16 if a.itemsize == 1 else F32


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


def round_to_tf32(values: Array | Number) -> npt.NDArray[np.float32]:
    """``values`` as float32 numbers with 10 bits of mantissa, rounded to nearest even; NaN stays NaN."""
    exact = np.array(values, dtype=F32)
    bits = exact.view(np.uint32)
    # Adding half of the last kept bit, less one where that bit is even, carries exactly where rounding goes up.
    rounded = (bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)
    result: npt.NDArray[np.float32] = np.where(np.isfinite(exact), rounded.view(F32), exact)
    return result


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
    if dtype == TF32:
        return round_to_tf32(values)
    result: Array = np.empty(values.shape, dtype=dtype)
    copy_cast(result, values)
    return result
