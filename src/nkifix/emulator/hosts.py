"""The caller's arrays: numpy, JAX, torch on the CPU, torch-xla; in as bytes, out as the caller's kind and device.

No framework is imported from here: a caller who passes its tensors has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.numeric import BF16, Array, storage_dtype
from nkifix.errors import RefusalError


def is_torch(value: object) -> bool:
    """Whether ``value`` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_jax(value: object) -> bool:
    """Whether ``value`` is a JAX array."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.Array)


def is_framework_array(value: object) -> bool:
    """Whether ``value`` is a tensor of a framework, not of numpy."""
    return is_torch(value) or is_jax(value)


def is_array(value: object) -> bool:
    """Whether ``value`` is passed to a kernel as a tensor (all else is a compile-time constant)."""
    return isinstance(value, np.ndarray) or is_framework_array(value)


@dataclass(frozen=True)
class Host:
    """The kind of array that a caller uses.

    Attributes
    ----------
    give_back:
        Turns a result into that kind, on that device.
    """

    kind: str
    give_back: Callable[[Array], Any]


def host_of(arrays: list[Any]) -> Host:
    """The one host kind of all ``arrays``; numpy where there are none.

    Raises
    ------
    RefusalError
        Where kinds or devices are mixed.
    """
    kinds = {_kind(array) for array in arrays}
    if len(kinds) > 1:
        raise RefusalError(
            f"a kernel was called with mixed tensors: {', '.join(sorted(kinds))}",
            why="results come back as the kind and on the device of the arguments",
            next_step="pass all tensors as numpy arrays, or all as one framework's on one device",
        )
    if arrays and is_jax(arrays[0]):
        return Host("jax", lambda values: sys.modules["jax"].numpy.asarray(values))
    if not arrays or not is_torch(arrays[0]):
        return Host("numpy", lambda values: values)
    device = arrays[0].device
    return Host(f"torch on {device}", lambda values: to_torch(values).to(device))


def _kind(array: Any) -> str:
    if is_torch(array):
        return f"torch on {array.device}"
    return "jax" if is_jax(array) else "numpy"


def to_numpy(value: Any, name: str) -> Array:
    """The argument's elements as a C-contiguous numpy array, without a copy where that is possible.

    Raises
    ------
    RefusalError
        For a dtype that the device cannot store, a tensor whose data is not here (meta, fake, another device),
        or an array with a meaning beyond its elements (masked, sparse).
    """
    if is_torch(value):
        value = _from_torch(value, name)
    elif is_jax(value):
        value = _from_jax(value, name)
    elif isinstance(value, np.ma.MaskedArray):
        raise RefusalError(
            f"argument {name!r} is a numpy masked array",
            why="a kernel would compute on the masked elements too",
            next_step=f"pass {name}.filled(...), or {name}.data",
        )
    try:
        storage_dtype(value.dtype)
    except KernelFault as error:
        raise _unstorable(name, value.dtype) from error
    contiguous: Array = np.ascontiguousarray(value).reshape(value.shape)
    return contiguous


def _unstorable(name: str, dtype: object) -> RefusalError:
    return RefusalError(
        f"argument {name!r} has dtype {dtype}, which the emulator cannot store",
        why="it stores what NeuronCores of all its targets do, in at most 32 bits",
        next_step="cast it to float32, bfloat16, float16 or an integer of at most 32 bits",
    )


_TORCH_DTYPES = frozenset(
    f"torch.{name}"
    for name in (
        "bfloat16",
        "bool",
        "float16",
        "float32",
        "int16",
        "int32",
        "int8",
        "uint16",
        "uint32",
        "uint8",
    )
)
"""By name: older versions of torch lack some."""


def _from_torch(tensor: Any, name: str) -> Array:
    torch = sys.modules["torch"]
    if tensor.device.type not in ("cpu", "xla"):
        raise RefusalError(
            f"argument {name!r} is a torch tensor on {tensor.device}",
            why="the emulator reads tensors on the CPU or on an XLA device",
            next_step=f"pass {name}.cpu()" if tensor.device.type != "meta" else "pass a tensor that has data",
        )
    if str(tensor.dtype) not in _TORCH_DTYPES:
        raise _unstorable(name, tensor.dtype)
    if tensor.layout != torch.strided:
        raise RefusalError(
            f"argument {name!r} is a torch tensor with the layout {tensor.layout}",
            why="a kernel addresses every element",
            next_step=f"pass {name}.to_dense()",
        )
    # numpy has no bfloat16: reinterpret the bytes.
    reinterpret = tensor.dtype == torch.bfloat16
    try:
        local = tensor.detach().cpu().contiguous()
        values: Array = (local.view(torch.int16) if reinterpret else local).numpy()
    except (RuntimeError, TypeError) as error:
        raise RefusalError(
            f"the elements of argument {name!r}, a {type(tensor).__name__}, cannot be read",
            why=str(error).partition("\n")[0],
            next_step="call the kernel outside of tracing, with a tensor that has data",
        ) from error
    return values.view(ml_dtypes.bfloat16) if reinterpret else values


def _from_jax(array: Any, name: str) -> Array:
    try:
        return np.asarray(array)
    except Exception as error:
        # JAX's own errors, of which a tracer's is none of Python's.
        raise RefusalError(
            f"the elements of argument {name!r}, a {type(array).__name__}, cannot be read",
            why=str(error).partition("\n")[0],
            next_step="call the kernel outside of jax.jit, with an array that has data",
        ) from error


def to_torch(values: Array) -> Any:
    """A torch tensor on the CPU with the same elements; torch is loaded already."""
    torch = sys.modules["torch"]
    if values.dtype == BF16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)
