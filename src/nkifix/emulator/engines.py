"""The engines of a NeuronCore, as far as an instruction's legality and cost depend on them."""

from __future__ import annotations

import enum


class Engine(enum.Enum):
    """What executes an instruction. The values are the names that messages and profiles use."""

    TENSOR = "Tensor"
    VECTOR = "Vector"
    SCALAR = "Scalar"
    GPSIMD = "GpSimd"
    DMA = "DMA"

    __hash__ = object.__hash__  # members are unique, and this one is quick
