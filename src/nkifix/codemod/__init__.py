"""The codemod: bytes in, bytes out, and nothing but the intended bytes differ.

:func:`apply` takes a file's bytes and the fixes to make, and returns :class:`Fixed`, :class:`AlreadyFixed` or
:class:`NotRecognised`. It reads no file, writes none, and neither imports nor executes what it is given.
"""

from nkifix.codemod.diff import unified_diff
from nkifix.codemod.engine import apply
from nkifix.codemod.fix import Fix
from nkifix.codemod.outcome import AlreadyFixed, Fixed, NotRecognised, Outcome
from nkifix.codemod.registry import FIXES, SERIES, select

__all__ = [
    "FIXES",
    "SERIES",
    "AlreadyFixed",
    "Fix",
    "Fixed",
    "NotRecognised",
    "Outcome",
    "apply",
    "select",
    "unified_diff",
]
