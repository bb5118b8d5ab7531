"""What :func:`nkifix.codemod.apply` can answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Fixed:
    """At least one fix changed something, and every other one was there already."""

    data: bytes
    """The whole new content."""
    lines: tuple[int, ...]
    """Numbers of the input's lines that changed, ascending, the first line being 1."""
    fixes: tuple[str, ...]
    """Ids of the fixes that changed something."""


@dataclass(frozen=True)
class AlreadyFixed:
    """The kernel was recognised and has none of the defects asked about."""

    fixes: tuple[str, ...]
    """Ids of the fixes asked for."""


@dataclass(frozen=True)
class NotRecognised:
    """At least one fix is not sure of what it sees, so nothing is to be changed."""

    reason: str
    """What was found and what was expected instead."""
    line: int | None = None
    """Number of the line where it was found, if there is one."""
    fix: str | None = None
    """Id of the fix that is not sure; None when the bytes are no readable Python file."""


Outcome: TypeAlias = Fixed | AlreadyFixed | NotRecognised
