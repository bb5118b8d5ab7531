"""Forgetting modules that were imported while stand-ins were served.

A library that came in on the way must stay: importing compiled code twice fails, and classes of a library that
the caller already uses must not be made twice. So a new module is forgotten only if it depends on a stand-in:
if its namespace holds the stand-in, an object of the emulator, or something of another forgotten module. Such
things are also found inside of containers, partials, closures, and the classes (and their instances) that the
module defines. Not seen: a plain number or string that was computed from a stand-in, what hides in objects of
foreign classes, and what was put into a module that was there before.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ExtensionFileLoader
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import Any

_EMULATOR = "nkifix.emulator"
_CONTAINERS = (list, tuple, set, frozenset, deque)
_LRU_CACHE = type(functools.lru_cache(lambda: None))


def forget_imports_since(before: Mapping[str, ModuleType], stand_ins: Mapping[str, Mapping[str, object]]) -> None:
    """Make ``sys.modules`` as in ``before``, except for libraries that depend on none of ``stand_ins``.

    Parents that were there before lose the attribute that the import of a forgotten module gave them.

    Parameters
    ----------
    before:
        A copy of an earlier ``sys.modules``.
    stand_ins:
        Module name -> the names that it offers.
    """
    for name in _depending(before, stand_ins):
        module = sys.modules.pop(name)
        earlier = before.get(name)
        if earlier is not None:
            sys.modules[name] = earlier
        parent, _, child = name.rpartition(".")
        if _names(before.get(parent)).get(child) is module:
            if earlier is None:
                delattr(before[parent], child)
            else:
                setattr(before[parent], child, earlier)


def _depending(before: Mapping[str, ModuleType], stand_ins: Mapping[str, Mapping[str, object]]) -> set[str]:
    """Names of the modules that came since ``before`` and depend on ``stand_ins``, those included."""
    known = {id(module) for module in before.values()}  # an old module may get another name
    new = {name: module for name, module in list(sys.modules.items()) if id(module) not in known}
    compiled = {_top(name) for name, module in list(sys.modules.items()) if _is_compiled(module)}
    served = {id(value) for offered in stand_ins.values() for value in offered.values() if not isinstance(value, type)}
    sources = {
        name: set(_sources(_names(module), served, deep=_top(name) not in compiled))
        for name, module in new.items()
        if _top(name) != _top(_EMULATOR) and not _is_compiled(module)
    }
    depending = set(new).intersection(stand_ins)
    more = depending | {_EMULATOR}
    while more:
        more = {name for name, held in sources.items() if name not in depending and held & more}
        depending |= more
    return depending


def _top(name: str) -> str:
    return name.partition(".")[0]


def _names(module: object) -> dict[str, object]:
    """A module's namespace, read without waking a module that loads itself lazily."""
    try:
        names: dict[str, object] = object.__getattribute__(module, "__dict__")
    except AttributeError:  # None, or an object that stands in for a module
        return {}
    return names


def _is_compiled(module: object) -> bool:
    return isinstance(getattr(_names(module).get("__spec__"), "loader", None), ExtensionFileLoader)


def _sources(names: dict[str, object], served: set[int], *, deep: bool) -> Iterator[str]:
    """The modules that the objects in a namespace come from; ``_EMULATOR`` for what it made or served.

    Parameters
    ----------
    served:
        ``id`` of the objects that stand-ins offer.
    deep:
        Also look inside of the objects. Not for packages with compiled code: what others register with
        them does not make them depend on it.
    """
    seen = {id(sys.modules)}
    waiting = [value for name, value in list(names.items()) if name != "__builtins__"]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        source = _home(value)
        if isinstance(source, str):
            yield _EMULATOR if id(value) in served or source.startswith(f"{_EMULATOR}.") else source
        if deep:
            waiting.extend(_inside(value, names.get("__name__")))


def _home(value: object) -> object:
    """The module that an object is, or that defines it or its class."""
    kind = type(value)
    if issubclass(kind, ModuleType):
        return _names(value).get("__name__")
    if issubclass(kind, (FunctionType, type)):
        return getattr(value, "__module__", None)
    return kind.__module__


def _inside(value: Any, module: object) -> Iterable[object]:
    """What an object holds, as far as it can be opened without side effects; ``module`` is where it was found.

    Decided by the object's type: a proxy may claim another class, and wakes when it is asked.
    """
    kind = type(value)
    if issubclass(kind, (dict, MappingProxyType)):
        return list(value.values())
    if issubclass(kind, _CONTAINERS):
        return list(value)
    if issubclass(kind, FunctionType):
        return _inside_function(value)
    if issubclass(kind, type):
        return list(vars(value).values()) if value.__module__ == module else ()
    if kind is SimpleNamespace or kind.__module__ == module:
        return list(_names(value).values())
    return [getattr(value, attribute) for attribute in _WRAPPERS.get(kind, ())]


_WRAPPERS: dict[type, tuple[str, ...]] = {
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
    MethodType: ("__self__", "__func__"),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    _LRU_CACHE: ("__wrapped__",),
}
"""Type of a wrapper -> the attributes that hold what it wraps."""


def _inside_function(function: FunctionType) -> Iterator[object]:
    yield from (function.__defaults__, function.__kwdefaults__, function.__dict__)
    cells: tuple[CellType, ...] = function.__closure__ or ()
    for cell in cells:
        try:
            yield cell.cell_contents
        except ValueError:  # noqa: PERF203  whether a cell is empty is known only by reading it
            continue
