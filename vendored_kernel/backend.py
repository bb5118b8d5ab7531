"""Where the kernel runs: AWS's compiler or the CPU emulator."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
import warnings
from types import ModuleType

VARIABLE = "NKIFIX_BACKEND"
CHOICES = ("auto", "neuron", "emulator")
KERNEL = "vendored_kernel.kernel"
KERNEL_VARIABLE = "NKIFIX_KERNEL"
"""Environment variable: another module with ``flash_fwd`` and ``FlashConfig``, such as ``nkifix vendor`` makes."""
COMPILER = "neuronxcc"

LAST_QUIET = (2, 23)
"""neuronx-cc of SDK 2.28, the last on which legacy kernels compile without a warning (SDK version manifest)."""
LAST_WORKING = (2, 24)
"""neuronx-cc of SDK 2.29, the last on which they compile at all: from 2.30 they are a compile error, or return
zeros."""


class EmulatedKernelWarning(UserWarning):
    """The kernel runs on the CPU emulator: answers are right, speed is not a NeuronCore's."""


class LegacyKernelWarning(UserWarning):
    """The installed compiler still takes legacy kernels, but warns about them."""


def chosen() -> str:
    """``neuron`` or ``emulator``, by ``NKIFIX_BACKEND`` and what is installed.

    Raises
    ------
    ImportError
        The variable holds another word, or asks for a compiler that is not installed.
    """
    wish = os.environ.get(VARIABLE, "auto") or "auto"
    if wish not in CHOICES:
        raise ImportError(f"{VARIABLE}={wish!r} is no backend: set it to {', '.join(CHOICES[:-1])} or {CHOICES[-1]}")
    installed = importlib.util.find_spec(COMPILER) is not None
    if wish == "auto":
        return "neuron" if installed else "emulator"
    if wish == "neuron" and not installed:
        raise ImportError(
            f"{VARIABLE}=neuron, but neuronxcc is not installed here: install neuronx-cc 2.23 (SDK 2.28), or set "
            f"{VARIABLE}=emulator"
        )
    return wish


def compiler_version() -> str | None:
    """Version of the installed neuronx-cc; None where its metadata is absent (then it is not checked)."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and only asked beside a compiler

    try:
        return version("neuronx-cc")
    except PackageNotFoundError:
        return None


def check_compiler(version: str) -> None:
    """Refuse a neuronx-cc that cannot compile legacy kernels; warn about one that is about to stop.

    Raises
    ------
    ImportError
        Names the version and the way out.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return
    release = (int(numbers[1]), int(numbers[2]))
    if release > LAST_WORKING:
        raise ImportError(
            f"neuronx-cc {version} is of SDK 2.30 or newer, where kernels in the legacy language (neuronxcc.nki) do "
            f"not compile or return zeros. Use neuronx-cc 2.23 (SDK 2.28), or set {VARIABLE}=emulator to run on the "
            "CPU"
        )
    if release > LAST_QUIET:
        warnings.warn(
            f"neuronx-cc {version} (SDK 2.29) is the last that compiles kernels in the legacy language "
            "(neuronxcc.nki); stay on SDK 2.28 or 2.29",
            LegacyKernelWarning,
            stacklevel=4,
        )


def kernel_name() -> str:
    """The module that holds the kernel: our own, or the one that ``NKIFIX_KERNEL`` names."""
    return os.environ.get(KERNEL_VARIABLE) or KERNEL


@functools.cache
def kernel_module() -> ModuleType:
    """The kernel's module, loaded for the chosen backend; the same one at every call.

    Raises
    ------
    ImportError
        See :func:`chosen` and :func:`check_compiler`; or the emulator is needed and nkifix is not installed; or
        ``NKIFIX_KERNEL`` names no module with a kernel.
    """
    if chosen() == "emulator":
        return _emulated()
    version = compiler_version()
    if version is not None:
        check_compiler(version)
    return _import(kernel_name())


def _import(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports something that is missing
        raise ImportError(
            f"{KERNEL_VARIABLE}={name}: there is no such module; install the package that nkifix vendor made "
            "(pip install DIR), or unset the variable"
        ) from error
    missing = [wanted for wanted in ("flash_fwd", "FlashConfig") if not hasattr(module, wanted)]
    if missing and name != KERNEL:
        raise ImportError(
            f"{KERNEL_VARIABLE}={name}: this module has no {' and no '.join(missing)}; name one that has both, such as "
            "the package that nkifix vendor makes"
        )
    return module


def _emulated() -> ModuleType:
    try:
        from nkifix.emulator import serving
    except ImportError as error:
        raise ImportError(
            f"there is no neuronxcc here, and its emulator is missing too ({error}): pip install nkifix"
        ) from error
    name = kernel_name()
    with serving(beside_real=True):
        module = _import(name)
        root = name.partition(".")[0]
        kept = {other: loaded for other, loaded in sys.modules.items() if other.partition(".")[0] == root}
    # What was imported while neuronxcc was served is forgotten afterwards; the kernel is to stay.
    sys.modules.update(kept)
    package, _, last = name.rpartition(".")
    if package:
        setattr(sys.modules[package], last, module)
    warnings.warn(
        "vendored_kernel runs on nkifix's CPU emulator of NKI, not on a NeuronCore"
        + (f" ({VARIABLE}=emulator)" if os.environ.get(VARIABLE) == "emulator" else " (neuronxcc is not installed)"),
        EmulatedKernelWarning,
        stacklevel=4,
    )
    return module
