"""Keywords that a documented ``**kwargs`` lets through: none, but for those that shipped kernels pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from nkifix.emulator.faults import KernelFault

IGNORED = frozenset({"lazy_initialization", "name"})
"""Undocumented keywords of shipped kernels. They name or place things, and change no result."""


def refuse_unknown(function: str, given: Mapping[str, Any], documented: Iterable[str] = ("dtype", "mask")) -> None:
    """Refuse keywords that a function does not have.

    Raises
    ------
    KernelFault
        Names the nearest documented one.
    """
    for name in given:
        if name not in IGNORED:
            near = difflib.get_close_matches(name, documented, n=1)
            raise KernelFault(
                "",
                f"{function} has no option {name!r}",
                why="the documented signature ends in **kwargs, but no further option is documented",
                next_step=f"did you mean {near[0]}?" if near else "leave it out",
            )
