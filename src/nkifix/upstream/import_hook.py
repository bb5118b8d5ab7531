"""Fixing the kernel in memory, as it is imported.

A finder in front of all others lets them find the one module, and wraps its loader: the source is read as ever, fixed,
and compiled under a file name of its own, which says so in tracebacks. ``__file__`` stays. Whoever asks for source
(``inspect``, ``linecache``, tracebacks, a kernel compiler) is given the fixed text, whose line numbers are the
traceback's. No byte code is read or written.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
import threading
import warnings
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

from nkifix import codemod
from nkifix.errors import RefusalError
from nkifix.upstream.locate import MODULE

SERIES_VARIABLE = "NKIFIX_SERIES"
"""Environment variable: the series that ``import nkifix.autofix`` makes."""
MARK = " (fixed in memory by nkifix)"
"""What follows the file's path in the name that the fixed code is compiled under."""


class AutofixWarning(UserWarning):
    """The fix does not take effect, and what to do about it."""


class _FixedLoader(importlib.machinery.SourceFileLoader):
    """Loads the module from its own file, fixed on the way."""

    def __init__(self, fullname: str, path: str, fixes: Sequence[codemod.Fix]) -> None:
        super().__init__(fullname, path)
        self._fixes = tuple(fixes)

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        return self._fixed(data) if path == self.path else data

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        source = importlib.util.decode_source(data)
        name = self.path if data == super().get_data(self.path) else f"{self.path}{MARK}"
        entry = (len(source), None, source.splitlines(keepends=True), name)  # no time: it is not checked against a file
        linecache.cache[name] = linecache.cache[self.path] = entry
        code: CodeType = compile(source, name, "exec", dont_inherit=True)
        return code

    def _fixed(self, data: bytes) -> bytes:
        outcome = codemod.apply(data, self._fixes)
        if isinstance(outcome, codemod.NotRecognised):
            raise RefusalError(
                f"the kernel cannot be fixed at import: {outcome.reason}",
                where=f"{self.path}:{outcome.line}" if outcome.line else self.path,
                why="a file of another shape is not changed, and running it unfixed is not what was asked for",
                next_step="leave nkifix.autofix out, or use vendored_kernel instead of this file",
            )
        return outcome.data if isinstance(outcome, codemod.Fixed) else data


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module where the others find it, and has it fixed."""

    def __init__(self, fixes: Sequence[codemod.Fix]) -> None:
        self.fixes = tuple(fixes)
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE or getattr(self._asking, "others", False):
            return None
        self._asking.others = True
        try:
            spec = _ask_others(self, fullname, path, target)
        finally:
            self._asking.others = False
        if spec is None or spec.origin is None:
            return spec
        if not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            raise RefusalError(
                "the kernel cannot be fixed at import: it is not loaded from a Python file",
                where=spec.origin,
                why=f"its loader is {type(spec.loader).__name__}",
                next_step="install the package unpacked, or use nkifix vendor",
            )
        loader = _FixedLoader(fullname, spec.loader.path, self.fixes)
        return importlib.util.spec_from_file_location(fullname, spec.loader.path, loader=loader)


def _ask_others(
    finder: _Finder, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> importlib.machinery.ModuleSpec | None:
    for other in list(sys.meta_path):
        find: Any = getattr(other, "find_spec", None)
        if other is not finder and find is not None:
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                return spec
    return None


def install(series: str | None = None, only: Sequence[str] = ()) -> None:
    """Have the kernel module fixed when it is imported; a second call replaces the fixes asked for.

    Parameters
    ----------
    series:
        ``typo`` (the default) or ``full``.
    only:
        Ids of fixes, as in :func:`nkifix.codemod.select`.

    Warns
    -----
    AutofixWarning
        The module was imported before, so this comes too late for whoever has it.

    Raises
    ------
    RefusalError
        There is no such series or fix.
    """
    fixes = codemod.select(series, only)
    _remove_finders()
    sys.meta_path.insert(0, _Finder(fixes))
    module = sys.modules.get(MODULE)
    if module is not None and not _is_ours(module):
        warnings.warn(
            f"nkifix.autofix came too late: {MODULE} was imported before, and its unfixed code stays in use. Put "
            "`import nkifix.autofix` before the first import of neuronx_distributed_inference, or start the program "
            "with `python -m nkifix autofix`",
            AutofixWarning,
            stacklevel=2,
        )


def uninstall() -> None:
    """Take the hook away, and forget the module if it was fixed: its next import gives the file as it is.

    Whoever holds the fixed functions keeps them.
    """
    _remove_finders()
    module = sys.modules.get(MODULE)
    if module is None or not _is_ours(module):
        return
    linecache.cache.pop(module.__file__ or "", None)
    del sys.modules[MODULE]
    package, _, name = MODULE.rpartition(".")
    if getattr(sys.modules.get(package), name, None) is module:
        delattr(sys.modules[package], name)


def is_active() -> bool:
    """Whether the kernel module is fixed, or will be when it is imported."""
    module = sys.modules.get(MODULE)
    if module is not None:
        return _is_ours(module)
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def _remove_finders() -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


def _is_ours(module: ModuleType) -> bool:
    return isinstance(getattr(module, "__loader__", None), _FixedLoader)
