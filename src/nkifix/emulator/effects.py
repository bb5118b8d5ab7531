"""Whether a helper may do more than execute instructions, or depend on more than its arguments.

A call that does is not repeated in place of being executed (:mod:`nkifix.emulator.repeats`), so the code of a helper is
read first, with that of all functions that it names: through globals, modules, outer variables and constants among its
arguments. Code that assigns a global, an outer variable or an attribute has an effect; so has the name of a function
that writes, changes a list or tells the time, and that of a global object that may change. The values of outer
variables belong to a call's description (:meth:`Reader.outer_values`). What a function does that stands in a container
of the helper's own is not found, and an item that is assigned is taken for a tensor's.
"""

from __future__ import annotations

import builtins
import dataclasses
import dis
import enum
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from nkifix.emulator.indexing import DynamicSlice
from nkifix.emulator.location import EMULATOR_DIR
from nkifix.emulator.memory import Tensor

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

_OUTSIDE = (random, time, warnings)
"""Modules whose functions have effects, or answer differently each time."""

_TRUSTED = frozenset(
    {"collections", "functools", "itertools", "math", "ml_dtypes", "neuronxcc", "numpy", "operator", "typing"}
)
"""Packages whose functions have none."""

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_OF_VARIABLES = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_ASSIGNMENTS = _OF_VARIABLES | {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"}
_OTHER = "another instruction"
_UNKNOWN = object()


_FIXED = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type(Ellipsis),
    type,
    range,
    slice,
    enum.Enum,
    np.generic,
    np.dtype,
    np.ufunc,
    ModuleType,
    DynamicSlice,
    Tensor,
)
"""Types of objects that stay what they are; a record of a call that takes a tensor from outside is never made."""


class Reader:
    """Reads code, each function once.

    Attributes
    ----------
    read:
        The code, the defaults, and what its names stand for, in the order in which it was read: where all of it is the
        same, calls with the same arguments do the same.
    """

    def __init__(self) -> None:
        self.read: list[object] = []
        self._cells: dict[int, CellType] = {}
        self._found: dict[object, bool] = {}
        self._classes: dict[type, bool] = {}

    def outer_values(self) -> tuple[object, ...]:
        """What the outer variables of all functions read so far hold, with its types."""
        return tuple([_described(_content(cell)) for cell in self._cells.values()])

    def has_effect(self, function: Any) -> bool:
        """Whether calling ``function`` may do more than answer; of what is no code, whether it is known to."""
        if _is_module(function):
            return False  # and one of ours takes long to say what it does not have
        function = getattr(function, "func", function)  # a kernel's function
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, BuiltinFunctionType):
            return function in _FUNCTIONS or (function.__name__ in _METHODS and not _is_module(function.__self__))
        if not isinstance(function, FunctionType) or _is_trusted(function):
            return False
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        if any(self._may_change(one) for one in defaults):
            return True
        self.read += defaults
        self._cells.update({id(cell): cell for cell in function.__closure__ or ()})
        return self._reads(function.__code__, _Names(function), function.__code__.co_freevars)

    def class_has_effect(self, kind: type) -> bool:
        """Whether a method of a class may."""
        known = self._classes.get(kind)
        if known is None:
            self._classes[kind] = False  # while its own methods are being read
            own = [value for one in kind.__mro__[:-1] for value in vars(one).values()]
            self.read += own
            methods = [getattr(value, "fget", None) or getattr(value, "__func__", value) for value in own]
            known = self._classes[kind] = any(
                self.has_effect(one) for one in methods if isinstance(one, FunctionType) and not _is_special(one)
            )
        return known

    def _reads(self, code: CodeType, names: _Names, outer: tuple[str, ...]) -> bool:
        """Whether code has an effect; ``outer`` are the variables that the function has from around it."""
        key = (code, names.origin)
        if key not in self._found:
            self._found[key] = False  # while it is being read
            self.read.append(code)
            inner = [one for one in code.co_consts if isinstance(one, CodeType)]
            effects = (self._is_effect(name, operand, owner, outer) for name, operand, owner in _steps(code, names))
            self._found[key] = any(effects) or any(self._reads(one, names, outer) for one in inner)
        return self._found[key]

    def _is_effect(self, name: str, operand: Any, owner: Any, outer: tuple[str, ...]) -> bool:
        """Whether an instruction is one; ``owner`` is what it takes an attribute of, or what a name stands for."""
        if name in _ASSIGNMENTS:
            return name not in _OF_VARIABLES or operand in outer
        if name in _LOADS:
            self.read.append(owner)
            return self._any_has_effect(owner)
        if owner is _UNKNOWN:
            return operand in _METHODS
        value = getattr(owner, operand, None)
        self.read.append(value)
        if _is_module(owner):
            return (owner in _OUTSIDE and callable(value)) or (not _is_known(owner) and self._any_has_effect(value))
        return not isinstance(owner, type) and callable(value)

    def _any_has_effect(self, value: Any) -> bool:
        return self._may_change(value) or any(self.has_effect(one) for one in _parts(value))

    def _may_change(self, value: Any) -> bool:
        """Whether a global or outer object is of a kind that may be another one for the next call."""
        if value is _UNKNOWN or isinstance(value, _FIXED) or callable(value):
            return False
        if isinstance(value, (tuple, frozenset)):
            return any(self._may_change(one) for one in value)
        settings = getattr(type(value), "__dataclass_params__", None)
        if settings is None or not settings.frozen:
            return True
        return any(self._may_change(getattr(value, one.name)) for one in dataclasses.fields(value))


