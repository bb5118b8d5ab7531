"""What the emulator refuses, and what it warns of. The rules themselves are in :mod:`nkifix.emulator.rules`."""

from __future__ import annotations

from nkifix.emulator.location import kernel_location
from nkifix.errors import NkifixError


class KernelFault(NkifixError):
    """A kernel broke a rule of the hardware, of the compiler or of the language.

    Attributes
    ----------
    code:
        The rule's name (see :data:`nkifix.emulator.rules.RULES`), which is the documented error code where
        there is one; "" for a call that the API does not have (a wrong type, an empty range).
    """

    def __init__(self, code: str, what: str, *, where: str | None = None, why: str = "", next_step: str = "") -> None:
        self.code = code
        super().__init__(
            f"[{code}] {what}" if code else what,
            where=kernel_location() if where is None else where,
            why=why or None,
            next_step=next_step or None,
        )


class UndefinedReadFault(KernelFault):
    """An element that was never given a value reached a place where its value matters."""


class EmulatorWarning(UserWarning):
    """Something that is accepted, but that a user should know about.

    Attributes
    ----------
    rule:
        Where a launch gives it once for each line: what it is about.
    """

    rule = ""
