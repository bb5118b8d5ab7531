"""The commit that a contribution starts from: found, or refused with what to do instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nkifix.contribute.repository import Repository
from nkifix.errors import RefusalError

PROJECT = "https://github.com/aws-neuron/neuronx-distributed-inference"
PACKAGE = "src/neuronx_distributed_inference"
KERNEL = f"{PACKAGE}/modules/sliding_window/attention.py"
TESTS = "test/unit/modules/sliding_window/test_attention.py"
CALLER = f"{PACKAGE}/modules/attention/attention_base.py"
KERNEL_MODULE = "neuronx_distributed_inference.modules.sliding_window.attention"

SDK_OF_TAG = {"v0.6.10598": "2.26", "v0.7.14366": "2.27"}
"""The tags of NxDI that have the kernel, and the Neuron SDK that each belongs to."""


@dataclass(frozen=True)
class Base:
    """A commit of NxDI that has the kernel.

    Attributes
    ----------
    name:
        What a reader calls it: a tag, a branch or what was asked for.
    kernel, tests:
        The two files' bytes.
    newest:
        The head of the default branch, whose templates GitHub uses.
    caller_has_it:
        Whether the attention module of the newest revision still imports the kernel.
    """

    repository: Repository
    commit: str
    name: str
    kernel: bytes
    tests: bytes
    newest: str
    caller_has_it: bool

    def read_newest(self, path: str) -> bytes | None:
        """Return a file of the default branch, else of the base."""
        found = self.repository.read(self.newest, path)
        return self.repository.read(self.commit, path) if found is None else found

    def names(self, folder: str) -> list[str]:
        """Return the names of the files below ``folder`` on the default branch, then on the base."""
        return [*self.repository.names(self.newest, folder), *self.repository.names(self.commit, folder)]


def find(path: Path, revision: str | None = None) -> Base:
    """Return the commit of the clone at ``path`` that ``revision`` names, or the head of its default branch.

    Raises
    ------
    RefusalError
        It is no clone of NxDI, has uncommitted changes, or the kernel or its test is not in that commit.
    """
    repository = Repository.open(path)
    _require_clean(repository, path)
    default = repository.default_branch()
    newest = repository.find_commit(default) if default else None
    if newest is None or default is None:
        raise RefusalError("the clone has no commit", where=str(path), next_step=f"git clone {PROJECT}")
    commit = repository.find_commit(revision) if revision else newest
    if commit is None:
        raise RefusalError(
            f"the clone has no revision {revision}",
            where=str(path),
            next_step="git fetch --tags in the clone, or name another --base; git tag lists what it has",
        )
    name = revision or default.removeprefix("refs/").removeprefix("remotes/").removeprefix("heads/")
    kernel, tests = (_required(repository, commit, name, file, path) for file in (KERNEL, TESTS))
    return Base(
        repository, commit, _called(repository, commit, name), kernel, tests, newest, _calls(repository, newest)
    )


def _calls(repository: Repository, commit: str) -> bool:
    caller = repository.read(commit, CALLER)
    return caller is not None and KERNEL_MODULE.encode() in caller


def _called(repository: Repository, commit: str, name: str) -> str:
    """Return the name of a release if ``commit`` is one, else that of the branch, else ``name``."""
    return next(iter(repository.tags(commit)), repository.branch() if name == "HEAD" else name)


def _require_clean(repository: Repository, path: Path) -> None:
    changed = repository.changed_files()
    if changed:
        raise RefusalError(
            "the clone has uncommitted changes",
            where=str(path),
            why=f"{_listed(changed)}: the patch is made from commits, so they would silently be left out",
            next_step="commit or stash them, or name a fresh clone; the clone was not touched",
        )


def _required(repository: Repository, commit: str, name: str, file: str, path: Path) -> bytes:
    data = repository.read(commit, file)
    if data is not None:
        return data
    if not repository.names(commit, PACKAGE):
        raise RefusalError(
            "this is no clone of neuronx-distributed-inference",
            where=str(path),
            why=f"there is no {PACKAGE} at {name}",
            next_step=f"git clone {PROJECT}, and name that directory",
        )
    having = [tag for tag in SDK_OF_TAG if (found := repository.find_commit(tag)) and repository.read(found, file)]
    raise RefusalError(
        f"{file} is not there at {name}",
        where=str(path),
        why="the fix and its regression test change two files, and this is one of them",
        next_step=f"name a --base that has it: {', '.join(having)}"
        if having
        else "git fetch --tags, then name a --base",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
