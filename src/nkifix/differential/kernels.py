"""Loading a kernel file under the emulator and calling it on cases."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from nkifix.backends import Backend, EmulatorBackend, Latency
from nkifix.differential.adapters import adapter_of
from nkifix.differential.cases import Array, Case
from nkifix.emulator import EmulatorWarning, Params
from nkifix.errors import RefusalError

FUNCTION = "flash_fwd"
"""Name of the kernel function, where nothing else is said."""

Inputs = tuple[Array, Array, Array]
"""q, k and v."""


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
    function:
        Name of the kernel function in the module.
    warned:
        What the emulator warned of so far, each once, as ``line N: text``.
    backend:
        Where it runs.
    """

    module: ModuleType
    file: Path
    function: str = FUNCTION
    warned: dict[str, None] = field(default_factory=dict)
    backend: Backend = field(default_factory=EmulatorBackend)

    def call(self, case: Case, inputs: Inputs | None = None, grid: tuple[int, ...] | None = None) -> Result:
        """Run ``case``, on its own inputs and grid or others; what the kernel raises is a result.

        Errors of the emulator's rules are, too.

        Raises
        ------
        NotExpressibleError
            The kernel has no arguments for what the case asks.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EmulatorWarning)
            result = self._call(case, inputs or case.inputs(), case.grid if grid is None else grid)
        for warning in caught:
            if issubclass(warning.category, EmulatorWarning):
                self.warned[f"line {warning.lineno}: {warning.message}"] = None
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return result

    def _call(self, case: Case, inputs: Inputs, grid: tuple[int, ...]) -> Result:
        kernel, more, keywords = self._arguments(case)
        try:
            output = self.backend.launch(kernel, grid, (*inputs, *more), keywords)
            if not isinstance(output, np.ndarray):
                raise TypeError(f"{self.function} returned {type(output).__name__}, not one array")
            return Answered(output)
        except Exception as error:  # a kernel may raise anything; it is a row of the report
            return Crashed(type(error).__name__, _words(error, self.file), self._line(error))

    def latency(self, case: Case, inputs: Inputs) -> Latency | None:
        """Measured times of the case's launch; None from a backend that cannot tell."""
        kernel, more, keywords = self._arguments(case)
        return self.backend.latency(kernel, case.grid, (*inputs, *more), keywords)

    def _arguments(self, case: Case) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        kernel = getattr(self.module, self.function)
        return (kernel, *adapter_of(kernel)(case, self.module.FlashConfig))

    def _line(self, error: Exception) -> int | None:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.file)]
        return lines[-1] if lines else None


@contextmanager
def loaded(
    sources: dict[str, bytes],
    params: Params | None = None,
    *,
    functions: Mapping[str, str] = MappingProxyType({}),
    backend: Backend | None = None,
) -> Iterator[dict[str, LoadedKernel]]:
    """Execute kernel files, given as bytes, each as a module of its own, in one session of a backend.

    Parameters
    ----------
    functions:
        Name of the kernel function of a source, where it is not ``flash_fwd``.
    backend:
        Where they run: the emulator, with ``params``, unless another is given.

    Raises
    ------
    RefusalError
        Where a file cannot be imported, or lacks the function or the dataclass ``FlashConfig``.
    """
    backend = backend or EmulatorBackend(params)
    with backend.session(), TemporaryDirectory(prefix="nkifix-") as folder:
        try:
            yield {
                label: replace(_execute(label, source, Path(folder), functions.get(label, FUNCTION)), backend=backend)
                for label, source in sources.items()
            }
        finally:
            for label in sources:
                sys.modules.pop(_module_name(label), None)


def _module_name(label: str) -> str:
    return f"nkifix_kernel_{label}"


def _execute(label: str, source: bytes, folder: Path, function: str) -> LoadedKernel:
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
        getattr(module, function)
        if not is_dataclass(module.FlashConfig):
            raise TypeError("FlashConfig is no dataclass")
    except (Exception, SystemExit) as error:
        raise RefusalError(
            f"the {label} kernel cannot be imported: {type(error).__name__}: {_words(error, file)}",
            why=f"it must define {function} and FlashConfig, and import only Python's modules, numpy and neuronxcc.nki",
            next_step="give the kernel file itself: .../modules/sliding_window/attention.py",
        ) from error
    return LoadedKernel(module, file, function)


def _words(error: BaseException, file: Path) -> str:
    """What ``error`` says, without the folder that is gone when it is read."""
    return str(error).replace(f"{file.parent}{os.sep}", "")
