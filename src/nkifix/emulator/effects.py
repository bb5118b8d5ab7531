"""Whether a helper does more than execute instructions: prints, say, or changes Python objects of outside.

A call that does is not repeated in place of being executed (:mod:`nkifix.emulator.repeats`). While a call is recorded,
the functions that the kernel's own code calls are watched, the way a profiler does: those that write, change a list or
tell the time, and functions whose code assigns a global, an outer variable or an attribute. Items that are assigned
are not seen.
"""

from __future__ import annotations

import builtins
import dis
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

from nkifix.emulator.location import EMULATOR_DIR

_FUNCTIONS: frozenset[Any] = frozenset(
    {getattr(builtins, name) for name in ("print", "input", "open", "exec", "eval", "setattr", "delattr")}
    | {warnings.warn, time.time, time.perf_counter, time.monotonic, time.sleep}
)
"""Functions with an effect, or that answer differently each time."""

_METHODS = frozenset(
    "add append appendleft clear discard extend insert pop popitem popleft remove reverse setdefault sort update "  # noqa: SIM905
    "write writelines".split()
)
"""Names of methods that change their object."""

_MODULES = frozenset({"_collections", "_random", "_socket", "posix"})
"""Modules whose functions reach outside."""

_OPCODES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"})


@contextmanager
def watched(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` where the kernel's code does more, inside of the context."""

    def notice(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            if _is_kernels(frame) and _has_effect(argument):
                tell()
        elif event == "call" and _is_kernels(frame) and assigns(frame.f_code):
            tell()

    sys.setprofile(notice)
    try:
        yield
    finally:
        sys.setprofile(None)


def can_watch() -> bool:
    """Whether nobody else watches what is called: a profiler, say."""
    return sys.getprofile() is None


def _has_effect(function: Any) -> bool:
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    if name in _METHODS and not isinstance(owner, type(builtins)):
        return True
    module = getattr(function, "__module__", None) or type(owner).__module__
    return module in _MODULES or function in _FUNCTIONS


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a helper: whatever it calls in turn is the kernel's, but for the emulator."""
    return function(*args, **kwargs)


_CALL = call.__code__


def _is_kernels(frame: FrameType) -> bool:
    """Whether it is the kernel's code that is being executed, or other code for it: the emulator did not call that."""
    if frame.f_code.co_filename.startswith(EMULATOR_DIR):
        return False
    around = frame.f_back
    while around is not None and not around.f_code.co_filename.startswith(EMULATOR_DIR):
        around = around.f_back
    return around is not None and around.f_code is _CALL


@lru_cache(maxsize=1 << 10)
def assigns(code: CodeType) -> bool:
    """Whether a function's code assigns what outlives it: a global, an outer variable, an attribute."""
    for one in dis.get_instructions(code):
        outer = one.opname in ("STORE_DEREF", "DELETE_DEREF") and one.argval in code.co_freevars
        if outer or one.opname in _OPCODES:
            return True
    return False
