"""``nki.jit`` in all its spellings, launching, and the entry points that wrap a kernel."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nkifix.emulator import estimates, hosts, launch, machine
from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import EmulatorWarning, KernelFault
from nkifix.emulator.frontends.legacy.framework import FrameworkKernel
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor as tensor
from nkifix.emulator.location import kernel_position
from nkifix.errors import BackendError, RefusalError

__all__ = ["FrameworkKernel", "baremetal", "benchmark", "jit", "profile", "simulate_kernel", "tensor"]

MODES = ("auto", "jax", "torchxla", "baremetal", "benchmark", "simulation", "trace")
"""``mode=`` values: the documented ones, and ``trace`` for helpers. All run on the emulator."""

PERCENTILES = (0, 1, 10, 25, 50, 90, 99, 100)
"""What ``get_latency_percentile`` takes."""

_ESTIMATED = "estimated by nkifix on a CPU, not measured"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the decorators around a kernel ask for.

    Attributes
    ----------
    entry:
        The entry point that takes numpy arrays only; empty where any framework's tensors are taken.
    files:
        Files of a device's tools that were asked for: they are never written here.
    artifacts_dir:
        A directory that must be empty.
    force_automatic:
        Whether direct allocations count as automatic ones.
    """

    entry: str = ""
    files: tuple[str, ...] = ()
    artifacts_dir: str | None = None
    force_automatic: bool = False


