"""Memories and tile limits of ``nl``."""

from __future__ import annotations

from typing import Any

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy.language.loops import mgrid
from nkifix.emulator.hardware import TARGETS, CoreLimits
from nkifix.emulator.memory import Space

__all__ = ["gemm_grid", "gemm_stationary_grid", "hbm", "private_hbm", "psum", "sbuf", "shared_hbm", "tile_size"]

sbuf = Space.SBUF
psum = Space.PSUM
hbm = Space.HBM
private_hbm = Space.PRIVATE_HBM
shared_hbm = Space.SHARED_HBM


class _TileSize:
    """``nl.tile_size``: limits of the emulated NeuronCore, in elements or, where said so, in bytes."""

    @property
    def _limits(self) -> CoreLimits:
        return TARGETS[machine.params().target]

    @property
    def pmax(self) -> int:
        """Partitions of a tile."""
        return self._limits.partition_max

    @property
    def gemm_stationary_fmax(self) -> int:
        """Free size of a matmul's stationary operand."""
        return self._limits.matmul_stationary_free_max

    @property
    def gemm_moving_fmax(self) -> int:
        """Free size of a matmul's moving operand."""
        return self._limits.matmul_moving_free_max

    @property
    def psum_fmax(self) -> int:
        """Free size of a PSUM tile."""
        return self._limits.psum_free_max

    @property
    def bn_stats_fmax(self) -> int:
        """Free size of a tile that ``nisa.bn_stats`` takes."""
        return self._limits.bn_stats_free_max

    @property
    def psum_min_align(self) -> int:
        """Alignment of addresses in PSUM, in bytes."""
        return self._limits.psum_min_align_bytes

    @property
    def sbuf_min_align(self) -> int:
        """Alignment of addresses in SBUF, in bytes."""
        return self._limits.sbuf_min_align_bytes

    @property
    def total_available_sbuf_size(self) -> int:
        """SBUF that kernels can use, in bytes per partition."""
        return self._limits.sbuf_usable_bytes


tile_size = _TileSize()


def gemm_grid() -> Any:
    """The indices of a matmul's largest result, which are those of its largest moving operand."""
    return mgrid[0 : tile_size.pmax, 0 : tile_size.gemm_moving_fmax]


def gemm_stationary_grid() -> Any:
    """The indices of a matmul's largest stationary operand."""
    return mgrid[0 : tile_size.pmax, 0 : tile_size.gemm_stationary_fmax]
