"""What a fix is: one class for one defect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from nkifix.codemod.source import Edit, Source

Kind = Literal["crash", "silent", "speed", "precision", "doc"]


class Fix(ABC):
    """One defect: how to recognise it and which characters to change.

    A fix knows nothing of other fixes. All of them look at the same unchanged source, so the order in which they run
    cannot matter; it must recognise the kernel whether or not the others were applied before, and no two of them may
    want the same characters, unless to do the same with them.
    """

    id: ClassVar[str]
    """Name of the defect, as used on the command line, in file names and in the changelog."""
    title: ClassVar[str]
    """One line about what goes wrong."""
    kind: ClassVar[Kind]
    """How it shows: an exception, a wrong answer without a word, lost time, lost digits, or words that are not so."""

    @abstractmethod
    def find(self, source: Source) -> tuple[Edit, ...]:
        """Return the edits that remove the defect; none if it is not there (any more).

        Raises
        ------
        UnsureError
            The source is not what this fix knows. Unsure means refuse.
        """
