"""The only writer of a user's files: whole or not at all, with a backup and an undo.

A write goes to a temporary file in the target's own directory, is flushed to the disk and renamed over the target, so
a kill at any moment leaves either the old bytes or the new ones, never a part (a stray ``.nkifix-*.tmp`` may be left).

Kept
    The mode, the owner and group (where the system lets us), extended attributes, and symbolic links: the link stays,
    the file that it points to is replaced.
Refused
    A file with several hard links. A rename would cut it off from its other names and a write in place would not be
    atomic, so neither promise could be kept. (uv and conda link installed files to their caches: there, writing in
    place would also change every other environment.)
    A file or directory without a write permission bit, even for root, who could write to it.
    A file that changed after it was read.
Backup
    The old bytes stay beside the target as ``NAME.nkifix-orig-DIGEST``, where DIGEST is taken from the bytes that were
    written. :func:`undo` looks for the backup of the bytes it finds, so it restores only what was written here and
    refuses a file that was edited since. Several writes in a row are undone one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nkifix.errors import RefusalError

BACKUP_MARK = ".nkifix-orig-"
"""What stands between a file's name and the digest in the name of its backup."""

_DIGEST_CHARS = 16
_ANY_WRITE_BIT = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Change:
    """One file to write: ``before`` is what was read from ``path``, ``after`` is what it shall hold."""

    path: Path
    before: bytes
    after: bytes


def read(path: Path) -> bytes:
    """Return the bytes of a regular file, following symbolic links.

    Raises
    ------
    RefusalError
        The file is missing, is no regular file, or cannot be read.
    """
    target = resolve(path)
    with _refusing(path, "cannot be read"):
        return target.read_bytes()


