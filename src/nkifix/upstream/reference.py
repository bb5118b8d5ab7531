"""Reading the user's upstream: the kernel file, where it is from, and the licence that it is under."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nkifix import atomic, git
from nkifix.errors import RefusalError
from nkifix.upstream import locate

INSTALLED = "installed"
GIT = "git:"
FORMS = f"PATH/attention.py, {GIT}REPO@REV[:path] or {INSTALLED}"
_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md")
_NOTICES = ("NOTICE", "NOTICE.txt")
_APACHE = re.compile(rb"Apache License\s+Version 2\.0", re.IGNORECASE)
_URL_SECRET = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True)
class Upstream:
    """The user's kernel file and what a copy of it must carry."""

    where: str
    """For messages: the file, or repository, commit and path."""
    path: str
    """The file's path in its repository, as patches name it."""
    data: bytes
    licence: bytes
    notice: bytes | None
    repository: str | None = None
    """Its origin's address, or its folder's name; None where it came from no repository."""
    commit: str | None = None

    @property
    def blob(self) -> str:
        """Git's id of the content."""
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data, usedforsecurity=False).hexdigest()


def read(reference: str, *, licence_file: Path | None = None) -> Upstream:
    """Return the upstream that ``reference`` names, without executing anything of it.

    Parameters
    ----------
    reference:
        One of :data:`FORMS`; for a repository, the path defaults to the kernel's in a clone.
    licence_file:
        The licence's text, for a file that has none beside it.

    Raises
    ------
    RefusalError
        There is no such file, or its licence is not found or is another than Apache-2.0.
    """
    if reference.startswith(GIT):
        return _from_git(reference, licence_file)
    kernel = locate.installed() if reference == INSTALLED else locate.at(Path(reference))
    folders = [kernel.record.parent, kernel.record.parent / "licenses"] if kernel.record else []
    folders += _checkout_of(kernel.path)
    return Upstream(
        where=str(kernel.path),
        path=str(locate.IN_CHECKOUT),
        data=atomic.read(kernel.path),
        licence=_licence(licence_file, _first(folders, _LICENCES), str(kernel.path)),
        notice=_first(folders, _NOTICES),
    )


def _from_git(reference: str, licence_file: Path | None) -> Upstream:
    folder, at, rest = reference[len(GIT) :].rpartition("@")
    revision, _, path = rest.partition(":")
    if not (folder and at and revision):
        raise RefusalError(
            f"{reference!r} names no file of a repository",
            next_step=f"write {GIT}REPO@REV[:path], for example {GIT}clone@v0.7.14366",
        )
    repository, path = Path(folder), path or str(locate.IN_CHECKOUT)
    commit = git.commit_of(repository, revision)
    where = f"{folder}@{revision}:{path}"
    data = git.file_at(repository, commit, path)
    if data is None:
        raise RefusalError(
            "the repository has no such file at this revision",
            where=where,
            why="the kernel file came with v0.6.10598" if path == str(locate.IN_CHECKOUT) else None,
            next_step=f"name another revision, or the file: {GIT}REPO@REV:path",
        )
    files = {name: git.file_at(repository, commit, name) for name in (*_LICENCES, *_NOTICES)}
    found = next((files[name] for name in _LICENCES if files[name]), None)
    notice = next((files[name] for name in _NOTICES if files[name]), None)
    url = git.remote_url(repository)
    return Upstream(
        where=where,
        path=path,
        data=data,
        licence=_licence(licence_file, found, where),
        notice=notice,
        repository=_URL_SECRET.sub("", url) if url else repository.resolve().name,
        commit=commit,
    )


def _checkout_of(file: Path) -> list[Path]:
    """Return the folder of a checkout that holds the file at its place, if it lies in one."""
    depth = len(PurePosixPath(locate.IN_CHECKOUT).parts)
    parents = file.absolute().parents
    is_checkout = file.absolute().as_posix().endswith(f"/{locate.IN_CHECKOUT}")
    return [parents[depth - 1]] if is_checkout else [file.absolute().parent]


def _first(folders: list[Path], names: tuple[str, ...]) -> bytes | None:
    files = (folder / name for folder in folders for name in names)
    return next((file.read_bytes() for file in files if file.is_file()), None)


def _licence(given: Path | None, found: bytes | None, where: str) -> bytes:
    text = found if given is None else atomic.read(given)
    if text is None:
        raise RefusalError(
            "the licence of this file is not found",
            where=where,
            why="a copy of the kernel must carry its licence, and nkifix carries no text of upstream",
            next_step="vendor from a clone (git:REPO@REV), or name the text with --license FILE",
        )
    if not _APACHE.search(text):
        raise RefusalError(
            "the licence of this file is not the Apache License 2.0",
            where=str(given or where),
            why="its duties for changed copies are the only ones that nkifix knows to meet",
            next_step="vendor from a clone of the public repository (git:REPO@REV)",
        )
    return text
