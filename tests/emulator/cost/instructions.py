"""Instructions made by hand."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from nkifix.emulator.engines import Engine
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import Accessed, Event, Instruction, Region

F32 = np.dtype(np.float32)
BF16 = np.dtype(ml_dtypes.bfloat16)


def access(
    *shape: int, dtype: Any = F32, space: Space = Space.SBUF, contiguous: bool = True, run_bytes: int | None = None
) -> Accessed:
    """An operand or result; in one run unless told otherwise."""
    dtype = np.dtype(dtype)
    run = int(np.prod(shape[1:])) * dtype.itemsize if run_bytes is None else run_bytes
    return Accessed(shape, dtype, space, contiguous, run)


def instruction(
    operation: str,
    result: Accessed,
    *operands: Accessed,
    engine: Engine = Engine.VECTOR,
    function: str = "",
    file: str = "kernel.py",
    line: int = 1,
) -> Instruction:
    """One executed instruction."""
    return Instruction(operation, function, engine, result, operands, file, line)


def event(
    one: Instruction, *, reads: tuple[Region, ...] = (), writes: tuple[Region, ...] = (), program: Any = ()
) -> Event:
    """It, with the memory it used."""
    return Event(one, program, reads, writes, {})


def whole(storage: int, columns: int = 64) -> Region:
    """All of a tile of 128 partitions."""
    return Region(storage, 0, 128, 0, columns)
