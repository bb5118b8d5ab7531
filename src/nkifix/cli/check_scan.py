"""Reads the files of ``nkifix check`` and looks at each, in several processes where that pays."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nkifix.codemod.detect import check
from nkifix.codemod.unsure import UnsureError
from nkifix.errors import RefusalError

SUFFIX = ".py"
_CHUNK_FILES = 32
"""What one process takes at a time; fewer files than two chunks are not worth a second process."""
_SKIPPED_FOLDERS = {"__pycache__"}


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake in one file."""

    path: str
    line: int
    rule: str
    message: str


@dataclass
class Scan:
    """What was seen."""

    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Files that do not parse, each with the reason."""
    refusals: list[RefusalError] = field(default_factory=list)
    """Files that cannot be read."""

    def add(self, other: Scan) -> None:
        """Take over another part."""
        self.files += other.files
        self.findings += other.findings
        self.skipped += other.skipped
        self.refusals += other.refusals


def files_of(paths: Iterable[Path]) -> tuple[list[str], list[RefusalError]]:
    """Return the files to look at, each once, and a refusal for every path that cannot be listed."""
    found: dict[str, str] = {}
    refusals: list[RefusalError] = []
    for path in paths:
        if not path.is_dir():  # what is missing is refused when it is read
            found.setdefault(_identity(str(path)), str(path))
            continue
        for file in _below(path, refusals):
            found.setdefault(_identity(file), file)
    return list(found.values()), refusals


def _identity(file: str) -> str:
    """Return what is the same for two names of one file."""
    try:
        return os.path.realpath(file)
    except ValueError:  # a NUL in the path, which reading it refuses
        return file


def _below(folder: Path, refusals: list[RefusalError]) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        refusals.append(_refusal("the folder cannot be listed", str(error.filename), error))

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        for name in sorted(names):
            file = os.path.normpath(os.path.join(parent, name))  # noqa: PTH118  thousands of files
            if name.endswith(SUFFIX) and os.path.isfile(file):  # noqa: PTH113
                yield file


def scan(files: Sequence[str], *, jobs: int | None = None, progress: Callable[[str], None]) -> Scan:
    """Look at ``files`` and return what was seen, in the order of their names."""
    chunks = [files[start : start + _CHUNK_FILES] for start in range(0, len(files), _CHUNK_FILES)]
    workers = min(jobs or os.cpu_count() or 1, len(chunks))
    total = Scan()
    if workers < 2:
        with _no_collections():
            for file in files:
                progress(file)
                total.add(_look([file]))
    else:
        from concurrent.futures import ProcessPoolExecutor  # one file is looked at without it

        with ProcessPoolExecutor(workers) as pool:
            for chunk, part in zip(chunks, pool.map(_look, chunks), strict=True):
                for file in chunk:
                    progress(file)
                total.add(part)
    total.findings.sort()
    return total


@contextmanager
def _no_collections() -> Iterator[None]:
    """Spare the search for reference cycles: trees have none, and reading a kernel takes a fifth less without."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _look(files: Sequence[str]) -> Scan:
    result = Scan(files=len(files))
    for file in files:
        try:
            data = Path(file).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            result.refusals.append(_refusal("the file cannot be read", file, error))
            continue
        try:
            result.findings += [Finding(file, one.line, one.rule, one.message) for one in check(data)]
        except UnsureError as error:
            result.skipped.append((file, error.reason))
    return result


def _refusal(what: str, where: str, error: Exception) -> RefusalError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return RefusalError(what, where=where, why=reason, next_step="check the path and its permissions")
