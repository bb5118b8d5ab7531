"""Dtypes, casts and the frozen order of sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import numeric
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.numeric import BF16, F32
from tests.emulator.kernels import refuses, same_bytes

F16 = np.dtype(np.float16)
U8, I8, U16, I16, U32, I32 = (np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32))
BOOL = np.dtype(bool)
STORABLE = [F32, F16, BF16, U8, I8, U16, I16, U32, I32, BOOL]


@pytest.mark.parametrize("dtype", STORABLE, ids=str)
def test_storage_dtype_of_device_dtypes(dtype: np.dtype[Any]) -> None:
    assert numeric.storage_dtype(dtype) == dtype
    assert numeric.storage_dtype(dtype.type) == dtype


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint64, np.complex64, None, "no dtype", object, "U3", 7])
def test_refuses_dtype_that_the_device_cannot_store(dtype: Any) -> None:
    with refuses("", "is no dtype that this emulator can store"):
        numeric.storage_dtype(dtype)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        pytest.param(I32, F16, F16, id="int32, float16"),
        pytest.param(U16, BF16, BF16, id="uint16, bfloat16"),
        pytest.param(U32, F32, F32, id="uint32, float32"),
        pytest.param(F32, BF16, F32, id="float32, bfloat16"),
        pytest.param(F32, F16, F32, id="float32, float16"),
        pytest.param(F16, BF16, F32, id="float16, bfloat16"),
        pytest.param(I16, I32, I32, id="int16, int32"),
        pytest.param(U8, U16, U16, id="uint8, uint16"),
        pytest.param(U16, I32, I32, id="uint16, int32"),
        pytest.param(I8, U8, I16, id="int8, uint8"),
        pytest.param(I8, U16, I32, id="int8, uint16"),
        pytest.param(I32, U32, F32, id="int32, uint32"),
        pytest.param(BOOL, I8, I16, id="bool, int8"),
        pytest.param(BOOL, BF16, BF16, id="bool, bfloat16"),
        pytest.param(BOOL, U8, U8, id="bool, uint8"),
    ],
)
def test_promotion_of_two_dtypes(a: np.dtype[Any], b: np.dtype[Any], result: np.dtype[Any]) -> None:
    assert numeric.promote(a, b) == result
    assert numeric.promote(b, a) == result


@pytest.mark.parametrize("dtype", STORABLE, ids=str)
def test_promotion_of_one_dtype_with_itself(dtype: np.dtype[Any]) -> None:
    assert numeric.promote(dtype, dtype) == dtype


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        pytest.param(True, U8, id="bool"),
        pytest.param(np.True_, U8, id="numpy bool"),
        pytest.param(2, I32, id="int"),
        pytest.param(0.5, F32, id="float"),
        pytest.param(np.float64(0.5), F32, id="float64"),
        pytest.param(np.int64(2), I32, id="int64"),
        pytest.param(np.int8(2), I8, id="int8"),
        pytest.param(np.uint32(2), U32, id="uint32"),
        pytest.param(np.float16(2), F16, id="float16"),
        pytest.param(np.float32(2), F32, id="float32"),
        pytest.param(ml_dtypes.bfloat16(2), BF16, id="bfloat16"),
    ],
)
def test_number_counts_as_dtype(number: Any, dtype: np.dtype[Any]) -> None:
    assert numeric.scalar_dtype(number) == dtype


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        pytest.param([0.5, 1.5, 2.5, -0.5, -1.5], I32, [0, 2, 2, 0, -2], id="halves go to even"),
        pytest.param([0.49, 0.51, -0.51], I8, [0, 1, -1], id="nearest"),
        pytest.param([127.4, 127.5, 300, -128.5, -129], I8, [127, 127, 127, -128, -128], id="int8 saturates"),
        pytest.param([255.4, 256, -1, -0.4], U8, [255, 255, 0, 0], id="uint8 saturates"),
        pytest.param([32767.0, 32768.0, -32769.0], I16, [32767, 32767, -32768], id="int16 saturates"),
        pytest.param([65535.0, 65536.0, -1.0], U16, [65535, 65535, 0], id="uint16 saturates"),
        pytest.param([2.0**31, -(2.0**31), -(2.0**32)], I32, [2**31 - 1, -(2**31), -(2**31)], id="int32 saturates"),
        pytest.param([2.0**32, 2.0**31, -1.0], U32, [2**32 - 1, 2**31, 0], id="uint32 saturates"),
        pytest.param([np.nan, np.inf, -np.inf], I16, [0, 32767, -32768], id="not finite"),
        pytest.param([np.nan, np.inf, -np.inf], U8, [0, 255, 0], id="not finite, unsigned"),
        pytest.param([0.0, -0.0, 0.25, np.nan], BOOL, [False, False, True, True], id="bool is not zero"),
    ],
)
def test_cast_of_float32(values: list[float], dtype: np.dtype[Any], expected: list[int]) -> None:
    assert same_bytes(numeric.cast(np.array(values, dtype=np.float32), dtype), np.array(expected, dtype=dtype))


@pytest.mark.parametrize(
    ("values", "source", "dtype", "expected"),
    [
        pytest.param([300, -300, 5], I32, I8, [127, -128, 5], id="int32 to int8"),
        pytest.param([-1, 2**31 - 1], I32, U32, [0, 2**31 - 1], id="int32 to uint32"),
        pytest.param([2**32 - 1, 7], U32, I32, [2**31 - 1, 7], id="uint32 to int32"),
        pytest.param([-128, 127], I8, U16, [0, 127], id="int8 to uint16"),
        pytest.param([0, 255], U8, I32, [0, 255], id="uint8 to int32"),
        pytest.param([2**24 + 1, -(2**24) - 1], I32, I32, [2**24 + 1, -(2**24) - 1], id="int32 stays exact"),
        pytest.param([True, False], BOOL, I16, [1, 0], id="bool to int16"),
    ],
)
def test_cast_between_integers_saturates(
    values: list[int], source: np.dtype[Any], dtype: np.dtype[Any], expected: list[int]
) -> None:
    assert same_bytes(numeric.cast(np.array(values, dtype=source), dtype), np.array(expected, dtype=dtype))


def test_cast_to_the_same_dtype_is_no_copy() -> None:
    values = np.arange(3, dtype=np.float32)
    assert numeric.cast(values, F32) is values
    assert numeric.as_f32(values) is values
    assert numeric.as_f32(np.arange(3)).dtype == F32


def test_cast_of_exact_integers_wider_than_32_bits() -> None:
    values = np.array([2**40, -(2**40), 2**24 + 1])
    np.testing.assert_array_equal(numeric.cast(values, I32), [2**31 - 1, -(2**31), 2**24 + 1])
    np.testing.assert_array_equal(numeric.cast(np.array([2**64 - 1, 3], dtype=np.uint64), U8), [255, 3])


def round_to_bfloat16(bits: int) -> int:
    """Round to nearest, ties to even, on the bits of a float32 that is no NaN."""
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1).filter(lambda bits: (bits & 0x7FFFFFFF) <= 0x7F800000))
def test_cast_to_bfloat16_rounds_to_nearest_even(bits: int) -> None:
    value = np.array([bits], dtype=np.uint32).view(np.float32)
    assert numeric.cast(value, BF16).view(np.uint16)[0] == round_to_bfloat16(bits)


@pytest.mark.parametrize("bits", [0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x80008000])
def test_cast_to_bfloat16_at_ties(bits: int) -> None:
    value = np.array([bits], dtype=np.uint32).view(np.float32)
    assert numeric.cast(value, BF16).view(np.uint16)[0] == round_to_bfloat16(bits)


def test_cast_keeps_nan() -> None:
    for dtype in (F16, BF16):
        assert np.isnan(numeric.cast(np.array([np.nan], dtype=np.float32), dtype).astype(np.float32)[0])


def test_compile_time_number_is_float32_before_it_is_stored() -> None:
    # A tie of bfloat16 only if the number is rounded to float32 first.
    number = 1 + 2.0**-8 + 2.0**-30
    stored = np.zeros(1, dtype=BF16)
    numeric.copy_cast(stored, number)
    assert stored[0] == BF16.type(1.0)


def test_copy_cast_leaves_what_where_drops() -> None:
    destination = np.array([1, 2, 3], dtype=np.int8)
    numeric.copy_cast(destination, np.array([9.5, 300, 7], dtype=np.float32), np.array([False, True, False]))
    assert destination.tolist() == [1, 127, 3]


def test_copy_cast_broadcasts_a_number() -> None:
    destination = np.zeros((2, 2), dtype=np.int32)
    numeric.copy_cast(destination, 2**24 + 1)
    assert destination.tolist() == [[2**24 + 1] * 2] * 2


# ---------------------------------------------------------------------------------------------- sums


def pairwise(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The documented order, written out; one sum per row of ``columns``, each addition rounded to float32."""
    n = columns.shape[1]
    if n < 8:
        total: npt.NDArray[np.float32] = np.zeros(columns.shape[0], dtype=np.float32)
        for i in range(n):
            total = total + columns[:, i]
        return total
    if n <= 128:
        lanes = [columns[:, lane] for lane in range(8)]
        whole = n - n % 8
        for start in range(8, whole, 8):
            lanes = [lanes[lane] + columns[:, start + lane] for lane in range(8)]
        total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
        for i in range(whole, n):
            total = total + columns[:, i]
        return total
    half = n // 2
    half -= half % 8
    return pairwise(columns[:, :half]) + pairwise(columns[:, half:])


