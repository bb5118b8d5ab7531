"""Dtypes, promotion and casts."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import numeric
from nkifix.emulator.numeric import BF16, E4M3, E5M2, F32, TF32
from tests.emulator.kernels import refuses, same_bytes

F16 = np.dtype(np.float16)
U8, I8, U16, I16, U32, I32 = (np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32))
BOOL = np.dtype(bool)
STORABLE = [F32, F16, BF16, TF32, E5M2, U8, I8, U16, I16, U32, I32, BOOL]
HAS_E4M3 = isinstance(E4M3, np.dtype)
needs_e4m3 = pytest.mark.skipif(not HAS_E4M3, reason="ml_dtypes before 0.5 has no float8_e4m3")


@pytest.mark.parametrize("dtype", STORABLE, ids=str)
def test_storage_dtype_of_device_dtypes(dtype: np.dtype[Any]) -> None:
    assert numeric.storage_dtype(dtype) == dtype
    if dtype != TF32:  # the type of a tfloat32 element is that of any four bytes
        assert numeric.storage_dtype(dtype.type) == dtype


@needs_e4m3
def test_storage_dtype_of_float8_e4m3() -> None:
    assert numeric.storage_dtype(E4M3) == E4M3
    assert numeric.storage_dtype("float8_e4m3") == E4M3


def test_refuses_dtype_that_the_installed_ml_dtypes_lacks() -> None:
    with refuses("", "nl.float8_e4m3 needs a newer ml_dtypes"):
        numeric.storage_dtype(numeric.MissingDtype("float8_e4m3"))


def test_dtype_that_ml_dtypes_lacks_can_be_named() -> None:
    assert numeric._of_ml_dtypes("float7_e3m3") == numeric.MissingDtype("float7_e3m3")


@pytest.mark.parametrize(
    ("dtype", "name", "element"),
    [
        pytest.param(TF32, "tfloat32", F32, id="tfloat32"),
        pytest.param(BF16, "bfloat16", BF16, id="bfloat16"),
        pytest.param(I8, "int8", I8, id="int8"),
    ],
)
def test_name_and_elements_of_a_dtype(dtype: np.dtype[Any], name: str, element: np.dtype[Any]) -> None:
    assert numeric.dtype_name(dtype) == name
    assert numeric.element_dtype(dtype) == element


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
        pytest.param(F32, TF32, F32, id="float32, tfloat32"),
        pytest.param(U16, TF32, TF32, id="uint16, tfloat32"),
        pytest.param(TF32, BF16, TF32, id="tfloat32, bfloat16"),
        pytest.param(TF32, F16, TF32, id="tfloat32, float16"),
        pytest.param(E5M2, F16, F16, id="float8_e5m2, float16"),
        pytest.param(E5M2, BF16, BF16, id="float8_e5m2, bfloat16"),
        pytest.param(E4M3, F16, F16, id="float8_e4m3, float16", marks=needs_e4m3),
        pytest.param(E4M3, BF16, BF16, id="float8_e4m3, bfloat16", marks=needs_e4m3),
        pytest.param(E4M3, E5M2, BF16, id="float8_e4m3, float8_e5m2", marks=needs_e4m3),
        pytest.param(E4M3, I8, E4M3, id="float8_e4m3, int8", marks=needs_e4m3),
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


# ------------------------------------------------------------------------------- tfloat32 and 8 bits


def round_to_tf32(bits: int) -> int:
    """Round to nearest, ties to even, on the bits of a float32 that is no NaN."""
    return ((bits + 0xFFF + ((bits >> 13) & 1)) >> 13 << 13) & 0xFFFFFFFF


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1).filter(lambda bits: (bits & 0x7FFFFFFF) <= 0x7F800000))
def test_cast_to_tfloat32_rounds_to_nearest_even(bits: int) -> None:
    value = np.array([bits], dtype=np.uint32).view(np.float32)
    assert numeric.cast(value, TF32).view(np.uint32)[0] == round_to_tf32(bits)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        pytest.param(0x3F801000, 0x3F800000, id="tie to even, down"),
        pytest.param(0x3F803000, 0x3F804000, id="tie to even, up"),
        pytest.param(0x3F801001, 0x3F802000, id="above a tie"),
        pytest.param(0x7F7FFFFF, 0x7F800000, id="largest to infinity"),
        pytest.param(0x7F800000, 0x7F800000, id="infinity"),
        pytest.param(0xBF801000, 0xBF800000, id="negative"),
    ],
)
def test_cast_to_tfloat32_at_ties(bits: int, expected: int) -> None:
    value = np.array([bits], dtype=np.uint32).view(np.float32)
    assert numeric.cast(value, TF32).view(np.uint32)[0] == expected
    assert np.isnan(numeric.round_to_tf32(np.nan))


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        pytest.param(E5M2, [1.125, 1.375, 57344.0, 70000.0], [1.0, 1.5, 57344.0, np.inf], id="float8_e5m2"),
        pytest.param(
            E4M3, [1.0625, 1.1875, 240.0, 247.0, 300.0], [1.0, 1.25, 240.0, 240.0, np.inf], id="e4m3", marks=needs_e4m3
        ),
    ],
)
def test_cast_to_eight_bits_rounds_to_nearest_even_and_overflows_to_infinity(
    dtype: np.dtype[Any], values: list[float], expected: list[float]
) -> None:
    cast = numeric.cast(np.array([*values, -values[-1]], dtype=np.float32), dtype)
    assert cast.dtype == dtype
    assert cast.astype(np.float32).tolist() == [*expected, -np.inf]


def test_number_of_eight_bits_keeps_its_dtype() -> None:
    assert numeric.scalar_dtype(E5M2.type(1)) == E5M2
