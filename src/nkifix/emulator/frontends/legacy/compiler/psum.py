"""``neuronxcc.nki.compiler.psum``: what ``buffer=`` takes for a tensor in PSUM."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.memory import Space
from nkifix.emulator.placement import plan

__all__ = ["alloc", "auto_alloc", "mod_alloc"]


def alloc(func: Any) -> Any:
    """Each block where ``func(idx, pdim_size, fdim_size)`` says: ``(bank_id, start_partition, byte_addr)``."""
    return plan.by_function(Space.PSUM, func)


def mod_alloc(
    *,
    base_bank: int,
    base_addr: int = 0,
    base_partition: int = 0,
    num_bank_tiles: Any = (),
    num_par_tiles: Any = (),
    num_free_tiles: Any = (),
) -> Any:
    """Blocks take turns in as many banks, from ``base_bank`` on."""
    return plan.modulo_psum(base_bank, base_addr, base_partition, num_bank_tiles, num_par_tiles, num_free_tiles)


def auto_alloc() -> Any:
    """Wherever the compiler likes: ``nl.psum``."""
    return Space.PSUM
