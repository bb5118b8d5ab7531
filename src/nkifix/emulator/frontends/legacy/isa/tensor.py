"""Instructions of the Tensor Engine."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.isa.arguments import chosen
from nkifix.emulator.frontends.legacy.isa.constants import engine as engines
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import tensor_engine

__all__ = ["nc_matmul", "nc_transpose"]


def nc_matmul(
    stationary: Any,
    moving: Any,
    *,
    is_stationary_onezero: bool = False,
    is_moving_onezero: bool = False,
    is_transpose: bool = False,
    tile_position: Any = (),
    tile_size: Any = (),
    mask: Any = None,
    **kwargs: Any,
) -> Any:
    """``stationary.T @ moving`` into PSUM. The three hints change the cost only.

    ``perf_mode="double_row_gen3"`` is undocumented, but the SDK's examples use it.
    """
    mode = kwargs.pop("perf_mode", None)
    refuse_unknown("nisa.nc_matmul", kwargs, ("mask", "perf_mode", "tile_position", "tile_size"))
    tensor_engine.check_array_tile("nc_matmul", tile_position, tile_size, stationary)
    if mode is None:
        return tensor_engine.matmul(stationary, moving, mask=mask)
    if mode != "double_row_gen3":
        raise KernelFault("", f"nc_matmul: perf_mode={mode!r}", next_step="leave it out, or use 'double_row_gen3'")
    return tensor_engine.double_row_matmul(stationary, moving, mask=mask)


def nc_transpose(
    data: Any, *, mask: Any = None, dtype: Any = None, engine: Any = engines.unknown, **kwargs: Any
) -> Any:
    """2-D transpose of partitions and free dimensions."""
    refuse_unknown("nisa.nc_transpose", kwargs)
    return tensor_engine.transpose(data, dtype=dtype, mask=mask, engine=chosen("nc_transpose", engine))
