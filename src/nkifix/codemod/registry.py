"""The fixes there are, and the series they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nkifix.codemod.fix import Fix
from nkifix.codemod.fixes.misspelled_causal_mask import MisspelledCausalMask
from nkifix.errors import RefusalError

FIXES: tuple[Fix, ...] = (MisspelledCausalMask(),)
"""Every fix, in the order in which they are listed and reported."""

SERIES: Mapping[str, tuple[str, ...]] = MappingProxyType({"typo": (MisspelledCausalMask.id,)})
"""Name of a series -> ids of its fixes. ``typo`` is the two-line change alone."""


def select(series: str = "typo", only: Sequence[str] = ()) -> tuple[Fix, ...]:
    """Return the fixes of ``series``, or just those of them that ``only`` names, in the order of :data:`FIXES`.

    Raises
    ------
    RefusalError
        There is no such series, or ``only`` names an id that it does not hold.
    """
    if series not in SERIES:
        raise RefusalError(f"there is no series {series!r}", next_step=f"choose one of: {', '.join(SERIES)}")
    unknown = [name for name in only if name not in SERIES[series]]
    if unknown:
        raise RefusalError(
            f"the series {series!r} has no fix {unknown[0]!r}", next_step=f"choose among: {', '.join(SERIES[series])}"
        )
    chosen = set(only or SERIES[series])
    return tuple(fix for fix in FIXES if fix.id in chosen)
