"""Instructions of the GpSimd Engine, and random numbers."""

from __future__ import annotations

from typing import Any, NoReturn

from nkifix.emulator import numeric
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.memory import Tensor
from nkifix.emulator.ops import generate, partitions, randomness, select, shuffle

__all__ = [
    "affine_select",
    "builtin_custom_op",
    "dropout",
    "iota",
    "local_gather",
    "sequence_bounds",
    "tensor_partition_reduce",
]


def affine_select(
    pred: Any, on_true_tile: Any, on_false_value: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any
) -> Any:
    """Keep elements where an affine comparison of indices holds."""
    refuse_unknown("nisa.affine_select", kwargs)
    return select.affine_select(pred, on_true_tile, on_false_value, dtype=dtype, mask=mask)


def iota(expr: Any, dtype: Any, *, mask: Any = None, **kwargs: Any) -> Any:
    """A tile with the values of an index expression."""
    refuse_unknown("nisa.iota", kwargs)
    return generate.iota(expr, dtype, mask=mask)


def local_gather(
    src_buffer: Any, index: Any, num_elem_per_idx: Any = 1, num_valid_indices: Any = None, *, mask: Any = None
) -> Any:
    """Gather runs of elements, each core for its 16 partitions."""
    return shuffle.local_gather(src_buffer, index, num_elem_per_idx, num_valid_indices, mask=mask)


def sequence_bounds(*, segment_ids: Any, dtype: Any = None) -> Any:
    """Where each element's segment begins and ends."""
    return shuffle.sequence_bounds(segment_ids, dtype=dtype)


def tensor_partition_reduce(op: Any, data: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Reduce over the partitions."""
    refuse_unknown("nisa.tensor_partition_reduce", kwargs)
    return partitions.reduce_partitions(op, data, dtype=dtype, mask=mask)


def dropout(data: Any, prob: Any, *, mask: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """``data`` with each element set to zero with probability ``prob``."""
    refuse_unknown("nisa.dropout", kwargs)
    if isinstance(data, Tensor):
        _check_probability(data, prob)
        if data.dtype in numeric.INTEGERS and dtype is not None and numeric.storage_dtype(dtype) != data.dtype:
            raise KernelFault(
                "",
                f"dropout of {data.dtype} into {numeric.dtype_name(numeric.storage_dtype(dtype))}",
                why="integer data keeps its dtype",
                next_step="leave dtype= out, and cast afterwards",
            )
    return randomness.dropout(data, prob, dtype=dtype, mask=mask)


def _check_probability(data: Tensor, prob: Any) -> None:
    """The dtypes that ``prob`` may have as a tile."""
    if not isinstance(prob, Tensor):
        return
    legal = {numeric.F32} if data.dtype in numeric.INTEGERS else set(numeric.FLOATS)
    if prob.dtype not in legal:
        raise KernelFault(
            "",
            f"dropout: prob is {numeric.dtype_name(prob.dtype)} for data of {numeric.dtype_name(data.dtype)}",
            why="it is float32 for integer data, a float for floating data",
            next_step="cast it: nl.copy(prob, dtype=nl.float32)",
        )


def builtin_custom_op(
    function_name: Any,
    lib_file_name: Any,
    ulib_to_ucode_version: Any,
    ulib_to_isa_version: Any,
    srcs: Any,
    dsts: Any,
    **kwargs: Any,
) -> NoReturn:
    """Refused: it runs a library that is compiled for the device."""
    raise KernelFault(
        "",
        f"builtin_custom_op({function_name!r}) cannot be emulated",
        why=f"it runs code of {lib_file_name!r}, which is compiled for the GpSimd Engine",
        next_step="run the kernel on a NeuronCore",
    )
