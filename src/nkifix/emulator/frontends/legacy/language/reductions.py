"""Reductions over free dimensions, over loops and over programs; normalisations of rows."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import collective, normalise, reduce

__all__ = [
    "all",
    "all_reduce",
    "loop_reduce",
    "max",
    "mean",
    "min",
    "prod",
    "rms_norm",
    "softmax",
    "sum",
    "var",
]

_OPTIONS = ("dtype", "mask", "keepdims")


def _reduce(
    function: str, name: str, x: Any, axis: Any, dtype: Any, mask: Any, keepdims: bool, kwargs: dict[str, Any]
) -> Any:
    if kwargs:
        refuse_unknown(f"nl.{function}", kwargs, _OPTIONS)
    return reduce.reduce_free(
        name, x, axis, dtype=dtype, mask=mask, keepdims=keepdims, operation=function, anywhere=True
    )


def sum(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
    """Sum over trailing free dimensions."""
    return _reduce("sum", "add", x, axis, dtype, mask, keepdims, kwargs)


def prod(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
    """Product over trailing free dimensions."""
    return _reduce("prod", "multiply", x, axis, dtype, mask, keepdims, kwargs)


def max(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
    """Largest element over trailing free dimensions."""
    return _reduce("max", "max", x, axis, dtype, mask, keepdims, kwargs)


def min(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
    """Smallest element over trailing free dimensions."""
    return _reduce("min", "min", x, axis, dtype, mask, keepdims, kwargs)


def all(x: Any, axis: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """Whether all elements over trailing free dimensions are not zero."""
    return _reduce("all", "logical_and", x, axis, dtype, mask, False, kwargs)


def mean(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, keepdims: bool = False, **kwargs: Any) -> Any:
    """Average over trailing free dimensions."""
    refuse_unknown("nl.mean", kwargs, _OPTIONS)
    return reduce.mean(x, axis, dtype=dtype, mask=mask, keepdims=keepdims)


def var(x: Any, axis: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Variance over trailing free dimensions: the mean squared distance from the mean."""
    refuse_unknown("nl.var", kwargs)
    return reduce.var(x, axis, dtype=dtype, mask=mask)


def softmax(x: Any, axis: Any, *, dtype: Any = None, compute_dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Softmax over trailing free dimensions."""
    refuse_unknown("nl.softmax", kwargs, ("dtype", "compute_dtype", "mask"))
    return normalise.softmax(x, axis, dtype=dtype, compute_dtype=compute_dtype, mask=mask)


def rms_norm(
    x: Any,
    w: Any,
    axis: Any,
    n: int,
    epsilon: float = 1e-06,
    *,
    dtype: Any = None,
    compute_dtype: Any = None,
    mask: Any = None,
    **kwargs: Any,
) -> Any:
    """``x`` divided by the root of its mean square (``n`` values, plus ``epsilon``), times the weight ``w``."""
    refuse_unknown("nl.rms_norm", kwargs, ("dtype", "compute_dtype", "mask", "epsilon"))
    return normalise.rms_norm(x, w, axis, n, epsilon, dtype=dtype, compute_dtype=compute_dtype, mask=mask)


def loop_reduce(x: Any, op: Any, loop_indices: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x`` combined by ``op`` with the tensor that it is assigned to: ``dst[...] = nl.loop_reduce(...)``."""
    refuse_unknown("nl.loop_reduce", kwargs)
    return collective.loop_reduce(x, op, loop_indices, dtype=dtype, mask=mask)


def all_reduce(
    x: Any,
    op: Any,
    program_axes: Any,
    *,
    dtype: Any = None,
    mask: Any = None,
    parallel_reduce: bool = True,
    asynchronous: bool = False,
    **kwargs: Any,
) -> Any:
    """``x`` reduced by ``op`` over the programs along grid dimensions; emulated for one program only."""
    refuse_unknown("nl.all_reduce", kwargs, ("dtype", "mask", "parallel_reduce", "asynchronous"))
    return collective.all_reduce(x, op, program_axes, dtype=dtype, mask=mask)
