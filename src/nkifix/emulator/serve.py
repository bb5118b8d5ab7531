"""Serving ``import neuronxcc…`` from the emulator, and taking it back without a trace."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy import isa, kernel, language, typing
from nkifix.emulator.params import Params
from nkifix.errors import BackendError

ROOT = "neuronxcc"

_SOURCES: dict[str, ModuleType | None] = {
    "neuronxcc": None,
    "neuronxcc.nki": kernel,
    "neuronxcc.nki.isa": isa,
    "neuronxcc.nki.language": language,
    "neuronxcc.nki.typing": typing,
}
"""Served module -> the module whose ``__all__`` it exposes."""


class _EmulatedModules(Loader, MetaPathFinder):
    """Finds and loads the served modules, fresh in every context."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if fullname not in _SOURCES:
            return None
        is_package = any(other.startswith(f"{fullname}.") for other in _SOURCES)
        return ModuleSpec(fullname, self, origin="nkifix emulator", is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        source = _SOURCES[module.__name__]
        names = [] if source is None else source.__all__
        for name in names:
            setattr(module, name, getattr(source, name))
        module.__doc__ = f"{module.__name__}, emulated on the CPU by nkifix."
        module.__dict__["__getattr__"] = _refusing_unknown(module.__name__, names)


def _refusing_unknown(module: str, names: Sequence[str]) -> Callable[[str], Any]:
    def refuse(name: str) -> Any:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; the nearest emulated name is {near[0]}" if near else ""
        raise AttributeError(f"{module}.{name} is not emulated{hint}")

    return refuse


def real_compiler() -> str | None:
    """Where an installed ``neuronxcc`` is found, without importing it; None where there is none."""
    loaded = sys.modules.get(ROOT)
    if loaded is not None and not isinstance(getattr(loaded.__spec__, "loader", None), _EmulatedModules):
        return str(getattr(loaded, "__file__", None) or "loaded in this process")
    spec = PathFinder.find_spec(ROOT)
    return None if spec is None else str(spec.origin or next(iter(spec.submodule_search_locations or ()), ROOT))


@contextmanager
def serving(params: Params | None = None, *, beside_real: bool = False) -> Iterator[None]:
    """Serve ``neuronxcc.nki`` from the emulator inside the context.

    Afterwards ``sys.modules`` is as before: the served modules are gone, and so is every module that was
    imported inside and holds something of theirs (a kernel file, a test of it, their packages).

    Parameters
    ----------
    params:
        Fidelity choices of all launches inside; default :class:`Params`.
    beside_real:
        For a process of one's own on a host with a real ``neuronxcc`` that was not imported in it.

    Raises
    ------
    BackendError
        Where a real ``neuronxcc`` is installed: the two must not mix in one interpreter.
    """
    real = real_compiler()
    if real is not None and (ROOT in sys.modules or not beside_real):
        raise BackendError(
            "a real neuronxcc is installed here, so it cannot be emulated in this process",
            where=real,
            why="code that holds both would mix two compilers' objects",
            next_step="run it in a process of its own: nkifix run SCRIPT",
        )
    if any(isinstance(finder, _EmulatedModules) for finder in sys.meta_path):
        with machine.using(params or machine.params()):
            yield
        return
    finder = _EmulatedModules()
    before = dict(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        with machine.using(params or Params()):
            yield
    finally:
        sys.meta_path.remove(finder)
        forget_imports_since(before)


def forget_imports_since(before: dict[str, ModuleType]) -> None:
    """Remove from ``sys.modules`` what was imported since ``before`` and depends on served modules.

    Other new modules (a library that a kernel file imports) stay: importing compiled ones twice fails.
    """
    new = {name: module for name, module in sys.modules.items() if before.get(name) is not module}
    tainted = {name for name in new if name.split(".")[0] in STAND_INS}
    while True:
        more = {name for name, module in new.items() if name not in tainted and _depends(module, tainted)}
        if not more:
            break
        tainted |= more
    for name in tainted:
        module = sys.modules.pop(name)
        if name in before:
            sys.modules[name] = before[name]
        parent, _, child = name.rpartition(".")
        holder = before.get(parent)
        if holder is not None and getattr(holder, child, None) is module:
            delattr(holder, child)


STAND_INS = {ROOT, "torch_xla"}
"""Top-level packages whose modules, where new, are stand-ins."""


def _depends(module: ModuleType, tainted: set[str]) -> bool:
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            if value.__name__ in tainted:
                return True
            continue
        owner = getattr(type(value), "__module__", "") if not isinstance(value, type) else value.__module__
        home = getattr(value, "__module__", "")
        if any(isinstance(o, str) and (o in tainted or o.startswith(_FRONT_END)) for o in (owner, home)):
            return True
    return False


_FRONT_END = "nkifix.emulator.frontends"
