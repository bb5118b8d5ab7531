"""Clock rates and transfer rates of a NeuronCore, as data, with their sources.

Sources: [A1] "Trainium/Inferentia2 architecture guide for NKI", Neuron SDK 2.26; [A2] "Trainium2 architecture
guide for NKI", Neuron SDK documents of 2026-08; [DMA] "Guideline to avoid under-utilizing DMA bandwidth",
NKI deep dives, 2026-04. Where they disagree, docs/fidelity.md says what was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nkifix.emulator.engines import Engine
from nkifix.emulator.params import Target

DMA_ENGINES = 16
"""DMA engines that serve one NeuronCore [A1, A2, DMA]."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Rates of one NeuronCore generation.

    Attributes
    ----------
    clock_hz:
        Cycles per second of each compute engine [A1, A2].
    dma_engine_bytes_per_second:
        Peak of one DMA engine [DMA]. (A1 says 27 GiB/s for NeuronCore-v2.)
    dma_latency_seconds:
        Fixed time from a DMA's trigger to its first byte [DMA].
    shared_access:
        Pairs of engines that cannot use one memory at the same time, as (engine, engine, memory) [A1];
        lifted on NeuronCore-v3 [A2].
    vector_fast_modes:
        Whether the Vector Engine has the 2x and 4x modes for 16-bit operands [A2].
    """

    clock_hz: Mapping[Engine, float]
    dma_engine_bytes_per_second: float
    dma_latency_seconds: float = 1300e-9
    shared_access: tuple[tuple[Engine, Engine, str], ...] = ()
    vector_fast_modes: bool = False

    @property
    def dma_bytes_per_second(self) -> float:
        """Peak of all DMA engines of the NeuronCore together."""
        return DMA_ENGINES * self.dma_engine_bytes_per_second


CHIPS: dict[Target, Chip] = {
    "trn1": Chip(
        clock_hz={Engine.TENSOR: 2.8e9, Engine.VECTOR: 1.12e9, Engine.SCALAR: 1.4e9, Engine.GPSIMD: 1.4e9},
        dma_engine_bytes_per_second=17e9,
        shared_access=((Engine.VECTOR, Engine.GPSIMD, "sbuf"), (Engine.VECTOR, Engine.SCALAR, "psum")),
    ),
    "trn2": Chip(
        clock_hz={Engine.TENSOR: 2.4e9, Engine.VECTOR: 0.96e9, Engine.SCALAR: 1.2e9, Engine.GPSIMD: 1.2e9},
        dma_engine_bytes_per_second=23e9,
        vector_fast_modes=True,
    ),
}
"""Target -> rates."""

PAYLOAD_CLASSES: tuple[tuple[int, str], ...] = (
    (4096, "saturating"),
    (2048, "near peak"),
    (256, "below peak"),
    (0, "overhead-bound"),
)
"""Smallest contiguous bytes per partition -> documented efficiency class of a DMA [DMA]."""


def payload_class(run_bytes: int) -> str:
    """The documented efficiency class of a DMA that moves ``run_bytes`` contiguous bytes per descriptor."""
    return next(name for least, name in PAYLOAD_CLASSES if run_bytes >= least)
