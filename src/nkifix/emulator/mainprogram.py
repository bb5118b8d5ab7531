"""Becoming the main program: what ``python SCRIPT ARGS`` and ``python -m MODULE ARGS`` do, from inside.

``runpy`` puts the old ``__main__`` back when the program's last line has run, and leaves its own frames in
tracebacks. A program is to notice neither.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn, TypeVar

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.location import EMULATOR_DIR
from nkifix.errors import RefusalError

_T = TypeVar("_T")


def run_script(script: str, args: Sequence[str]) -> NoReturn:
    """Run a file, or a directory or zip archive with a ``__main__.py``; leaves by SystemExit with its status.

    Raises
    ------
    RefusalError
        Where there is no such program; nothing ran then.
    """
    path = str(Path(script).absolute())
    spec = PathFinder.find_spec("__main__", [path])
    if spec is not None:
        _put_first_on_path(path)
        _run(lambda: _code_of(spec), _names_of(spec), [script, *args])
    source = _read(script)
    _put_first_on_path(str(Path(script).resolve().parent))
    names = {"__file__": path, "__loader__": SourceFileLoader("__main__", path), "__package__": None, "__spec__": None}
    _run(lambda: compile(source, path, "exec", dont_inherit=True), names, [script, *args])


def run_module(name: str, args: Sequence[str]) -> NoReturn:
    """Run a module, or a package with a ``__main__`` module; leaves by SystemExit with its status.

    Raises
    ------
    RefusalError
        Where there is no such program. Packages around the module were imported by then.
    """
    _put_first_on_path(str(Path.cwd()))
    sys.argv[:] = ["-m", *args]  # what packages around the module see
    found = _guarded(lambda: _find(name))
    if isinstance(found, str):
        raise RefusalError(
            f"cannot run the module {name!r}",
            where=str(Path.cwd()),
            why=found,
            next_step="check its name and PYTHONPATH; a file is run without -m",
        )
    spec, code = found
    _run(lambda: code, _names_of(spec), [str(spec.origin), *args])


def _run(load: Callable[[], Any], names: dict[str, Any], argv: Sequence[str]) -> NoReturn:
    sys.argv[:] = argv
    code = _guarded(load)
    main = ModuleType("__main__")
    main.__dict__.update(names, __builtins__=builtins)
    sys.modules["__main__"] = main
    _guarded(lambda: exec(code, main.__dict__))  # noqa: S102  the user's program
    raise SystemExit(0)


def _guarded(action: Callable[[], _T]) -> _T:
    """Do a part of the program. What it does not catch ends it as the interpreter would, less our frames."""
    try:
        return action()
    except (SystemExit, KeyboardInterrupt):
        raise  # the interpreter knows what to do
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        if isinstance(error, KernelFault):
            trace = _of_the_kernel(trace)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None


def _of_the_kernel(trace: TracebackType | None) -> TracebackType | None:
    """A traceback less the emulator's frames: its last line is the kernel's, also for a debugger."""
    if trace is None:
        return None
    below = _of_the_kernel(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(EMULATOR_DIR):
        return below
    return TracebackType(below, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _read(script: str) -> bytes:
    try:
        return Path(script).read_bytes()
    except OSError as error:
        is_dir = isinstance(error, IsADirectoryError)
        raise RefusalError(
            "cannot run this program",
            where=script,
            why="it is a directory without a __main__.py" if is_dir else error.strerror,
            next_step="check the path; a module is run with -m",
        ) from None


def _find(name: str) -> tuple[ModuleSpec, CodeType] | str:
    """Where a module comes from, and its code; or why there is none."""
    try:
        spec = None if name.startswith(".") else find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{name}.__main__")
            if spec is None:
                return f"{name} is a package without a __main__ module"
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a package around it was found, and imports something that is missing
        return str(error)
    if spec is None:
        return f"no module named {name}"
    code = _code_of(spec)
    return f"{name} has no Python code" if code is None else (spec, code)


def _code_of(spec: ModuleSpec) -> CodeType | None:
    get_code = getattr(spec.loader, "get_code", None)  # extension modules and namespace packages have none
    code: CodeType | None = get_code(spec.name) if get_code else None
    return code


def _names_of(spec: ModuleSpec) -> dict[str, Any]:
    return {
        "__cached__": spec.cached,
        "__file__": spec.origin,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__spec__": spec,
    }


def _put_first_on_path(entry: str) -> None:
    """As the interpreter does, unless it was told not to (-I, -P, PYTHONSAFEPATH)."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path.insert(0, entry)
