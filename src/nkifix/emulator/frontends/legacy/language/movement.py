"""Moving tiles between memories, changing their shape or dtype, and printing them."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator import numeric, views
from nkifix.emulator.affine import is_integer
from nkifix.emulator.checks import operand
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import atomic, elementwise, gather, movement, report, tensor_engine
from nkifix.emulator.ops.operand import Scalar

__all__ = [
    "atomic_rmw",
    "broadcast_to",
    "copy",
    "device_print",
    "expand_dims",
    "gather_flattened",
    "load",
    "load_transpose2d",
    "matmul",
    "static_cast",
    "store",
    "transpose",
]


def load(src: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """HBM to SBUF."""
    refuse_unknown("nl.load", kwargs)
    return movement.load(src, dtype=dtype, mask=mask)


def store(dst: Any, value: Any, *, mask: Any = None, **kwargs: Any) -> None:
    """SBUF (or PSUM) to HBM."""
    refuse_unknown("nl.store", kwargs, ("mask",))
    movement.store(dst, value, mask=mask)


def atomic_rmw(dst: Any, value: Any, op: Any, *, mask: Any = None, **kwargs: Any) -> None:
    """``dst = op(dst, value)`` in HBM, where ``dst`` is indexed by a tile."""
    refuse_unknown("nl.atomic_rmw", kwargs, ("mask",))
    atomic.atomic_rmw(dst, value, op, mask=mask)


def load_transpose2d(src: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """HBM to SBUF, (P, F) to (F, P)."""
    refuse_unknown("nl.load_transpose2d", kwargs)
    return movement.load_transposed("load_transpose2d", src, dtype=dtype, mask=mask)


def copy(src: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """A copy in SBUF."""
    if kwargs:
        refuse_unknown("nl.copy", kwargs)
    return elementwise.copy(src, dtype=dtype, mask=mask)


def matmul(x: Any, y: Any, *, transpose_x: bool = False, mask: Any = None, **kwargs: Any) -> Any:
    """``x @ y``; with ``transpose_x``, x is given as (K, M)."""
    refuse_unknown("nl.matmul", kwargs, ("transpose_x", "mask"))
    return tensor_engine.matmul_any(x, y, transpose_x=transpose_x, mask=mask)


def transpose(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The partition and the free dimension of a tile of rank 2, exchanged."""
    refuse_unknown("nl.transpose", kwargs)
    tile = operand("nc_transpose", "data", x)
    if tile.ndim != 2:
        raise KernelFault(
            "err_exceed_max_supported_dimension",
            f"nl.transpose takes a tile of rank 2, got shape {tile.shape}",
            next_step="index it to two dimensions, or use nisa.nc_transpose",
        )
    return tensor_engine.transpose(tile, dtype=dtype, mask=mask)


def broadcast_to(src: Any, *, shape: Any, **kwargs: Any) -> Any:
    """A copy of ``src`` in SBUF with its dimensions of extent 1 repeated; ``src`` itself where it has that shape."""
    refuse_unknown("nl.broadcast_to", kwargs, ("shape",))
    tile = operand("broadcast_to", "src", src)
    if tile.shape == views.shape_of(shape):
        return src
    return elementwise.copy(views.broadcast(tile, shape), operation="broadcast_to")


def expand_dims(data: Any, axis: Any) -> Any:
    """A view with new dimensions of extent 1 after the last one."""
    tile = operand("expand_dims", "data", data)
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    if any(is_integer(place) and (0 <= place < tile.ndim or place < -len(given)) for place in given):
        raise KernelFault(
            "",
            f"expand_dims: axis {axis!r} for a tile of shape {tile.shape}",
            why="new dimensions come after the last one",
            next_step=f"use positions from {tile.ndim}, or the tensor's own expand_dims",
        )
    return views.expand_dims(tile, axis)


def gather_flattened(data: Any, indices: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Per partition, the elements of ``data`` at ``indices``, with its free dimensions as one row."""
    refuse_unknown("nl.gather_flattened", kwargs)
    return gather.gather_flattened(data, indices, dtype=dtype, mask=mask)


def static_cast(input_data: Any, dtype: Any) -> Any:
    """A tile, a host array or a number, cast to ``dtype``."""
    if isinstance(input_data, np.ndarray):
        return numeric.cast(input_data, numeric.storage_dtype(dtype))
    if isinstance(input_data, Scalar):
        return numeric.cast(np.asarray(input_data), numeric.storage_dtype(dtype))[()]
    return elementwise.copy(input_data, dtype=dtype)


def device_print(prefix: str, x: Any, *, mask: Any = None, **kwargs: Any) -> None:
    """Print ``prefix`` and the elements of a tile."""
    refuse_unknown("nl.device_print", kwargs, ("mask",))
    report.device_print(prefix, x, mask=mask)
