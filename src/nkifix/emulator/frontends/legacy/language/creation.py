"""Tensors that a kernel declares."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.language.constants import sbuf
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops import allocate
from nkifix.emulator.ops.allocate import PartitionDimension as par_dim

__all__ = [
    "empty_like",
    "full",
    "ndarray",
    "ones",
    "par_dim",
    "shared_constant",
    "shared_identity_matrix",
    "zeros",
    "zeros_like",
]

_OPTIONS = ("buffer", "name", "dtype")


def ndarray(shape: Any, dtype: Any, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor with undefined elements, in SBUF unless ``buffer`` says otherwise."""
    refuse_unknown("nl.ndarray", kwargs, _OPTIONS)
    return allocate.allocate(shape, dtype, _memory(buffer), name=name)


def zeros(shape: Any, dtype: Any, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor of zeros."""
    refuse_unknown("nl.zeros", kwargs, _OPTIONS)
    return allocate.filled(shape, 0, dtype, _memory(buffer), name=name)


def ones(shape: Any, dtype: Any, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor of ones."""
    refuse_unknown("nl.ones", kwargs, _OPTIONS)
    return allocate.filled(shape, 1, dtype, _memory(buffer), name=name)


def full(shape: Any, fill_value: Any, dtype: Any, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor of one value."""
    refuse_unknown("nl.full", kwargs, _OPTIONS)
    return allocate.filled(shape, fill_value, dtype, _memory(buffer), name=name)


def empty_like(a: Any, dtype: Any = None, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor with undefined elements, of the shape and dtype of ``a``; in SBUF, wherever ``a`` lives."""
    refuse_unknown("nl.empty_like", kwargs, _OPTIONS)
    model = _model("empty_like", a)
    return allocate.allocate(allocate.like(model), _or_that_of(model, dtype), _memory(buffer), name=name)


def zeros_like(a: Any, dtype: Any = None, *, buffer: Any = None, name: str = "", **kwargs: Any) -> Any:
    """A tensor of zeros, of the shape and dtype of ``a``; in SBUF, wherever ``a`` lives."""
    refuse_unknown("nl.zeros_like", kwargs, _OPTIONS)
    model = _model("zeros_like", a)
    return allocate.filled(allocate.like(model), 0, _or_that_of(model, dtype), _memory(buffer), name=name)


def shared_constant(constant: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """A tensor in HBM with the elements of a host array. Default dtype: the array's."""
    refuse_unknown("nl.shared_constant", kwargs)
    if isinstance(constant, Tensor):
        raise KernelFault("", "shared_constant takes a host array, got a tensor of the kernel")
    return allocate.constant(np.asarray(constant), dtype)


def shared_identity_matrix(n: int, dtype: Any = np.uint8, **kwargs: Any) -> Any:
    """An identity matrix in HBM, of shape (n, n)."""
    refuse_unknown("nl.shared_identity_matrix", kwargs)
    return allocate.constant(np.identity(n, dtype=np.uint8), dtype)


def _memory(buffer: Any) -> Any:
    return sbuf if buffer is None else buffer


def _model(function: str, a: object) -> Tensor:
    if not isinstance(a, Tensor):
        raise KernelFault("", f"{function} takes a tensor as its model, got {type(a).__name__}")
    return a


def _or_that_of(model: Tensor, dtype: Any) -> Any:
    return model.dtype if dtype is None else dtype
