"""Every spelling of a kernel: jit, baremetal, benchmark, simulate_kernel, with and without a grid."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

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
    pytest.param(nki.baremetal(save_neff_name="x.neff"), id="baremetal-options"),
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


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nki.benchmark(scaled), id="benchmark"),
        pytest.param(lambda: nki.benchmark(scaled)[1], id="on-a-grid"),
        pytest.param(lambda: nki.benchmark(nki.jit(scaled)[1]), id="of-a-grid"),
        pytest.param(lambda: nki.jit(scaled, mode="benchmark"), id="jit-mode"),
    ],
)
def test_refuses_to_name_a_latency(make: Callable[[], Any]) -> None:
    kernel = make()
    kernel(ones())
    with pytest.raises(BackendError, match="benchmark_result holds no latency") as caught:
        kernel.benchmark_result.nc_latency.get_latency_percentile(99)
    assert "Trainium" in str(caught.value.next_step)


@pytest.mark.parametrize("kernel", [nki.jit(scaled), nki.jit(scaled)[1], nki.baremetal(nki.benchmark(scaled))])
def test_other_kernels_have_no_benchmark_result(kernel: Any) -> None:
    assert not hasattr(kernel, "benchmark_result")


# -------------------------------------------------------------------------------------------- nesting


@nki.jit(mode="trace")
def helper(tile: Any, factor: float) -> Any:
    return tile * factor


@nki.jit
def inner(x: Any) -> Any:
    return scaled(x)


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
        pytest.param(lambda x: nl.load(inner(x)[0]), 2, id="kernel-with-an-output"),
        pytest.param(lambda x: nl.load(nki.simulate_kernel(inner, x)[0]), 2, id="simulated"),
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
