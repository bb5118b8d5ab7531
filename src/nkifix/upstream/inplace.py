"""Fixing the installed kernel in place, and taking it back.

Two files change: the kernel and, where a wheel installed it, the wheel's RECORD. Each is replaced atomically, and what
is to be done next can always be told from what the two hold, so a run that was killed is finished by the next one,
whether that applies or reverts:

- applying writes the backup, the kernel, then the record;
- reverting writes the record, the kernel, then removes the backup.

One run at a time: a lock on the kernel's folder, which ends with the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nkifix import atomic, codemod
from nkifix.errors import RefusalError
from nkifix.upstream import record
from nkifix.upstream.locate import Kernel

LOCK_WAIT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05
_REINSTALL = "pip install --force-reinstall --no-deps neuronx-distributed-inference puts the package's own file back"
_PYC_HEADER_BYTES = 16
_UNCHECKED_HASH = 0b01
"""Flags of byte code that Python uses without looking at its source (PEP 552)."""


class State(Enum):
    """What the kernel file is, as far as the fixes asked about go."""

    STOCK = "stock"
    """At least one of the defects is in it."""
    FIXED_HERE = "fixed here"
    """None of them is in it, and a backup stands beside it."""
    FIXED_UPSTREAM = "fixed upstream"
    """None of them is in it, and nothing was done here."""
    UNKNOWN = "unknown"
    """A fix does not recognise it."""


@dataclass(frozen=True)
class Status:
    """One kernel file and its record."""

    kernel: Kernel
    state: State
    data: bytes
    outcome: codemod.Outcome
    backups: tuple[Path, ...]
    """The last write's first; the last one is what was installed."""
    settled: bool
    """Whether the record says what the kernel is; False after a run that was killed, or a change by hand."""


def inspect(kernel: Kernel, fixes: Sequence[codemod.Fix]) -> Status:
    """Return what the kernel file is; nothing is changed.

    Raises
    ------
    RefusalError
        The file or its record cannot be read.
    """
    data = atomic.read(kernel.path)
    outcome = codemod.apply(data, fixes)
    backups = tuple(atomic.history(kernel.path))
    if isinstance(outcome, codemod.Fixed):
        state = State.STOCK
    elif isinstance(outcome, codemod.NotRecognised):
        state = State.UNKNOWN
    else:
        state = State.FIXED_HERE if backups else State.FIXED_UPSTREAM
    settled = kernel.record is None or _settled_record(kernel, data, backups) == atomic.read(kernel.record)
    return Status(kernel, state, data, outcome, backups, settled)


def apply(kernel: Kernel, fixes: Sequence[codemod.Fix]) -> tuple[Status, Status]:
    """Fix the kernel file, or finish an earlier run that was killed; return what it was and what it is.

    Raises
    ------
    RefusalError
        The file is not recognised, was changed by others since it was installed, or cannot be replaced.
    """
    with _alone(kernel.path):
        before = inspect(kernel, fixes)
        if isinstance(before.outcome, codemod.NotRecognised):
            raise _unknown(kernel, before.outcome)
        if isinstance(before.outcome, codemod.Fixed):
            _require_own_content(before)
            _require_checked_byte_code(kernel.path)
            if kernel.record:
                atomic.check_writable(kernel.record)
            atomic.write(kernel.path, before.outcome.data, expected=before.data)
        if before.backups or before.state is State.STOCK:
            _settle(kernel)
        return before, inspect(kernel, fixes)


def revert(kernel: Kernel) -> tuple[Path, ...]:
    """Put back what was installed, and its record; return the backups that were used, none if there was none.

    Raises
    ------
    RefusalError
        The file was changed since it was fixed, or cannot be replaced.
    """
    with _alone(kernel.path):
        backups = tuple(atomic.history(kernel.path))
        if backups:
            atomic.check_writable(kernel.path)
            _write_record(kernel, atomic.read(backups[-1]), ())
        elif strays := _unused_backups(kernel.path):
            for stray in strays:
                stray.unlink()
        elif any(_backups_beside(kernel.path)):
            atomic.find_backup(kernel.path)  # refuses, and names the backups that do not fit
        for _ in backups:
            atomic.undo(kernel.path)
        return backups


