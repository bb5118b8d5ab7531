"""What is rounded where, with ``storage=precise`` and ``storage=fp32``."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import numeric
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.machine import using
from nkifix.emulator.params import Params
from tests.emulator.kernels import same_bytes

BF16 = ml_dtypes.bfloat16
X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


def launched(kernel: Any, *arrays: Any, storage: Any) -> Any:
    with using(Params(storage=storage)):
        return nki.jit(kernel)(*arrays)


def chain(x: Any) -> Any:
    """exp(x) / 3, and its third column doubled, through tiles and an output of bfloat16."""
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    assert x.dtype == nl.bfloat16
    third = nl.multiply(nl.exp(nl.load(x)), 1 / 3, dtype=nl.bfloat16)
    buffer = nl.ndarray(x.shape, nl.bfloat16)
    buffer[...] = third
    buffer[:, 2] *= 2.0
    assert buffer.dtype == third.dtype == nl.bfloat16
    nl.store(out, buffer)
    return out


def expected(rounded: Any) -> Any:
    start = rounded(X.astype(BF16).astype(np.float32))
    third = rounded(rounded(np.exp(start)) * np.float32(1 / 3))
    third[:, 2] = rounded(third[:, 2] * np.float32(2))
    return third.astype(BF16)


def test_precise_storage_rounds_every_tile() -> None:
    result = launched(chain, X.astype(BF16), storage="precise")
    assert same_bytes(result, expected(lambda v: v.astype(BF16).astype(np.float32)))


def test_fp32_storage_rounds_the_output_once() -> None:
    result = launched(chain, X.astype(BF16), storage="fp32")
    assert same_bytes(result, expected(lambda v: v.copy()))
    assert not same_bytes(result, launched(chain, X.astype(BF16), storage="precise"))


@pytest.mark.parametrize("storage", ["precise", "fp32"])
def test_integers_are_rounded_and_saturate_in_any_storage(storage: Any) -> None:
    def kernel(x: Any) -> Any:
        out = nl.ndarray(x.shape, np.int8, buffer=nl.shared_hbm)
        nl.store(out, nl.multiply(nl.load(x), 100.0, dtype=np.int8))
        return out

    assert same_bytes(launched(kernel, X, storage=storage), numeric.cast(X * np.float32(100), np.dtype(np.int8)))


@pytest.mark.parametrize("storage", ["precise", "fp32"])
def test_parameters_of_the_older_convention_are_written_in_their_dtype(storage: Any) -> None:
    def kernel(x: Any, out: Any) -> None:
        nl.store(out, nl.multiply(nl.load(x), 3.0))

    x, out = X.astype(BF16), np.zeros(X.shape, dtype=BF16)
    launched(kernel, x, out, storage=storage)
    assert same_bytes(out, (x.astype(np.float32) * 3).astype(BF16))
    assert same_bytes(x, X.astype(BF16))


@pytest.mark.parametrize(
    ("storage", "kept"), [pytest.param("precise", 1.0, id="precise"), pytest.param("fp32", 1 + 2.0**-12, id="fp32")]
)
def test_tfloat32_keeps_ten_bits(storage: Any, kept: float) -> None:
    def kernel(x: Any) -> Any:
        out = nl.ndarray(x.shape, np.float32, buffer=nl.shared_hbm)
        buffer = nl.ndarray(x.shape, nl.tfloat32)
        buffer[...] = nl.load(x)
        assert buffer.dtype == nl.tfloat32
        nl.store(out, nl.add(nl.copy(buffer), buffer, dtype=np.float32))
        return out

    result = launched(kernel, np.full((1, 2), 1 + 2.0**-12, dtype=np.float32), storage=storage)
    assert result.tolist() == [[2 * kept] * 2]


@pytest.mark.parametrize("storage", ["precise", "fp32"])
def test_tfloat32_leaves_the_launch_as_rounded_float32(storage: Any) -> None:
    def kernel(x: Any) -> Any:
        out = nl.ndarray(x.shape, nl.tfloat32, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x))
        return out

    result = launched(kernel, X, storage=storage)
    assert same_bytes(result, numeric.round_to_tf32(X))


def test_tfloat32_array_of_the_host_is_taken() -> None:
    def kernel(x: Any) -> Any:
        assert x.dtype == nl.tfloat32
        out = nl.ndarray(x.shape, np.float32, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x, dtype=np.float32))
        return out

    for storage in ("precise", "fp32"):
        assert same_bytes(launched(kernel, X.view("V4"), storage=storage), X)
