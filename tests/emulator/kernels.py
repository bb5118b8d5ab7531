"""What the emulator's tests share: a running program, tiles with chosen values, and refusals by code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator import machine
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.machine import Launch, Program
from nkifix.emulator.memory import Space, Storage
from nkifix.emulator.numeric import Array
from nkifix.emulator.params import Params, Target


@contextmanager
def running(
    target: Target = "trn1", *, grid: tuple[int, ...] = (), position: tuple[int, ...] = (), **choices: Any
) -> Iterator[Program]:
    """A kernel's surroundings: inside, operations can be called as in a kernel."""
    current = Program(Launch(Params(target=target, **choices), grid), position, tensor_type=LegacyTensor)
    with machine.executing(current), np.errstate(all="ignore"):
        yield current


@contextmanager
def refuses(code: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[KernelFault]]:
    """The block must raise a fault with this code ("" for none), whose message matches."""
    with pytest.raises(KernelFault, match=match) as caught:
        yield caught
    assert caught.value.code == code
    assert caught.value.where


def hbm(values: Any, *, name: str = "x", dtype: Any = None) -> LegacyTensor:
    """A kernel's input."""
    array = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
    raw = array.reshape(-1).view(np.uint8).copy()
    storage = Storage(array.shape, array.dtype, Space.HBM, partition_axis=None, name=name, raw=raw, is_input=True)
    tensor = LegacyTensor._whole(storage)
    assert isinstance(tensor, LegacyTensor)
    return tensor


def tile(
    values: Any,
    dtype: Any = np.float32,
    *,
    space: Space = Space.SBUF,
    holes: npt.ArrayLike | None = None,
    partition_axis: int = 0,
    name: str = "",
) -> LegacyTensor:
    """An on-chip tensor with these values; elements where ``holes`` is true were never written."""
    array = np.asarray(values).astype(dtype)
    storage = Storage(array.shape, array.dtype, space, partition_axis=partition_axis, name=name)
    storage.leave_undefined()
    tensor = LegacyTensor._whole(storage)
    assert isinstance(tensor, LegacyTensor)
    tensor.write(array, None, None if holes is None else ~np.broadcast_to(np.asarray(holes, dtype=bool), array.shape))
    return tensor


def values(tensor: Any) -> Array:
    """A copy of the elements, undefined ones included."""
    elements, _ = tensor.read()
    return np.array(elements)


def holes(tensor: Any) -> npt.NDArray[np.bool_]:
    """Which elements are undefined."""
    elements, undefined = tensor.read()
    if undefined is None:
        return np.zeros(elements.shape, dtype=bool)
    return np.broadcast_to(undefined.ids != 0, elements.shape)


def same_bytes(a: Any, b: Any) -> bool:
    """Equal dtype, shape and bytes."""
    first, second = np.asarray(a), np.asarray(b)
    return (first.dtype, first.shape) == (second.dtype, second.shape) and first.tobytes() == second.tobytes()
