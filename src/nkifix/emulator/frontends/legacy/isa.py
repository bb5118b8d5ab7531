"""``neuronxcc.nki.isa`` (``nisa``): a subset of what is documented for Neuron SDK 2.26."""

from __future__ import annotations

import enum
from typing import Any

from nkifix.emulator import machine, numeric
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops import activation as activation_ops
from nkifix.emulator.ops import elementwise, movement, reduce, select, tensor_engine

__all__ = [
    "activation",
    "activation_reduce",
    "affine_select",
    "dma_transpose",
    "get_nc_version",
    "nc_matmul",
    "nc_transpose",
    "nc_version",
    "tensor_copy",
    "tensor_reduce",
]


class nc_version(enum.IntEnum):
    """NeuronCore generations, comparable."""

    gen2 = 2
    gen3 = 3


def get_nc_version() -> nc_version:
    """The generation that the emulation imitates."""
    return nc_version(TARGETS[machine.params().target].nc_version)


def nc_matmul(stationary: Any, moving: Any, *, mask: Any = None) -> Any:
    """``stationary.T @ moving`` on the Tensor Engine."""
    return tensor_engine.matmul(stationary, moving, mask=mask)


def nc_transpose(data: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """2-D transpose on the Tensor Engine, into PSUM."""
    return tensor_engine.transpose(data, dtype=dtype, mask=mask)


def dma_transpose(src: Any, *, axes: Any = None, mask: Any = None, dtype: Any = None) -> Any:
    """2-D transpose by the DMA engines, into SBUF."""
    if axes not in (None, (1, 0), [1, 0]):
        raise KernelFault("", f"dma_transpose with axes={axes!r} is not emulated yet, only (1, 0)")
    return movement.load_transposed("dma_transpose", src, dtype=dtype, mask=mask)


def activation(op: Any, data: Any, *, bias: Any = None, scale: Any = 1.0, mask: Any = None, dtype: Any = None) -> Any:
    """``op(data * scale + bias)`` on the Scalar Engine."""
    name = numeric.operation_name(op, numeric.ACTIVATIONS, "op")
    return activation_ops.activation(name, data, bias=bias, scale=scale, dtype=dtype, mask=mask)


def activation_reduce(
    op: Any,
    data: Any,
    *,
    reduce_op: Any,
    reduce_res: Any,
    bias: Any = None,
    scale: Any = 1.0,
    mask: Any = None,
    dtype: Any = None,
) -> Any:
    """:func:`activation`, and the sum of its float32 results per partition into ``reduce_res``."""
    numeric.operation_name(reduce_op, ("add",), "reduce_op")
    if not isinstance(reduce_res, Tensor):
        raise KernelFault("", f"activation_reduce: reduce_res must be a tile, got {type(reduce_res).__name__}")
    return activation_ops.activation(
        numeric.operation_name(op, numeric.ACTIVATIONS, "op"),
        data,
        bias=bias,
        scale=scale,
        dtype=dtype,
        mask=mask,
        operation="activation_reduce",
        reduce_into=reduce_res,
    )


def affine_select(pred: Any, on_true_tile: Any, on_false_value: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """Keep elements where an affine comparison of indices holds."""
    return select.affine_select(pred, on_true_tile, on_false_value, dtype=dtype, mask=mask)


def tensor_reduce(
    op: Any,
    data: Any,
    axis: Any,
    *,
    mask: Any = None,
    dtype: Any = None,
    negate: bool = False,
) -> Any:
    """Reduce over trailing free dimensions on the Vector Engine."""
    name = numeric.operation_name(op, numeric.REDUCTIONS, "op")
    return reduce.reduce_free(name, data, axis, dtype=dtype, mask=mask, negate=negate)


def tensor_copy(src: Any, *, mask: Any = None, dtype: Any = None) -> Any:
    """A copy in SBUF."""
    return elementwise.copy(src, dtype=dtype, mask=mask, operation="tensor_copy")
