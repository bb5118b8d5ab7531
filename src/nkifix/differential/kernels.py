"""Loading a kernel file under the emulator and calling it on cases."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from nkifix.differential.cases import Array, Case
from nkifix.emulator import EmulatorWarning, Params, serving
from nkifix.errors import RefusalError


@dataclass(frozen=True)
class Answered:
    """The kernel returned ``output`` (batch, heads, seq_q, head_dim)."""

    output: Array


@dataclass(frozen=True)
class Crashed:
    """The kernel raised: the exception's type, its words, and the deepest line of the kernel file."""

    type_name: str
    message: str
    line: int | None

    def in_words(self) -> str:
        """As the interpreter prints it."""
        return f"{self.type_name}: {self.message}"


Result = Answered | Crashed


@dataclass(frozen=True)
class LoadedKernel:
    """A kernel module that was executed under the emulator.

    Attributes
    ----------
    file:
        The temporary file it was executed from; messages name it without its folder.
    warned:
        What the emulator warned of so far, each once, as ``line N: text``.
    """

    module: ModuleType
    file: Path
    warned: dict[str, None] = field(default_factory=dict)

    def call(self, case: Case) -> Result:
        """Run ``case``; what the kernel raises is a result. Errors of the emulator's rules are, too."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EmulatorWarning)
            result = self._call(case)
        for warning in caught:
            if issubclass(warning.category, EmulatorWarning):
                self.warned[f"line {warning.lineno}: {warning.message}"] = None
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return result

    def _call(self, case: Case) -> Result:
        q, k, v = case.inputs()
        try:
            keywords = case.keywords(self.module.FlashConfig)
            output = self.module.flash_fwd[case.grid](q, k, v, **keywords)
            if not isinstance(output, np.ndarray):
                raise TypeError(f"flash_fwd returned {type(output).__name__}, not one array")
            return Answered(output)
        except Exception as error:  # a kernel may raise anything; it is a row of the report
            return Crashed(type(error).__name__, _words(error, self.file), self._line(error))

    def _line(self, error: Exception) -> int | None:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.file)]
        return lines[-1] if lines else None


@contextmanager
def loaded(sources: dict[str, bytes], params: Params | None = None) -> Iterator[dict[str, LoadedKernel]]:
    """Execute kernel files, given as bytes, each as a module of its own, under one emulation.

    Raises
    ------
    RefusalError
        Where a file cannot be imported, or lacks ``flash_fwd`` and the dataclass ``FlashConfig``.
    """
    with serving(params, beside_real=True), TemporaryDirectory(prefix="nkifix-") as folder:
        try:
            yield {label: _execute(label, source, Path(folder)) for label, source in sources.items()}
        finally:
            for label in sources:
                sys.modules.pop(_module_name(label), None)


def _module_name(label: str) -> str:
    return f"nkifix_kernel_{label}"


def _execute(label: str, source: bytes, folder: Path) -> LoadedKernel:
    file = folder / f"{label}.py"
    file.write_bytes(source)
    spec = spec_from_file_location(_module_name(label), file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    # dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
        _ = module.flash_fwd
        if not is_dataclass(module.FlashConfig):
            raise TypeError("FlashConfig is no dataclass")
    except (Exception, SystemExit) as error:
        raise RefusalError(
            f"the {label} kernel cannot be imported: {type(error).__name__}: {_words(error, file)}",
            why="it must define flash_fwd and FlashConfig, and import only Python's modules, numpy and neuronxcc.nki",
            next_step="give the kernel file itself: .../modules/sliding_window/attention.py",
        ) from error
    return LoadedKernel(module, file)


def _words(error: BaseException, file: Path) -> str:
    """What ``error`` says, without the folder that is gone when it is read."""
    return str(error).replace(f"{file.parent}{os.sep}", "")
