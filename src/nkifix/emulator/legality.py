"""What is legal for each instruction, as a table: engines, memories, dtypes, sizes. No arithmetic.

An operation without a row is an element-by-element one: any tile on chip, on the Vector Engine. A row's
source is the instruction's description in the ``nki.isa`` / ``nki.language`` reference of Neuron SDK 2.26,
unless the row says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nkifix.emulator.engines import Engine
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BOOL, FLOATS, INTEGERS

SBUF = frozenset({Space.SBUF})
PSUM = frozenset({Space.PSUM})
CHIP = SBUF | PSUM
HBM = frozenset({Space.HBM, Space.PRIVATE_HBM, Space.SHARED_HBM})

Dtypes = frozenset[np.dtype[Any]]
FLOATING: Dtypes = frozenset(FLOATS)
INTEGRAL: Dtypes = frozenset(INTEGERS)
UP_TO_16_BITS: Dtypes = frozenset(dtype for dtype in INTEGERS if dtype.itemsize < 4) | {BOOL}


@dataclass(frozen=True, kw_only=True)
class Operand:
    """What one operand may be.

    Attributes
    ----------
    memory:
        Where it may live.
    dtypes:
        Which dtypes it may have; None for all that can be stored.
    free_max:
        The field of :class:`~nkifix.emulator.hardware.CoreLimits` that bounds its elements per partition.
    rank_max:
        How many dimensions it may have.
    """

    memory: frozenset[Space] = CHIP
    dtypes: Dtypes | None = None
    free_max: str | None = None
    rank_max: int | None = None


ANY_TILE = Operand()


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is legal for one instruction.

    Attributes
    ----------
    engines:
        Which can execute it; the first does where the kernel does not choose.
    operands:
        Its operands by name; one that is not listed is any tile on chip.
    nc_version_min:
        The first NeuronCore generation that has it.
    """

    engines: tuple[Engine, ...] = (Engine.VECTOR,)
    operands: Mapping[str, Operand] = field(default_factory=dict)
    nc_version_min: int = 2


ELEMENTWISE = Row()
"""The row of an operation that has none."""

ROWS: dict[str, Row] = {
    "load": Row(engines=(Engine.DMA,), operands={"src": Operand(memory=HBM)}),
    # SDK 2.26 release notes: store from PSUM, through a copy that the compiler adds.
    "store": Row(engines=(Engine.DMA,), operands={"dst": Operand(memory=HBM), "value": Operand(memory=CHIP)}),
    "load_transpose2d": Row(engines=(Engine.DMA,), operands={"src": Operand(memory=HBM, rank_max=2)}),
    "dma_transpose": Row(engines=(Engine.DMA,), operands={"src": Operand(memory=HBM | SBUF, rank_max=2)}),
    "nc_matmul": Row(
        engines=(Engine.TENSOR,),
        operands={
            "stationary": Operand(memory=SBUF, dtypes=FLOATING, free_max="matmul_stationary_free_max", rank_max=2),
            "moving": Operand(memory=SBUF, dtypes=FLOATING, free_max="matmul_moving_free_max"),
        },
    ),
    # The Tensor Engine reads SBUF; the Vector Engine's 32 x 32 form also reads PSUM.
    "nc_transpose": Row(
        engines=(Engine.TENSOR, Engine.VECTOR),
        operands={"data": Operand(memory=SBUF, free_max="pe_transpose_free_max")},
    ),
    "activation": Row(engines=(Engine.SCALAR,)),
    "activation_reduce": Row(engines=(Engine.SCALAR,)),
    "affine_select": Row(
        engines=(Engine.GPSIMD,),
        operands={
            "on_true_tile": Operand(dtypes=FLOATING | UP_TO_16_BITS),
            "dtype": Operand(dtypes=FLOATING | UP_TO_16_BITS),
        },
    ),
}
"""Instruction -> what is legal."""


def row(operation: str) -> Row:
    """The row of an operation."""
    return ROWS.get(operation, ELEMENTWISE)