class Kernel:
    """A kernel function: call it, or launch it on a grid with ``kernel[grid](...)``.

    Called while another kernel runs, it is part of that kernel: a plain call.
    """

    def __init__(self, function: Callable[..., Any], settings: Settings | None = None) -> None:
        functools.update_wrapper(self, function)
        self.func = function
        self.settings = settings or Settings()

    def __getitem__(self, grid: Any) -> GridKernel:
        return GridKernel(self, launch.check_grid(grid))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if machine.running():
            current = machine.program()
            repeats = current.launch.repeats
            return self.func(*args, **kwargs) if repeats is None else repeats.call(current, self.func, args, kwargs)
        return self.launch((), args, kwargs)

    def launch(self, grid: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run on ``grid`` (() for none); see :func:`nkifix.emulator.launch.run`.

        Raises
        ------
        RefusalError
            Where the entry point takes numpy arrays only and gets others, or wants an empty directory.
        """
        settings = self.settings
        _refuse_other_arrays(settings.entry, (*args, *kwargs.values()))
        _refuse_full_directory(settings.artifacts_dir)
        if settings.files:
            # Once: the settings that are left ask for nothing.
            self.settings = dataclasses.replace(settings, files=())
            names = ", ".join(settings.files)
            text = f"{launch.name_of(self.func)}: {names} not written: files of a device's tools are made on a device"
            warnings.warn_explicit(text, EmulatorWarning, *kernel_position())
        return launch.run(self.func, grid, args, kwargs, LegacyTensor, force_automatic=settings.force_automatic)


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


class Latency:
    """Latency of a benchmarked kernel: one number, estimated by nkifix on a CPU, not measured.

    It has no spread, so all percentiles are equal.
    """

    def __init__(self, call: estimates.Call) -> None:
        self._call = call

    @functools.cached_property
    def _estimate_us(self) -> float:
        return estimates.latency_us(self._call)

    def get_latency_percentile(self, percentile: int) -> float:
        """Microseconds, for one of :data:`PERCENTILES`; estimated by nkifix on a CPU, not measured.

        Raises
        ------
        RefusalError
            For another percentile.
        """
        if percentile not in PERCENTILES:
            raise RefusalError(
                f"there is no latency percentile {percentile!r}",
                next_step=f"use one of {', '.join(map(str, PERCENTILES))}",
            )
        return self._estimate_us

    def __repr__(self) -> str:
        return f"<latency {self._estimate_us:.3f} us, {_ESTIMATED}>"


class BenchmarkResult:
    """What a benchmarked kernel offers after a call; its times are estimated by nkifix on a CPU, not measured.

    Attributes
    ----------
    nc_latency:
        Latency on a NeuronCore.
    """

    def __init__(self, call: estimates.Call) -> None:
        self.nc_latency = Latency(call)

    def __repr__(self) -> str:
        return f"<benchmark result: {self.nc_latency!r}>"


class BenchmarkKernel(Kernel):
    """What ``nki.benchmark`` returns: launches like the kernel, once, and then has an estimated latency."""

    _call: estimates.Call | None = None

    def __getitem__(self, grid: Any) -> GridKernel:
        return BenchmarkGridKernel(self, super().__getitem__(grid).grid)

    def launch(self, grid: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As any kernel's, and remember the call."""
        automatic = self.settings.force_automatic
        call = estimates.Call(self.func, grid, args, kwargs, LegacyTensor, machine.params(), automatic)
        returned = super().launch(grid, args, kwargs)
        self._call = call
        return returned

    @property
    def benchmark_result(self) -> BenchmarkResult:
        """Latency of the last call: estimated by nkifix on a CPU, not measured.

        Raises
        ------
        BackendError
            Before the first call.
        """
        if self._call is None:
            raise BackendError(
                f"{launch.name_of(self.func)} has no benchmark_result yet",
                why="a kernel is priced for the shapes it was called with",
                next_step="call it first",
            )
        return BenchmarkResult(self._call)


class BenchmarkGridKernel(GridKernel):
    """A benchmarked kernel with its launch grid."""

    kernel: BenchmarkKernel

    @property
    def benchmark_result(self) -> BenchmarkResult:
        """That of the kernel's last call."""
        return self.kernel.benchmark_result


def as_kernel(function: Any, wrapper: type[Kernel] | None = None, **changes: Any) -> Any:
    """Wrap a function, or re-wrap a kernel (with its grid and settings, where it has them).

    ``changes`` are settings; without a ``wrapper``, a kernel keeps its own.
    """
    if isinstance(function, GridKernel):
        return as_kernel(function.kernel, wrapper, **changes)[function.grid]
    if isinstance(function, Kernel):
        kind = wrapper or type(function)
        return kind(function.func, dataclasses.replace(function.settings, **changes))
    if not callable(function):
        raise RefusalError(
            f"a kernel is a function, got {type(function).__name__}",
            next_step="decorate a function: @nki.jit",
        )
    return (wrapper or Kernel)(function, Settings(**changes))


def jit(func: Any = None, mode: str = "auto", **options: Any) -> Any:
    """``@nki.jit``, ``@nki.jit(mode=…)`` or ``nki.jit(function, mode=…)``.

    ``auto`` takes the tensors of any framework, the modes ``baremetal``, ``benchmark`` and ``simulation`` numpy
    arrays. Keyword options (``platform_target``, compiler flags) are accepted and have no effect here: the
    target is chosen for the whole emulation.
    """
    if mode not in MODES:
        raise RefusalError(f"nki.jit has no mode {mode!r}", next_step=f"use one of {', '.join(MODES)}")
    if func is None:
        return functools.partial(jit, mode=mode, **options)
    entry = f"nki.jit(mode={mode!r})" if mode in ("baremetal", "benchmark", "simulation") else ""
    return as_kernel(func, BenchmarkKernel if mode == "benchmark" else Kernel, entry=entry)


_FILES = frozenset({"save_neff_name", "save_trace_name", "additional_compile_opt"})
OPTIONS: dict[str, frozenset[str]] = {
    "nki.baremetal": _FILES | {"artifacts_dir"},
    "nki.benchmark": _FILES | {"warmup", "iters"},
    "nki.profile": _FILES | {"working_directory", "overwrite", "profile_nth"},
}
"""Documented options of the entry points."""


def _refuse_options(entry: str, options: dict[str, Any]) -> None:
    """Refuse options that are not documented, and numbers that count nothing."""
    for name in options:
        if name not in OPTIONS[entry]:
            near = difflib.get_close_matches(name, OPTIONS[entry], n=1)
            raise RefusalError(
                f"{entry} has no option {name!r}",
                next_step=f"did you mean {near[0]}?" if near else f"options: {', '.join(sorted(OPTIONS[entry]))}",
            )
    for name, least in (("warmup", 0), ("iters", 1), ("profile_nth", 1)):
        value = options.get(name, least)
        if not is_integer(value) or value < least:
            raise RefusalError(f"{entry}: {name}={value!r}", why=f"it is a whole number of at least {least}")


def _files(entry: str, options: dict[str, Any], *, may_leave_out: bool) -> tuple[str, ...]:
    """The files that the options ask for."""
    neff, trace = options.get("save_neff_name"), options.get("save_trace_name")
    if trace is not None and neff != "file.neff" and not (may_leave_out and neff is None):
        raise RefusalError(
            f"{entry}: save_trace_name={trace!r} with save_neff_name={neff!r}",
            why="with a trace, the tools find a NEFF under the name file.neff only",
            next_step="save_neff_name='file.neff'",
        )
    return tuple(str(name) for name in (neff, trace, options.get("artifacts_dir")) if name is not None)


def baremetal(kernel: Any = None, **options: Any) -> Any:
    """Run with numpy arrays in and out; on the emulator, not on a device.

    Documented options: ``save_neff_name``, ``save_trace_name``, ``additional_compile_opt``, ``artifacts_dir``.
    Files that they ask for are not written, and a warning says so.
    """
    entry = "nki.baremetal"
    _refuse_options(entry, options)
    files = _files(entry, options, may_leave_out=False)
    if kernel is None:
        return functools.partial(baremetal, **options)
    return as_kernel(kernel, Kernel, entry=entry, files=files, artifacts_dir=options.get("artifacts_dir"))


def benchmark(kernel: Any = None, **options: Any) -> Any:
    """As :func:`baremetal`, run once; ``benchmark_result`` then holds an estimated latency, not a measured one.

    Documented options: ``warmup``, ``iters``, ``save_neff_name``, ``save_trace_name``, ``additional_compile_opt``.
    """
    entry = "nki.benchmark"
    _refuse_options(entry, options)
    files = _files(entry, options, may_leave_out=True)
    if kernel is None:
        return functools.partial(benchmark, **options)
    return as_kernel(kernel, BenchmarkKernel, entry=entry, files=files)


def profile(func: Any = None, **options: Any) -> Any:
    """As :func:`baremetal`; no profile is written, and a warning says so.

    Documented options: ``working_directory`` (required, absolute), ``save_neff_name``, ``save_trace_name``,
    ``additional_compile_opt``, ``overwrite``, ``profile_nth``.
    """
    entry = "nki.profile"
    _refuse_options(entry, options)
    directory = options.get("working_directory")
    if not isinstance(directory, (str, os.PathLike)) or not Path(directory).is_absolute():
        raise RefusalError(
            f"{entry}: working_directory={directory!r}",
            why="it must be given, as an absolute path",
            next_step="working_directory=os.path.abspath(...)",
        )
    if func is None:
        return functools.partial(profile, **options)
    names = (options.get("save_neff_name", "file.neff"), options.get("save_trace_name", "profile.ntff"))
    files = tuple(str(Path(directory) / name) for name in names)
    return as_kernel(func, Kernel, entry=entry, files=files)


def simulate_kernel(kernel: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a kernel (or ``kernel[grid]``) with the given arguments; tensors are numpy arrays."""
    return as_kernel(kernel, Kernel, entry="nki.simulate_kernel", files=())(*args, **kwargs)


def _refuse_other_arrays(entry: str, values: tuple[Any, ...]) -> None:
    if not entry:
        return
    for value in values:
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if hosts.is_framework_array(one):
                raise RefusalError(
                    f"{entry} was given a {type(one).__name__}",
                    why="it runs without a framework: tensors are numpy arrays",
                    next_step="pass numpy arrays, or decorate the kernel with nki.jit",
                )


def _refuse_full_directory(directory: str | None) -> None:
    if directory is not None and Path(directory).is_dir() and any(Path(directory).iterdir()):
        raise RefusalError(
            f"artifacts_dir={directory!r} is not empty",
            why="a compiler refuses to mix its artifacts with other files",
            next_step="name an empty directory, or one that does not exist",
        )
