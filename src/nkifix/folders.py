"""New folders, whole or not at all.

What belongs together is written to a hidden folder beside its place, flushed to the disk and renamed, so a kill at any
moment leaves either nothing there or everything (a stray ``.nkifix-*.tmp`` may be left).
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nkifix.errors import RefusalError

_ANY_WRITE_BIT = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def check_new(path: Path) -> Path:
    """Return the folder that ``path`` names if :func:`write_new` could make it.

    Raises
    ------
    RefusalError
        Something is there already, or the folder above it is missing or may not be written.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100  a link in the path stays what the user wrote
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise _refusal("this is no directory", path, "it would have to be replaced", "name a new or an empty directory")
    if target.is_dir() and any(target.iterdir()):
        raise _refusal("the directory is not empty", path, "its files could get mixed up with the new ones", _ANOTHER)
    if not target.parent.is_dir():
        raise _refusal(
            "there is no directory above it", path, f"{target.parent} is missing", f"mkdir -p {target.parent}"
        )
    for folder in (target.parent, target) if target.is_dir() else (target.parent,):
        if not (folder.stat().st_mode & _ANY_WRITE_BIT and os.access(folder, os.W_OK | os.X_OK)):
            raise _refusal("the directory is read-only", path, f"{folder} may not be written", _ANOTHER)
    return target


def write_new(path: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder ``path`` with ``files``: path in it -> content. An empty one may be there.

    Raises
    ------
    RefusalError
        As :func:`check_new`, or the system refuses; nothing was written.
    """
    target = check_new(path)
    try:
        stage = Path(tempfile.mkdtemp(prefix=".nkifix-", suffix=".tmp", dir=target.parent))
        try:
            stage.chmod(0o777 & ~_umask())
            for name, data in files.items():
                _write(stage / name, data)
            stage.replace(target)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
    except OSError as error:
        raise _refusal("the directory cannot be written", path, error.strerror or str(error), _ANOTHER) from error


_ANOTHER = "name another directory"


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _umask() -> int:
    """Return the mask that the process creates files with; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refusal(what: str, path: Path, why: str, next_step: str) -> RefusalError:
    return RefusalError(what, where=str(path), why=why, next_step=next_step)
