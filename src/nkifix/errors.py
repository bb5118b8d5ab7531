"""The error tree. Every error says what happened, where, why, and what to do next.

The command line turns any :class:`NkifixError` into one message on stderr and exit code 2; a library
user catches the same classes.
"""

from __future__ import annotations


class NkifixError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    what:
        One sentence: what happened.
    where:
        File, ``file:line`` or object that it happened to.
    why:
        The rule or the reason behind it.
    next_step:
        What the reader can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        rows = (("where", self.where), ("why", self.why), ("next", self.next_step))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in rows if text)])


class RefusalError(NkifixError):
    """Input that cannot be worked on: nothing was changed (exit code 2)."""


class MissingExtraError(RefusalError):
    """A feature needs an optional dependency; the message names the extra to install."""

    def __init__(self, package: str, *, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {package!r}, which is not installed",
            why=f"{package} is heavy, so it is an optional extra",
            next_step=f"pip install 'nkifix[{extra}]'",
        )


class BackendError(NkifixError):
    """A backend cannot run here (no hardware, or packages that exclude one another)."""
