"""Launch grids over physical NeuronCores."""

from __future__ import annotations

from typing import Any

from nkifix.emulator import spmd

__all__ = [
    "nc",
    "spmd_dim",
]


def nc(size: int) -> Any:
    """A grid dimension of ``size`` physical NeuronCores; ``nc(2) * 2`` and ``2 * nc(2)`` are larger ones."""
    return spmd.physical_cores(size)


def spmd_dim(*sizes: Any) -> Any:
    """A grid dimension made of others, the slowest first: ``spmd_dim(nc(2), 2)`` is ``nc(2) * 2``."""
    return spmd.combined(*sizes)
