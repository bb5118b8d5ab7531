"""``neuronxcc.nki.compiler.sbuf``: what ``buffer=`` takes for a tensor in SBUF."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.memory import Space
from nkifix.emulator.placement import plan

__all__ = ["alloc", "auto_alloc", "mod_alloc"]


def alloc(func: Any) -> Any:
    """Each block where ``func(idx, pdim_size, fdim_size)`` says: ``(start_partition, byte_addr)``."""
    return plan.by_function(Space.SBUF, func)


def mod_alloc(*, base_addr: int, base_partition: int = 0, num_par_tiles: Any = (), num_free_tiles: Any = ()) -> Any:
    """Blocks take turns in as many physical tiles, from ``base_addr`` (bytes) on."""
    return plan.modulo_sbuf(base_addr, base_partition, num_par_tiles, num_free_tiles)


def auto_alloc() -> Any:
    """Wherever the compiler likes: ``nl.sbuf``."""
    return Space.SBUF
