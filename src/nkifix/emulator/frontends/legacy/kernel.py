"""``nki.jit`` in all its spellings, launching, and the entry points that wrap a kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from nkifix.emulator import launch, machine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.errors import BackendError, RefusalError

__all__ = ["baremetal", "benchmark", "jit", "simulate_kernel"]

MODES = ("auto", "jax", "torchxla", "baremetal", "benchmark", "simulation", "trace")
"""``mode=`` values: the documented ones, and ``trace`` for helpers. All run on the emulator."""


class Kernel:
    """A kernel function: call it, or launch it on a grid with ``kernel[grid](...)``.

    Called while another kernel runs, it is part of that kernel: a plain call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.func = function

    def __getitem__(self, grid: Any) -> GridKernel:
        return GridKernel(self, launch.check_grid(grid))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if machine.running():
            return self.func(*args, **kwargs)
        return self.launch((), args, kwargs)

    def launch(self, grid: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run on ``grid`` (() for none); see :func:`nkifix.emulator.launch.run`."""
        return launch.run(self.func, grid, args, kwargs, LegacyTensor)


class GridKernel:
    """A kernel with its launch grid."""

    def __init__(self, kernel: Kernel, grid: tuple[int, ...]) -> None:
        functools.update_wrapper(self, kernel.func)
        self.kernel = kernel
        self.grid = grid

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if machine.running():
            name = launch.name_of(self.kernel.func)
            raise KernelFault(
                "err_nested_kernel_with_spmd_grid",
                f"{name} is launched on a grid inside a running kernel",
                why="a kernel called by a kernel is inlined into it",
                next_step=f"call it without brackets: {name}(...)",
            )
        return self.kernel.launch(self.grid, args, kwargs)


class BenchmarkKernel(Kernel):
    """What ``nki.benchmark`` returns: launches like the kernel; its latency cannot be measured here."""

    def __getitem__(self, grid: Any) -> GridKernel:
        return BenchmarkGridKernel(self, super().__getitem__(grid).grid)

    @property
    def benchmark_result(self) -> NoReturn:
        """Refused: the emulator has no clock of the device."""
        _no_latency()


class BenchmarkGridKernel(GridKernel):
    """A benchmarked kernel with its launch grid."""

    @property
    def benchmark_result(self) -> NoReturn:
        """Refused: the emulator has no clock of the device."""
        _no_latency()


def _no_latency() -> NoReturn:
    raise BackendError(
        "benchmark_result holds no latency on the emulator",
        why="the kernel ran on this machine's CPU; its wall time says nothing about a NeuronCore",
        next_step="run the same script on a Trainium or Inferentia instance",
    )


def as_kernel(function: Any, wrapper: type[Kernel] = Kernel) -> Any:
    """Wrap a function, or re-wrap a kernel (with its grid, where it has one)."""
    if isinstance(function, GridKernel):
        return as_kernel(function.kernel, wrapper)[function.grid]
    if isinstance(function, Kernel):
        return wrapper(function.func)
    if not callable(function):
        raise RefusalError(
            f"a kernel is a function, got {type(function).__name__}",
            next_step="decorate a function: @nki.jit",
        )
    return wrapper(function)


def jit(func: Any = None, mode: str = "auto", **options: Any) -> Any:
    """``@nki.jit``, ``@nki.jit(mode=…)`` or ``nki.jit(function, mode=…)``.

    Keyword options (``platform_target``, compiler flags) are accepted and have no effect here: the target
    is chosen for the whole emulation.
    """
    if mode not in MODES:
        raise RefusalError(f"nki.jit has no mode {mode!r}", next_step=f"use one of {', '.join(MODES)}")
    if func is None:
        return functools.partial(jit, mode=mode, **options)
    return as_kernel(func, BenchmarkKernel if mode == "benchmark" else Kernel)


def baremetal(kernel: Any = None, **options: Any) -> Any:
    """Run with numpy arrays in and out; on the emulator, not on a device. Options have no effect here."""
    if kernel is None:
        return functools.partial(baremetal, **options)
    return as_kernel(kernel)


def benchmark(kernel: Any = None, **options: Any) -> Any:
    """As :func:`baremetal`, run once; asking for ``benchmark_result`` is refused: nothing was timed."""
    if kernel is None:
        return functools.partial(benchmark, **options)
    return as_kernel(kernel, BenchmarkKernel)


def simulate_kernel(kernel: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a kernel (or ``kernel[grid]``) with the given arguments."""
    return as_kernel(kernel)(*args, **kwargs)
