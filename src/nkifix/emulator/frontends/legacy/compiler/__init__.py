"""``neuronxcc.nki.compiler``: decorators and directives. What only guides the compiler changes nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.kernel import as_kernel
from nkifix.errors import RefusalError

__all__ = [
    "allocation_scope",
    "enable_stack_allocator",
    "force_auto_alloc",
    "multi_buffer",
    "no_reorder",
    "skip_middle_end_transformations",
]


@dataclass(frozen=True)
class MultiBuffer:
    """A loop directive: how many buffers rotate."""

    factor: int


@dataclass(frozen=True)
class OperationOrder:
    """A loop directive: instructions are not reordered. Here they never are."""


@contextmanager
def allocation_scope() -> Iterator[None]:
    """A scope of the stack allocator. Tensors here live as long as something refers to them."""
    yield


def multi_buffer(factor: int = 2) -> MultiBuffer:
    """A directive for ``nl.affine_range`` and its like."""
    if not is_integer(factor) or factor <= 0:
        raise KernelFault("", f"multi_buffer takes a positive whole number, got {factor!r}")
    return MultiBuffer(int(factor))


def no_reorder() -> OperationOrder:
    """A directive for ``nl.affine_range`` and its like."""
    return OperationOrder()


def _unchanged(name: str, func: Any) -> Any:
    if func is not None and not callable(func):
        raise RefusalError(f"{name} decorates a kernel, got {type(func).__name__}", next_step=f"@nki.compiler.{name}")
    return func


def skip_middle_end_transformations(func: Any = None) -> Any:
    """``@skip_middle_end_transformations``, with or without ``()``."""
    name = "skip_middle_end_transformations"
    return (lambda kernel: _unchanged(name, kernel)) if func is None else _unchanged(name, func)


def enable_stack_allocator(func: Any = None, log_level: int = 50) -> Any:
    """``@enable_stack_allocator``, with or without ``(log_level=…)``."""
    name = "enable_stack_allocator"
    return (lambda kernel: _unchanged(name, kernel)) if func is None else _unchanged(name, func)


def force_auto_alloc(func: Any = None) -> Any:
    """``@force_auto_alloc``, with or without ``()``: direct allocations count as automatic ones."""
    return force_auto_alloc if func is None else as_kernel(func, force_automatic=True)
