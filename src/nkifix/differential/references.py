"""Naming a kernel in one word: which file, which function, which fixes.

    vendored                            the kernel that nkifix ships beside itself
    PATH/attention.py[:function]        a file, or the file's place in a checkout of NxDI
    installed                           the kernel of the installed neuronx-distributed-inference
    git:REPO@REV[:path]                 a file of a revision; path defaults to NxDI's kernel
    nki-samples:REPO@REV                the reference kernel of a clone of nki-samples

Each may end in ``+fix`` (the misspelled name alone), ``+fix:full`` (every fix) or ``+fix:id,id``. Files are read and
fixed as bytes; nothing is imported here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from nkifix import git
from nkifix.codemod import SERIES, AlreadyFixed, NotRecognised, apply, select
from nkifix.differential.kernels import FUNCTION
from nkifix.errors import RefusalError

VENDORED = "vendored"
INSTALLED = "installed"
NXDI_KERNEL = "src/neuronx_distributed_inference/modules/sliding_window/attention.py"
"""Where NxDI keeps its kernel (SDK 2.26 and 2.27)."""

SAMPLES_KERNEL = "src/nki_samples/reference/attention.py"
"""Where nki-samples kept its own, until 2026-01-20 (revision 8370e11 is the last with it)."""

_PARTS = re.compile(r"(?P<place>.+?)(?P<fixed>\+fix(?::(?P<fixes>[\w-]+(?:,[\w-]+)*))?)?", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """A kernel that was named and read.

    Attributes
    ----------
    name:
        What the user wrote.
    file:
        The file's name in reports: a path, or ``REV:path``.
    source:
        The file's bytes, fixed as asked.
    function:
        The kernel function in it.
    fixes:
        Ids of the fixes that changed the bytes.
    """

    name: str
    file: str
    source: bytes
    function: str = FUNCTION
    fixes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.source).hexdigest()


def resolve(name: str) -> Reference:
    """Read the kernel that ``name`` stands for, and fix it as ``name`` says.

    Raises
    ------
    RefusalError
        There is no such file, revision or fix; or a fix does not recognise the file.
    """
    parts = _PARTS.fullmatch(name)
    if parts is None:
        raise RefusalError("a kernel's name is empty", next_step="write vendored, PATH or git:REPO@REV")
    place = parts["place"]
    if place == VENDORED:
        file, source, function = _vendored()
    elif place == INSTALLED:
        file, source, function = _installed()
    elif place.startswith("git:"):
        file, source, function = _of_revision(place)
    elif place.startswith("nki-samples:"):
        file, source, function = _of_revision(place.replace("nki-samples:", "git:", 1), SAMPLES_KERNEL)
    else:
        file, source, function = _of_path(place)
    read = Reference(name, file, source, function)
    return read if parts["fixed"] is None else _fixed(read, parts["fixes"] or "typo")


def _vendored() -> tuple[str, bytes, str]:
    spec = find_spec("vendored_kernel")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise RefusalError(
            "the package vendored_kernel is not installed here",
            next_step="install nkifix as a package, or name a file: PATH/attention.py",
        )
    return "vendored_kernel/kernel.py", _read(Path(places[0]) / "kernel.py"), FUNCTION


def _installed() -> tuple[str, bytes, str]:
    from nkifix.upstream import locate

    path = locate.installed().path
    return str(path), _read(path), FUNCTION


def _of_path(place: str) -> tuple[str, bytes, str]:
    path, function = Path(place), FUNCTION
    match = re.fullmatch(r"(.+):([^\W\d]\w*)", place)
    if match and not path.exists():
        path, function = Path(match[1]), match[2]
    if path.is_dir():
        path = path / NXDI_KERNEL
    return str(path), _read(path), function


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusalError(
            f"the kernel file cannot be read: {error.strerror}",
            where=str(path),
            next_step="name vendored, PATH/attention.py, a checkout of NxDI, or git:REPO@REV",
        ) from error


def _of_revision(place: str, default_path: str = NXDI_KERNEL) -> tuple[str, bytes, str]:
    match = re.fullmatch(r"git:(?P<repository>.+)@(?P<revision>[^:@-][^:@]*)(?::(?P<path>.+))?", place)
    if match is None:
        raise RefusalError(
            f"{place!r} does not name a file of a revision", next_step="write git:REPO@REV or git:REPO@REV:path"
        )
    path = match["path"] or default_path
    wanted = f"{match['revision']}:{path}"
    if shutil.which("git") is None:
        raise RefusalError("git is not installed", next_step="install git, or name a file")
    repository = Path(match["repository"])
    try:
        source = git.file_at(repository, git.commit_of(repository, match["revision"]), path)
    except git.GitError as error:
        raise _not_shown(wanted, match["repository"], error.why or error.what) from error
    if source is None:
        raise _not_shown(wanted, match["repository"], "the revision has no such file")
    return wanted, source, FUNCTION


def _not_shown(wanted: str, repository: str, why: str) -> RefusalError:
    return RefusalError(
        f"git cannot show {wanted}",
        where=repository,
        why=why,
        next_step="give a clone that holds the revision, and the file's path in it",
    )


def _fixed(stock: Reference, wish: str) -> Reference:
    fixes = select(wish) if wish in SERIES else select(only=wish.split(","))
    outcome = apply(stock.source, fixes)
    if isinstance(outcome, NotRecognised):
        raise RefusalError(
            f"{outcome.fix} does not recognise this file" if outcome.fix else "this is no Python file that can be read",
            where=f"{stock.file}:{outcome.line}" if outcome.line else stock.file,
            why=outcome.reason,
            next_step="name the file that defines flash_fwd, or leave +fix out",
        )
    if isinstance(outcome, AlreadyFixed):
        return stock
    return replace(stock, source=outcome.data, fixes=outcome.fixes)