def uneven(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Values of very different sizes, so that any other order shows in the last bits."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * 2.0 ** generator.integers(-12, 12, shape)).astype(np.float32)


LENGTHS = [*range(1, 290), 511, 512, 513, 1000, 1023, 1024, 1025, 2040, 2047, 2048, 2049, 3333, 4095, 4096, 4999, 5000]


@pytest.mark.parametrize("lengths", [LENGTHS[i::4] for i in range(4)], ids=["0", "1", "2", "3"])
def test_sum_follows_the_frozen_order(lengths: list[int]) -> None:
    for n in lengths:
        values = uneven((5, n), n)
        assert same_bytes(numeric.sum_last_axes(values, 1), pairwise(values)), n


@pytest.mark.parametrize("n", [8191, 8192, 8193, 20000])
def test_sum_of_more_than_a_buffer_follows_the_frozen_order(n: int) -> None:
    values = uneven((3, n), n)
    assert same_bytes(numeric.sum_last_axes(values, 1), pairwise(values))


def test_the_reference_order_is_told_from_others() -> None:
    values = uneven((64, 500), 1)
    left_to_right: npt.NDArray[np.float32] = np.zeros(64, dtype=np.float32)
    for i in range(500):
        left_to_right = left_to_right + values[:, i]
    assert not same_bytes(pairwise(values), left_to_right)
    assert not same_bytes(pairwise(values), pairwise(np.ascontiguousarray(values[:, ::-1])))


@pytest.mark.parametrize("n", [7, 8, 100, 128, 129, 512, 1001])
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda v: np.asfortranarray(v), id="transposed"),
        pytest.param(lambda v: np.repeat(v, 3, axis=1)[:, ::3], id="strided"),
        pytest.param(lambda v: np.repeat(v, 2, axis=0)[::2], id="strided rows"),
        pytest.param(lambda v: np.ascontiguousarray(v[:, ::-1])[:, ::-1], id="reversed"),
    ],
)
def test_sum_is_the_same_for_every_memory_layout(layout: Callable[[Any], Any], n: int) -> None:
    values = uneven((6, n), n)
    view = layout(values)
    np.testing.assert_array_equal(view, values)
    assert same_bytes(numeric.sum_last_axes(view, 1), pairwise(values))


