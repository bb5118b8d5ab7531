"""Which versions fit one another, and what is installed here.

Source of the table: the SDK version manifest (AWS Neuron documentation, as of August 2026). What happens to kernels in
the legacy language (``neuronxcc.nki``): NKI's release notes, and nki-samples #134 for SDK 2.32.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Legacy(Enum):
    """What becomes of a kernel in the legacy language."""

    WORKS = "works"
    WARNS = "works, with a warning"
    REFUSED = "compile error"
    ZEROS = "compile error; baremetal returns zeros"


@dataclass(frozen=True)
class Release:
    """One Neuron SDK."""

    sdk: str
    compiler: str
    """neuronx-cc, as far as it tells the release."""
    nki: str | None
    """The package ``nki``, which came with SDK 2.27."""
    instances: tuple[str, ...]
    python: tuple[tuple[int, int], tuple[int, int]]
    """Lowest and highest."""
    legacy: Legacy


_TO_TRN2 = ("trn1", "inf2", "trn2")
_TO_TRN3 = (*_TO_TRN2, "trn3")
RELEASES = (
    Release("2.24", "2.19.8089", None, _TO_TRN2, ((3, 9), (3, 11)), Legacy.WORKS),
    Release("2.25", "2.20.9961", None, _TO_TRN2, ((3, 9), (3, 11)), Legacy.WORKS),
    Release("2.26.0", "2.21.18209", None, _TO_TRN2, ((3, 9), (3, 11)), Legacy.WORKS),
    Release("2.26.1", "2.21.33363", None, _TO_TRN2, ((3, 9), (3, 11)), Legacy.WORKS),
    Release("2.27", "2.22.12471", "0.1.0", _TO_TRN2, ((3, 10), (3, 12)), Legacy.WORKS),
    Release("2.28", "2.23.6484", "0.2.0", _TO_TRN2, ((3, 10), (3, 12)), Legacy.WORKS),
    Release("2.29.0", "2.24.5133", "0.3.0", _TO_TRN3, ((3, 10), (3, 12)), Legacy.WARNS),
    Release("2.29.1", "2.24.8799", "0.3.0", _TO_TRN3, ((3, 10), (3, 12)), Legacy.WARNS),
    Release("2.30", "2.25.3371", "0.4.0", _TO_TRN3, ((3, 11), (3, 13)), Legacy.REFUSED),
    Release("2.31", "2.26.6360", "0.5.0", _TO_TRN3, ((3, 11), (3, 13)), Legacy.REFUSED),
    Release("2.32", "2.27.5334", "0.6.0", _TO_TRN3, ((3, 11), (3, 13)), Legacy.ZEROS),
)

PACKAGES = (
    "neuronx-cc",
    "nki",
    "torch-xla",
    "torch-neuronx",
    "neuronx-distributed-inference",
    "torch",
    "numpy",
    "nkifix",
)
"""Distributions that matter; the first four make the device's lane."""
TORCH_NEURONX = ((2, 6), (2, 9))
"""Lowest and highest torch-neuronx of these releases."""


class Level(Enum):
    """How much a remark matters."""

    FINE = "fine"
    HEED = "heed"
    """It runs, or another way remains."""
    REFUSED = "refused"
    """It cannot work so."""


@dataclass(frozen=True)
class Remark:
    """One sentence about this environment, and what to do."""

    level: Level
    what: str
    next_step: str = ""


Versions = dict[str, str | None]