def _parts(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, frozenset)) else (value,)


def _content(cell: CellType) -> Any:
    """What an outer variable holds; :data:`_UNKNOWN` before it is assigned."""
    try:
        return cell.cell_contents
    except ValueError:
        return _UNKNOWN


def _described(value: Any) -> object:
    """A fixed object and its type, to be compared; a slice has no hash in older Pythons."""
    return (slice, value.start, value.stop, value.step) if isinstance(value, slice) else (type(value), value)


class _Names(dict[str, Any]):
    """What a function's names stand for.

    Attributes
    ----------
    origin:
        The same for functions with the same outer variables and globals.
    """

    def __init__(self, function: FunctionType) -> None:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        super().__init__({name: _content(cell) for name, cell in cells})
        self._globals = function.__globals__
        self.origin = (id(self._globals), *map(id, function.__closure__ or ()))

    def __missing__(self, name: str) -> Any:
        return self._globals.get(name, getattr(builtins, name, _UNKNOWN))


def _steps(code: CodeType, names: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The instructions that matter: name, operand, and what it takes an attribute of, or what a name stands for."""
    owner: Any = _UNKNOWN
    for name, operand in _instructions(code):
        if name in _LOADS:
            owner = _UNKNOWN if operand in code.co_cellvars else names[operand]
            yield name, operand, owner
        elif name in _ATTRIBUTES:
            yield name, operand, owner
            owner = getattr(owner, operand, _UNKNOWN) if _is_module(owner) else _UNKNOWN
        else:
            if name in _ASSIGNMENTS:
                yield name, operand, _UNKNOWN
            owner = _UNKNOWN


@lru_cache(maxsize=1 << 10)
def _instructions(code: CodeType) -> tuple[tuple[str, Any], ...]:
    """Names and operands of those that matter, and one of the others wherever there are any between."""
    found: list[tuple[str, Any]] = [(_OTHER, None)]
    for one in dis.get_instructions(code):
        if one.opname in _LOADS or one.opname in _ATTRIBUTES or one.opname in _ASSIGNMENTS:
            found.append((one.opname, one.argval))
        elif found[-1][0] != _OTHER:
            found.append((_OTHER, None))
    return tuple(found)


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


def _is_known(module: ModuleType) -> bool:
    """Whether a module is the language's, or that of a library whose functions have no effects."""
    package = module.__name__.partition(".")[0]
    return package in _TRUSTED or str(getattr(module, "__file__", "")).startswith(EMULATOR_DIR)


def _is_trusted(function: FunctionType) -> bool:
    package = (function.__module__ or "").partition(".")[0]
    return package in _TRUSTED or function.__code__.co_filename.startswith(EMULATOR_DIR)


def _is_special(function: FunctionType) -> bool:
    """Whether Python calls a method for itself: to make, compare or print an object."""
    name = function.__name__
    return name.startswith("__") and name.endswith("__") and name != "__call__"
