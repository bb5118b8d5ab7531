"""Enumerations and constants of ``nisa``: engines, generations, modes."""

from __future__ import annotations

import enum

import numpy as np

from nkifix.emulator.engines import Engine
from nkifix.emulator.ops.accumulators import ReduceCommand as reduce_cmd

__all__ = [
    "dge_mode",
    "dma_engine",
    "engine",
    "fp32",
    "gpsimd_engine",
    "nc_version",
    "oob_mode",
    "reduce_cmd",
    "scalar_engine",
    "tensor_engine",
    "unknown_engine",
    "vector_engine",
]


class engine(enum.IntEnum):
    """What executes an instruction; ``unknown`` leaves the choice to the compiler."""

    unknown = 0
    tensor = 1
    scalar = 2
    gpsimd = 3
    vector = 5
    sync = 6


tensor_engine = engine.tensor
vector_engine = engine.vector
scalar_engine = engine.scalar
gpsimd_engine = engine.gpsimd
dma_engine = Engine.DMA
"""Documented as a name only: no instruction takes it as its engine."""
unknown_engine = engine.unknown


class nc_version(enum.IntEnum):
    """NeuronCore generations, comparable."""

    gen2 = 2
    gen3 = 3


class dge_mode(enum.IntEnum):
    """Who generates DMA descriptors: nobody, software, hardware (NeuronCore-v3), or as the compiler likes."""

    none = 0
    swdge = 1
    hwdge = 2
    unknown = 3


class oob_mode(enum.IntEnum):
    """What a run-time index out of bounds does: an error, or nothing."""

    error = 0
    skip = 1


class _Float32:
    """Constants of float32."""

    @property
    def min(self) -> float:
        """The most negative finite float32."""
        return float(np.finfo(np.float32).min)


fp32 = _Float32()
