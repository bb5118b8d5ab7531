"""Where the kernel file is: in an installed package, in a checkout, or at a path. Nothing is imported to find out."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nkifix.errors import RefusalError

PACKAGE = "neuronx_distributed_inference"
MODULE = f"{PACKAGE}.modules.sliding_window.attention"
INSIDE_SITE = PurePosixPath(*MODULE.split(".")).with_suffix(".py")
"""The file's path from the folder that is on ``sys.path``, as a wheel's RECORD spells it."""
IN_CHECKOUT = "src" / INSIDE_SITE
"""The file's path in a clone of neuronx-distributed-inference."""

_RECORD = "RECORD"


@dataclass(frozen=True)
class Kernel:
    """A kernel file, and the record of the wheel that it came in."""

    path: Path
    record: Path | None
    """The RECORD that lists the file; None where no wheel installed it (a checkout, an editable install)."""
    entry: str = str(INSIDE_SITE)
    """The file's name in that record."""


def installed() -> Kernel:
    """Return the kernel file of the package that ``import neuronx_distributed_inference`` would find.

    Raises
    ------
    RefusalError
        No such package is found, or it has no such file.
    """
    folders = _package_folders()
    if not folders:
        raise RefusalError(
            f"{PACKAGE} is not installed in this environment",
            why="no entry of sys.path leads to it",
            next_step="run nkifix with the interpreter of your Neuron environment, or name the file with --path",
        )
    for folder in folders:
        file = folder.joinpath(*INSIDE_SITE.parts[1:])
        if file.is_file():
            return _kernel(file)
    raise RefusalError(
        f"the installed {PACKAGE} has no file {INSIDE_SITE.relative_to(PACKAGE)}",
        where=str(folders[0]),
        why="the kernel file came with SDK 2.26 (v0.6.10598)",
        next_step="nothing needs a fix here; if your copy lies elsewhere, name it with --path",
    )


def at(path: Path) -> Kernel:
    """Return the kernel file at ``path``: itself, or in a package, a site-packages or a checkout of that path.

    Raises
    ------
    RefusalError
        There is no such file.
    """
    if not path.is_dir():
        if not path.is_file():
            raise RefusalError("there is no such file", where=str(path), next_step="check the path")
        return _kernel(path)
    for candidate in (INSIDE_SITE, IN_CHECKOUT, INSIDE_SITE.relative_to(PACKAGE)):
        file = path / candidate
        if file.is_file():
            return _kernel(file)
    raise RefusalError(
        "this folder does not hold the kernel file",
        where=str(path),
        why=f"it has neither {INSIDE_SITE} nor {IN_CHECKOUT}",
        next_step="name the attention.py itself",
    )


def _package_folders() -> list[Path]:
    try:
        spec = importlib.util.find_spec(PACKAGE)  # a top-level name: finders look, and nothing is executed
    except (ImportError, ValueError):  # ValueError: it stands in sys.modules without a spec
        return []
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def _kernel(file: Path) -> Kernel:
    site = file.absolute()
    for part in reversed(INSIDE_SITE.parts):
        if site.name != part:
            return Kernel(file, None)
        site = site.parent
    listed = f"\n{INSIDE_SITE},".encode()
    for record in sorted(_records(site)):
        if listed in b"\n" + record.read_bytes():
            return Kernel(file, record)
    return Kernel(file, None)


def _records(site: Path) -> Iterator[Path]:
    for info in site.glob("*.dist-info"):
        if (record := info / _RECORD).is_file():
            yield record
