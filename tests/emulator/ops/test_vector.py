"""Arithmetic on tiles: numpy in float32 is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import hbm, holes, refuses, running, tile, values

MISMATCH = "err_num_partition_mismatch"
MEMORY = "err_unsupported_memory"
F32 = np.float32


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(F32)


def columns(size: int) -> Any:
    return nl.arange(size)[None, :]


def engine_of(call: Callable[[], Any]) -> Engine:
    with observe.observing(sequence=True) as seen:
        call()
    (executed,) = list(seen)
    return executed.engine


# ------------------------------------------------------------------------------------- tensor_tensor

ARITHMETIC: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "add": (np.add, np.add),
    "subtract": (np.subtract, np.subtract),
    "multiply": (np.multiply, np.multiply),
    "maximum": (np.maximum, np.maximum),
    "max": (nl.max, np.maximum),
    "minimum": (np.minimum, np.minimum),
    "equal": (np.equal, np.equal),
    "not_equal": (np.not_equal, np.not_equal),
    "greater": (np.greater, np.greater),
    "greater_equal": (np.greater_equal, np.greater_equal),
    "less": (np.less, np.less),
    "less_equal": (np.less_equal, np.less_equal),
    "logical_and": (np.logical_and, np.logical_and),
    "logical_or": (np.logical_or, np.logical_or),
    "logical_xor": (np.logical_xor, np.logical_xor),
    "power": (np.power, np.power),
    "logical_not": (np.logical_not, lambda a, b: np.logical_not(a)),
    "reciprocal": (np.reciprocal, lambda a, b: np.reciprocal(a)),
    "abs": (np.abs, lambda a, b: np.abs(a)),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_tensor_tensor_computes_in_float32(name: str) -> None:
    op, oracle = ARITHMETIC[name]
    a, b = np.abs(numbers(4, 6)), numbers(4, 6, seed=1)
    a[0, :3] = b[0, :3] = (0.0, 1.0, 2.0)
    made = nisa.tensor_tensor(tile(a), tile(b), op)
    np.testing.assert_array_equal(values(made), oracle(a, b).astype(F32))
    assert made.space is Space.SBUF


BITS: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "and": (np.bitwise_and, np.bitwise_and),
    "or": (np.bitwise_or, np.bitwise_or),
    "xor": (np.bitwise_xor, np.bitwise_xor),
    "left_shift": (np.left_shift, np.left_shift),
    "right_shift": (np.right_shift, np.right_shift),
    "invert": (np.invert, lambda a, b: np.invert(a)),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", BITS)
def test_tensor_tensor_of_bit_patterns(name: str, dtype: Any) -> None:
    op, oracle = BITS[name]
    a = np.array([[0, 1, 170, 255]], dtype=dtype)
    b = np.array([[3, 1, 2, 7]], dtype=dtype)
    made = nisa.tensor_tensor(tile(a, dtype), tile(b, dtype), op)
    assert made.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(values(made), oracle(a, b))


def test_right_shift_is_logical() -> None:
    made = nisa.tensor_scalar(tile([[-1, -128]], np.int8), np.right_shift, 1)
    assert values(made).tolist() == [[127, 64]]


def test_left_shift_keeps_the_low_bits() -> None:
    assert values(nisa.tensor_scalar(tile([[129]], np.uint8), np.left_shift, 1)).tolist() == [[2]]


@pytest.mark.parametrize(
    ("dtypes", "dtype", "expected"),
    [
        pytest.param((BF16, F32), None, F32, id="wider"),
        pytest.param((BF16, BF16), None, BF16, id="same"),
        pytest.param((np.int8, BF16), None, BF16, id="float with integer"),
        pytest.param((BF16, F32), np.int16, np.int16, id="asked for"),
    ],
)
def test_tensor_tensor_has_the_higher_precision_or_what_is_asked(dtypes: Any, dtype: Any, expected: Any) -> None:
    made = nisa.tensor_tensor(tile([[1.0]], dtypes[0]), tile([[2.0]], dtypes[1]), np.add, dtype=dtype)
    assert made.dtype == np.dtype(expected)
    assert values(made).astype(F32).tolist() == [[3.0]]


def test_integers_are_added_exactly_on_gpsimd() -> None:
    big = tile([[2**24 + 1, 2**30]], np.int32)
    assert engine_of(lambda: nisa.tensor_tensor(big, big, np.add)) is Engine.GPSIMD
    assert values(nisa.tensor_tensor(big, big, np.add)).tolist() == [[2**25 + 2, 2**31 - 1]]
    on_vector = nisa.tensor_tensor(big, tile([[0, 0]], np.int32), np.add, engine=nisa.vector_engine)
    assert values(on_vector)[0, 0] == 2**24
    assert engine_of(lambda: nisa.tensor_tensor(big, big, np.maximum)) is Engine.VECTOR


@pytest.mark.parametrize(
    ("op", "engine", "legal"),
    [
        pytest.param(np.power, nisa.unknown_engine, Engine.GPSIMD, id="power anywhere"),
        pytest.param(np.power, nisa.vector_engine, None, id="power on Vector"),
        pytest.param(np.multiply, nisa.unknown_engine, Engine.VECTOR, id="multiply anywhere"),
        pytest.param(np.multiply, nisa.gpsimd_engine, Engine.GPSIMD, id="multiply on GpSimd"),
        pytest.param(np.subtract, nisa.gpsimd_engine, None, id="subtract on GpSimd"),
        pytest.param(np.add, nisa.scalar_engine, None, id="Scalar"),
        pytest.param(np.add, nisa.tensor_engine, None, id="Tensor"),
    ],
)
def test_tensor_tensor_runs_where_its_operator_exists(op: Any, engine: Any, legal: Engine | None) -> None:
    x = tile(np.ones((2, 2)))
    if legal is None:
        with refuses("engine-operation"):
            nisa.tensor_tensor(x, x, op, engine=engine)
        return
    assert engine_of(lambda: nisa.tensor_tensor(x, x, op, engine=engine)) is legal


@pytest.mark.parametrize(
    ("spaces", "op", "legal"),
    [
        pytest.param((Space.SBUF, Space.SBUF), np.add, True, id="both SBUF"),
        pytest.param((Space.SBUF, Space.PSUM), np.add, True, id="second in PSUM"),
        pytest.param((Space.PSUM, Space.SBUF), np.add, True, id="first in PSUM"),
        pytest.param((Space.PSUM, Space.PSUM), np.add, False, id="both in PSUM"),
        pytest.param((Space.SBUF, Space.PSUM), np.power, False, id="GpSimd reads PSUM"),
    ],
)
def test_tensor_tensor_reads_one_operand_from_psum(spaces: Any, op: Any, legal: bool) -> None:
    a, b = (tile(np.ones((2, 2)), space=space) for space in spaces)
    if legal:
        nisa.tensor_tensor(a, b, op)
        return
    with refuses(MEMORY, "psum"):
        nisa.tensor_tensor(a, b, op)


def test_results_that_the_compiler_places_may_both_come_from_psum() -> None:
    product = nisa.nc_matmul(tile(np.ones((2, 2))), tile(np.ones((2, 2))))
    assert values(nisa.tensor_tensor(product, product, np.add)).tolist() == [[4.0, 4.0]] * 2


def test_tensor_tensor_takes_shapes_of_equal_size() -> None:
    a, b = numbers(2, 6), numbers(2, 3, 2, seed=1)
    np.testing.assert_array_equal(values(nisa.tensor_tensor(tile(a), tile(b), np.add)), a + b.reshape(2, 6))


def test_tensor_tensor_broadcasts_a_column() -> None:
    a, b = numbers(2, 6), numbers(2, 1, seed=1)
    made = nisa.tensor_tensor(tile(a), tile(b, holes=[[False], [True]]), np.add)
    np.testing.assert_array_equal(values(made)[0], a[0] + b[0])
    assert holes(made).tolist() == [[False] * 6, [True] * 6]


def test_refuses_tensor_tensor_of_different_partitions() -> None:
    with refuses(MISMATCH):
        nisa.tensor_tensor(tile(np.ones((2, 3))), tile(np.ones((1, 3))), np.add)


def test_refuses_tensor_tensor_of_different_sizes() -> None:
    with refuses("", "do not fit together"):
        nisa.tensor_tensor(tile(np.ones((2, 3))), tile(np.ones((2, 2))), np.add)


@pytest.mark.parametrize(
    ("dtypes", "dtype"),
    [
        pytest.param((F32, np.int32), None, id="floating operand"),
        pytest.param((np.int32, np.int32), F32, id="floating result"),
    ],
)
def test_refuses_bit_patterns_of_floats(dtypes: Any, dtype: Any) -> None:
    with refuses("", "takes and gives integers"):
        nisa.tensor_tensor(tile([[1]], dtypes[0]), tile([[1]], dtypes[1]), np.bitwise_and, dtype=dtype)


@pytest.mark.parametrize("op", [np.divide, np.exp, "add", None], ids=str)
def test_refuses_operators_that_the_engines_do_not_have(op: Any) -> None:
    with refuses("", "op="):
        nisa.tensor_tensor(tile([[1.0]]), tile([[1.0]]), op)


def test_undefined_operands_spoil_their_elements() -> None:
    a, b = tile(np.ones((1, 3)), holes=[[True, False, False]]), tile(np.ones((1, 3)), holes=[[False, True, False]])
    assert holes(nisa.tensor_tensor(a, b, np.add)).tolist() == [[True, True, False]]
    assert holes(nisa.tensor_tensor(a, b, np.abs)).tolist() == [[True, False, False]]


def test_tensor_tensor_masks_its_result() -> None:
    a = tile(np.ones((1, 3)), holes=[[False, False, True]])
    made = nisa.tensor_tensor(a, a, np.add, mask=columns(3) < 2)
    assert holes(made).tolist() == [[False, False, True]]
    assert values(made)[0, :2].tolist() == [2, 2]
    assert holes(nisa.tensor_tensor(a, a, np.add, mask=False)).all()


# ------------------------------------------------------------------------------------- tensor_scalar

X = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 6.0]], dtype=F32)
C = np.array([[10.0], [20.0]], dtype=F32)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((np.subtract, 1.0), X - 1, id="number"),
        pytest.param((np.subtract, 1.0, True), 1 - X, id="reversed"),
        pytest.param((np.subtract, "column"), X - C, id="column"),
        pytest.param((np.subtract, "column", True), C - X, id="column, reversed"),
        pytest.param((np.multiply, 2.0, False, np.subtract, "column"), X * 2 - C, id="two"),
        pytest.param((np.multiply, 2.0, False, np.subtract, 1.0, True), 1 - X * 2, id="two, second reversed"),
        pytest.param((np.add, 0.0, False, np.power, -0.5), X ** F32(-0.5), id="add and power"),
        pytest.param((nl.rsqrt, 0.0), 1 / np.sqrt(X), id="rsqrt"),
        pytest.param((np.abs, "column", False, np.multiply, -1.0), -X, id="unary, then binary"),
    ],
)
def test_tensor_scalar_computes_a_chain(arguments: tuple[Any, ...], expected: Any) -> None:
    given: list[Any] = [tile(C) if isinstance(argument, str) else argument for argument in arguments]
    np.testing.assert_array_equal(values(nisa.tensor_scalar(tile(X), *given)), expected.astype(F32))


def test_tensor_scalar_of_several_free_dimensions() -> None:
    x = numbers(2, 3, 4)
    made = nisa.tensor_scalar(tile(x), np.multiply, tile(C))
    np.testing.assert_array_equal(values(made), x * C[:, :, None])


def test_tensor_scalar_has_the_datas_dtype_or_what_is_asked() -> None:
    x = tile([[1.0, 2.0]], BF16)
    assert nisa.tensor_scalar(x, np.add, 1.5).dtype == BF16
    assert nisa.tensor_scalar(x, np.add, 1.5, dtype=F32).dtype == np.dtype(F32)


def test_tensor_scalar_rounds_once_after_both_operators() -> None:
    made = nisa.tensor_scalar(tile([[1.0]], BF16), np.add, 2.0**-10, op1=np.subtract, operand1=1.0)
    assert float(values(made)[0, 0]) == 2.0**-10


SCALAR_CHAINS = [
    pytest.param((np.multiply, np.add), "trn2", True, id="multiply, add"),
    pytest.param((np.multiply, None), "trn2", True, id="multiply"),
    pytest.param((np.add, None), "trn2", True, id="add"),
    pytest.param((np.add, np.multiply), "trn2", False, id="add, multiply"),
    pytest.param((np.subtract, None), "trn2", False, id="subtract"),
    pytest.param((np.multiply, np.add), "trn1", False, id="before gen3"),
]


@pytest.mark.parametrize(("ops", "target", "legal"), SCALAR_CHAINS)
def test_scalar_engine_computes_some_chains_from_gen3_on(ops: Any, target: Any, legal: bool) -> None:
    second = {} if ops[1] is None else {"op1": ops[1], "operand1": 1.0}
    with running(target):
        if legal:
            call = lambda: nisa.tensor_scalar(tile(X), ops[0], 2.0, **second, engine=nisa.scalar_engine)  # noqa: E731
            assert engine_of(call) is Engine.SCALAR
            return
        with refuses("engine-operation", "Scalar Engine"):
            nisa.tensor_scalar(tile(X), ops[0], 2.0, **second, engine=nisa.scalar_engine)


@pytest.mark.parametrize(
    ("op", "engine", "expected"),
    [
        pytest.param(np.subtract, nisa.unknown_engine, Engine.VECTOR, id="most"),
        pytest.param(nl.rsqrt, nisa.unknown_engine, Engine.GPSIMD, id="rsqrt"),
        pytest.param(nl.rsqrt, nisa.gpsimd_engine, Engine.GPSIMD, id="rsqrt asked for"),
        pytest.param(np.power, nisa.unknown_engine, Engine.GPSIMD, id="power"),
        pytest.param(np.subtract, nisa.gpsimd_engine, None, id="subtract on GpSimd"),
        pytest.param(np.power, nisa.vector_engine, None, id="power on Vector"),
    ],
)
def test_tensor_scalar_runs_where_its_operators_exist(op: Any, engine: Any, expected: Engine | None) -> None:
    if expected is None:
        with refuses("engine-operation"):
            nisa.tensor_scalar(tile(X), op, 1.0, engine=engine)
        return
    assert engine_of(lambda: nisa.tensor_scalar(tile(X), op, 1.0, engine=engine)) is expected


def test_refuses_operators_that_no_single_engine_has() -> None:
    with refuses("engine-operation", "no engine has both subtract and power"):
        nisa.tensor_scalar(tile(X), np.subtract, 1.0, op1=np.power, operand1=2.0)


def test_refuses_operators_of_two_kinds() -> None:
    with refuses("", "two kinds"):
        nisa.tensor_scalar(tile(X, np.int32), np.add, 1, op1=np.bitwise_and, operand1=1)


def test_refuses_bit_pattern_that_is_no_integer() -> None:
    with refuses("", "a bit pattern is an integer"):
        nisa.tensor_scalar(tile(X, np.int32), np.bitwise_and, 1.0)


@pytest.mark.parametrize("given", [{"op1": np.add}, {"operand1": 1.0}], ids=str)
def test_refuses_half_a_second_operator(given: Any) -> None:
    with refuses("", "given together"):
        nisa.tensor_scalar(tile(X), np.add, 1.0, **given)


@pytest.mark.parametrize(
    ("operand", "code"),
    [
        pytest.param(lambda: tile(np.ones((2, 2))), "", id="two per partition"),
        pytest.param(lambda: tile(np.ones((1, 1))), MISMATCH, id="another partition count"),
        pytest.param(lambda: hbm(np.ones((2, 1), F32)), MEMORY, id="HBM"),
    ],
)
def test_refuses_operand_that_is_no_column(operand: Callable[[], Any], code: str) -> None:
    with refuses(code):
        nisa.tensor_scalar(tile(X), np.add, operand())


def test_tensor_scalar_on_gpsimd_reads_no_psum() -> None:
    with refuses(MEMORY, "GpSimd"):
        nisa.tensor_scalar(tile(X, space=Space.PSUM), nl.rsqrt, 0.0)
    nisa.tensor_scalar(tile(X, space=Space.PSUM), np.add, 0.0)


def test_undefined_operand_spoils_its_partition() -> None:
    made = nisa.tensor_scalar(tile(X), np.add, tile(C, holes=[[True], [False]]))
    assert holes(made).tolist() == [[True] * 3, [False] * 3]
    ignored = nisa.tensor_scalar(tile(X), np.abs, tile(C, holes=[[True], [False]]))
    assert not holes(ignored).any()


def test_tensor_scalar_masks_its_result() -> None:
    i = nl.arange(2)[:, None]
    made = nisa.tensor_scalar(
        tile(X), np.add, tile(C, holes=[[False], [True]]), mask=(i < 1) & (columns(3) + i * 0 < 2)
    )
    assert holes(made).tolist() == [[False, False, True], [True] * 3]
    assert holes(nisa.tensor_scalar(tile(X), np.add, 1.0, mask=False)).all()


# ------------------------------------------------------------------------------ scalar_tensor_tensor


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_scalar_tensor_tensor_computes_a_chain(first: bool, second: bool) -> None:
    y = numbers(2, 3)
    made = nisa.scalar_tensor_tensor(
        data=tile(X),
        op0=np.subtract,
        operand0=tile(C),
        op1=np.subtract,
        operand1=tile(y),
        reverse0=first,
        reverse1=second,
    )
    inner = C - X if first else X - C
    np.testing.assert_array_equal(values(made), y - inner if second else inner - y)


def chain(**more: Any) -> Any:
    given: dict[str, Any] = {"data": tile(X), "op0": np.add, "operand0": 1.0, "op1": np.multiply, "operand1": tile(X)}
    return nisa.scalar_tensor_tensor(**(given | more))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"operand1": tile(X[:, :2])}, "", id="another shape"),
        pytest.param(lambda: {"operand1": tile(X[:1])}, MISMATCH, id="other partitions"),
        pytest.param(
            lambda: {"data": tile(X, space=Space.PSUM), "operand1": tile(X, space=Space.PSUM)}, MEMORY, id="both PSUM"
        ),
        pytest.param(lambda: {"op1": np.power}, "engine-operation", id="power"),
    ],
)
def test_refuses_scalar_tensor_tensor(more: Any, code: str) -> None:
    with refuses(code):
        chain(**more())


def test_scalar_tensor_tensor_reads_one_operand_from_psum() -> None:
    chain(data=tile(X, space=Space.PSUM))
    chain(operand1=tile(X, space=Space.PSUM))


def test_scalar_tensor_tensor_spoils_and_masks() -> None:
    gaps = [[True, False, False], [False] * 3]
    assert holes(chain(operand1=tile(X, holes=gaps))).tolist() == gaps
    assert holes(chain(mask=columns(3) < 2)).tolist() == [[False, False, True]] * 2
    assert holes(chain(mask=False)).all()
    assert chain(data=tile(X, BF16)).dtype == BF16


# ------------------------------------------------------------------------------ tensor_scalar_reduce


@pytest.mark.parametrize(
    ("op", "oracle"),
    [
        (np.add, np.add),
        (nl.max, np.maximum),
        (nl.min, np.minimum),
        (np.multiply, np.multiply),
        (np.subtract, np.subtract),
    ],
    ids=lambda op: getattr(op, "__name__", ""),
)
def test_tensor_scalar_reduce_gives_both(op: Any, oracle: Any) -> None:
    sums = tile(np.zeros((2, 1)), holes=True)
    made = nisa.tensor_scalar_reduce(data=tile(X), op0=np.multiply, operand0=2.0, reduce_op=op, reduce_res=sums)
    np.testing.assert_array_equal(values(made), X * 2)
    np.testing.assert_array_equal(values(sums), oracle.reduce(X * 2, axis=1, keepdims=True))


def reduction(**more: Any) -> Any:
    given: dict[str, Any] = {
        "data": tile(X),
        "op0": np.add,
        "operand0": 0.0,
        "reduce_op": np.add,
        "reduce_res": tile(np.zeros((2, 1))),
    }
    return nisa.tensor_scalar_reduce(**(given | more))


def test_reduction_is_of_unrounded_values() -> None:
    sums = tile(np.zeros((1, 1)))
    reduction(data=tile(np.full((1, 8), 1.0)), operand0=2.0**-10, reduce_res=sums, dtype=BF16)
    assert values(sums)[0, 0] == 8 * (1 + 2.0**-10)


def test_masked_elements_take_no_part() -> None:
    sums = tile([[7.0], [7.0]])
    i = nl.arange(2)[:, None]
    made = reduction(data=tile(X, holes=[[False, False, True]] * 2), reduce_res=sums, mask=(i < 1) & (columns(3) < 2))
    assert values(sums).tolist() == [[3.0], [7.0]]
    assert not holes(sums).any()
    assert holes(made).tolist() == [[False, False, True], [True] * 3]
    reduction(reduce_res=sums, mask=False)
    assert values(sums).tolist() == [[3.0], [7.0]]


def test_undefined_element_spoils_its_reduction() -> None:
    sums = tile(np.zeros((2, 1)))
    reduction(data=tile(X, holes=[[True, False, False], [False] * 3]), reduce_res=sums)
    assert holes(sums).tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"reduce_res": tile(np.zeros((2, 2)))}, "", id="two per partition"),
        pytest.param(lambda: {"reduce_res": tile(np.zeros((1, 1)))}, MISMATCH, id="other partitions"),
        pytest.param(lambda: {"reduce_op": np.logical_and}, "", id="another reduction"),
        pytest.param(lambda: {"op0": np.bitwise_and}, "", id="bits"),
        pytest.param(lambda: {"reverse0": True}, "", id="reversed"),
        pytest.param(lambda: {"op0": np.power}, "engine-operation", id="power"),
        pytest.param(lambda: {"reduce_op": np.subtract, "mask": columns(3) < 2}, "", id="subtract with a mask"),
    ],
)
def test_refuses_tensor_scalar_reduce(more: Any, code: str) -> None:
    with refuses(code):
        reduction(**more())


def test_reduction_is_one_instruction() -> None:
    assert engine_of(reduction) is Engine.VECTOR


# -------------------------------------------------------------------------------- tensor_tensor_scan


def scan(a: Any, b: Any, initial: Any, op0: Any, op1: Any) -> Any:
    """The documented recurrence, one column after another."""
    out, state = np.empty_like(a), initial
    for i in range(a.shape[1]):
        state = op1(op0(a[:, i : i + 1], state), b[:, i : i + 1]).astype(F32)
        out[:, i : i + 1] = state
    return out


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize("start", [0.5, C], ids=["number", "column"])
def test_scan_is_the_documented_recurrence(start: Any, first: bool, second: bool) -> None:
    a, b = numbers(2, 5), numbers(2, 5, seed=1)
    op0 = (lambda x, y: y - x) if first else np.subtract
    op1 = (lambda x, y: y - x) if second else np.subtract
    expected = scan(a, b, np.broadcast_to(np.asarray(start, dtype=F32), (2, 1)), op0, op1)
    made = nisa.tensor_tensor_scan(
        tile(a),
        tile(b),
        start if isinstance(start, float) else tile(start),
        np.subtract,
        np.subtract,
        first,
        second,
    )
    np.testing.assert_array_equal(values(made), expected)


def test_scan_state_is_not_rounded() -> None:
    a, b = tile(np.ones((1, 64)), BF16), tile(np.full((1, 64), 2.0**-9), BF16)
    made = nisa.tensor_tensor_scan(a, b, 1.0, np.multiply, np.add)
    assert float(values(made)[0, -1]) == 1 + 64 * 2.0**-9


def test_scan_runs_through_all_free_dimensions() -> None:
    made = nisa.tensor_tensor_scan(tile(np.ones((1, 2, 2))), tile(np.ones((1, 4))), 0.0, np.multiply, np.add)
    assert values(made).tolist() == [[[1, 2], [3, 4]]]


def test_undefined_element_spoils_what_follows() -> None:
    a = tile(np.ones((1, 4)), holes=[[False, True, False, False]])
    made = nisa.tensor_tensor_scan(a, tile(np.ones((1, 4))), 0.0, np.multiply, np.add)
    assert holes(made).tolist() == [[False, True, True, True]]


def test_scan_steps_over_masked_elements() -> None:
    a = tile(np.ones((1, 4)), holes=[[False, False, True, True]])
    made = nisa.tensor_tensor_scan(a, tile(np.ones((1, 4))), 0.0, np.multiply, np.add, mask=columns(4) < 2)
    assert values(made)[0, :2].tolist() == [1, 2]
    assert holes(made).tolist() == [[False, False, True, True]]
    assert holes(nisa.tensor_tensor_scan(a, a, 0.0, np.multiply, np.add, mask=False)).all()


@pytest.mark.parametrize(
    ("a", "b", "ops", "code"),
    [
        pytest.param((2, 3), (2, 4), (np.add, np.add), "", id="sizes"),
        pytest.param((2, 3), (1, 3), (np.add, np.add), MISMATCH, id="partitions"),
        pytest.param((2, 3), (2, 3), (np.bitwise_and, np.add), "", id="first of bits"),
        pytest.param((2, 3), (2, 3), (np.add, np.bitwise_and), "", id="second of bits"),
        pytest.param((2, 3), (2, 3), (np.power, np.add), "engine-operation", id="power"),
    ],
)
def test_refuses_scan(a: Any, b: Any, ops: Any, code: str) -> None:
    with refuses(code):
        nisa.tensor_tensor_scan(tile(np.ones(a)), tile(np.ones(b)), 0.0, *ops)


def test_refuses_scan_of_two_tiles_in_psum() -> None:
    a, b = tile(np.ones((2, 3)), space=Space.PSUM), tile(np.ones((2, 3)))
    with refuses(MEMORY):
        nisa.tensor_tensor_scan(a, a, 0.0, np.add, np.add)
    nisa.tensor_tensor_scan(a, b, 0.0, np.add, np.add)


# -------------------------------------------------------------------------------------- reciprocal


def test_reciprocal() -> None:
    assert values(nisa.reciprocal(tile([[2.0, 4.0]], BF16))).astype(F32).tolist() == [[0.5, 0.25]]
    assert nisa.reciprocal(tile([[2.0]], BF16), dtype=F32).dtype == np.dtype(F32)
    made = nisa.reciprocal(tile([[2.0, 1.0]], holes=[[False, True]]), mask=columns(2) < 1)
    assert holes(made).tolist() == [[False, True]]
    assert holes(nisa.reciprocal(tile([[2.0]]), mask=False)).all()
    assert engine_of(lambda: nisa.reciprocal(tile([[2.0]]))) is Engine.VECTOR
