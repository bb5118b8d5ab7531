"""Arguments that many instructions share."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.engines import Engine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.isa.constants import dge_mode, engine, oob_mode, reduce_cmd
from nkifix.emulator.machine import program

_ENGINES = {
    engine.tensor: Engine.TENSOR,
    engine.vector: Engine.VECTOR,
    engine.scalar: Engine.SCALAR,
    engine.gpsimd: Engine.GPSIMD,
}


def chosen(operation: str, value: Any) -> Engine | None:
    """The engine that ``engine=`` names; None where the compiler chooses."""
    if value is None or value == engine.unknown:
        return None
    if value not in _ENGINES:
        raise KernelFault(
            "engine-operation",
            f"{operation}: engine={value!r} executes no instruction on data",
            next_step="use nisa.vector_engine, nisa.scalar_engine, nisa.gpsimd_engine or nisa.tensor_engine",
        )
    return _ENGINES[value]


def command(operation: str, value: Any) -> reduce_cmd:
    """``reduce_cmd=`` as a member of its enumeration."""
    try:
        return reduce_cmd(value)
    except ValueError:
        raise KernelFault("", f"{operation}: reduce_cmd={value!r} is no nisa.reduce_cmd") from None


def skips(operation: str, value: Any) -> bool:
    """Whether an ``oob_mode`` skips accesses out of bounds."""
    try:
        return oob_mode(value) is oob_mode.skip
    except ValueError:
        raise KernelFault("", f"{operation}: oob_mode={value!r} is no nisa.oob_mode") from None


def check_descriptors(operation: str, value: Any) -> None:
    """Refuse a ``dge_mode`` that does not exist, or not on the target."""
    try:
        mode = dge_mode(value)
    except ValueError:
        raise KernelFault("", f"{operation}: dge_mode={value!r} is no nisa.dge_mode") from None
    if mode is dge_mode.hwdge and program().launch.limits.nc_version < 3:
        raise KernelFault(
            "nc-version",
            f"{operation}: dge_mode.hwdge does not exist on NeuronCore-v2",
            why="descriptors are generated in hardware from NeuronCore-v3 on",
            next_step="use dge_mode.swdge, or leave dge_mode out",
        )
