"""Random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import randomness

__all__ = ["dropout", "rand", "random_seed"]


def random_seed(seed: Any, *, mask: Any = None, **kwargs: Any) -> None:
    """Seed the random numbers that follow, unless ``mask`` drops it."""
    refuse_unknown("nl.random_seed", kwargs)
    randomness.seed_random(seed, mask=mask)


def rand(shape: Any, dtype: Any = np.float32, **kwargs: Any) -> Any:
    """A tile of numbers from [0, 1), evenly spread."""
    refuse_unknown("nl.rand", kwargs)
    return randomness.uniform(shape, dtype)


def dropout(x: Any, rate: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x`` with each element dropped (set to zero) with probability ``rate``."""
    refuse_unknown("nl.dropout", kwargs)
    return randomness.dropout(x, rate, dtype=dtype, mask=mask)
