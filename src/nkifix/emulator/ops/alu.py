"""Programmable operators of the compute engines (``op=``): which there are, and how they are chained.

An operator either computes numbers, in float32, or treats integers as bit patterns. An instruction's two
operators are of one kind. Source: ``nki.api.shared``, supported math operators (Neuron SDK 2.26).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nkifix.emulator import functions, legality, numeric
from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.numeric import BOOL, INTEGERS, Array
from nkifix.emulator.undefined import Undefined

UNARY = frozenset({"abs", "invert", "logical_not", "reciprocal", "rsqrt"})
"""Operators that ignore the instruction's operand."""


class Step(NamedTuple):
    """One operator of a chain: ``x = x op operand``, or with ``reverse``, ``x = operand op x``."""

    name: str
    operand: Array
    reverse: bool = False
    undefined: Undefined | None = None


def operator_name(op: object, argument: str, *, arithmetic_only: bool = False) -> str:
    """Name of the operator that was passed as a function.

    Raises
    ------
    KernelFault
        Where the engines do not have it.
    """
    return functions.operation_name(op, _ARITHMETIC if arithmetic_only else _ALL, argument)


_ALL = frozenset(legality.OPERATORS)
_ARITHMETIC = _ALL - functions.BIT_OPERATIONS


def check_kind(operation: str, names: Sequence[str], dtypes: Sequence[np.dtype[Any]]) -> bool:
    """Whether the operators work on bits; refuses a mixture, and bits of floating data."""
    kinds = {name in functions.BIT_OPERATIONS for name in names}
    if len(kinds) > 1:
        raise KernelFault(
            "",
            f"{operation}: {' and '.join(names)} are of two kinds",
            why="both operators work on bits of integers, or both compute numbers",
            next_step="use two instructions",
        )
    bits = kinds == {True}
    for dtype in dtypes if bits else ():
        if dtype not in INTEGERS and dtype != BOOL:
            raise KernelFault(
                "",
                f"{operation}: {names[0]} takes and gives integers, got {numeric.dtype_name(dtype)}",
                why="it works on bit patterns, without any conversion",
                next_step="use integer tiles and an integer dtype=",
            )
    return bits


def apply(steps: Sequence[Step], values: Array, *, bits: bool, target: np.dtype[Any]) -> Array:
    """The chain's result on ``values``: float32, or for bit patterns the low bits as ``target``."""
    if not bits:
        x = numeric.as_f32(values)
        for step in steps:
            x = _number(step, x)
        return x
    work = np.dtype(np.uint8) if values.dtype == BOOL else values.dtype
    x = np.asarray(values).astype(work)
    for step in steps:
        x = _pattern(step, x)
    return x.astype(np.uint8 if target == BOOL else target)


def _number(step: Step, x: Array) -> Array:
    if step.name in UNARY:
        return numeric.as_f32(functions.UNARY[step.name](x))
    operand = np.asarray(step.operand).astype(np.float32)
    pair = (operand, x) if step.reverse else (x, operand)
    return numeric.as_f32(functions.ARITHMETIC[step.name](*pair))


def _pattern(step: Step, x: Array) -> Array:
    if step.name == "invert":
        inverted: Array = np.invert(x)
        return inverted
    operand = _bits_of(step.operand, x.dtype)
    pair = (operand, x) if step.reverse else (x, operand)
    return functions.BITWISE[step.name](*np.broadcast_arrays(*pair))


def _bits_of(operand: Array, dtype: np.dtype[Any]) -> Array:
    """An integer operand in the data's width."""
    if operand.dtype not in INTEGERS and operand.dtype.kind not in "iub":
        raise KernelFault("", f"a bit pattern is an integer, got {operand.dtype}", next_step="pass an integer operand")
    return operand.astype(dtype)


def check_engine(operation: str, engine: Engine, names: Sequence[str]) -> None:
    """Refuse operators that an engine does not have.

    Raises
    ------
    KernelFault
        ``engine-operation``.
    """
    for name in names:
        if engine not in legality.OPERATORS[name]:
            able = ", ".join(sorted(one.value for one in legality.OPERATORS[name]))
            raise KernelFault(
                "engine-operation",
                f"{operation}: the {engine.value} Engine has no {name}",
                why=f"engines that have it: {able}",
                next_step="leave engine= out, or use an operator that the engine has",
            )
