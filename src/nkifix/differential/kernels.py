"""Loading a kernel file under the emulator and calling it on cases."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from nkifix.differential.cases import Array, Case
from nkifix.emulator import Params, serving
from nkifix.errors import NkifixError, RefusalError


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
    """A kernel module that was executed under the emulator."""

    module: ModuleType
    file: Path

    def call(self, case: Case) -> Result:
        """Run ``case``; what the kernel raises is a result. Errors of the emulator's rules are, too."""
        q, k, v = case.inputs()
        try:
            keywords = case.keywords(self.module.FlashConfig)
            return Answered(self.module.flash_fwd[case.grid](q, k, v, **keywords))
        except Exception as error:  # a kernel may raise anything; it is a row of the report
            return Crashed(type(error).__name__, str(error), self._line(error))

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
        Where a file cannot be imported, or lacks ``flash_fwd`` and ``FlashConfig``.
    """
    with serving(params, beside_real=True), TemporaryDirectory(prefix="nkifix-") as folder:
        kernels = {}
        for label, source in sources.items():
            file = Path(folder) / f"{label}.py"
            file.write_bytes(source)
            kernels[label] = _execute(label, file)
        try:
            yield kernels
        finally:
            for kernel in kernels.values():
                sys.modules.pop(kernel.module.__name__, None)


def _execute(label: str, file: Path) -> LoadedKernel:
    spec = spec_from_file_location(f"nkifix_kernel_{label}", file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    # dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
        _ = module.flash_fwd, module.FlashConfig
    except NkifixError:
        raise
    except Exception as error:
        raise RefusalError(
            f"the {label} kernel cannot be imported: {type(error).__name__}: {error}",
            why="its imports must be Python's, numpy's or neuronxcc.nki's",
            next_step="give the kernel file itself: .../modules/sliding_window/attention.py",
        ) from error
    return LoadedKernel(module, file)
