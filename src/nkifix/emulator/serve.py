"""Serving ``import neuronxcc…`` from the emulator, and taking it back without a trace."""

from __future__ import annotations

import difflib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TypeAlias

from nkifix.emulator import machine, torch_xla_stub
from nkifix.emulator.forget import forget_imports_since
from nkifix.emulator.frontends.legacy import compiler, isa, kernel, language, typing
from nkifix.emulator.frontends.legacy.compiler import backends, psum, sbuf
from nkifix.emulator.params import Params
from nkifix.errors import BackendError, MissingExtraError

ROOT = "neuronxcc"
TORCH_XLA = "torch_xla"

Modules: TypeAlias = Mapping[str, Mapping[str, object]]
"""Served module -> the names that it offers."""


def _public(module: ModuleType) -> dict[str, object]:
    return {name: getattr(module, name) for name in module.__all__}


_NEURONXCC: Modules = {
    "neuronxcc": {},
    "neuronxcc.nki": _public(kernel),
    "neuronxcc.nki.compiler": _public(compiler),
    "neuronxcc.nki.compiler.psum": _public(psum),
    "neuronxcc.nki.compiler.sbuf": _public(sbuf),
    **backends.MODULES,
    "neuronxcc.nki.isa": _public(isa),
    "neuronxcc.nki.language": _public(language),
    "neuronxcc.nki.typing": _public(typing),
}


class _StandIns(Loader, MetaPathFinder):
    """Finds and loads the served modules. On ``sys.meta_path`` from the first context's start to the last one's end.

    Attributes
    ----------
    users:
        How many contexts are open, in all threads.
    before:
        ``sys.modules`` at the start.
    """

    def __init__(self) -> None:
        self.modules = dict(_NEURONXCC)
        self.users = 0
        self.before = dict(sys.modules)

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self.modules:
            return None
        is_package = any(other.startswith(f"{fullname}.") for other in self.modules)
        return ModuleSpec(fullname, self, origin="nkifix emulator", is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__dict__.update(self.modules[name])
        module.__doc__ = f"{name}, emulated on the CPU by nkifix."
        module.__dict__["__getattr__"] = self._finder_of_attributes(name)

    def _finder_of_attributes(self, module: str) -> Callable[[str], object]:
        offered = self.modules[module]

        def find(name: str) -> object:
            if f"{module}.{name}" in self.modules:
                return importlib.import_module(f"{module}.{name}")
            near = difflib.get_close_matches(name, offered, n=1)
            hint = f"; the nearest emulated name is {near[0]}" if near else ""
            raise AttributeError(f"{module}.{name} is not emulated{hint}", name=name)

        return find


_changing = threading.Lock()
"""Held while the stand-ins come and go."""


def _stand_ins() -> _StandIns | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, _StandIns)), None)


def installed(root: str) -> str | None:
    """Where a real top-level package is found, without importing it; None where there is none."""
    loaded = sys.modules.get(root)
    if loaded is not None:
        if isinstance(getattr(getattr(loaded, "__spec__", None), "loader", None), _StandIns):
            return None
        return str(getattr(loaded, "__file__", None) or "loaded in this process")
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None or isinstance(finder, _StandIns) else find(root, None)
        if spec is not None:
            return str(spec.origin or next(iter(spec.submodule_search_locations or ()), root))
    return None


def real_compiler() -> str | None:
    """Where an installed ``neuronxcc`` is found, without importing it; None where there is none."""
    return installed(ROOT)


def install(params: Params | None = None, *, beside_real: bool = False, torch_xla: bool = False) -> None:
    """Serve ``neuronxcc.nki`` until this process ends; for a process that does nothing else. See :func:`serving`."""
    _enter(params, beside_real=beside_real, torch_xla=torch_xla)


@contextmanager
def serving(params: Params | None = None, *, beside_real: bool = False, torch_xla: bool = False) -> Iterator[None]:
    """Serve ``neuronxcc.nki`` from the emulator inside the context.

    Afterwards the import system is as before: the served modules are gone, and so is every module that was
    imported inside and holds something of theirs (a kernel file, a test of it, their packages). Contexts may
    be nested, and opened in several threads; the last one to end takes everything back.

    A module that was imported before the context is not imported again: import kernels inside. What the caller
    keeps of them stays usable afterwards, as objects of the emulator.

    Parameters
    ----------
    params:
        Fidelity choices of all launches inside; default: those of the enclosing context, else :class:`Params`.
    beside_real:
        For a process of one's own on a host with a real ``neuronxcc`` that was not imported in it.
    torch_xla:
        Also serve a stub of ``torch_xla`` whose device is the CPU.

    Raises
    ------
    BackendError
        Where a real ``neuronxcc`` (or, for its stub, ``torch_xla``) is installed: real and emulated objects
        must not mix in one interpreter.
    MissingExtraError
        Where the stub is asked for and torch is not installed.
    """
    stand_ins = _enter(params, beside_real=beside_real, torch_xla=torch_xla)
    try:
        with machine.using(params or machine.params()):
            yield
    finally:
        _leave(stand_ins)


def _enter(params: Params | None, *, beside_real: bool, torch_xla: bool) -> _StandIns:
    with _changing:
        present = _stand_ins()
        if present is None:
            _refuse_real_compiler(beside_real)
        stand_ins = present or _StandIns()
        if torch_xla and TORCH_XLA not in stand_ins.modules:
            _refuse_real_torch_xla()
            stand_ins.modules.update(torch_xla_stub.MODULES)
        if present is None:
            sys.meta_path.insert(0, stand_ins)
            machine.set_default(params or Params())
        stand_ins.users += 1
        return stand_ins


def _leave(stand_ins: _StandIns) -> None:
    with _changing:
        stand_ins.users -= 1
        if stand_ins.users == 0:
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not stand_ins]
            machine.set_default(Params())
            forget_imports_since(stand_ins.before, stand_ins.modules)


def _refuse_real_compiler(beside_real: bool) -> None:
    real = real_compiler()
    if real is not None and (ROOT in sys.modules or not beside_real):
        raise BackendError(
            "a real neuronxcc is installed here, so it cannot be emulated in this process",
            where=real,
            why="code that holds both would mix two compilers' objects",
            next_step="run it in a process of its own: nkifix run SCRIPT",
        )


def _refuse_real_torch_xla() -> None:
    real = installed(TORCH_XLA)
    if real is not None:
        raise BackendError(
            "a real torch_xla is installed here, so its stub is not served",
            where=real,
            why="the stub is for machines without torch_xla",
            next_step="leave the stub out: the emulator takes tensors of the real one",
        )
    if find_spec("torch") is None:
        raise MissingExtraError("torch", extra="torch", needed_for="the stub of torch_xla")
