"""Documented limits of a NeuronCore, as data.

Sources: "Trainium/Inferentia2 architecture guide", "NKI programming model" (tile size constraints) and
the ``nki.isa`` reference, all Neuron SDK 2.26.
"""

from __future__ import annotations

from dataclasses import dataclass

from nkifix.emulator.params import Target


@dataclass(frozen=True, kw_only=True)
class CoreLimits:
    """Limits of one NeuronCore generation. Sizes are elements unless the name says bytes."""

    nc_version: int
    """2 for NeuronCore-v2, 3 for NeuronCore-v3: the value of ``nisa.get_nc_version()``."""
    partition_max: int = 128
    matmul_stationary_free_max: int = 128
    matmul_moving_free_max: int = 512
    psum_free_max: int = 512
    """Free size of a PSUM tile: one bank of 2 KiB per partition, as float32."""
    bn_stats_free_max: int = 512
    pe_transpose_free_max: int = 128
    sbuf_usable_bytes: int
    """Bytes per SBUF partition that tensors can have: the compiler keeps 16 KiB for itself."""
    sbuf_min_align_bytes: int = 4
    """What addresses in SBUF are multiples of. No document gives the value: docs/fidelity.md, "Direct allocation"."""
    psum_min_align_bytes: int = 4
    """The same in PSUM."""
    physical_cores_max: int = 1
    """Physical NeuronCores that one launch can run on."""
    psum_banks: int = 8
    psum_bank_bytes: int = 2048
    """Bytes per partition of one PSUM bank."""


TARGETS: dict[Target, CoreLimits] = {
    "trn1": CoreLimits(nc_version=2, sbuf_usable_bytes=(192 - 16) * 1024),
    # 224 KiB less 16 KiB, less 8 bytes that KLR, an open reimplementation of the front end, leaves out too.
    "trn2": CoreLimits(nc_version=3, physical_cores_max=2, sbuf_usable_bytes=(224 - 16) * 1024 - 8),
}