def test_sum_over_several_axes_runs_in_row_major_order() -> None:
    values = uneven((3, 7, 11), 3)
    flat = pairwise(values.reshape(3, 77))
    assert same_bytes(numeric.sum_last_axes(values, 1), flat)
    assert same_bytes(numeric.sum_last_axes(np.asfortranarray(values), 1), flat)
    assert same_bytes(numeric.sum_last_axes(values, 2), pairwise(values.reshape(21, 11)).reshape(3, 7))


def test_sum_is_the_same_row_by_row_and_together() -> None:
    values = uneven((128, 333), 5)
    together = numeric.sum_last_axes(values, 1)
    assert same_bytes(together, np.concatenate([numeric.sum_last_axes(values[i : i + 1], 1) for i in range(128)]))


@pytest.mark.parametrize(("name", "oracle"), [("max", np.max), ("min", np.min)])
def test_largest_and_smallest_of_last_axes(name: str, oracle: Callable[..., Any]) -> None:
    values = uneven((4, 3, 5), 2)
    assert same_bytes(numeric.reduce_last_axes(values, 1, name), oracle(values.reshape(4, 15), axis=1))
    assert same_bytes(numeric.reduce_last_axes(np.asfortranarray(values), 2, name), oracle(values, axis=2))


def test_reduction_by_add_is_the_sum() -> None:
    values = uneven((4, 300), 2)
    assert same_bytes(numeric.reduce_last_axes(values, 1, "add"), pairwise(values))


