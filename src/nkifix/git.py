"""Git, hermetically: the same answer whatever the user's configuration, environment and hooks are.

Repositories are named by their owner on the command line, but what their configuration would run (hooks, file system
monitors, text conversions, credential helpers) is never run, nothing is fetched, and nobody is asked for a password.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nkifix.errors import RefusalError

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=true",
    "credential.helper=",
    "protocol.allow=never",
    "gc.auto=0",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "safe.directory=*",
)
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "LC_ALL": "C",
    "TZ": "UTC",
}
_TIMEOUT_SECONDS = 600


class GitError(RefusalError):
    """Git is missing, or refused; the message has its own words."""


def run(
    repository: Path,
    *arguments: str,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run git in ``repository`` and return its stdout.

    Parameters
    ----------
    repository:
        A clone, bare or not, or a folder in one.
    arguments:
        The git command and its arguments; what comes from a user stands behind ``--end-of-options``.
    stdin:
        What git reads.
    environment:
        More variables, such as the author of a commit.

    Raises
    ------
    GitError
        Git is not installed, did not end in time, or failed.
    """
    command = ["git", "--no-pager", *(word for one in _SETTINGS for word in ("-c", one)), *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=repository,
            env=_environment(environment or {}),
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except OSError as error:
        raise _not_started(repository, error) from error
    except subprocess.TimeoutExpired as error:
        raise GitError(
            f"git {arguments[0]} did not end within {_TIMEOUT_SECONDS} seconds",
            where=str(repository),
            next_step="try the same on a local clone",
        ) from error
    if done.returncode:
        raise _failed(repository, arguments, done.stderr)
    return done.stdout


def commit_of(repository: Path, revision: str) -> str:
    """Return the full id of the commit that ``revision`` names."""
    return _line(run(repository, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"))


def file_at(repository: Path, commit: str, path: str) -> bytes | None:
    """Return the content of a file at a commit, untouched by filters; None if there is no such file."""
    listed = run(repository, "ls-tree", "-z", "--full-tree", commit, "--", path)
    if not listed:
        return None
    mode_kind_id = listed.split(b"\t", 1)[0].decode().split()
    return run(repository, "cat-file", "blob", mode_kind_id[2]) if mode_kind_id[1] == "blob" else None


def remote_url(repository: Path) -> str | None:
    """Return where ``origin`` is, as written in the clone's own configuration; None if there is no origin."""
    try:
        return _line(run(repository, "config", "--local", "--get", "remote.origin.url")) or None
    except GitError:
        return None


def _line(output: bytes) -> str:
    return output.decode("utf-8", errors="replace").strip()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment without anything that steers git, and with what makes it quiet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SSH_ASKPASS"))}
    return {**kept, **_ENVIRONMENT, **more}


def _not_started(repository: Path, error: OSError) -> GitError:
    if not repository.is_dir():
        return GitError("there is no such folder", where=str(repository), next_step="give the path of a clone")
    return GitError(
        "git cannot be started", why=error.strerror or str(error), next_step="install git, and see that it is on PATH"
    )


def _failed(repository: Path, arguments: Sequence[str], stderr: bytes) -> GitError:
    words = stderr.decode("utf-8", errors="replace").strip()
    if "not a git repository" in words:
        return GitError(
            "this is no git repository", where=str(repository), why=words, next_step="give the path of a clone"
        )
    return GitError(
        f"git {arguments[0]} failed",
        where=str(repository),
        why=words or "it gave no reason",
        next_step="check the revision and the path; git fetch brings what a clone lacks",
    )
