"""Every spelling of a kernel: jit, baremetal, benchmark, simulate_kernel, with and without a grid."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator.faults import EmulatorWarning
from nkifix.emulator.frontends.legacy import compiler
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.errors import BackendError, RefusalError
from tests.emulator.kernels import refuses

NESTED = "err_nested_kernel_with_spmd_grid"


def scaled(x: Any, factor: float = 2.0) -> Any:
    """Multiply."""
    o = nl.ndarray((nl.num_programs(), *x.shape), x.dtype, buffer=nl.shared_hbm)
    i = nl.program_id(0) if nl.program_ndim() else 0
    nl.store(o[i], nl.load(x) * factor)
    return o


def ones() -> npt.NDArray[np.float32]:
    return np.ones((2, 4), np.float32)


SPELLINGS = [
    pytest.param(nki.jit, id="jit"),
    pytest.param(nki.jit(), id="jit-called"),
    pytest.param(nki.jit(platform_target="trn2", debug=True), id="jit-options"),
    *(pytest.param(nki.jit(mode=mode), id=f"jit-{mode}") for mode in nki.MODES),
    pytest.param(lambda f: nki.jit(f, mode="simulation", platform_target="trn2"), id="jit-on-a-function"),
    pytest.param(lambda f: nki.jit(f, "baremetal"), id="jit-mode-by-position"),
    pytest.param(nki.baremetal, id="baremetal"),
    pytest.param(nki.baremetal(additional_compile_opt="-O1"), id="baremetal-options"),
    pytest.param(nki.benchmark, id="benchmark"),
    pytest.param(nki.benchmark(warmup=5, iters=10), id="benchmark-options"),
    pytest.param(lambda f: nki.baremetal(nki.jit(f)), id="baremetal-of-jit"),
    pytest.param(lambda f: nki.benchmark(warmup=1)(nki.jit(mode="trace")(f)), id="benchmark-of-trace"),
    pytest.param(lambda f: nki.jit(nki.benchmark(f)), id="jit-of-benchmark"),
    pytest.param(lambda f: functools.partial(nki.simulate_kernel, f), id="simulate"),
    pytest.param(lambda f: functools.partial(nki.simulate_kernel, nki.baremetal(f)), id="simulate-of-baremetal"),
]
"""Wrappers of a function."""


@pytest.mark.parametrize("wrap", SPELLINGS)
def test_call_without_grid(wrap: Callable[[Any], Any]) -> None:
    assert wrap(scaled)(ones(), factor=3.0).tolist() == [[[3.0] * 4] * 2]


GRIDS = [
    pytest.param(lambda f: nki.jit(f)[2], id="jit"),
    pytest.param(lambda f: nki.jit(mode="benchmark")(f)[2], id="jit-benchmark"),
    pytest.param(lambda f: nki.baremetal(f)[2], id="baremetal"),
    pytest.param(lambda f: nki.benchmark(f)[2], id="benchmark"),
    pytest.param(lambda f: nki.baremetal(nki.jit(f)[2]), id="baremetal-of-grid"),
    pytest.param(lambda f: nki.benchmark(nki.jit(f)[2]), id="benchmark-of-grid"),
    pytest.param(lambda f: nki.jit(nki.jit(f)[2]), id="jit-of-grid"),
    pytest.param(lambda f: functools.partial(nki.simulate_kernel, nki.jit(f)[2]), id="simulate-of-grid"),
    pytest.param(lambda f: functools.partial(nki.simulate_kernel, nki.benchmark(f)[2]), id="simulate-of-benchmark"),
]
"""Launchers on a grid of two programs."""


@pytest.mark.parametrize("launcher", GRIDS)
def test_grid_survives_wrapping(launcher: Callable[[Any], Any]) -> None:
    assert launcher(scaled)(ones(), 3.0).tolist() == [[[3.0] * 4] * 2] * 2


@pytest.mark.parametrize("kernel", [nki.jit(scaled), nki.jit(scaled)[2], nki.benchmark(scaled)[2]])
def test_kernel_looks_like_its_function(kernel: Any) -> None:
    assert kernel.__name__ == "scaled"
    assert kernel.__doc__ == "Multiply."
    assert kernel.__wrapped__ is scaled
    assert kernel.__module__ == __name__


def test_refuses_modes_that_are_not_documented() -> None:
    with pytest.raises(RefusalError, match="no mode 'fast'") as caught:
        nki.jit(scaled, mode="fast")
    assert "simulation" in str(caught.value.next_step)


@pytest.mark.parametrize("wrap", [nki.jit, nki.baremetal, nki.benchmark, nki.simulate_kernel])
def test_refuses_kernels_that_cannot_be_called(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(RefusalError, match="a kernel is a function, got int"):
        wrap(3)


# -------------------------------------------------------------------------------------------- latency

BENCHMARKS = [
    pytest.param(lambda: nki.benchmark(scaled), id="benchmark"),
    pytest.param(lambda: nki.benchmark(warmup=0, iters=1)(scaled), id="with-options"),
    pytest.param(lambda: nki.benchmark(scaled)[1], id="on-a-grid"),
    pytest.param(lambda: nki.benchmark(nki.jit(scaled)[1]), id="of-a-grid"),
    pytest.param(lambda: nki.jit(scaled, mode="benchmark"), id="jit-mode"),
    pytest.param(lambda: compiler.force_auto_alloc(nki.benchmark(scaled)), id="inside-a-decorator"),
]


@pytest.mark.parametrize("make", BENCHMARKS)
def test_benchmark_estimates_a_latency(make: Callable[[], Any]) -> None:
    kernel = make()
    kernel(ones())
    latency = kernel.benchmark_result.nc_latency
    microseconds = {latency.get_latency_percentile(percentile) for percentile in (0, 1, 10, 25, 50, 90, 99, 100)}
    assert len(microseconds) == 1
    assert microseconds.pop() > 0


def test_estimate_grows_with_the_work() -> None:
    kernel = nki.benchmark(scaled)
    found = []
    for columns in (4, 40_000):
        kernel(np.ones((128, columns), np.float32))
        found.append(kernel.benchmark_result.nc_latency.get_latency_percentile(50))
    assert found[0] < found[1]


def test_estimate_says_that_it_is_none_measured() -> None:
    kernel = nki.benchmark(scaled)
    kernel(ones())
    for value in (kernel.benchmark_result, kernel.benchmark_result.nc_latency):
        assert "estimated by nkifix on a CPU, not measured" in repr(value)
        assert "not measured" in str(type(value).__doc__)


def test_estimate_leaves_the_callers_arrays_alone() -> None:
    def doubled(x: Any, out: Any, more: Any) -> None:
        nl.store(out, nl.load(x) * 2.0)

    x, out = ones(), np.zeros((2, 4), np.float32)
    kernel = nki.benchmark(doubled)
    kernel(x, out, (x, [x, 1]))
    out[...] = 7.0
    assert kernel.benchmark_result.nc_latency.get_latency_percentile(99) > 0
    assert out.tolist() == [[7.0] * 4] * 2


def test_refuses_percentiles_that_are_not_documented() -> None:
    kernel = nki.benchmark(scaled)
    kernel(ones())
    with pytest.raises(RefusalError, match="no latency percentile 95") as caught:
        kernel.benchmark_result.nc_latency.get_latency_percentile(95)
    assert "90, 99, 100" in str(caught.value.next_step)


@pytest.mark.parametrize("make", BENCHMARKS)
def test_refuses_a_result_before_the_first_call(make: Callable[[], Any]) -> None:
    with pytest.raises(BackendError, match="scaled has no benchmark_result yet"):
        _ = make().benchmark_result


@pytest.mark.parametrize("kernel", [nki.jit(scaled), nki.jit(scaled)[1], nki.baremetal(nki.benchmark(scaled))])
def test_other_kernels_have_no_benchmark_result(kernel: Any) -> None:
    assert not hasattr(kernel, "benchmark_result")


# -------------------------------------------------------------------------------------------- options

ABSOLUTE = "/nowhere"


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda: nki.baremetal(additional_compile_opt="-O1", save_neff_name="file.neff"), id="baremetal"),
        pytest.param(lambda: nki.baremetal(save_neff_name="file.neff", save_trace_name="t.ntff"), id="trace"),
        pytest.param(lambda: nki.benchmark(save_trace_name="t.ntff", iters=1, warmup=0), id="benchmark-trace-only"),
        pytest.param(lambda: nki.profile(working_directory=ABSOLUTE, overwrite=True, profile_nth=2), id="profile"),
    ],
)
def test_files_of_a_device_are_not_written_and_one_warning_says_so(wrap: Callable[[], Any]) -> None:
    kernel = wrap()(scaled)
    with pytest.warns(EmulatorWarning, match=r"scaled: .* not written") as caught:
        assert kernel(ones()).tolist() == [[[2.0] * 4] * 2]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel(ones())


def test_profile_names_the_files_of_its_directory() -> None:
    kernel = nki.profile(scaled, working_directory=ABSOLUTE, save_neff_name="a.neff")
    with pytest.warns(EmulatorWarning, match=r"/nowhere/a\.neff, /nowhere/profile\.ntff not written"):
        kernel[1](ones())


@pytest.mark.parametrize(
    ("wrap", "message", "advice"),
    [
        pytest.param(
            lambda: nki.baremetal(save_nef_name="x"), "no option 'save_nef_name'", "save_neff_name", id="near"
        ),
        pytest.param(lambda: nki.benchmark(zzz=1), "nki.benchmark has no option 'zzz'", "options: ", id="unknown"),
        pytest.param(lambda: nki.baremetal(warmup=1), "no option 'warmup'", "", id="another-entry-points"),
        pytest.param(lambda: nki.benchmark(warmup=-1), "warmup=-1", "", id="warmup"),
        pytest.param(lambda: nki.benchmark(iters=0), "iters=0", "", id="iters"),
        pytest.param(lambda: nki.benchmark(iters=2.0), "iters=2.0", "", id="iters-of-a-float"),
        pytest.param(lambda: nki.baremetal(save_trace_name="t"), "save_neff_name=None", "file.neff", id="trace-only"),
        pytest.param(
            lambda: nki.benchmark(save_trace_name="t", save_neff_name="x"), "save_neff_name='x'", "", id="other-neff"
        ),
        pytest.param(lambda: nki.profile(), "working_directory=None", "abspath", id="no-directory"),
        pytest.param(lambda: nki.profile(working_directory="here"), "working_directory='here'", "", id="relative"),
        pytest.param(
            lambda: nki.profile(working_directory=ABSOLUTE, profile_nth=0), "profile_nth=0", "", id="profile-nth"
        ),
    ],
)
def test_refuses_options(wrap: Callable[[], Any], message: str, advice: str) -> None:
    with pytest.raises(RefusalError, match=re.escape(message)) as caught:
        wrap()
    assert advice in str(caught.value.next_step)


@pytest.mark.filterwarnings("ignore::nkifix.emulator.faults.EmulatorWarning")
def test_artifacts_go_into_an_empty_directory_or_a_new_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "new"):
        assert nki.baremetal(artifacts_dir=str(directory))(scaled)(ones()).shape == (1, 2, 4)
    (tmp_path / "file").touch()
    with pytest.raises(RefusalError, match="is not empty"):
        nki.baremetal(artifacts_dir=str(tmp_path))(scaled)(ones())


NUMPY_ONLY = [
    pytest.param(nki.baremetal, id="baremetal"),
    pytest.param(nki.benchmark, id="benchmark"),
    pytest.param(nki.profile(working_directory=ABSOLUTE), id="profile"),
    pytest.param(lambda f: functools.partial(nki.simulate_kernel, f), id="simulate"),
    *(pytest.param(nki.jit(mode=mode), id=f"jit-{mode}") for mode in ("baremetal", "benchmark", "simulation")),
]


@pytest.mark.parametrize("wrap", NUMPY_ONLY)
@pytest.mark.filterwarnings("ignore::nkifix.emulator.faults.EmulatorWarning")
def test_entry_points_without_a_framework_take_numpy_arrays(wrap: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert wrap(scaled)(ones()).shape == (1, 2, 4)
    with pytest.raises(RefusalError, match="was given a Tensor"):
        wrap(scaled)(torch.ones(2, 4))

    def first(pair: Any) -> Any:
        return scaled(pair[0])

    with pytest.raises(RefusalError, match="was given a Tensor"):
        wrap(first)((torch.ones(2, 4),))


@pytest.mark.parametrize("mode", ["auto", "torchxla", "jax", "trace"])
def test_other_modes_take_a_frameworks_tensors(mode: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert isinstance(nki.jit(mode=mode)(scaled)(torch.ones(2, 4)), torch.Tensor)


# -------------------------------------------------------------------------------------------- other names


def test_tensor_is_the_type_of_what_kernels_hold() -> None:
    def checked(x: Any) -> Any:
        assert isinstance(x, nki.tensor)
        return nl.load(x)

    calling(checked)(ones())


class Numpys(nki.FrameworkKernel):
    """The framework is numpy."""

    def is_framework_tensor(self, t: Any) -> bool:
        return isinstance(t, np.ndarray)

    def map_framework_tensor(self, t: Any) -> tuple[Any, Any]:
        return t.shape, t.dtype

    def translate_to_neuron_dtype(self, _dtype: Any) -> Any:
        return _dtype


def test_framework_kernel_is_subclassed() -> None:
    kernel = Numpys(func_name="other", func=scaled, grid=(2,))
    assert (kernel.func_name, kernel.func, kernel.grid, kernel.enable_cache) == ("other", scaled, (2,), True)
    assert Numpys(func=scaled).func_name == "scaled"
    assert kernel.is_framework_tensor(ones())
    assert not kernel.is_framework_tensor("x")
    assert kernel.map_framework_tensor(ones()) == ((2, 4), np.float32)
    assert kernel.translate_to_neuron_dtype(np.float32) is np.float32


def test_refuses_a_framework_kernel_without_its_methods() -> None:
    with pytest.raises(TypeError, match="abstract"):
        nki.FrameworkKernel(func=scaled)  # type: ignore[abstract]


def test_refuses_to_make_a_backend_configuration() -> None:
    with pytest.raises(BackendError, match=r"Numpys\.dump_config has no configuration of scaled"):
        Numpys(func=scaled).dump_config(ones())


# -------------------------------------------------------------------------------------------- nesting


@nki.jit(mode="trace")
def helper(tile: Any, factor: float) -> Any:
    return tile * factor


@nki.jit
def inner(x: Any) -> Any:
    return x * 2.0


def calling(function: Callable[[Any], Any]) -> Any:
    """A kernel that computes its output's content with a function of its input."""

    def outer(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        nl.store(o, function(x))
        return o

    return nki.jit(outer)


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        pytest.param(lambda x: helper(nl.load(x), 5.0), 5, id="helper"),
        pytest.param(lambda x: helper(helper(nl.load(x), 5.0), factor=2.0), 10, id="helper-of-helper"),
        pytest.param(lambda x: inner(nl.load(x)), 2, id="kernel"),
        pytest.param(lambda x: nki.simulate_kernel(inner, nl.load(x)), 2, id="simulated"),
    ],
)
def test_kernel_called_by_a_kernel_is_part_of_it(function: Callable[[Any], Any], factor: int) -> None:
    def checked(x: Any) -> Any:
        assert nl.program_ndim() == 0
        return function(x)

    assert calling(checked)(ones()).tolist() == [[factor] * 4] * 2


BEFORE = nki.jit(scaled)[2]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: nki.jit(scaled)[2](x), id="grid-inside"),
        pytest.param(lambda x: BEFORE(x), id="grid-from-before"),
        pytest.param(lambda x: nki.simulate_kernel(BEFORE, x), id="simulated"),
        pytest.param(lambda x: nki.benchmark(scaled)[1](x), id="benchmark"),
    ],
)
def test_refuses_a_grid_inside_a_running_kernel(function: Callable[[Any], Any]) -> None:
    with refuses(NESTED, "scaled is launched on a grid inside a running kernel") as caught:
        calling(function)[1](ones())
    assert str(caught.value.where).startswith(f"{__file__}:")
    assert caught.value.next_step == "call it without brackets: scaled(...)"


def test_grid_named_inside_and_launched_later_is_no_error() -> None:
    made: list[Any] = []

    def note(x: Any) -> Any:
        made.append(nki.jit(scaled)[2])
        return nl.load(x)

    calling(note)(ones())
    assert made[0](ones()).shape == (2, 2, 4)
