"""NeuronCores through torch-xla: tensors on an XLA device in, the kernel launched there, the answer copied back."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nkifix.backends.base import Array, Backend, Latency, Missing
from nkifix.emulator import Params, hosts, serving
from nkifix.emulator.serve import real_compiler


class DeviceBackend(Backend):
    """Needs an Inf2, Trn1 or Trn2 instance with neuronx-cc of SDK 2.20 to 2.28 and torch-neuronx.

    Parameters
    ----------
    emulated_kernel:
        Keep the tensors on whatever XLA device torch-xla has, and let the emulator compute the kernel: the path
        of the tensors is real, the device is not. For testing this backend without NeuronCores.
    """

    name = "device"
    is_hardware = True
    device_files = Path("/dev")

    def __init__(self, *, emulated_kernel: bool = False, params: Params | None = None) -> None:
        self.emulated_kernel = emulated_kernel
        self.params = params

    def missing(self) -> Missing | None:
        for package in ("torch", "torch_xla"):
            if find_spec(package) is None:
                return Missing(
                    f"{package} is not installed",
                    why="a kernel is launched on tensors of an XLA device",
                    next_step="install torch-neuronx on a Neuron instance, or use --backend emulator",
                )
        if self.emulated_kernel:
            return None
        if real_compiler() is None:
            return Missing(
                "neuronxcc is not installed",
                why="a device runs what AWS's compiler makes of the kernel",
                next_step="install neuronx-cc 2.23 (SDK 2.28) on a Neuron instance, or use --backend emulator",
            )
        if not any(self.device_files.glob("neuron[0-9]*")):
            return Missing(
                "this machine has no NeuronCores",
                why=f"the Neuron driver shows each device as {self.device_files / 'neuron0'}, and there is none",
                next_step="run on an Inf2, Trn1 or Trn2 instance, or use --backend emulator",
            )
        return None

    @contextmanager
    def session(self) -> Iterator[None]:
        if not self.emulated_kernel:
            yield
            return
        with serving(self.params, beside_real=True):
            yield

    def launch(self, kernel: Any, grid: Sequence[int], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        launched = kernel[tuple(grid)] if grid else kernel
        result = launched(*self._on_device(args), **keywords)
        _synchronise()
        return tuple(map(_from_device, result)) if isinstance(result, (tuple, list)) else _from_device(result)

    def latency(
        self,
        kernel: Any,
        grid: Sequence[int],
        args: Sequence[Any],
        keywords: Mapping[str, Any],
        *,
        warmup: int = 10,
        repeats: int = 100,
    ) -> Latency | None:
        if self.emulated_kernel:
            return None
        launched = kernel[tuple(grid)] if grid else kernel
        tensors = self._on_device(args)
        times = []
        for number in range(warmup + repeats):
            began = time.perf_counter()
            launched(*tensors, **keywords)
            _synchronise()
            if number >= warmup:
                times.append((time.perf_counter() - began) * 1e6)
        return Latency(tuple(times))

    def _on_device(self, args: Sequence[Any]) -> list[Any]:
        device = importlib.import_module("torch_xla.core.xla_model").xla_device()
        moved = [hosts.to_torch(value).to(device) if isinstance(value, np.ndarray) else value for value in args]
        _synchronise()
        return moved


def _from_device(tensor: Any) -> Array:
    return hosts.to_numpy(tensor, "answer")


def _synchronise() -> None:
    """Run what torch-xla has recorded so far, and wait for it."""
    model = importlib.import_module("torch_xla.core.xla_model")
    # mark_step is deprecated from torch-xla 2.7 on; torch-neuronx of SDK 2.26 has versions without its successor.
    getattr(importlib.import_module("torch_xla"), "sync", model.mark_step)()
    model.wait_device_ops()
