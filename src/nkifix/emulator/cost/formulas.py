"""Engine cycles of each instruction, by the formula that its reference page documents.

N is the number of elements per partition. Source of a row: the instruction's "estimated instruction cost" in
the ``nki.isa`` reference, Neuron SDK 2.26, unless the row says otherwise. The formulas are averages over many
instructions of one kind, for NeuronCore-v2; NeuronCore-v3 adds the Vector Engine's fast modes ([A2] in
:mod:`nkifix.emulator.cost.chip`). What has no documented formula has no row, and is counted as uncosted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nkifix.emulator.cost.chip import Chip
from nkifix.emulator.engines import Engine
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16, F32
from nkifix.emulator.observe import Accessed, Instruction

MIN_CYCLES = 64
"""Shortest time between the starts of two instructions (MIN_II)."""
MIN_DYNAMIC_CYCLES = 600
"""The same for instructions whose address is known only at run time (MIN_II_DYNAMIC)."""
GPSIMD_START_CYCLES = 150
"""Start-up of an instruction on the GpSimd Engine."""

_HALF = (BF16, np.dtype(np.float16))


class Charge(NamedTuple):
    """Cycles on one engine."""

    engine: Engine
    cycles: float


@dataclass(frozen=True)
class Formula:
    """One row.

    Attributes
    ----------
    text:
        The formula in words.
    cycles:
        Computes it.
    engines:
        For which engines it is documented; None for whichever executes the instruction.
    """

    text: str
    cycles: Callable[[Instruction, Chip], float]
    engines: tuple[Engine, ...] | None = None


def _data(one: Instruction) -> Accessed:
    """The operand that a formula calls ``data``: the largest one, or the result where nothing is read."""
    return max(one.operands, key=lambda operand: operand.free_size, default=one.result)


def _size(one: Instruction) -> int:
    return _data(one).free_size


def _at_least(cycles: float, least: int = MIN_CYCLES) -> float:
    return max(float(least), float(cycles))


def _linear(factor: float = 1.0, start: float = 0.0, least: int = 0) -> Callable[[Instruction, Chip], float]:
    return lambda one, _: start + _at_least(factor * _size(one), least)


def _is_half(*tensors: Accessed) -> bool:
    return all(tensor.dtype in _HALF for tensor in tensors)


def _fast(one: Instruction, chip: Chip) -> float:
    """Speed-up of tensor_copy and tensor_scalar by the fast modes."""
    data, result = _data(one), one.result
    if not (chip.vector_fast_modes and one.engine is Engine.VECTOR and _is_half(data, result)):
        return 1.0
    in_sbuf = data.space is Space.SBUF and result.space is Space.SBUF
    contiguous = data.contiguous and result.contiguous
    if in_sbuf:
        return 4.0 if contiguous else 2.0
    return 2.0 if contiguous and Space.SBUF in (data.space, result.space) else 1.0


def _streamed(one: Instruction, chip: Chip) -> float:
    return _at_least(_size(one) / _fast(one, chip))


def _tensor_tensor(one: Instruction, chip: Chip) -> float:
    inputs = sorted(one.operands, key=lambda operand: operand.free_size)[-2:]
    spaces = {operand.space for operand in inputs}
    size = _size(one)
    if spaces == {Space.PSUM, Space.SBUF}:
        return _at_least(size)
    all_sbuf = spaces == {Space.SBUF}
    if chip.vector_fast_modes and all_sbuf and _is_half(*inputs, one.result):
        return _at_least(size)
    plain = all(tensor.dtype == BF16 for tensor in (*inputs, one.result)) and all(x.contiguous for x in inputs)
    return _at_least(size if all_sbuf and plain and one.function in ("add", "multiply", "subtract") else 2 * size)


def _tensor_reduce(one: Instruction, _chip: Chip) -> float:
    both = _data(one).dtype == BF16 and one.result.dtype == BF16
    return _size(one) / 2 if both and one.function in ("add", "max") else float(_size(one))


def _scalar_tensor_tensor(one: Instruction, _chip: Chip) -> float:
    tiles = [operand for operand in one.operands if operand.free_size == _size(one)]
    fast = all(tile.dtype == BF16 for tile in tiles) and one.function == "subtract+multiply" and _size(one) % 2 == 0
    return float(_size(one) if fast else 2 * _size(one))


def _memset(one: Instruction, _chip: Chip) -> float:
    size = one.result.free_size
    return _at_least(size / 2 if one.function == "zero" and _is_half(one.result) else size)


def _matmul(one: Instruction, _chip: Chip) -> float:
    stationary, moving = one.operands[:2]
    cycles = max(min(MIN_CYCLES, stationary.free_size), moving.free_size)
    return float(4 * cycles if F32 in (stationary.dtype, moving.dtype) else cycles)


def _transpose(one: Instruction, _chip: Chip) -> float:
    data = one.operands[0]
    if one.engine is Engine.VECTOR:
        return _at_least(data.free_size)
    return float(max(data.shape[0], min(MIN_CYCLES, data.free_size)))


def _predicated(one: Instruction, _chip: Chip) -> float:
    spaces = {operand.space for operand in one.operands}
    return _at_least(_size(one) if spaces == {Space.PSUM, Space.SBUF} else 2 * _size(one))


def _local_gather(one: Instruction, _chip: Chip) -> float:
    gathered = one.result.free_size
    width, itemsize = int(one.function or 1), one.operands[0].dtype.itemsize
    rate = ((28 + 4 * width) / (4 * width)) / min(4 / itemsize, width)
    return GPSIMD_START_CYCLES + gathered / rate


FORMULAS: dict[str, Formula] = {
    "activation": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "activation_reduce": Formula("max(64, N) + 64", _linear(start=MIN_CYCLES, least=MIN_CYCLES)),
    "affine_select": Formula("150 + N", _linear(start=GPSIMD_START_CYCLES)),
    "bn_aggr": Formula("max(64, 13 N / 3)", _linear(factor=13 / 3, least=MIN_CYCLES)),
    "bn_stats": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "dropout": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "iota": Formula("150 + N", lambda one, _: float(GPSIMD_START_CYCLES + one.result.free_size)),
    "local_gather": Formula("150 + gathered / C, C as documented", _local_gather),
    "max8": Formula("N", _linear()),
    "memset": Formula("max(64, N); N / 2 for a 16-bit zero", _memset, (Engine.VECTOR,)),
    "nc_find_index8": Formula("N", _linear()),
    # The page says min(64, N), against its own definition of MIN_II as a minimum.
    "nc_match_replace8": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "nc_matmul": Formula("max(min(64, stationary N), moving N); 4x for float32", _matmul),
    "nc_stream_shuffle": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "nc_transpose": Formula("Tensor: max(P, min(64, N)); Vector: max(64, N)", _transpose),
    "range_select": Formula("max(64, N)", _linear(least=MIN_CYCLES)),
    "reciprocal": Formula("max(64, 8 N)", _linear(factor=8, least=MIN_CYCLES)),
    "scalar_tensor_tensor": Formula("2 N; N for bfloat16 subtract-multiply of even N", _scalar_tensor_tensor),
    "tensor_copy": Formula("max(64, N); v3 fast modes N / 4, N / 2", _streamed),
    "tensor_copy_dynamic_dst": Formula("max(600, N)", _linear(least=MIN_DYNAMIC_CYCLES)),
    "tensor_copy_dynamic_src": Formula("max(600, N)", _linear(least=MIN_DYNAMIC_CYCLES)),
    "tensor_copy_predicated": Formula("max(64, N) with one operand in PSUM, else max(64, 2 N)", _predicated),
    "tensor_reduce": Formula("N; N / 2 for add and max of bfloat16 to bfloat16", _tensor_reduce),
    "tensor_scalar": Formula("max(64, N); v3 fast modes N / 4, N / 2", _streamed, (Engine.VECTOR, Engine.SCALAR)),
    "tensor_scalar_reduce": Formula("max(64, N) + 64", _linear(start=MIN_CYCLES, least=MIN_CYCLES)),
    "tensor_tensor": Formula(
        "max(64, 2 N); max(64, N) with one operand in PSUM, or for bfloat16 add, multiply, subtract in SBUF",
        _tensor_tensor,
        (Engine.VECTOR,),
    ),
    "tensor_tensor_scan": Formula("max(64, 2 N)", _linear(factor=2, least=MIN_CYCLES)),
}
"""Instruction -> documented formula."""

ACTIVATIONS = frozenset(
    {
        "abs",
        "arctan",
        "cos",
        "erf",
        "erf_dx",
        "exp",
        "gelu",
        "gelu_apprx_sigmoid",
        "gelu_apprx_tanh",
        "gelu_dx",
        "log",
        "mish",
        "relu",
        "rsqrt",
        "sigmoid",
        "sign",
        "silu",
        "silu_dx",
        "sin",
        "softplus",
        "sqrt",
        "square",
        "tanh",
    }
)
"""Language functions that are one ``activation`` (supported activation functions, nki.api.shared)."""

TWO_OPERANDS = frozenset(
    {
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "equal",
        "not_equal",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "left_shift",
        "right_shift",
        "logical_and",
        "logical_or",
        "logical_xor",
    }
)
"""Language functions that are one ``tensor_tensor``, or one ``tensor_scalar`` (supported math operators, ibid.)."""

_ON_GPSIMD = frozenset({"add", "subtract", "multiply"})
_WORDS = (np.dtype(np.int32), np.dtype(np.uint32))
"""32-bit integers are added and multiplied on the GpSimd Engine alone (ibid.)."""

REDUCTIONS = {"sum": "add", "max": "max", "min": "min", "prod": "multiply", "all": "logical_and"}
"""Language functions that are one ``tensor_reduce``, and by which operator."""

_LOWERED: dict[str, tuple[str, Engine]] = {
    "copy": ("tensor_copy", Engine.VECTOR),
    "static_cast": ("tensor_copy", Engine.VECTOR),
    "negative": ("tensor_scalar", Engine.VECTOR),
    "invert": ("tensor_scalar", Engine.VECTOR),
    "logical_not": ("tensor_scalar", Engine.VECTOR),
    "zeros": ("memset", Engine.VECTOR),
}


def lowered(one: Instruction) -> Instruction:
    """The ``nki.isa`` instruction that a function of ``nki.language`` stands for; the same where none is documented."""
    name, changes = one.operation, {}
    if name in ACTIVATIONS:
        changes = {"operation": "activation", "engine": Engine.SCALAR, "function": name}
    elif name in TWO_OPERANDS:
        sizes = [operand.free_size for operand in one.operands]
        both = sizes == [1, 1] or (len(sizes) == 2 and min(sizes) > 1)
        changes = {"operation": "tensor_tensor" if both else "tensor_scalar", "function": name}
        if name in _ON_GPSIMD and all(operand.dtype in _WORDS for operand in one.operands):
            changes["engine"] = Engine.GPSIMD
    elif name in REDUCTIONS:
        changes = {"operation": "tensor_reduce", "function": REDUCTIONS[name]}
    elif name in _LOWERED:
        operation, engine = _LOWERED[name]
        changes = {"operation": operation, "engine": engine}
    if not changes:
        return one
    fields: dict[str, Any] = {**vars(one), **changes}
    return Instruction(**fields)


def charges(instruction: Instruction, chip: Chip) -> tuple[Charge, ...] | None:
    """Cycles of one execution, per engine; None where no formula is documented. A DMA costs no engine's cycles.

    An operand in PSUM that its engine cannot reach costs a copy on the Vector Engine, which the compiler adds
    ("NKI known issues", helper instructions).
    """
    one = lowered(instruction)
    copies = tuple(
        Charge(Engine.VECTOR, _at_least(operand.free_size))
        for operand in one.operands
        if operand.space is Space.PSUM and one.engine in (Engine.GPSIMD, Engine.TENSOR, Engine.DMA)
    )
    if one.engine is Engine.DMA:
        return copies
    formula = FORMULAS.get(one.operation)
    if formula is None or (formula.engines is not None and one.engine not in formula.engines):
        return None
    return (Charge(one.engine, formula.cycles(one, chip)), *copies)
