"""The codemod: bytes in, bytes out, and nothing but the intended bytes differ.

:func:`apply` takes a file's bytes and the fixes to make, and returns :class:`Fixed`, :class:`AlreadyFixed` or
:class:`NotRecognised`. It reads no file, writes none, and neither imports nor executes what it is given.

The parser takes a fifth of a second to import, so it is loaded at the first use of a name below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_PLACES = {
    "diff": ("unified_diff",),
    "engine": ("apply",),
    "fix": ("Fix",),
    "outcome": ("AlreadyFixed", "Fixed", "NotRecognised", "Outcome"),
    "registry": ("FIXES", "SERIES", "select"),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