# ------------------------------------------------------------------------------------------ operators


def named(name: str) -> Callable[[], None]:
    def function() -> None: ...

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("op", "allowed", "name"),
    [
        pytest.param(np.exp, numeric.ACTIVATIONS, "exp", id="np.exp"),
        pytest.param(nl.exp, numeric.ACTIVATIONS, "exp", id="nl.exp"),
        pytest.param(np.copy, numeric.ACTIVATIONS, "copy", id="np.copy"),
        pytest.param(nl.copy, numeric.ACTIVATIONS, "copy", id="nl.copy"),
        pytest.param(nl.rsqrt, numeric.ACTIVATIONS, "rsqrt", id="nl.rsqrt"),
        pytest.param(np.square, numeric.ACTIVATIONS, "square", id="np.square"),
        pytest.param(np.max, numeric.REDUCTIONS, "max", id="np.max"),
        pytest.param(nl.max, numeric.REDUCTIONS, "max", id="nl.max"),
        pytest.param(np.maximum, numeric.REDUCTIONS, "max", id="np.maximum"),
        pytest.param(nl.maximum, numeric.REDUCTIONS, "max", id="nl.maximum"),
        pytest.param(named("amax"), numeric.REDUCTIONS, "max", id="np.max of old numpy"),
        pytest.param(np.min, numeric.REDUCTIONS, "min", id="np.min"),
        pytest.param(nl.minimum, numeric.REDUCTIONS, "min", id="nl.minimum"),
        pytest.param(named("amin"), numeric.REDUCTIONS, "min", id="np.min of old numpy"),
        pytest.param(np.add, numeric.REDUCTIONS, "add", id="np.add"),
        pytest.param(nl.add, numeric.REDUCTIONS, "add", id="nl.add"),
        pytest.param(np.sum, numeric.REDUCTIONS, "add", id="np.sum"),
        pytest.param(nl.sum, numeric.REDUCTIONS, "add", id="nl.sum"),
    ],
)
def test_operator_is_known_by_name(op: Any, allowed: Any, name: str) -> None:
    assert numeric.operation_name(op, allowed, "op") == name


@pytest.mark.parametrize("op", [np.tanh, "exp", None, 3, np.max], ids=["np.tanh", "str", "None", "number", "np.max"])
def test_refuses_operator_without_an_engine(op: Any) -> None:
    with refuses("", r"act=.*is not supported"):
        numeric.operation_name(op, numeric.ACTIVATIONS, "act")


def test_refusal_of_an_operator_lists_what_there_is() -> None:
    with refuses("", "use one of nl.add, nl.max, nl.min"):
        numeric.operation_name(np.multiply, numeric.REDUCTIONS, "op")


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("copy", lambda x: x),
        ("exp", np.exp),
        ("log", np.log),
        ("reciprocal", lambda x: np.float32(1) / x),
        ("rsqrt", lambda x: np.float32(1) / np.sqrt(x)),
        ("sqrt", np.sqrt),
        ("square", lambda x: x * x),
    ],
)
def test_activation_functions_compute_in_float32(name: str, oracle: Callable[[Any], Any]) -> None:
    x = np.array([0.3, 1.0, 2.5, 7.0], dtype=np.float32)
    assert same_bytes(numeric.ACTIVATIONS[name](x), oracle(x))
    assert set(numeric.ACTIVATIONS) == {"copy", "exp", "log", "reciprocal", "rsqrt", "sqrt", "square"}


@pytest.mark.parametrize(
    ("name", "operands", "dtype"),
    [
        pytest.param("add", (I32, I32), np.int64, id="int32 sum"),
        pytest.param("subtract", (U32, U32), np.int64, id="unsigned difference"),
        pytest.param("multiply", (U32, U32), np.uint64, id="unsigned product"),
        pytest.param("multiply", (U32, I8), np.int64, id="mixed product"),
        pytest.param("maximum", (I32, I32), np.float32, id="maximum"),
        pytest.param("divide", (I32, I32), np.float32, id="quotient"),
        pytest.param("add", (I32, F32), np.float32, id="sum with a float"),
        pytest.param("add", (BOOL, I32), np.float32, id="sum with a bool"),
    ],
)
def test_working_dtype(name: str, operands: tuple[np.dtype[Any], ...], dtype: Any) -> None:
    assert numeric.working_dtype(name, *operands) == dtype
