"""Instructions of the DMA engines, and the target's generation."""

from __future__ import annotations

from typing import Any

from nkifix.emulator import functions, machine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.isa.arguments import check_descriptors, skips
from nkifix.emulator.frontends.legacy.isa.constants import dge_mode as modes
from nkifix.emulator.frontends.legacy.isa.constants import nc_version
from nkifix.emulator.frontends.legacy.isa.constants import oob_mode as bounds
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.ops import movement

__all__ = ["dma_copy", "dma_transpose", "get_nc_version"]


def get_nc_version() -> nc_version:
    """The generation that the emulation imitates."""
    return nc_version(TARGETS[machine.params().target].nc_version)


def dma_copy(
    *,
    dst: Any,
    src: Any,
    mask: Any = None,
    dst_rmw_op: Any = None,
    oob_mode: Any = bounds.error,
    dge_mode: Any = modes.unknown,
) -> None:
    """Copy between HBM and SBUF, in any direction."""
    operation = "dma_copy"
    check_descriptors(operation, dge_mode)
    skip = skips(operation, oob_mode)
    if dst_rmw_op is not None:
        functions.operation_name(dst_rmw_op, ("add",), "dst_rmw_op")
        if skip:
            raise KernelFault(
                "",
                f"{operation}: dst_rmw_op with oob_mode.skip",
                why="a read-modify-write is documented with oob_mode.error only",
                next_step="leave oob_mode out, and mask what is out of bounds",
            )
    movement.copy(src, dst, accumulate=dst_rmw_op is not None, skip_out_of_bounds=skip, mask=mask)


def dma_transpose(src: Any, *, axes: Any = None, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Transpose by the DMA engines, into SBUF."""
    operation = "dma_transpose"
    mode = kwargs.pop("dge_mode", modes.unknown)
    refuse_unknown(f"nisa.{operation}", kwargs, ("axes", "dge_mode", "dtype", "mask"))
    check_descriptors(operation, mode)
    rank = getattr(src, "ndim", 0)
    if axes is not None and tuple(axes) != movement.TRANSPOSITIONS.get(rank):
        known = ", ".join(map(str, movement.TRANSPOSITIONS.values()))
        raise KernelFault(
            "",
            f"{operation}: axes={tuple(axes)} of a tensor of rank {rank}",
            why=f"it exchanges the first and the last dimension: {known}",
            next_step="leave axes out",
        )
    return movement.load_transposed(operation, src, dtype=dtype, mask=mask)
