"""A clone that is read, and the temporary repository in which commits are made instead of in it.

The temporary one borrows the clone's objects and never writes to them. Files are stored and taken out as the bytes they
are: commits are made without a work tree, so neither filters nor line-ending conversions see them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nkifix import git
from nkifix.errors import RefusalError


@dataclass(frozen=True)
class Identity:
    """Who makes a commit."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read ``Name <mail@host>``.

        Raises
        ------
        RefusalError
            It has another form.
        """
        name, opening, rest = text.strip().partition("<")
        email, closing, behind = rest.partition(">")
        whole = opening and closing and not behind and name.strip()
        if not whole or "@" not in email or any(character.isspace() for character in email) or not text.isprintable():
            raise RefusalError(f"this is no author: {text!r}", next_step='write it as "Name <mail@example.org>"')
        return cls(name.strip(), email)


@dataclass(frozen=True)
class Repository:
    """A repository that is only read.

    Attributes
    ----------
    folder:
        Where its commands run: the root of its files or, if it is bare, its git directory.
    objects:
        Where it keeps its objects: for a linked work tree, those of its main repository.
    is_bare:
        Whether it has no files beside its git directory.
    """

    folder: Path
    objects: Path
    is_bare: bool

    @classmethod
    def open(cls, path: Path) -> Repository:
        """Find the repository, bare or not, that ``path`` is or lies in.

        Raises
        ------
        GitError
            There is none, or there is no git.
        """
        bare = _line(git.run(path, "rev-parse", "--is-inside-work-tree")) == "false"
        root = "--absolute-git-dir" if bare else "--show-toplevel"
        folder = Path(_line(git.run(path, "rev-parse", root)))
        objects = Path(_line(git.run(folder, "rev-parse", "--git-path", "objects")))
        return cls(folder, (folder / objects).resolve(), bare)

    def find_commit(self, revision: str) -> str | None:
        """Return the full name of the commit that ``revision`` names, or None if it names none."""
        try:
            return git.commit_of(self.folder, revision)
        except git.GitError:
            return None

    def read(self, commit: str, path: str) -> bytes | None:
        """Return a file's bytes as they are stored in ``commit``, or None if there is no such file."""
        return git.file_at(self.folder, commit, path)

    def names(self, commit: str, *paths: str) -> list[str]:
        """Return the names of the files in ``commit`` at or below ``paths``."""
        listed = git.run(self.folder, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *paths)
        return [os.fsdecode(name) for name in listed.split(b"\0") if name]

    def default_branch(self) -> str | None:
        """Return the branch that a clone starts with: the remote's, else main or master, else the present one."""
        try:
            remote = [_line(git.run(self.folder, "symbolic-ref", "refs/remotes/origin/HEAD"))]
        except git.GitError:
            remote = []
        own = ["HEAD"] if self.is_bare else []
        known = ["refs/remotes/origin/main", "refs/heads/main", "refs/heads/master", "HEAD"]
        return next((name for name in (*remote, *own, *known) if self.find_commit(name)), None)

    def branch(self) -> str:
        """Return the name of the present branch, or HEAD if there is none."""
        try:
            return _line(git.run(self.folder, "symbolic-ref", "--short", "HEAD"))
        except git.GitError:
            return "HEAD"

    def tags(self, commit: str) -> list[str]:
        """Return the tags that point at ``commit``, sorted."""
        return git.run(self.folder, "tag", "--points-at", commit).decode("utf-8", "replace").split()

    def changed_files(self) -> list[str]:
        """Return the tracked files that differ from the last commit, staged or not; none if it is bare."""
        if self.is_bare:
            return []
        options = ("--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
        listed = git.run(self.folder, "status", *options)
        return sorted(os.fsdecode(entry[3:]) for entry in listed.split(b"\0") if entry)


@dataclass(frozen=True)
class Scratch(Repository):
    """A bare repository of our own. Made by :func:`scratch`."""

    def commit(self, parent: str, files: Mapping[str, bytes], message: str, author: Identity, seconds: int) -> str:
        """Return a new commit on ``parent`` in which ``files``, which it has already, hold other bytes.

        Parameters
        ----------
        seconds:
            Time of the commit, in seconds since 1970, written as UTC.
        """
        self._run("read-tree", parent)
        for path, data in files.items():
            mode = self._run("ls-tree", "-z", parent, "--", path).split(b" ", 1)[0].decode()
            blob = _line(self._run("hash-object", "-w", "--no-filters", "--stdin", stdin=data))
            self._run("update-index", "--cacheinfo", f"{mode},{blob},{path}")
        values = (("NAME", author.name), ("EMAIL", author.email), ("DATE", f"{seconds} +0000"))
        variables = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in values}
        tree = _line(self._run("write-tree"))
        return _line(self._run("commit-tree", tree, "-p", parent, stdin=message.encode(), environment=variables))

    def checkout(self, commit: str, target: Path, paths: Sequence[str]) -> None:
        """Put the files of ``commit`` at or below ``paths`` into the folder ``target``."""
        variables = {"GIT_INDEX_FILE": str(self.folder / "checkout-index"), "GIT_WORK_TREE": str(target)}
        names = b"".join(os.fsencode(name) + b"\0" for name in self.names(commit, *paths))
        self._run("read-tree", commit, environment=variables)
        self._run("checkout-index", f"--prefix={target}{os.sep}", "-z", "--stdin", stdin=names, environment=variables)

    def format_patch(self, base: str, commit: str) -> tuple[str, bytes]:
        """Return name and content of the mail that ``git am`` turns into ``commit`` on ``base``."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        options = (f"--base={base}", "--no-signature", "--no-renames", "--abbrev=12", "--zero-commit", "--quiet")
        self._run("format-patch", *options, "-o", str(folder), f"{base}..{commit}")
        (file,) = folder.iterdir()
        return file.name, file.read_bytes()

    def tree_after(self, base: str, patch: bytes) -> str:
        """Return the name of the tree that ``patch`` makes of ``base``.

        Raises
        ------
        GitError
            It does not apply.
        """
        index = {"GIT_INDEX_FILE": str(self.folder / "apply-index")}
        self._run("read-tree", base, environment=index)
        self._run("apply", "--cached", "-", stdin=patch, environment=index)
        return _line(self._run("write-tree", environment=index))

    def tree_of(self, commit: str) -> str:
        """Return the name of a commit's tree."""
        return _line(self._run("rev-parse", commit + "^{tree}"))

    def _run(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
        variables = {"GIT_DIR": str(self.folder), **(environment or {})}
        return git.run(self.folder, *arguments, stdin=stdin, environment=variables)


@contextlib.contextmanager
def scratch(lender: Repository) -> Iterator[Scratch]:
    """Make a repository in a temporary folder that reads the objects of ``lender``; it is gone afterwards."""
    form = _line(git.run(lender.folder, "rev-parse", "--show-object-format"))
    with tempfile.TemporaryDirectory(prefix="nkifix-git-") as name:
        folder = Path(name) / "repository.git"
        folder.mkdir()
        git.run(folder, "init", "--quiet", "--bare", "--template=", f"--object-format={form}", ".")
        information = folder / "objects" / "info"
        information.mkdir(exist_ok=True)
        (information / "alternates").write_bytes(os.fsencode(lender.objects) + b"\n")
        shallow = lender.objects.parent / "shallow"
        if shallow.is_file():  # where the history of a shallow clone ends
            shutil.copyfile(shallow, folder / "shallow")
        yield Scratch(folder, folder / "objects", True)


def configured_identity(repository: Repository) -> Identity | None:
    """Return the name and mail address that the user gave to git, or None if there are none.

    Nothing else of the user's configuration is read.
    """
    settings = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    named = os.environ.get("GIT_CONFIG_GLOBAL")
    own = [named] if named else [str(Path.home() / ".gitconfig"), str(Path(settings) / "git" / "config")]
    places = [("--local",), *(("--file", file) for file in own if Path(file).is_file())]
    name, email = (_first_setting(repository, places, key) for key in ("user.name", "user.email"))
    return Identity(name, email) if name and email else None


def _first_setting(repository: Repository, places: Sequence[Sequence[str]], key: str) -> str:
    for place in places:
        with contextlib.suppress(git.GitError):  # not set there
            return _line(git.run(repository.folder, "config", *place, "--includes", "--get", key))
    return ""


def git_version() -> str:
    """Return the version of git."""
    return _line(git.run(Path.cwd(), "version")).removeprefix("git version ")


def _line(output: bytes) -> str:
    return os.fsdecode(output).rstrip("\n")
