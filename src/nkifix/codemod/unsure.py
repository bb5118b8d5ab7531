"""The codemod's own refusal, apart from the parser: it is caught where no tree is ever made."""

from __future__ import annotations


class UnsureError(Exception):
    """The bytes, or the kernel in them, are not what is known here; nothing may be changed."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
