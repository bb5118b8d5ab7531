"""The kernel in the two import modes that can run without a NeuronCore, and NxDI's with its typo fixed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from nkifix.codemod import Fixed, apply, select
from nkifix.differential.kernels import LoadedKernel, loaded
from tests import upstream_clone
from vendored_kernel.backend import EmulatedKernelWarning, kernel_module

TYPO = "misspelled-causal-mask"
FILE = Path(__file__).resolve().parents[2] / "vendored_kernel" / "kernel.py"


@pytest.fixture(scope="session")
def package() -> LoadedKernel:
    """What ``from vendored_kernel import flash_fwd`` gives here: the kernel on the emulator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmulatedKernelWarning)
        return LoadedKernel(kernel_module(), FILE)


@pytest.fixture(scope="session")
def kernel_file() -> LoadedKernel:
    """The kernel's file, executed while the emulator is served as ``neuronxcc``."""
    with loaded({"vendored": FILE.read_bytes()}) as kernels:
        return kernels["vendored"]


@pytest.fixture(scope="session", params=upstream_clone.TAGS)
def upstream_kernels(request: pytest.FixtureRequest) -> dict[str, LoadedKernel]:
    """NxDI's kernel of one tag: ``stock`` as it is, ``fixed`` with its typo fixed and nothing else."""
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    stock = upstream_clone.read(repository, request.param)
    outcome = apply(stock, select(only=(TYPO,)))
    assert isinstance(outcome, Fixed)
    with loaded({"stock": stock, "fixed": outcome.data}) as kernels:
        return kernels
