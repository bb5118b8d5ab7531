"""AWS's own simulator of the legacy language, ``neuronxcc.nki.simulate_kernel``, where it is installed.

It keeps bfloat16 and float8 in float32 ("NKI known issues", Neuron SDK 2.26), so its answers are not byte for
byte those of the emulator or a device.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nkifix.backends.base import Backend, Missing
from nkifix.emulator.serve import real_compiler


class SimulatorBackend(Backend):
    """Needs the package neuronx-cc of SDK 2.20 to 2.28, and no hardware."""

    name = "simulator"

    def missing(self) -> Missing | None:
        if real_compiler() is not None:
            return None
        return Missing(
            "neuronxcc is not installed",
            why="AWS's simulator is a part of its compiler, neuronx-cc, which AWS's own package index has",
            next_step="install neuronx-cc 2.23 (SDK 2.28), or use --backend emulator",
        )

    @contextmanager
    def session(self) -> Iterator[None]:
        yield

    def launch(self, kernel: Any, grid: Sequence[int], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        nki = importlib.import_module("neuronxcc.nki")
        return nki.simulate_kernel(kernel[tuple(grid)] if grid else kernel, *args, **keywords)
