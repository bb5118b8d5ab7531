"""Functions of whole tiles: accuracy, limits, and the names under which kernels pass them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator import functions, numeric
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.numeric import BF16, BOOL, F32
from tests.emulator.kernels import refuses, same_bytes

U8, I8, U16, I16, U32, I32 = (np.dtype(t) for t in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32))


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with np.errstate(all="ignore"):
        yield


def named(name: str) -> Callable[[], None]:
    def function() -> None: ...

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("op", "allowed", "name"),
    [
        pytest.param(np.exp, functions.ACTIVATIONS, "exp", id="np.exp"),
        pytest.param(nl.exp, functions.ACTIVATIONS, "exp", id="nl.exp"),
        pytest.param(np.copy, functions.ACTIVATIONS, "copy", id="np.copy"),
        pytest.param(nl.copy, functions.ACTIVATIONS, "copy", id="nl.copy"),
        pytest.param(nl.rsqrt, functions.ACTIVATIONS, "rsqrt", id="nl.rsqrt"),
        pytest.param(np.square, functions.ACTIVATIONS, "square", id="np.square"),
        pytest.param(np.max, functions.REDUCTIONS, "max", id="np.max"),
        pytest.param(nl.max, functions.REDUCTIONS, "max", id="nl.max"),
        pytest.param(np.maximum, functions.REDUCTIONS, "max", id="np.maximum"),
        pytest.param(nl.maximum, functions.REDUCTIONS, "max", id="nl.maximum"),
        pytest.param(named("amax"), functions.REDUCTIONS, "max", id="np.max of old numpy"),
        pytest.param(np.min, functions.REDUCTIONS, "min", id="np.min"),
        pytest.param(nl.minimum, functions.REDUCTIONS, "min", id="nl.minimum"),
        pytest.param(named("amin"), functions.REDUCTIONS, "min", id="np.min of old numpy"),
        pytest.param(np.add, functions.REDUCTIONS, "add", id="np.add"),
        pytest.param(nl.add, functions.REDUCTIONS, "add", id="nl.add"),
        pytest.param(np.sum, functions.REDUCTIONS, "add", id="np.sum"),
        pytest.param(nl.sum, functions.REDUCTIONS, "add", id="nl.sum"),
        pytest.param(np.prod, functions.REDUCTIONS, "multiply", id="np.prod"),
        pytest.param(nl.multiply, functions.REDUCTIONS, "multiply", id="nl.multiply"),
        pytest.param(np.maximum, functions.BINARY, "maximum", id="np.maximum of two"),
        pytest.param(nl.max, functions.BINARY, "maximum", id="nl.max of two"),
        pytest.param(np.divide, functions.BINARY, "divide", id="np.divide"),
        pytest.param(np.mod, functions.BINARY, "mod", id="np.mod"),
        pytest.param(np.abs, functions.ACTIVATIONS, "abs", id="np.abs"),
        pytest.param(np.bitwise_not, {"invert"}, "invert", id="np.bitwise_not"),
        pytest.param(np.tanh, functions.ACTIVATIONS, "tanh", id="np.tanh"),
        pytest.param(nl.gelu_apprx_tanh, functions.ACTIVATIONS, "gelu_apprx_tanh", id="nl.gelu_apprx_tanh"),
    ],
)
def test_operator_is_known_by_name(op: Any, allowed: Any, name: str) -> None:
    assert functions.operation_name(op, allowed, "op") == name


@pytest.mark.parametrize("op", [np.cos, "exp", None, 3, np.max], ids=["np.cos", "str", "None", "number", "np.max"])
def test_refuses_operator_without_an_engine(op: Any) -> None:
    with refuses("", r"act=.*is not supported"):
        functions.operation_name(op, functions.ACTIVATIONS, "act")


def test_refusal_of_an_operator_lists_what_there_is() -> None:
    with refuses("", "use one of nl.add, nl.max$"):
        functions.operation_name(np.multiply, {"max", "add"}, "op")


# ------------------------------------------------------------------------------------------ one array


def below(x: float) -> float:
    """Probability that a standard normal variable lies below ``x``."""
    return math.erfc(-x / math.sqrt(2)) / 2


def density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


ANYWHERE = (-9.0, 9.0)
POSITIVE = (1e-3, 50.0)
ORACLES: dict[str, tuple[Callable[[float], float], tuple[float, float]]] = {
    "abs": (abs, ANYWHERE),
    "arctan": (math.atan, ANYWHERE),
    "ceil": (math.ceil, ANYWHERE),
    "copy": (lambda x: x, ANYWHERE),
    "cos": (math.cos, ANYWHERE),
    "erf": (math.erf, ANYWHERE),
    "erf_dx": (lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x), ANYWHERE),
    "exp": (math.exp, ANYWHERE),
    "floor": (math.floor, ANYWHERE),
    "gelu": (lambda x: x * below(x), ANYWHERE),
    "gelu_apprx_sigmoid": (lambda x: x * sigmoid(1.702 * x), ANYWHERE),
    "gelu_apprx_tanh": (
        lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ANYWHERE,
    ),
    "gelu_dx": (lambda x: below(x) + x * density(x), ANYWHERE),
    "log": (math.log, POSITIVE),
    "logical_not": (lambda x: float(x == 0), ANYWHERE),
    "mish": (lambda x: x * math.tanh(softplus(x)), ANYWHERE),
    "negative": (lambda x: -x, ANYWHERE),
    "reciprocal": (lambda x: 1 / x, POSITIVE),
    "relu": (lambda x: max(x, 0.0), ANYWHERE),
    "rsqrt": (lambda x: 1 / math.sqrt(x), POSITIVE),
    "sigmoid": (sigmoid, ANYWHERE),
    "sign": (lambda x: float((x > 0) - (x < 0)), ANYWHERE),
    "silu": (lambda x: x * sigmoid(x), ANYWHERE),
    "silu_dx": (lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))), ANYWHERE),
    "sin": (math.sin, ANYWHERE),
    "softplus": (softplus, ANYWHERE),
    "sqrt": (math.sqrt, POSITIVE),
    "square": (lambda x: x * x, ANYWHERE),
    "tan": (math.tan, (-1.5, 1.5)),
    "tanh": (math.tanh, ANYWHERE),
    "trunc": (math.trunc, ANYWHERE),
}
ROUNDINGS = 8
"""No function has more float32 operations that are rounded one after another."""


@pytest.mark.parametrize("name", ORACLES)
def test_function_of_one_array_is_the_exact_one_rounded(name: str) -> None:
    oracle, (low, high) = ORACLES[name]
    x = np.linspace(low, high, 4001, dtype=np.float32)
    ours = functions.UNARY[name](x)
    assert ours.dtype == F32
    exact = np.array([oracle(float(value)) for value in x])
    largest_term = np.maximum(np.maximum(np.abs(x), 1), np.abs(exact))
    assert (np.abs(ours - exact) <= ROUNDINGS * 2.0**-24 * largest_term).all()


def test_every_function_of_one_array_has_an_oracle() -> None:
    assert set(ORACLES) == set(functions.UNARY)
    assert set(functions.ACTIVATIONS) <= set(functions.UNARY)


DOCUMENTED_ACTIVATIONS = """copy square sigmoid relu gelu gelu_dx gelu_apprx_tanh gelu_apprx_sigmoid silu silu_dx tanh
    softplus mish erf erf_dx exp log sin arctan sqrt rsqrt reciprocal sign abs"""


def test_activation_functions_are_the_documented_ones() -> None:
    assert set(functions.ACTIVATIONS) == set(DOCUMENTED_ACTIVATIONS.split())


def test_error_function_is_correctly_rounded_but_for_one_unit() -> None:
    x = np.concatenate([np.linspace(-5, 5, 100_001), np.geomspace(1e-38, 5, 10_001)]).astype(np.float32)
    exact = np.array([math.erf(value) for value in x.tolist()])
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert (np.abs(functions.UNARY["erf"](x) - exact) <= unit).all()


INF, NAN = math.inf, math.nan
LIMITS = {
    "abs": (INF, INF),
    "copy": (-INF, INF),
    "erf": (-1, 1),
    "erf_dx": (0, 0),
    "exp": (0, INF),
    "gelu": (0, INF),
    "gelu_apprx_sigmoid": (0, INF),
    "gelu_apprx_tanh": (0, INF),
    "gelu_dx": (0, 1),
    "mish": (0, INF),
    "negative": (INF, -INF),
    "relu": (0, INF),
    "sigmoid": (0, 1),
    "sign": (-1, 1),
    "silu": (0, INF),
    "silu_dx": (0, 1),
    "softplus": (0, INF),
    "square": (INF, INF),
    "tanh": (-1, 1),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("far", [1e30, INF])
def test_function_far_from_zero_is_its_limit(name: str, far: float) -> None:
    ours = functions.UNARY[name](np.array([-far, far, NAN], dtype=np.float32))
    for value, limit in zip(ours.tolist(), LIMITS[name], strict=False):
        if far == INF or math.isfinite(limit):
            assert value == limit
        else:
            assert value / math.copysign(1, limit) > 1e29
    assert np.isnan(ours[2])


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        pytest.param("log", [2.0**-64, 1, 2.0**64], [0, 2.0**-65, -1, 2.0**65], id="log"),
        pytest.param("sqrt", [2.0**-116, 2.0**118], [0, 2.0**-117, 2.0**119], id="sqrt"),
        pytest.param("rsqrt", [2.0**-87, 2.0**97], [0, 2.0**-88, 2.0**98], id="rsqrt"),
        pytest.param("reciprocal", [2.0**-42, -(2.0**42)], [0, 2.0**-43, -(2.0**43)], id="reciprocal"),
        pytest.param("sin", [-math.pi, 0, math.pi], [-3.1416, 3.1416], id="sin"),
        pytest.param("arctan", [-math.pi / 2, 0, math.pi / 2], [-1.5709, 1.5709], id="arctan"),
    ],
)
def test_documented_range(name: str, inside: list[float], outside: list[float]) -> None:
    valid = functions.VALID_INPUTS[name]
    assert not valid.misses(np.array([*inside, NAN], dtype=np.float32)).any()
    assert valid.misses(np.array(outside, dtype=np.float32)).all()
    what = "magnitudes " if name == "reciprocal" else ""
    assert valid.in_words() == f"for {what}from {valid.low:.4g} to {valid.high:.4g}"


# ----------------------------------------------------------------------------------------- two arrays

A: npt.NDArray[np.float32] = np.array([-7.5, -7.0, -2.0, 0.0, 0.0, 2.0, 3.0, 7.5], dtype=np.float32)
B: npt.NDArray[np.float32] = np.array([2.0, 7.0, -2.0, 0.0, 5.0, -3.0, 3.0, -2.0], dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("add", lambda a, b: a + b),
        ("subtract", lambda a, b: a - b),
        ("multiply", lambda a, b: a * b),
        ("maximum", max),
        ("minimum", min),
        ("equal", lambda a, b: float(a == b)),
        ("not_equal", lambda a, b: float(a != b)),
        ("greater", lambda a, b: float(a > b)),
        ("greater_equal", lambda a, b: float(a >= b)),
        ("less", lambda a, b: float(a < b)),
        ("less_equal", lambda a, b: float(a <= b)),
        ("logical_and", lambda a, b: float(bool(a) and bool(b))),
        ("logical_or", lambda a, b: float(bool(a) or bool(b))),
        ("logical_xor", lambda a, b: float(bool(a) != bool(b))),
        ("divide", lambda a, b: a / b if b else NAN),
        ("power", lambda a, b: a**b if float(b).is_integer() and (a or b >= 0) else NAN),
        ("mod", lambda a, b: a - b * math.floor(a / b) if b else NAN),
        ("fmod", lambda a, b: math.fmod(a, b) if b else NAN),
    ],
)
def test_arithmetic_of_two_arrays(name: str, oracle: Callable[[float, float], float]) -> None:
    ours = functions.ARITHMETIC[name](A, B)
    assert ours.dtype == F32
    np.testing.assert_allclose(ours, [oracle(float(a), float(b)) for a, b in zip(A, B, strict=True)], rtol=2.0**-22)


def test_remainders_take_their_sign_from_either_side() -> None:
    a, b = np.array([-7.0, 7.0], dtype=np.float32), np.array([3.0, -3.0], dtype=np.float32)
    assert functions.BINARY["mod"](a, b).tolist() == [2.0, -2.0]
    assert functions.BINARY["fmod"](a, b).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "dtype", "a", "b", "expected"),
    [
        pytest.param("bitwise_and", I32, -2, 7, 6, id="and"),
        pytest.param("bitwise_or", I32, -8, 3, -5, id="or"),
        pytest.param("bitwise_xor", U8, 0b1100, 0b1010, 0b0110, id="xor"),
        pytest.param("left_shift", U8, 0b1100_0001, 1, 0b1000_0010, id="left shift loses high bits"),
        pytest.param("right_shift", U16, 0x8001, 1, 0x4000, id="right shift"),
        pytest.param("right_shift", I32, -1, 28, 15, id="right shift of a negative number is logical"),
        pytest.param("right_shift", I8, -128, 7, 1, id="right shift within the width"),
    ],
)
def test_bits_of_two_arrays(name: str, dtype: np.dtype[Any], a: int, b: int, expected: int) -> None:
    ours = functions.BITWISE[name](np.array([a], dtype=dtype), np.array([b], dtype=dtype))
    assert (ours.dtype, ours.tolist()) == (dtype, [expected])


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
        pytest.param("bitwise_and", (I8, U8), np.int16, id="bits of a promoted dtype"),
        pytest.param("bitwise_and", (I32, U32), np.uint32, id="bits without a common dtype"),
        pytest.param("bitwise_or", (BOOL, BOOL), np.uint8, id="bits of bools"),
        pytest.param("left_shift", (BOOL, I16), np.int16, id="bits of a bool and an integer"),
        pytest.param("invert", (U16,), np.uint16, id="complement"),
    ],
)
def test_working_dtype(name: str, operands: tuple[np.dtype[Any], ...], dtype: Any) -> None:
    assert functions.working_dtype(name, *operands) == dtype


@pytest.mark.parametrize("name", sorted(functions.BIT_OPERATIONS))
@pytest.mark.parametrize("dtype", [F32, BF16, numeric.TF32], ids=numeric.dtype_name)
def test_refuses_bits_of_a_float(name: str, dtype: np.dtype[Any]) -> None:
    with refuses("", f"{name} takes integers, got {numeric.dtype_name(dtype)}"):
        functions.working_dtype(name, I32, dtype)


# ----------------------------------------------------------------------------------------- reductions


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("add", lambda row: sum(row)),
        ("subtract", lambda row: row[0] - sum(row[1:])),
        ("multiply", math.prod),
        ("max", max),
        ("min", min),
        ("logical_and", lambda row: float(all(row))),
        ("logical_or", lambda row: float(any(row))),
        ("logical_xor", lambda row: float(sum(map(bool, row)) % 2)),
    ],
)
def test_reduction_of_numbers(name: str, oracle: Callable[[list[float]], float]) -> None:
    rows = np.array([[2, 3, 4, 5], [1, 0, 0, 0], [0, 0, 0, 0], [-1, 2, 0, 8]], dtype=np.float32)
    ours = functions.reduce_last_axes(rows, 1, name)
    assert ours.dtype == F32
    assert ours.tolist() == [oracle(row) for row in rows.tolist()]


@pytest.mark.parametrize(
    ("name", "expected"), [("bitwise_and", 0b0100), ("bitwise_or", 0b1111), ("bitwise_xor", 0b1101)]
)
def test_reduction_of_bits(name: str, expected: int) -> None:
    row = np.array([[0b0110, 0b1100, 0b0111]], dtype=np.uint8)
    ours = functions.reduce_last_axes(row, 1, name)
    assert (ours.dtype, ours.tolist()) == (U8, [expected])


@pytest.mark.parametrize("name", [n for n, r in functions.REDUCTIONS.items() if r.neutral is not None])
def test_neutral_element_changes_no_result(name: str) -> None:
    reduction = functions.REDUCTIONS[name]
    row = np.array([[5, 6, 12]], dtype=np.int32) if reduction.bits else np.array([[-0.0, 2.5, -7.0]], dtype=np.float32)
    for values in (row, row[:, :1]):
        neutral = np.asarray(reduction.neutral).astype(row.dtype).reshape(1, 1)
        padded = np.concatenate([neutral, values], axis=1)
        assert same_bytes(functions.reduce_last_axes(padded, 1, name), functions.reduce_last_axes(values, 1, name))
