"""Arithmetic, functions of one tile, and selection."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import numeric
from nkifix.emulator.faults import EmulatorWarning, UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.sums import sum_last_axes
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values

BF16 = ml_dtypes.bfloat16
MISMATCH = "err_num_partition_mismatch"
OUT_OF_BOUNDS = "err_tensor_access_out_of_bound"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def row(n: int) -> Any:
    return nl.arange(n)[None, :]


# --------------------------------------------------------------------------------------------- binary

BINARY: list[tuple[str, Callable[..., Any], Callable[[Any, Any], Any]]] = [
    ("add", nl.add, operator.add),
    ("subtract", nl.subtract, operator.sub),
    ("multiply", nl.multiply, operator.mul),
    ("divide", nl.divide, operator.truediv),
    ("maximum", nl.maximum, np.maximum),
    ("minimum", nl.minimum, np.minimum),
]


@pytest.mark.parametrize(("compute", "oracle"), [pytest.param(c, o, id=n) for n, c, o in BINARY])
def test_binary_of_two_tiles_computes_in_float32(
    compute: Callable[..., Any], oracle: Callable[[Any, Any], Any]
) -> None:
    a, b = random(3, 4), random(3, 4, seed=1)
    assert same_bytes(values(compute(tile(a), tile(b))), oracle(a, b))
    low_a, low_b = a.astype(BF16), b.astype(BF16)
    result = compute(tile(low_a, BF16), tile(low_b, BF16))
    assert same_bytes(values(result), oracle(low_a.astype(np.float32), low_b.astype(np.float32)).astype(BF16))
    wide = compute(tile(low_a, BF16), tile(low_b, BF16), dtype=np.float32)
    assert same_bytes(values(wide), oracle(low_a.astype(np.float32), low_b.astype(np.float32)))


@pytest.mark.parametrize(("compute", "oracle"), [pytest.param(c, o, id=n) for n, c, o in BINARY])
def test_binary_of_a_tile_and_a_number(compute: Callable[..., Any], oracle: Callable[[Any, Any], Any]) -> None:
    a = random(3, 4)
    assert same_bytes(values(compute(tile(a), 0.3)), oracle(a, np.float32(0.3)))
    assert same_bytes(values(compute(0.3, tile(a))), oracle(np.float32(0.3), a))


@pytest.mark.parametrize(
    ("dtype", "number", "result"),
    [
        pytest.param(BF16, 0.5, np.float32, id="bfloat16, float"),
        pytest.param(BF16, 2, BF16, id="bfloat16, int"),
        pytest.param(np.float16, np.float16(2), np.float16, id="float16, typed"),
        pytest.param(np.float16, 1.2, np.float32, id="float16, float"),
        pytest.param(np.int8, 2, np.int32, id="int8, int"),
        pytest.param(np.int8, np.int8(2), np.int8, id="int8, typed"),
        pytest.param(np.int8, True, np.int16, id="int8, bool"),
        pytest.param(BF16, BF16(2), BF16, id="bfloat16, typed"),
        pytest.param(np.uint32, 2, np.float32, id="uint32, int"),
    ],
)
def test_dtype_of_a_tile_and_a_number_is_promoted(dtype: Any, number: Any, result: Any) -> None:
    assert nl.add(tile([[1]], dtype), number).dtype == np.dtype(result)
    assert nl.add(number, tile([[1]], dtype)).dtype == np.dtype(result)


def test_dtype_of_two_tiles_is_promoted() -> None:
    assert nl.add(tile([[1]], np.float16), tile([[1]], BF16)).dtype == np.dtype(np.float32)
    assert nl.add(tile([[1]], np.int8), tile([[1]], BF16)).dtype == np.dtype(BF16)


def test_dtype_asked_for_rounds_once() -> None:
    a = np.array([[1.00390625 + 2**-20]], dtype=np.float32)  # just above a tie of bfloat16
    assert values(nl.add(tile(a), 0.0, dtype=BF16))[0, 0] == BF16(1.0078125)


@pytest.mark.parametrize(
    ("compute", "a", "b", "dtype", "expected"),
    [
        pytest.param(nl.add, 2**24, 1, np.int32, 2**24 + 1, id="int32 sum is exact"),
        pytest.param(nl.multiply, 4099, 4099, np.int32, 4099 * 4099, id="int32 product is exact"),
        pytest.param(nl.subtract, -(2**24), 1, np.int32, -(2**24) - 1, id="int32 difference is exact"),
        pytest.param(nl.add, 2**31 - 1, 1, np.int32, 2**31 - 1, id="int32 sum saturates"),
        pytest.param(nl.multiply, 2**31 - 1, -2, np.int32, -(2**31), id="int32 product saturates"),
        pytest.param(nl.multiply, 2**32 - 1, 2**32 - 1, np.uint32, 2**32 - 1, id="uint32 product saturates"),
        pytest.param(nl.subtract, 1, 2, np.uint32, 0, id="uint32 difference saturates"),
        pytest.param(nl.add, 100, 100, np.int8, 127, id="int8 sum saturates"),
        pytest.param(nl.maximum, 2**24 + 1, 0, np.int32, 2**24, id="int32 maximum goes through float32"),
        pytest.param(nl.divide, 7, 2, np.int32, 4, id="int32 quotient is rounded"),
    ],
)
def test_integer_arithmetic(compute: Callable[..., Any], a: int, b: int, dtype: Any, expected: int) -> None:
    result = compute(tile([[a]], dtype), tile([[b]], dtype))
    assert result.dtype == np.dtype(dtype)
    assert values(result).tolist() == [[expected]]


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [((3, 4), (3, 1), (3, 4)), ((3, 1), (3, 4), (3, 4)), ((3, 4), (1, 4), (3, 4)), ((3, 1), (1, 4), (3, 4))],
    ids=["free", "free, first", "partition", "both"],
)
def test_functions_broadcast(a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x, y = random(*a), random(*b, seed=1)
    result = nl.subtract(tile(x), tile(y))
    assert result.shape == shape
    assert same_bytes(values(result), x - y)


def test_refuses_shapes_that_do_not_fit() -> None:
    with refuses("", r"add: shapes \(2, 3\) and \(2, 4\) do not fit"):
        nl.add(tile(np.ones((2, 3))), tile(np.ones((2, 4))))
    with refuses(MISMATCH):
        nl.add(tile(np.ones((2, 3))), tile(np.ones((4, 3))))


def test_refuses_two_numbers() -> None:
    with refuses("", "add needs at least one tile"):
        nl.add(1, 2)


def test_binary_is_undefined_where_an_operand_is() -> None:
    a = tile(np.ones((2, 3)), holes=[[1, 0, 0], [0, 0, 0]])
    b = tile(np.ones((2, 1)), holes=[[0], [1]])
    assert holes(nl.add(a, b)).tolist() == [[True, False, False], [True, True, True]]
    assert holes(nl.add(b, 1)).tolist() == [[False], [True]]


def test_binary_masks_its_result() -> None:
    result = nl.add(tile(np.ones((2, 3))), 1, mask=row(3) < 2)
    assert holes(result).tolist() == [[False, False, True]] * 2
    dropped = nl.add(tile(np.ones((2, 1)), BF16), tile(np.ones((2, 3)), BF16), mask=False)
    assert (dropped.shape, dropped.dtype) == ((2, 3), np.dtype(BF16))
    assert holes(dropped).all()


def test_binary_operand_may_be_out_of_bounds_where_masked() -> None:
    view = tile([[1.0, 2.0]])[nl.arange(1)[:, None], row(3)]
    result = nl.add(view, 1, mask=row(3) < 2)
    assert values(result)[0, :2].tolist() == [2.0, 3.0]
    with refuses(OUT_OF_BOUNDS):
        nl.add(view, 1)


# --------------------------------------------------------------------------------------- more binary


@pytest.mark.parametrize(
    ("compute", "oracle"),
    [
        pytest.param(nl.equal, operator.eq, id="equal"),
        pytest.param(nl.not_equal, operator.ne, id="not_equal"),
        pytest.param(nl.less, operator.lt, id="less"),
        pytest.param(nl.less_equal, operator.le, id="less_equal"),
        pytest.param(nl.greater, operator.gt, id="greater"),
        pytest.param(nl.greater_equal, operator.ge, id="greater_equal"),
        pytest.param(nl.logical_and, np.logical_and, id="logical_and"),
        pytest.param(nl.logical_or, np.logical_or, id="logical_or"),
        pytest.param(nl.logical_xor, np.logical_xor, id="logical_xor"),
    ],
)
def test_comparison_gives_bools(compute: Callable[..., Any], oracle: Callable[[Any, Any], Any]) -> None:
    a, b = np.array([[0.0, 1.0, 2.0]], dtype=np.float32), np.array([[0.0, 2.0, 1.0]], dtype=np.float32)
    assert same_bytes(values(compute(tile(a), tile(b))), oracle(a, b))
    assert same_bytes(values(compute(tile(a), 1)), oracle(a, 1))
    assert same_bytes(values(compute(tile(a), tile(b), dtype=np.float32)), oracle(a, b).astype(np.float32))


def test_logical_not_gives_bools() -> None:
    assert same_bytes(values(nl.logical_not(tile([[0.0, -0.5]]))), np.array([[True, False]]))


@pytest.mark.parametrize(
    ("compute", "a", "b", "dtype", "expected"),
    [
        pytest.param(nl.bitwise_and, 0b1100, 0b1010, np.uint8, 0b1000, id="and"),
        pytest.param(nl.bitwise_or, 0b1100, 0b1010, np.int16, 0b1110, id="or"),
        pytest.param(nl.bitwise_xor, 0b1100, 0b1010, np.int32, 0b0110, id="xor"),
        pytest.param(nl.bitwise_xor, True, True, bool, False, id="xor of bools"),
        pytest.param(nl.left_shift, 3, 4, np.int32, 48, id="left_shift"),
        pytest.param(nl.right_shift, 48, 4, np.int32, 3, id="right_shift"),
        pytest.param(nl.right_shift, -1, 1, np.int32, 2**31 - 1, id="right_shift is logical"),
        pytest.param(nl.bitwise_or, 2**31, 1, np.uint32, 2**31 + 1, id="32 bits stay exact"),
    ],
)
def test_bits_of_integers(compute: Callable[..., Any], a: int, b: int, dtype: Any, expected: int) -> None:
    result = compute(tile([[a]], dtype), tile([[b]], dtype))
    assert (result.dtype, values(result).tolist()) == (np.dtype(dtype), [[expected]])


def test_bits_of_an_unsigned_tile_and_a_number_stay_integers() -> None:
    result = nl.bitwise_and(tile([[2**32 - 1]], np.uint32), 0xFFFF)
    assert (result.dtype, values(result).tolist()) == (np.dtype(np.uint32), [[0xFFFF]])
    assert nl.bitwise_and(tile([[3]], np.int8), 1).dtype == np.dtype(np.int32)
    assert nl.bitwise_and(tile([[3]], np.int8), 1, dtype=np.float32).dtype == np.dtype(np.float32)


@pytest.mark.parametrize("other", [1.5, None], ids=["number", "tile"])
def test_refuses_bits_of_a_float(other: Any) -> None:
    with refuses("", "bitwise_and takes integers, got float32"):
        nl.bitwise_and(tile([[1]], np.int32), tile([[1.0]]) if other is None else other)


def test_invert() -> None:
    result = nl.invert(tile([[0, 5]], np.uint8))
    assert same_bytes(values(result), np.array([[255, 250]], dtype=np.uint8))
    assert nl.invert(tile([[0]], np.uint8), dtype=np.int32).dtype == np.dtype(np.int32)
    masked = nl.invert(tile([[1, 2, 3]], np.int8, holes=[[1, 0, 0]]), mask=row(3) < 2)
    assert holes(masked).tolist() == [[True, False, True]]
    assert holes(nl.invert(tile([[1]], np.int8), mask=False)).all()


def test_refuses_invert_of_bools_and_floats() -> None:
    with refuses("", "invert of a bool tile"):
        nl.invert(tile([[True]], bool))
    with refuses("", "invert takes integers, got bfloat16"):
        nl.invert(tile([[1.0]], BF16))


@pytest.mark.parametrize(
    ("compute", "oracle"),
    [
        pytest.param(nl.power, np.power, id="power"),
        pytest.param(nl.mod, np.mod, id="mod"),
        pytest.param(nl.fmod, np.fmod, id="fmod"),
    ],
)
def test_power_and_remainders(compute: Callable[..., Any], oracle: Callable[[Any, Any], Any]) -> None:
    a, b = np.array([[7.0, -7.0, 2.0]], dtype=np.float32), np.array([[3.0, 3.0, -2.0]], dtype=np.float32)
    assert same_bytes(values(compute(tile(a), tile(b))), oracle(a, b))


def test_remainders_take_dtype_and_mask_by_position() -> None:
    for compute in (nl.mod, nl.fmod):
        result = compute(tile([[7.0, 8.0]]), 4, np.int8, row(2) < 1)
        assert (result.dtype, values(result)[0, 0]) == (np.dtype(np.int8), 3)
        assert holes(result).tolist() == [[False, True]]


# ---------------------------------------------------------------------------------------------- where


def test_where_chooses_by_condition() -> None:
    x, y = random(2, 3), random(2, 3, seed=1)
    condition = np.array([[1, 0, 2], [0, -1, 0]], dtype=np.int8)
    assert same_bytes(values(nl.where(tile(condition, np.int8), tile(x), tile(y))), np.where(condition != 0, x, y))
    assert same_bytes(values(nl.where(tile(x) > 0, tile(x), 0.0)), np.where(x > 0, x, np.float32(0)))
    assert same_bytes(values(nl.where(tile(x) > 0, tile(x[:, :1]), tile(y[:1]))), np.where(x > 0, x[:, :1], y[:1]))


@pytest.mark.parametrize(
    ("y", "dtype", "expected"),
    [
        pytest.param(0, None, BF16, id="integer"),
        pytest.param(0.0, None, np.float32, id="float"),
        pytest.param(0.0, BF16, BF16, id="asked for"),
    ],
)
def test_dtype_of_where(y: Any, dtype: Any, expected: Any) -> None:
    x = tile([[1.0]], BF16)
    assert nl.where(x, x, y, dtype=dtype).dtype == np.dtype(expected)


def test_where_is_undefined_where_what_it_chose_is() -> None:
    condition = tile([[1.0, 1.0, 0.0, 0.0, 1.0]], holes=[[0, 0, 0, 0, 1]])
    x = tile(np.ones((1, 5)), holes=[[1, 0, 1, 0, 0]])
    y = tile(np.ones((1, 5)), holes=[[1, 1, 1, 0, 0]])
    assert holes(nl.where(condition, x, y)).tolist() == [[True, False, True, False, True]]
    assert holes(nl.where(condition, x, 1.0)).tolist() == [[True, False, False, False, True]]
    assert holes(nl.where(condition, x, y, mask=False)).all()
    three = tile(np.ones((1, 3)))
    assert holes(nl.where(three, three, 0, mask=row(3) < 2)).tolist() == [[False, False, True]]


def test_refuses_where_of_a_number_in_place_of_the_tile() -> None:
    with refuses("", "where: x must be a tensor"):
        nl.where(tile([[1.0]]), 1.0, tile([[1.0]]))
    with refuses(MISMATCH):
        nl.where(tile(np.ones((2, 1))), tile(np.ones((3, 1))), 0.0)


# ------------------------------------------------------------------------------- ranges of activations


@pytest.mark.parametrize(
    ("compute", "bad", "good"),
    [
        pytest.param(nl.log, 0.0, 2.0, id="log"),
        pytest.param(nl.sqrt, 0.0, 2.0, id="sqrt"),
        pytest.param(nl.sin, 4.0, 3.0, id="sin"),
        pytest.param(nl.arctan, -2.0, 1.5, id="arctan"),
    ],
)
def test_input_outside_of_the_documented_range_warns(compute: Callable[..., Any], bad: float, good: float) -> None:
    with pytest.warns(EmulatorWarning, match=rf"{compute.__name__} of {bad}: .* documented to be invalid"):
        result = compute(tile([[bad, good]]))
    exact = getattr(np, compute.__name__)
    assert same_bytes(values(result), exact(np.array([[bad, good]], dtype=np.float32)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compute", [nl.log, nl.sqrt, nl.sin, nl.arctan], ids=lambda f: f.__name__)
def test_input_that_does_not_matter_gives_no_warning(compute: Callable[..., Any]) -> None:
    compute(tile([[1.0, 1.5]]))
    compute(tile([[1.0, -4.0]]), mask=row(2) < 1)
    compute(tile([[1.0, -4.0]], holes=[[0, 1]]))
    compute(tile([[np.nan]]))


@pytest.mark.parametrize("op", [np.log, nl.rsqrt, nl.reciprocal], ids=["log", "rsqrt", "reciprocal"])
def test_activation_warns_of_its_own_argument(op: Any) -> None:
    with pytest.warns(EmulatorWarning, match="documented to be invalid"):
        nisa.activation(op, tile([[1.0]]), bias=tile([[-1.0]]))


@pytest.mark.filterwarnings("error")
def test_activation_without_a_range_gives_no_warning() -> None:
    nisa.activation(np.exp, tile([[1e30]]))
    nisa.activation(nl.rsqrt, tile([[0.0]]), bias=tile([[1.0]]))


def test_function_of_one_tile_may_be_masked_off() -> None:
    assert holes(nl.exp(tile([[1.0]]), mask=False)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compute", [nl.rsqrt, nl.reciprocal, nl.exp, nl.tanh], ids=lambda f: f.__name__)
def test_function_of_another_engine_or_without_a_range_gives_no_warning(compute: Callable[..., Any]) -> None:
    compute(tile([[0.0, 2.0**120]]))


# ----------------------------------------------------------------------------------------------- copy


@pytest.mark.parametrize("copy", [nl.copy, nisa.tensor_copy], ids=["nl.copy", "nisa.tensor_copy"])
@pytest.mark.parametrize("space", [Space.SBUF, Space.PSUM], ids=lambda s: s.value)
def test_copy_is_a_new_tile_in_sbuf(copy: Callable[..., Any], space: Space) -> None:
    source = tile([[2**24 + 1, 5]], np.int32, space=space, holes=[[0, 1]])
    result = copy(source)
    assert result.space is Space.SBUF
    assert values(result)[0, 0] == 2**24 + 1  # bit-accurate
    assert holes(result).tolist() == [[False, True]]
    result[...] = 0
    assert values(source)[0, 0] == 2**24 + 1


@pytest.mark.parametrize("copy", [nl.copy, nisa.tensor_copy], ids=["nl.copy", "nisa.tensor_copy"])
def test_copy_to_another_dtype_goes_through_float32(copy: Callable[..., Any]) -> None:
    assert values(copy(tile([[2**24 + 1]], np.int32), dtype=np.uint32)).tolist() == [[2**24]]
    assert values(copy(tile([[1.5, -2.5]]), dtype=np.int8)).tolist() == [[2, -2]]


@pytest.mark.parametrize("copy", [nl.copy, nisa.tensor_copy], ids=["nl.copy", "nisa.tensor_copy"])
def test_copy_masks_its_result(copy: Callable[..., Any]) -> None:
    view = tile([[1.0, 2.0]])[nl.arange(1)[:, None], row(3)]
    assert holes(copy(view, mask=row(3) < 2)).tolist() == [[False, False, True]]
    assert holes(copy(view, mask=False)).all()
    with refuses(OUT_OF_BOUNDS):
        copy(view)


# ----------------------------------------------------------------------------------------- activation

ACTIVATIONS = [
    pytest.param(nl.exp, np.exp, id="exp"),
    pytest.param(nl.log, np.log, id="log"),
    pytest.param(nl.sqrt, np.sqrt, id="sqrt"),
    pytest.param(nl.rsqrt, lambda x: np.float32(1) / np.sqrt(x), id="rsqrt"),
    pytest.param(nl.square, np.square, id="square"),
    pytest.param(nl.reciprocal, np.reciprocal, id="reciprocal"),
]


@pytest.mark.parametrize(("compute", "oracle"), ACTIVATIONS)
def test_function_of_one_tile(compute: Callable[..., Any], oracle: Callable[[Any], Any]) -> None:
    x = np.abs(random(3, 50)) + np.float32(0.1)
    assert same_bytes(values(compute(tile(x))), oracle(x))
    assert same_bytes(values(compute(tile(x), dtype=BF16)), oracle(x).astype(BF16))
    low = x.astype(BF16)
    assert same_bytes(values(compute(tile(low, BF16))), oracle(low.astype(np.float32)).astype(BF16))
    assert holes(compute(tile(x), mask=row(50) < 49))[:, -1].all()
    assert same_bytes(values(nisa.activation(compute, tile(x))), oracle(x))


@pytest.mark.parametrize("scale", [None, 1.0, 0.3, 2, np.float32(0.7), "column"], ids=str)
@pytest.mark.parametrize("bias", [None, 0.0, -0.3, 1, "column", "bfloat16 column", "float16 column"], ids=str)
def test_activation_scales_then_shifts_in_float32(scale: Any, bias: Any) -> None:
    x = random(5, 7).astype(BF16)
    factor, shift = scale, bias
    oracle = x.astype(np.float32)
    if scale == "column":
        factor = tile(random(5, 1, seed=2))
        oracle = oracle * random(5, 1, seed=2)
    elif scale is not None:
        oracle = oracle * np.float32(scale)
    if isinstance(bias, str):
        dtype = {"column": np.float32, "bfloat16 column": BF16, "float16 column": np.float16}[bias]
        column = random(5, 1, seed=3).astype(dtype)
        shift = tile(column, dtype)
        oracle = oracle + column.astype(np.float32)
    elif bias is not None:
        oracle = oracle + np.float32(bias)
    result = nisa.activation(np.exp, tile(x, BF16), scale=factor, bias=shift, dtype=np.float32)
    assert same_bytes(values(result), np.exp(oracle))
    assert nisa.activation(np.exp, tile(x, BF16), scale=factor, bias=shift).dtype == np.dtype(BF16)


def test_activation_of_a_tile_of_rank_three_takes_a_column_per_partition() -> None:
    x, column = random(3, 2, 4), random(3, 1, seed=1)
    result = nisa.activation(np.copy, tile(x), bias=tile(column, holes=[[0], [1], [0]]), scale=tile(column))
    np.testing.assert_array_equal(holes(result), np.broadcast_to([[[False]], [[True]], [[False]]], (3, 2, 4)))
    known = ~holes(result)
    np.testing.assert_array_equal(values(result)[known], (x * column[:, None] + column[:, None])[known])


@pytest.mark.parametrize("name", ["scale", "bias"])
@pytest.mark.parametrize("shape", [(4, 8), (4, 2), (1, 1), (1, 4), (2, 1), (4, 1, 1)], ids=str)
def test_refuses_scale_or_bias_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    code = "err_activation_scale_scalar_or_vector" if name == "scale" else MISMATCH
    given: dict[str, Any] = {name: tile(np.ones(shape))}
    with refuses(code, rf"{name} must be a number or a tile of shape \(4, 1\)"):
        nisa.activation(np.exp, tile(np.ones((4, 8))), **given)


@pytest.mark.parametrize("dtype", [np.float16, BF16, np.int32], ids=lambda d: np.dtype(d).name)
def test_refuses_scale_that_is_not_float32(dtype: Any) -> None:
    with refuses("err_activation_scale_invalid_type"):
        nisa.activation(np.exp, tile(np.ones((4, 8))), scale=tile(np.ones((4, 1)), dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, bool], ids=lambda d: np.dtype(d).name)
def test_refuses_bias_that_is_no_float(dtype: Any) -> None:
    with refuses("err_activation_bias_invalid_type"):
        nisa.activation(np.exp, tile(np.ones((4, 8))), bias=tile(np.ones((4, 1)), dtype))


@pytest.mark.parametrize("value", ["1", [1.0], np.ones((4, 1))], ids=["str", "list", "array"])
def test_refuses_bias_that_is_neither_number_nor_tile(value: Any) -> None:
    with refuses("", "activation: bias must be a tensor"):
        nisa.activation(np.exp, tile(np.ones((4, 8))), bias=value)


@pytest.mark.parametrize("op", [np.cos, "exp", None], ids=["np.cos", "a string", "None"])
def test_refuses_activation_by_another_function(op: Any) -> None:
    with refuses("", "op=.* is not supported"):
        nisa.activation(op, tile(np.ones((4, 8))))


@pytest.mark.parametrize("name", ["scale", "bias"])
def test_column_may_be_out_of_bounds_where_masked(name: str) -> None:
    i = nl.arange(4)[:, None]
    column = tile([[1.0], [2.0]])[i, nl.arange(1)[None, :]]
    given: dict[str, Any] = {name: column}
    data = tile(np.ones((4, 2, 3)))
    three = nl.arange(4)[:, None, None]
    result = nisa.activation(np.copy, data, mask=three < 2, **given)
    assert values(result)[:2, 0, 0].tolist() == ([1.0, 2.0] if name == "scale" else [2.0, 3.0])
    with refuses(OUT_OF_BOUNDS):
        nisa.activation(np.copy, data, mask=three < 3, **given)
    with refuses(OUT_OF_BOUNDS):
        nisa.activation(np.copy, data, **given)


def test_activation_masks_its_result() -> None:
    view = tile([[1.0, 2.0]])[nl.arange(1)[:, None], row(3)]
    result = nisa.activation(np.copy, view, mask=row(3) < 2, scale=2.0)
    assert holes(result).tolist() == [[False, False, True]]
    dropped = nisa.activation(np.exp, view, mask=False, dtype=BF16)
    assert dropped.dtype == np.dtype(BF16)
    assert holes(dropped).all()


def test_activation_is_undefined_where_an_operand_is() -> None:
    x = tile(np.ones((2, 2)), holes=[[1, 0], [0, 0]])
    assert holes(nisa.activation(np.exp, x)).tolist() == [[True, False], [False, False]]
    column = tile(np.ones((2, 1)), holes=[[0], [1]])
    assert holes(nisa.activation(np.exp, x, scale=column)).tolist() == [[True, False], [True, True]]
    assert holes(nisa.activation(np.exp, x, bias=column)).tolist() == [[True, False], [True, True]]


def strided(x: Any) -> Any:
    """The same tile, every third column of a wider one."""
    return tile(np.repeat(x, 3, axis=1))[nl.arange(x.shape[0])[:, None], 3 * row(x.shape[1])]


@pytest.mark.parametrize("n", [1, 7, 128, 333])
def test_activation_gives_the_same_bytes_for_every_layout(n: int) -> None:
    x = random(5, n, scale=3)
    assert same_bytes(values(nisa.activation(np.exp, strided(x))), values(nisa.activation(np.exp, tile(x))))


# --------------------------------------------------------------------------------- activation_reduce


@pytest.mark.parametrize("reduce_op", [np.add, nl.add, np.sum, nl.sum], ids=["np.add", "nl.add", "np.sum", "nl.sum"])
def test_activation_reduce_sums_before_the_cast(reduce_op: Any) -> None:
    x = random(3, 300)
    sums = tile(np.zeros((3, 1)), holes=True)
    result = nisa.activation_reduce(
        np.exp, tile(x), reduce_op=reduce_op, reduce_res=sums, bias=-1.0, scale=0.5, dtype=BF16
    )
    exact = np.exp(x * np.float32(0.5) + np.float32(-1.0))
    assert same_bytes(values(result), exact.astype(BF16))
    assert same_bytes(values(sums)[:, 0], sum_last_axes(exact, 1))
    assert not same_bytes(values(sums)[:, 0], sum_last_axes(exact.astype(BF16).astype(np.float32), 1))


def test_activation_reduce_writes_a_column_of_a_buffer_in_its_dtype() -> None:
    buffer = tile(np.zeros((3, 4)), BF16, holes=True)
    x = random(3, 2, 5)
    nisa.activation_reduce(np.copy, tile(x), reduce_op=np.add, reduce_res=buffer[:, 2])
    assert holes(buffer).tolist() == [[True, True, False, True]] * 3
    assert same_bytes(values(buffer)[:, 2], sum_last_axes(x, 1).astype(BF16))


@pytest.mark.parametrize("n", [7, 8, 129, 500])
def test_activation_reduce_gives_the_same_bytes_for_every_layout(n: int) -> None:
    x = random(4, n, scale=10)
    sums = tile(np.zeros((4, 2)))
    one = nisa.activation_reduce(np.square, tile(x), reduce_op=np.add, reduce_res=sums[:, 0])
    other = nisa.activation_reduce(np.square, strided(x), reduce_op=np.add, reduce_res=sums[:, 1])
    assert same_bytes(values(one), values(other))
    assert same_bytes(values(sums)[:, 0], values(sums)[:, 1])


def test_activation_reduce_spoils_the_sum_of_an_undefined_element() -> None:
    sums = tile(np.zeros((2, 1)))
    result = nisa.activation_reduce(
        np.exp, tile(np.zeros((2, 2)), holes=[[0, 1], [0, 0]]), reduce_op=np.add, reduce_res=sums
    )
    assert holes(sums).tolist() == [[True], [False]]
    assert holes(result).tolist() == [[False, True], [False, False]]
    assert values(sums)[1, 0] == 2.0


@pytest.mark.parametrize("numbers", [(0.0, -0.0), (-0.0, 0.0), (1, 1.0), (np.float32(2), 2.0)])
def test_number_is_taken_as_it_is_whatever_an_equal_one_gave_before(numbers: tuple[Any, Any]) -> None:
    for number in (*numbers, *numbers):
        product = nl.multiply(tile(np.ones((1, 2), dtype=np.int32), np.int32), number)
        assert product.dtype == numeric.promote(np.dtype(np.int32), numeric.scalar_dtype(number))
        assert np.signbit(values(product)).tolist() == [[bool(np.signbit(number))] * 2]


def test_activation_reduce_may_put_its_sum_into_its_data() -> None:
    x = random(2, 4)
    data = tile(x)
    result = nisa.activation_reduce(np.copy, data, reduce_op=np.add, reduce_res=data[:, 0])
    assert same_bytes(values(result), x)
    assert same_bytes(values(data)[:, 0], sum_last_axes(x, 1))


def test_activation_reduce_masked_off_leaves_the_sum() -> None:
    sums = tile([[3.0]])
    assert holes(nisa.activation_reduce(np.exp, tile([[1.0]]), reduce_op=np.add, reduce_res=sums, mask=False)).all()
    assert values(sums).tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        pytest.param({"reduce_op": np.exp}, "reduce_op=", id="no reduction"),
        pytest.param({"reduce_op": None}, "reduce_op=", id="no operator"),
        pytest.param({"reduce_res": None}, "must be a tensor, got NoneType", id="no tile"),
        pytest.param({"reduce_res": np.zeros((2, 1))}, "must be a tensor, got ndarray", id="array"),
    ],
)
def test_refuses_activation_reduce_with(given: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"reduce_op": np.add, "reduce_res": tile(np.zeros((2, 1))), **given}
    with refuses("", match):
        nisa.activation_reduce(np.exp, tile(np.ones((2, 3))), **arguments)


@pytest.mark.parametrize(
    ("shape", "code"), [((2, 3), ""), ((1, 1), "err_num_partition_mismatch")], ids=["more elements", "partitions"]
)
def test_refuses_activation_reduce_into_another_shape(shape: tuple[int, ...], code: str) -> None:
    with refuses(code, "reduce_res"):
        nisa.activation_reduce(np.exp, tile(np.ones((2, 3))), reduce_op=np.add, reduce_res=tile(np.zeros(shape)))


# -------------------------------------------------------------------------------------- affine_select


@pytest.mark.parametrize(
    ("relation", "oracle"),
    [
        pytest.param(operator.gt, operator.gt, id=">"),
        pytest.param(operator.ge, operator.ge, id=">="),
        pytest.param(operator.lt, operator.lt, id="<"),
        pytest.param(operator.le, operator.le, id="<="),
        pytest.param(operator.eq, operator.eq, id="=="),
        pytest.param(operator.ne, operator.ne, id="!="),
    ],
)
@pytest.mark.parametrize("offset", [-9, -4, -1, 0, 1, 5, 9])
def test_affine_select_keeps_where_the_comparison_holds(
    relation: Callable[[Any, Any], Any], oracle: Callable[[Any, Any], Any], offset: int
) -> None:
    x = random(5, 6)
    i, j = nl.mgrid[0:5, 0:6]
    result = nisa.affine_select(relation(i + offset, j), tile(x), -9984.0)
    ii, jj = np.mgrid[0:5, 0:6]
    assert same_bytes(values(result), np.where(oracle(ii + offset, jj), x, np.float32(-9984.0)))


@pytest.mark.parametrize("dtype", [None, BF16, np.int8], ids=["data's", "bfloat16", "int8"])
def test_affine_select_rounds_both_sides_to_the_dtype(dtype: Any) -> None:
    i, j = nl.mgrid[0:1, 0:2]
    result = nisa.affine_select(j > i, tile([[1.0, 2.5]]), -300.0, dtype=dtype)
    expected = np.array([[-300.0, 2.5]], dtype=np.float32)
    assert same_bytes(values(result), numeric.cast(expected, np.dtype(dtype or np.float32)))


@pytest.mark.parametrize("dtype", [BF16, np.float16, np.int16], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("offset", [0, 1, -1], ids=["some", "all", "none"])
def test_affine_select_takes_its_datas_dtype(dtype: Any, offset: int) -> None:
    i, j = nl.mgrid[0:1, 0:2]
    result = nisa.affine_select(j + offset > i, tile([[3, 4]], dtype), 7.0)
    assert result.dtype == np.dtype(dtype)
    assert values(result).astype(int).tolist() == {0: [[7, 4]], 1: [[3, 4]], -1: [[7, 7]]}[offset]


def test_affine_select_defines_what_it_replaces() -> None:
    i, j = nl.mgrid[0:1, 0:3]
    x = tile([[1.0, 2.0, 3.0]], holes=[[1, 0, 1]])
    assert holes(nisa.affine_select(j > i, x, 0.0)).tolist() == [[False, False, True]]
    assert not holes(nisa.affine_select(j > i + 5, x, 0.0)).any()
    assert holes(nisa.affine_select(j >= i, x, 0.0)).tolist() == [[True, False, True]]


def test_affine_select_masks_its_result() -> None:
    i, j = nl.mgrid[0:1, 0:3]
    view = tile([[1.0, 2.0]])[i, j]
    result = nisa.affine_select(j > i, view, 0.0, mask=j < 2)
    assert holes(result).tolist() == [[False, False, True]]
    assert values(result)[0, :2].tolist() == [0.0, 2.0]
    assert holes(nisa.affine_select(j > i, view, 0.0, mask=False)).all()
    with refuses(OUT_OF_BOUNDS):
        nisa.affine_select(j > i, view, 0.0)


def two_terms() -> Any:
    i, j = nl.mgrid[0:2, 0:2]
    return (i > j) & (j > 0)


@pytest.mark.parametrize(
    "predicate",
    [
        pytest.param(two_terms, id="two comparisons"),
        pytest.param(lambda: True, id="bool"),
        pytest.param(list, id="list"),
    ],
)
def test_refuses_predicate_that_is_no_single_comparison(predicate: Callable[[], Any]) -> None:
    with refuses("err_unsupported_expression_in_mask", "one affine comparison"):
        nisa.affine_select(predicate(), tile(np.ones((2, 2))), 0.0)


def test_refuses_predicate_of_another_shape() -> None:
    with refuses("", r"pred has shape \(1, 2\), the tile \(2, 2\)"):
        nisa.affine_select(row(2) > 0, tile(np.ones((2, 2))), 0.0)


@pytest.mark.parametrize("value", [None, "0", [0.0]], ids=str)
def test_refuses_replacement_that_is_no_number(value: Any) -> None:
    i, j = nl.mgrid[0:2, 0:2]
    with refuses("", "on_false_value must be a number"):
        nisa.affine_select(i > j, tile(np.ones((2, 2))), value)
    with refuses("", "on_false_value must be a number, got LegacyTensor"):
        nisa.affine_select(i > j, tile(np.ones((2, 2))), tile(np.ones((2, 2))))


def test_affine_select_of_psum_warns_once_per_line() -> None:
    i, j = nl.mgrid[0:2, 0:2]
    psum = tile(np.ones((2, 2)), space=Space.PSUM)
    with pytest.warns(EmulatorWarning, match="GpSimd cannot reach") as caught:
        [nisa.affine_select(i > j, psum, 0.0) for _ in range(2)]
    assert len(caught) == 1
    assert caught[0].filename == __file__


# ---------------------------------------------------------------------------------- undefined elements


def test_masked_load_computed_with_and_stored_with_its_mask_is_legal() -> None:
    out = hbm(np.zeros((2, 3), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:5]
    loaded = nl.load(hbm(random(2, 3))[i, j], mask=j < 3)
    result = nl.exp(nl.multiply(nl.add(loaded, loaded), 0.5))
    nl.store(out[i, j], result, mask=j < 3)
    assert same_bytes(values(out), np.exp(random(2, 3)))
    with pytest.raises(UndefinedReadFault) as caught:
        nl.store(hbm(np.zeros((2, 5), dtype=np.float32)), result)
    text = str(caught.value)
    assert "store writes undefined elements to HBM: 4 of 10 elements, the first at (0, 3)" in text
    assert "the masked-off part of load at " in text
    assert "first read by add at " in text
    assert text.count(__file__) == 3


def test_first_reader_of_a_buffer_never_written_is_named() -> None:
    scores = nl.ndarray((2, 2), np.float32)
    result = nl.exp(scores)
    with pytest.raises(UndefinedReadFault, match=rf"tensor 'scores' of {__file__}:\d+ was never .* first read by exp"):
        nl.store(hbm(np.zeros((2, 2), dtype=np.float32)), result)