def installed() -> Versions:
    """Return the version of each of :data:`PACKAGES`, None where it is absent; nothing is imported."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def release_of(compiler: str) -> Release | None:
    """Return the release that a version of neuronx-cc belongs to; its minor version decides, its build the patch."""
    same_minor = [release for release in RELEASES if _minor(release.compiler) == _minor(compiler)]
    exact = [release for release in same_minor if _numbers(compiler)[:3] == _numbers(release.compiler)]
    return next(iter(exact or same_minor), None)


def remarks(versions: Versions, python: Sequence[int] | None = None) -> list[Remark]:
    """Return what there is to say about these versions and this (or another) Python, the compiler first."""
    compiler = versions["neuronx-cc"]
    if compiler is None:
        return [_without_compiler(versions)]
    release = release_of(compiler)
    if release is None:
        return [_unknown_compiler(compiler)]
    every = (
        _legacy(compiler, release),
        _pair(compiler, versions["nki"], release),
        _python(tuple(python or sys.version_info[:2]), release),
        _torch_xla(versions, release),
        _torch_neuronx(versions["torch-neuronx"], release),
    )
    return [remark for remark in every if remark is not None]


def _without_compiler(versions: Versions) -> Remark:
    if versions["nki"] is not None:
        return Remark(
            Level.HEED,
            f"nki {versions['nki']} is installed without neuronx-cc, so this kernel cannot be compiled here.",
            "install the neuronx-cc of the same SDK, or use nkifix's emulator: nkifix run SCRIPT",
        )
    return Remark(
        Level.FINE,
        "No Neuron compiler is installed: kernels run on nkifix's emulator on this CPU.",
        "nkifix run SCRIPT",
    )


def _unknown_compiler(compiler: str) -> Remark:
    newest = RELEASES[-1]
    if _numbers(compiler) > _numbers(newest.compiler):
        return Remark(
            Level.REFUSED,
            f"neuronx-cc {compiler} is newer than any release known here, and none since SDK 2.30 compiles kernels in "
            "the legacy language.",
            "use SDK 2.28 (neuronx-cc 2.23) for this kernel",
        )
    return Remark(
        Level.REFUSED,
        f"neuronx-cc {compiler} is of no release known here (2.19 to {_text(_minor(newest.compiler))}).",
        "install neuronx-cc 2.23 (SDK 2.28)",
    )


def _legacy(version: str, release: Release) -> Remark:
    compiler = f"neuronx-cc {version} (SDK {release.sdk})"
    if release.legacy is Legacy.WORKS:
        return Remark(Level.FINE, f"{compiler} compiles kernels in the legacy language.")
    if release.legacy is Legacy.WARNS:
        return Remark(
            Level.HEED,
            f"{compiler} is the last that compiles kernels in the legacy language, and warns about them.",
            "stay on SDK 2.28 or 2.29; on Trn1 and Inf2, 2.28 is AWS's own advice",
        )
    zeros = ", and its baremetal returns zeros without an error" if release.legacy is Legacy.ZEROS else ""
    return Remark(
        Level.REFUSED,
        f"{compiler} does not compile kernels in the legacy language{zeros}.",
        "use SDK 2.28 (neuronx-cc 2.23) for this kernel, or run it on the emulator: nkifix run SCRIPT",
    )


def _pair(compiler: str, nki: str | None, release: Release) -> Remark | None:
    if nki is None or (release.nki is not None and _minor(nki) == _minor(release.nki)):
        return None
    wanted = f"nki {release.nki}" if release.nki else "no package nki"
    return Remark(
        Level.REFUSED,
        f"nki {nki} does not belong to neuronx-cc {compiler}: SDK {release.sdk} has {wanted}.",
        f"pip install nki=={release.nki}" if release.nki else "pip uninstall nki",
    )


def _python(python: tuple[int, ...], release: Release) -> Remark | None:
    low, high = release.python
    if low <= python <= high:
        return None
    return Remark(
        Level.REFUSED,
        f"Python {_text(python)} is none of SDK {release.sdk}, which takes {_text(low)} to {_text(high)}.",
        f"make the environment with Python {_text(high)}",
    )


def _torch_xla(versions: Versions, release: Release) -> Remark | None:
    missing = [name for name in ("torch-xla", "torch-neuronx") if versions[name] is None]
    if not missing:
        return None
    return Remark(
        Level.HEED,
        f"{' and '.join(missing)} not installed: kernels compile, but no torch program reaches a NeuronCore.",
        f"install what SDK {release.sdk} lists, or use nkifix run --torch-xla-stub",
    )


def _torch_neuronx(found: str | None, release: Release) -> Remark | None:
    low, high = TORCH_NEURONX
    if found is None or low <= _minor(found) <= high:
        return None
    return Remark(
        Level.HEED,
        f"torch-neuronx {found} is none of these SDKs', which have {_text(low)} to {_text(high)}.",
        f"install the torch-neuronx that SDK {release.sdk} lists",
    )


def _numbers(version: str) -> tuple[int, ...]:
    head = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in head[0].split(".")[:3]) if head else ()


def _minor(version: str) -> tuple[int, ...]:
    return _numbers(version)[:2]


def _text(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))
