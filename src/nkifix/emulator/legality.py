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
from nkifix.emulator.numeric import BOOL, F32, FLOATS, INTEGERS, TF32

SBUF = frozenset({Space.SBUF})
PSUM = frozenset({Space.PSUM})
CHIP = SBUF | PSUM
HBM = frozenset({Space.HBM, Space.PRIVATE_HBM, Space.SHARED_HBM})

Dtypes = frozenset[np.dtype[Any]]
FLOATING: Dtypes = frozenset(FLOATS)
INTEGRAL: Dtypes = frozenset(INTEGERS)
UP_TO_16_BITS: Dtypes = frozenset(dtype for dtype in INTEGERS if dtype.itemsize < 4) | {BOOL}
EIGHT_BIT_FLOATS: Dtypes = frozenset(dtype for dtype in FLOATS if dtype.itemsize == 1)
UNSIGNED: Dtypes = frozenset(dtype for dtype in INTEGERS if dtype.kind == "u")
UINT16: Dtypes = frozenset({np.dtype(np.uint16)})
UINT16_OR_32: Dtypes = frozenset({np.dtype(np.uint16), np.dtype(np.uint32)})
INT32_OR_FLOAT32: Dtypes = frozenset({np.dtype(np.int32), F32})


@dataclass(frozen=True, kw_only=True)
class Operand:
    """What one operand may be.

    Attributes
    ----------
    memory:
        Where it may live.
    dtypes:
        Which dtypes it may have; None for all that can be stored.
    free_min, free_max:
        Bounds of its elements per partition; the upper one as a number, or as the name of a field of
        :class:`~nkifix.emulator.hardware.CoreLimits`.
    partition_max:
        How many partitions it may have, where that is less than the chip's 128.
    rank_max:
        How many dimensions it may have.
    indirect:
        Whether it may be indexed by a tensor, so that its place is known only at run time.
    """

    memory: frozenset[Space] = CHIP
    dtypes: Dtypes | None = None
    free_min: int = 1
    free_max: str | int | None = None
    partition_max: int | None = None
    rank_max: int | None = None
    indirect: bool = False


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
    not_both_in_psum:
        Two operands of which at most one may live in PSUM.
    """

    engines: tuple[Engine, ...] = (Engine.VECTOR,)
    operands: Mapping[str, Operand] = field(default_factory=dict)
    nc_version_min: int = 2
    not_both_in_psum: tuple[str, str] | None = None


ELEMENTWISE = Row()
"""The row of an operation that has none."""

_DMA = (Engine.DMA,)
_GPSIMD = (Engine.GPSIMD,)
_COPYING = (Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)
_SELECTABLE: Dtypes = FLOATING | UP_TO_16_BITS
_DYNAMIC = Operand(indirect=True)
_IN_SBUF = Operand(memory=SBUF)

ROWS: dict[str, Row] = {
    # ------------------------------------------------------------------------------------------ DMA
    "load": Row(engines=_DMA, operands={"src": Operand(memory=HBM, indirect=True)}),
    # A value may also come from PSUM, through a copy that the compiler adds (SDK 2.26 release notes).
    "store": Row(engines=_DMA, operands={"dst": Operand(memory=HBM, indirect=True)}),
    "atomic_rmw": Row(engines=_DMA, operands={"dst": Operand(memory=HBM, indirect=True)}),
    "load_transpose2d": Row(engines=_DMA, operands={"src": Operand(memory=HBM, rank_max=2)}),
    "dma_transpose": Row(engines=_DMA, operands={"src": Operand(memory=HBM | SBUF, rank_max=4)}),
    "dma_copy": Row(
        engines=_DMA,
        operands={"src": Operand(memory=HBM | SBUF, indirect=True), "dst": Operand(memory=HBM | SBUF, indirect=True)},
    ),
    # ------------------------------------------------------------------------------------------ Tensor Engine
    "nc_matmul": Row(
        engines=(Engine.TENSOR,),
        operands={
            "stationary": Operand(memory=SBUF, dtypes=FLOATING, free_max="matmul_stationary_free_max", rank_max=2),
            "moving": Operand(memory=SBUF, dtypes=FLOATING, free_max="matmul_moving_free_max"),
        },
    ),
    # Two rows of 8-bit elements at once. Undocumented as an argument; the SDK's own example of nc_matmul uses it.
    "nc_matmul double_row_gen3": Row(
        engines=(Engine.TENSOR,),
        operands={
            "stationary": Operand(memory=SBUF, dtypes=EIGHT_BIT_FLOATS, rank_max=3),
            "moving": Operand(memory=SBUF, dtypes=EIGHT_BIT_FLOATS, rank_max=3),
        },
        nc_version_min=3,
    ),
    # The Tensor Engine reads SBUF and transposes up to 128 x 128; the Vector Engine reads PSUM too, up to 32 x 32.
    "nc_transpose": Row(
        engines=(Engine.TENSOR, Engine.VECTOR),
        operands={"data": Operand(memory=SBUF, free_max="pe_transpose_free_max")},
    ),
    "nc_transpose on Vector": Row(operands={"data": Operand(free_max=32, partition_max=32)}),
    # ------------------------------------------------------------------------------------------ Scalar Engine
    "activation": Row(engines=(Engine.SCALAR,)),
    "activation_reduce": Row(engines=(Engine.SCALAR,)),
    # ------------------------------------------------------------------------------------------ Vector Engine
    "tensor_tensor": Row(engines=(Engine.VECTOR, Engine.GPSIMD), not_both_in_psum=("data1", "data2")),
    "tensor_tensor_scan": Row(not_both_in_psum=("data0", "data1")),
    "tensor_scalar": Row(engines=(Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)),
    "scalar_tensor_tensor": Row(not_both_in_psum=("data", "operand1")),
    "select_reduce": Row(
        operands={
            "on_true": Operand(dtypes=_SELECTABLE - {TF32}),
            "predicate": Operand(dtypes=UP_TO_16_BITS),
            "reduce_res": Operand(dtypes=FLOATING),
        },
        not_both_in_psum=("on_true", "predicate"),
    ),
    "range_select": Row(
        operands={
            "on_true_tile": Operand(dtypes=FLOATING),
            "bound0": Operand(dtypes=frozenset({F32})),
            "bound1": Operand(dtypes=frozenset({F32})),
        },
        nc_version_min=3,
    ),
    # Booleans are stored as uint8, and the reference's own example selects by them.
    "tensor_copy_predicated": Row(
        operands={"predicate": Operand(dtypes=UNSIGNED | {BOOL})}, not_both_in_psum=("src", "predicate")
    ),
    "bn_stats": Row(operands={"data": Operand(free_max="bn_stats_free_max")}),
    "max8": Row(operands={"src": Operand(free_min=8, free_max=16384, rank_max=5)}),
    "nc_find_index8": Row(
        operands={
            "data": Operand(free_min=8, free_max=16384, rank_max=5),
            "vals": Operand(free_min=8, free_max=8, rank_max=3),
            "dtype": Operand(dtypes=UINT16_OR_32),
        }
    ),
    "nc_match_replace8": Row(
        operands={
            "data": Operand(free_max=16384, rank_max=5),
            "vals": Operand(free_min=8, free_max=8, rank_max=3),
            "dst_idx": Operand(dtypes=UINT16_OR_32, free_min=8, free_max=8),
        }
    ),
    # ------------------------------------------------------------------------------------------ several engines
    "memset": Row(engines=(Engine.VECTOR, Engine.GPSIMD)),
    "copy": Row(engines=_COPYING),
    "tensor_copy": Row(engines=_COPYING),
    "tensor_copy_dynamic_src": Row(engines=_COPYING, operands={"src": _DYNAMIC}),
    "tensor_copy_dynamic_dst": Row(engines=_COPYING, operands={"dst": _DYNAMIC}),
    # ------------------------------------------------------------------------------------------ GpSimd Engine
    "affine_select": Row(
        engines=_GPSIMD,
        operands={"on_true_tile": Operand(dtypes=_SELECTABLE), "dtype": Operand(dtypes=_SELECTABLE)},
    ),
    "iota": Row(engines=_GPSIMD),
    "local_gather": Row(
        engines=_GPSIMD, operands={"src_buffer": _IN_SBUF, "index": Operand(memory=SBUF, dtypes=UINT16)}
    ),
    "gather_flattened": Row(
        engines=_GPSIMD,
        operands={
            "data": Operand(rank_max=4),
            "indices": Operand(dtypes=frozenset({np.dtype(np.uint32)}), rank_max=4),
        },
    ),
    "sequence_bounds": Row(
        engines=_GPSIMD,
        operands={"segment_ids": Operand(dtypes=INT32_OR_FLOAT32), "dtype": Operand(dtypes=INT32_OR_FLOAT32)},
    ),
    "tensor_partition_reduce": Row(engines=_GPSIMD),
}
"""Instruction -> what is legal."""


def row(operation: str) -> Row:
    """The row of an operation."""
    return ROWS.get(operation, ELEMENTWISE)


_ANYWHERE = frozenset({Engine.VECTOR, Engine.GPSIMD, Engine.SCALAR})
_VECTOR = frozenset({Engine.VECTOR})

OPERATORS: dict[str, frozenset[Engine]] = {
    "add": _ANYWHERE,
    "multiply": _ANYWHERE,
    "rsqrt": frozenset({Engine.GPSIMD, Engine.SCALAR}),
    "reciprocal": frozenset({Engine.VECTOR, Engine.SCALAR}),
    "abs": frozenset({Engine.VECTOR, Engine.SCALAR}),
    "power": frozenset({Engine.GPSIMD}),
} | dict.fromkeys(
    (
        *("invert", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"),
        *("subtract", "maximum", "minimum", "logical_not", "logical_and", "logical_or", "logical_xor"),
        *("equal", "not_equal", "greater_equal", "greater", "less_equal", "less"),
    ),
    _VECTOR,
)
"""Programmable operators of instructions (``op=``) -> engines that have them (``nki.api.shared``, SDK 2.26)."""

COMPARISONS = ("equal", "less", "less_equal", "greater", "greater_equal")
"""What ``range_select`` compares with."""

SCALAR_ENGINE_CHAINS = frozenset({("multiply", "add"), ("multiply", None), ("add", None)})
"""The operators of a ``tensor_scalar`` on the Scalar Engine, from NeuronCore-v3 on."""

FREE_REDUCTIONS = frozenset({"add", "subtract", "multiply", "max", "min"})
"""What ``tensor_scalar_reduce`` reduces with."""

PARTITION_REDUCTIONS = frozenset({"add", "max", "bitwise_or", "bitwise_and"})
"""What ``tensor_partition_reduce`` reduces with."""

ACCUMULATIONS: dict[int, frozenset[str]] = {2: frozenset({"add"}), 3: frozenset({"add", "multiply", "max", "min"})}
"""NeuronCore generation -> what the Scalar Engine's registers accumulate with. The documents restrict v2 only."""