def _backups_beside(path: Path) -> list[Path]:
    target = atomic.resolve(path)
    return sorted(target.parent.glob(f"{target.name}{atomic.BACKUP_MARK}*"))


def _unused_backups(path: Path) -> list[Path]:
    """Return backups of what the file holds anyway: a run was killed between backup and kernel."""
    data = atomic.read(path)
    return [backup for backup in _backups_beside(path) if backup.read_bytes() == data]


def _settle(kernel: Kernel) -> None:
    _write_record(kernel, atomic.read(kernel.path), tuple(atomic.history(kernel.path)))


def _write_record(kernel: Kernel, data: bytes, backups: tuple[Path, ...]) -> None:
    if kernel.record is None:
        return
    present = atomic.read(kernel.record)
    wanted = _settled_record(kernel, data, backups)
    if wanted != present:
        atomic.replace(kernel.record, wanted, expected=present)


def _settled_record(kernel: Kernel, data: bytes, backups: Sequence[Path]) -> bytes:
    assert kernel.record is not None
    contents = {backup.name: atomic.read(backup) for backup in backups}
    return record.truthful(atomic.read(kernel.record), kernel.entry, data, contents)


def _require_own_content(status: Status) -> None:
    """Refuse a file that somebody else changed after it was installed."""
    if status.kernel.record is None:
        return
    expected = record.listed(atomic.read(status.kernel.record), status.kernel.entry)
    known = {record.digest(status.data), *(record.digest(atomic.read(backup)) for backup in status.backups)}
    if expected is not None and expected not in known:
        raise RefusalError(
            "the file was changed after it was installed, and not by nkifix",
            where=str(status.kernel.path),
            why=f"{status.kernel.record} records another hash",
            next_step=f"{_REINSTALL}; or keep the change and use nkifix fix --write on the file",
        )


def _require_checked_byte_code(path: Path) -> None:
    cached = Path(importlib.util.cache_from_source(str(path)))
    with contextlib.suppress(OSError):
        header = cached.read_bytes()[:_PYC_HEADER_BYTES]
        if int.from_bytes(header[4:8], "little") & 0b11 == _UNCHECKED_HASH:
            raise RefusalError(
                "Python would not notice the fix",
                where=str(cached),
                why="this byte code was compiled so that its source is never looked at (unchecked-hash)",
                next_step=f"remove it, then run this again: rm {cached}",
            )


def _unknown(kernel: Kernel, outcome: codemod.NotRecognised) -> RefusalError:
    return RefusalError(
        f"{outcome.fix} does not recognise this file" if outcome.fix else "this is no Python file that can be read",
        where=f"{kernel.path}:{outcome.line}" if outcome.line else str(kernel.path),
        why=outcome.reason,
        next_step="nothing was changed; if it is a kernel with the defect, change it by hand, or "
        "use vendored_kernel instead of it",
    )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs out until this one is done, or dead."""
    folder = atomic.resolve(path).parent
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _no_lock(folder, error) from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while not _locked(descriptor, folder):
        if time.monotonic() > deadline:
            raise RefusalError(
                "another nkifix is at work here",
                where=str(folder),
                why=f"it has held its lock for more than {LOCK_WAIT_SECONDS:g} seconds",
                next_step="wait for it, or end it, and run this again",
            )
        time.sleep(_LOCK_POLL_SECONDS)


def _locked(descriptor: int, folder: Path) -> bool:
    """Try to take the lock; it is held until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise _no_lock(folder, error) from error
    return True


def _no_lock(folder: Path, error: OSError) -> RefusalError:
    return RefusalError(
        "the folder cannot be locked against a second run",
        where=str(folder),
        why=error.strerror or str(error),
        next_step="use python -m nkifix autofix, which changes no file, or nkifix vendor",
    )
