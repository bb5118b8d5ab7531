"""The fixes there are, and the series they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nkifix.codemod.fix import Fix
from nkifix.codemod.fixes.default_window_tile_skip import DefaultWindowTileSkip
from nkifix.codemod.fixes.fp32_output_rounding import Fp32OutputRounding
from nkifix.codemod.fixes.head_grid_mismatch import HeadGridMismatch
from nkifix.codemod.fixes.key_tile_multiple import KeyTileMultiple
from nkifix.codemod.fixes.keyless_rows import KeylessRows
from nkifix.codemod.fixes.mask_constant import MaskConstant
from nkifix.codemod.fixes.misspelled_causal_mask import MisspelledCausalMask
from nkifix.codemod.fixes.scale_zero import ScaleZero
from nkifix.codemod.fixes.stale_docs import StaleDocs
from nkifix.codemod.fixes.unmixed_bf16_accumulators import UnmixedBf16Accumulators
from nkifix.codemod.fixes.unwritten_query_rows import UnwrittenQueryRows
from nkifix.codemod.fixes.wcte_window_alignment import WcteWindowAlignment
from nkifix.codemod.fixes.zero_left_window import ZeroLeftWindow
from nkifix.errors import RefusalError

FIXES: tuple[Fix, ...] = (
    MisspelledCausalMask(),
    DefaultWindowTileSkip(),
    ZeroLeftWindow(),
    UnwrittenQueryRows(),
    KeyTileMultiple(),
    MaskConstant(),
    WcteWindowAlignment(),
    ScaleZero(),
    HeadGridMismatch(),
    KeylessRows(),
    Fp32OutputRounding(),
    UnmixedBf16Accumulators(),
    StaleDocs(),
)
"""Every fix, in the order in which they are listed and reported."""

SERIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"typo": (MisspelledCausalMask.id,), "full": tuple(fix.id for fix in FIXES)}
)
"""Name of a series -> ids of its fixes. ``typo`` is the two-line change alone, ``full`` every fix."""


def select(series: str | None = None, only: Sequence[str] = ()) -> tuple[Fix, ...]:
    """Return the fixes of ``series``, or just those of them that ``only`` names, in the order of :data:`FIXES`.

    Without a series, ``only`` names any fix there is; with neither, it is the series ``typo``.

    Raises
    ------
    RefusalError
        There is no such series, or ``only`` names an id that it does not hold.
    """
    series = series or ("full" if only else "typo")
    if series not in SERIES:
        raise RefusalError(f"there is no series {series!r}", next_step=f"choose one of: {', '.join(SERIES)}")
    unknown = [name for name in only if name not in SERIES[series]]
    if unknown:
        raise RefusalError(
            f"the series {series!r} has no fix {unknown[0]!r}", next_step=f"choose among: {', '.join(SERIES[series])}"
        )
    chosen = set(only or SERIES[series])
    return tuple(fix for fix in FIXES if fix.id in chosen)
