"""What the static pass found."""

from __future__ import annotations

from dataclasses import dataclass

from nkifix.emulator.faults import KernelFault


@dataclass(frozen=True)
class Finding:
    """A statement that breaks a rule.

    Attributes
    ----------
    rule:
        Name of one of :data:`nkifix.emulator.rules.RULES`.
    file, line:
        The statement.
    names:
        The variables concerned.
    what, why, next_step:
        As in every error: what happened, the rule behind it, what to write instead.
    """

    rule: str
    file: str
    line: int
    names: tuple[str, ...]
    what: str
    why: str
    next_step: str

    def fault(self) -> KernelFault:
        """The finding as the error that a launch raises."""
        where = f"{self.file}:{self.line}"
        return KernelFault(self.rule, self.what, where=where, why=self.why, next_step=self.next_step)