def resolve(path: Path) -> Path:
    """Return the regular file behind ``path``, with all symbolic links followed.

    Raises
    ------
    RefusalError
        Nothing is there, or it is no regular file.
    """
    try:
        target = Path(os.path.realpath(path, strict=True))
        mode = target.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise RefusalError(
            "there is no such file", where=str(path), why=_reason(error), next_step="check the path"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise RefusalError(
            f"this is {kind}",
            where=str(path),
            why="a fix is made to one Python file",
            next_step="name the kernel file itself, for example DIRECTORY/attention.py",
        )
    return target


def check_writable(path: Path) -> Path:
    """Return the file behind ``path`` if :func:`write` could replace it.

    Raises
    ------
    RefusalError
        It could not; the reason says which rule of this module stands against it.
    """
    target = resolve(path)
    status = target.stat()
    _require_write_permission(target, status.st_mode, os.W_OK)
    _require_write_permission(target.parent, target.parent.stat().st_mode, os.W_OK | os.X_OK)
    if status.st_nlink > 1:
        raise RefusalError(
            f"the file has {status.st_nlink} hard links",
            where=str(path),
            why="it cannot be replaced atomically without cutting those links; its other names, perhaps a package "
            "cache, would be changed or left behind",
            next_step=f"give it bytes of its own (cp -p {target} copy && mv copy {target}) and run this again",
        )
    return target


def write(path: Path, data: bytes, *, expected: bytes) -> Path:
    """Replace the content of ``path`` by ``data``, atomically, and return the backup's path.

    Parameters
    ----------
    path:
        The file; a symbolic link is followed and kept.
    data:
        The new content.
    expected:
        What the file held when ``data`` was made from it.

    Raises
    ------
    RefusalError
        The file cannot be replaced under the rules of this module, or no longer holds ``expected``. Nothing was
        changed.
    """
    target = check_writable(path)
    with _refusing(path, "cannot be written"):
        _require_content(target, expected)
        backup = _backup_of(target, data)
        with _saved_backup(target, backup, expected):
            _replace(target, data, expected=expected)
    return backup


def replace(path: Path, data: bytes, *, expected: bytes) -> None:
    """Replace the content of ``path`` by ``data``, atomically, without a backup: for what can be made again.

    Raises
    ------
    RefusalError
        As :func:`write`.
    """
    target = check_writable(path)
    with _refusing(path, "cannot be written"):
        _replace(target, data, expected=expected)


def put(path: Path, data: bytes) -> None:
    """Write a report: a new file, or the new content of an old one, atomically and without a backup.

    Raises
    ------
    RefusalError
        As :func:`write`.
    """
    with _refusing(path, "cannot be written"):
        path.touch()
        before = path.read_bytes()
    replace(path, data, expected=before)


def write_all(changes: Sequence[Change]) -> list[Path]:
    """Write several files, all or none, and return their backups.

    Each file is atomic by itself. If one is refused or the program is interrupted, those already written are undone;
    only a kill can leave some of them written, each of them whole.

    Raises
    ------
    RefusalError
        One of the files cannot be written; none was changed.
    """
    for change in changes:
        check_writable(change.path)
    try:
        return [write(change.path, change.after, expected=change.before) for change in changes]
    except BaseException:
        for change in reversed(changes):
            if read(change.path) == change.after:
                undo(change.path)
        raise


def undo(path: Path) -> None:
    """Restore the bytes that the last :func:`write` to ``path`` replaced, and remove their backup.

    Raises
    ------
    RefusalError
        The file does not hold what was written (it was edited since, or never written here), or cannot be replaced.
    """
    target = check_writable(path)
    current = read(target)
    backup = _backup_to_restore(path, target, current)
    with _refusing(path, "cannot be restored"):
        _replace(target, backup.read_bytes(), expected=current)
        with contextlib.suppress(OSError):  # the file is restored; a backup left behind does no harm
            backup.unlink()


def history(path: Path) -> list[Path]:
    """Return the backups that :func:`undo` would restore one after the other, the last write's first.

    Raises
    ------
    RefusalError
        The file, or a backup, cannot be read.
    """
    target = resolve(path)
    found: list[Path] = []
    current = read(target)
    while (backup := _backup_of(target, current)).is_file() and backup not in found:
        found.append(backup)
        current = read(backup)
    return found


def find_backup(path: Path) -> Path:
    """Return the backup that :func:`undo` would restore, and change nothing.

    Raises
    ------
    RefusalError
        :func:`undo` would refuse.
    """
    target = check_writable(path)
    return _backup_to_restore(path, target, read(target))


def _backup_to_restore(path: Path, target: Path, current: bytes) -> Path:
    backup = _backup_of(target, current)
    if not backup.is_file():
        raise _nothing_to_undo(path, target)
    return backup


def _nothing_to_undo(path: Path, target: Path) -> RefusalError:
    others = sorted(other.name for other in target.parent.iterdir() if other.name.startswith(target.name + BACKUP_MARK))
    if not others:
        return RefusalError(
            "there is nothing to undo",
            where=str(path),
            why=f"no backup ({target.name}{BACKUP_MARK}…) stands beside it",
            next_step="if it is under version control, restore it from there",
        )
    return RefusalError(
        "the file no longer holds what was written",
        where=str(path),
        why="it was changed since, and undoing would lose that change",
        next_step=f"compare it by hand with {', '.join(others)}",
    )


def _backup_of(target: Path, written: bytes) -> Path:
    digest = hashlib.sha256(written).hexdigest()[:_DIGEST_CHARS]
    return target.with_name(f"{target.name}{BACKUP_MARK}{digest}")


@contextlib.contextmanager
def _saved_backup(target: Path, backup: Path, data: bytes) -> Iterator[None]:
    """Have ``backup`` hold ``data``, what ``target`` holds; take it away if the body fails to replace that."""
    if backup.exists():
        if backup.read_bytes() != data:
            raise RefusalError(
                "an older backup with other content is in the way",
                where=str(backup),
                why="overwriting it would lose what it holds",
                next_step="move it elsewhere and run this again",
            )
        yield
        return
    with _temporary(backup.parent, data, like=target) as temporary:
        temporary.replace(backup)
    try:
        yield
    except BaseException:
        if target.read_bytes() == data:  # an interrupt may come right after the rename
            backup.unlink(missing_ok=True)
        raise


def _replace(target: Path, data: bytes, *, expected: bytes) -> None:
    """Rename a new file holding ``data`` over ``target``, unless the target changed meanwhile."""
    with _temporary(target.parent, data, like=target) as temporary:
        _require_content(target, expected)
        temporary.replace(target)
    _flush_directory(target.parent)


@contextlib.contextmanager
def _temporary(directory: Path, data: bytes, *, like: Path) -> Iterator[Path]:
    """Make a file in ``directory``, on the disk, with the owner, mode and attributes of ``like``, to be renamed."""
    descriptor, name = tempfile.mkstemp(prefix=".nkifix-", suffix=".tmp", dir=directory)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _copy_status(like, temporary)
            os.fsync(file.fileno())
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_status(source: Path, target: Path) -> None:
    """Give ``target`` the owner, mode and extended attributes of ``source``, but the present time."""
    status = source.stat()
    try:
        os.chown(target, status.st_uid, status.st_gid)
        owner_kept = True
    except PermissionError:
        owner_kept = False
    shutil.copystat(source, target)
    if not owner_kept:  # set-user-id and set-group-id must not pass to another owner
        target.chmod(stat.S_IMODE(status.st_mode) & 0o777)
    os.utime(target)  # a kept time stamp would hide the change from make and from Python's byte-code cache


def _flush_directory(directory: Path) -> None:
    """Put the rename itself on the disk, where the file system offers that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_content(target: Path, expected: bytes) -> None:
    if target.read_bytes() != expected:
        raise RefusalError(
            "the file changed while it was being worked on",
            where=str(target),
            why="another program wrote to it, and its change would be lost",
            next_step="run this again",
        )


def _require_write_permission(target: Path, mode: int, access: int) -> None:
    if mode & _ANY_WRITE_BIT and os.access(target, access):
        return
    kind = "directory" if stat.S_ISDIR(mode) else "file"
    raise RefusalError(
        f"the {kind} is read-only",
        where=str(target),
        why=f"its mode is {stat.S_IMODE(mode):04o}, and a read-only {kind} is left alone, even by root",
        next_step=f"chmod u+w {target}, or work on a copy elsewhere",
    )


@contextlib.contextmanager
def _refusing(path: Path, what: str) -> Iterator[None]:
    """Turn an operating-system error into a refusal."""
    try:
        yield
    except OSError as error:
        raise RefusalError(
            f"the file {what}",
            where=str(path),
            why=_reason(error),
            next_step="nothing was changed; remove the cause and run this again",
        ) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
