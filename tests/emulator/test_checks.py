"""Refusing operands: memories, sizes at their limit and one beyond it, partitions."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import checks
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from tests.emulator.kernels import hbm, refuses, running, tile

TOO_LARGE = "err_size_of_dimension_exceed_arch_limit"
TOO_MANY = "err_num_partition_exceed_arch_limit"
MISMATCH = "err_num_partition_mismatch"
MEMORY_CODE = "err_unsupported_memory"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def zeros(*shape: int, dtype: Any = np.float32, space: Space = Space.SBUF) -> Any:
    return tile(np.zeros(shape), dtype, space=space)


def in_memory(space: Space, *shape: int) -> Any:
    return tile(np.zeros(shape), space=space) if space.on_chip else hbm(np.zeros(shape, dtype=np.float32))


# ------------------------------------------------------------------------------------------- memories

UNLISTED: dict[str, Callable[[Any], Any]] = {
    "copy": nl.copy,
    "store, value": lambda t: nl.store(hbm(np.zeros((4, 4), dtype=np.float32)), t),
    "tensor_copy": nisa.tensor_copy,
    "exp": nl.exp,
    "add": lambda t: nl.add(t, 1),
    "add, second": lambda t: nl.add(zeros(4, 4), t),
    "sum": lambda t: nl.sum(t, 1),
    "tensor_reduce": lambda t: nisa.tensor_reduce(np.max, t, 1),
    "activation": lambda t: nisa.activation(np.exp, t),
    "activation, bias": lambda t: nisa.activation(np.exp, zeros(4, 4), bias=t[0:4, 0:1]),
    "activation, scale": lambda t: nisa.activation(np.exp, zeros(4, 4), scale=t[0:4, 0:1]),
    "activation_reduce, reduce_res": lambda t: nisa.activation_reduce(
        np.exp, zeros(4, 4), reduce_op=np.add, reduce_res=t[0:4, 0:1]
    ),
    "affine_select": lambda t: nisa.affine_select(nl.arange(4)[:, None] >= nl.arange(4)[None, :], t, 0.0),
    "dropout": lambda t: nl.dropout(t, 0.5),
    "dropout, rate": lambda t: nl.dropout(zeros(4, 4), t[0:1, 0:1]),
    "assignment": lambda t: zeros(4, 4).__setitem__(Ellipsis, t),
}
"""Operands without a row: on chip."""

SPACES = [Space.SBUF, Space.PSUM, Space.HBM]


@pytest.mark.filterwarnings("ignore:affine_select reads PSUM")
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.value)
@pytest.mark.parametrize("call", UNLISTED.values(), ids=UNLISTED)
def test_operand_without_a_row_lives_on_chip(call: Callable[[Any], Any], space: Space) -> None:
    operand = in_memory(space, 4, 4)
    if space.on_chip:
        call(operand)
        return
    with refuses(MEMORY_CODE, f"got a tensor in {space.value}"):
        call(operand)


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        pytest.param(lambda: nl.exp(in_memory(Space.HBM, 2, 2)), "load it first", id="HBM to an engine"),
        pytest.param(
            lambda: nisa.nc_matmul(zeros(2, 2, space=Space.PSUM), zeros(2, 2)), "copy it to SBUF first", id="PSUM"
        ),
        pytest.param(lambda: nl.load(zeros(2, 2)), "store it first", id="SBUF to a load"),
    ],
)
def test_memory_refusal_says_how_to_get_there(call: Callable[[], Any], advice: str) -> None:
    with refuses(MEMORY_CODE, advice):
        call()


@pytest.mark.parametrize("value", [np.zeros((2, 2)), None, 3, [1, 2]], ids=["array", "None", "int", "list"])
def test_refuses_operand_that_is_no_tensor(value: Any) -> None:
    with refuses("", "exp: data must be a tensor"):
        nl.exp(value)


def test_refuses_block_dimensions_in_an_operand() -> None:
    buffer = tile(np.zeros((4, 8, 8)), partition_axis=1)
    with refuses("err_failed_to_infer_tile_from_local_tensor", r"tensor\[i, :, :\]"):
        nl.add(buffer, 32)
    assert nl.add(buffer[1], 32).shape == (8, 8)


# --------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("call", "at_limit", "beyond", "code"),
    [
        pytest.param(lambda n: nl.ndarray((n, 2), np.float32), 128, 129, TOO_MANY, id="SBUF partitions"),
        pytest.param(lambda n: nl.zeros((n, 2), np.float32, buffer=nl.psum), 128, 129, TOO_MANY, id="PSUM partitions"),
        pytest.param(lambda n: nl.zeros((200, nl.par_dim(n), 2), np.int8), 128, 129, TOO_MANY, id="par_dim"),
        pytest.param(lambda n: nl.load(hbm(np.zeros((n, 2), np.float32))), 128, 129, TOO_MANY, id="load"),
        pytest.param(
            lambda n: nl.load_transpose2d(hbm(np.zeros((2, n), np.float32))), 128, 129, TOO_MANY, id="load_transpose2d"
        ),
        pytest.param(
            lambda n: nisa.dma_transpose(hbm(np.zeros((2, n), np.float32))), 128, 129, TOO_MANY, id="dma_transpose"
        ),
        pytest.param(lambda n: nisa.nc_matmul(zeros(4, n), zeros(4, 4)), 128, 129, TOO_LARGE, id="stationary"),
        pytest.param(lambda n: nisa.nc_matmul(zeros(4, 4), zeros(4, n)), 512, 513, TOO_LARGE, id="moving"),
        pytest.param(
            lambda n: nisa.nc_matmul(zeros(4, 4), zeros(4, 2, n)), 256, 257, TOO_LARGE, id="moving of two dimensions"
        ),
        pytest.param(lambda n: nisa.nc_transpose(zeros(4, n)), 128, 129, TOO_LARGE, id="transpose"),
        pytest.param(lambda n: nisa.nc_transpose(zeros(4, 2, n)), 64, 65, TOO_LARGE, id="transpose of two dimensions"),
        pytest.param(lambda n: nl.matmul(zeros(4, n), zeros(n, 4)), 128, 129, TOO_LARGE, id="matmul by a transpose"),
        pytest.param(lambda n: nl.ndarray((4, n), np.int8, buffer=nl.psum), 512, 513, TOO_LARGE, id="PSUM tile"),
        pytest.param(
            lambda n: nl.ndarray((9, nl.par_dim(4), 2, n), np.float32, buffer=nl.psum), 256, 257, TOO_LARGE, id="blocks"
        ),
    ],
)
def test_limit_is_legal_and_one_more_is_not(call: Callable[[int], Any], at_limit: int, beyond: int, code: str) -> None:
    call(at_limit)
    with refuses(code, r"the limit is \d+"):
        call(beyond)


def test_free_size_of_sbuf_is_not_that_of_psum() -> None:
    assert nl.ndarray((4, 513), np.float32).shape == (4, 513)


def test_matmul_result_fills_at_most_a_psum_bank() -> None:
    result = nisa.nc_matmul(zeros(128, 128), zeros(128, 512))
    assert result.space is Space.PSUM
    assert result.shape[1] * result.dtype.itemsize == 2048


# ----------------------------------------------------------------------------------------- partitions


@pytest.mark.parametrize(
    ("counts", "broadcast", "legal"),
    [
        pytest.param((4, 4), False, True, id="same"),
        pytest.param((4, 1), True, True, id="one broadcasts"),
        pytest.param((4, 1), False, False, id="one does not"),
        pytest.param((1, 1), False, True, id="both one"),
        pytest.param((4, 2), True, False, id="different"),
        pytest.param((4,), False, True, id="a single tile"),
    ],
)
def test_partition_counts_agree(counts: tuple[int, ...], broadcast: bool, legal: bool) -> None:
    tiles = [zeros(count, 3) for count in counts]
    if legal:
        checks.check_same_partitions("add", *tiles, broadcast=broadcast)
        return
    with refuses(MISMATCH, r"\(4, 3\), \("):
        checks.check_same_partitions("add", *tiles, broadcast=broadcast)


@pytest.mark.parametrize(
    ("shape", "code"),
    [((3, 1), None), ((3, 1, 1), None), ((2, 1), MISMATCH), ((3, 2), "")],
    ids=["column", "column of rank three", "partitions", "two per partition"],
)
def test_column_has_one_element_per_partition(shape: tuple[int, ...], code: str | None) -> None:
    if code is None:
        checks.check_column("op", "bias", zeros(*shape), 3)
        return
    with refuses(code, "bias"):
        checks.check_column("op", "bias", zeros(*shape), 3)


@pytest.mark.parametrize(
    ("check", "shape", "code"),
    [
        pytest.param(checks.check_same_shape, (3, 4), None, id="same shape"),
        pytest.param(checks.check_same_shape, (3, 2, 2), "", id="another shape"),
        pytest.param(checks.check_same_shape, (2, 4), MISMATCH, id="another partition count"),
        pytest.param(checks.check_same_extent, (3, 2, 2), None, id="same extent"),
        pytest.param(checks.check_same_extent, (3, 5), "", id="another extent"),
        pytest.param(checks.check_same_extent, (1, 12), MISMATCH, id="another partition count, same size"),
    ],
)
def test_shapes_and_extents_agree(check: Any, shape: tuple[int, ...], code: str | None) -> None:
    if code is None:
        check("op", a=zeros(3, 4), b=zeros(*shape))
        return
    with refuses(code):
        check("op", a=zeros(3, 4), b=zeros(*shape))


# ------------------------------------------------------------------------------------------- engines


@pytest.mark.parametrize(
    ("operation", "target", "asked", "expected"),
    [
        pytest.param("memset", "trn1", None, Engine.VECTOR, id="the first"),
        pytest.param("memset", "trn1", Engine.GPSIMD, Engine.GPSIMD, id="asked for"),
        pytest.param("memset", "trn1", Engine.SCALAR, "engine-operation", id="not able"),
        pytest.param("range_select", "trn2", None, Engine.VECTOR, id="new enough"),
        pytest.param("range_select", "trn1", None, "nc-version", id="too old"),
    ],
)
def test_engine_is_one_that_executes_the_instruction(operation: str, target: Any, asked: Any, expected: Any) -> None:
    with running(target):
        if isinstance(expected, Engine):
            assert checks.chosen_engine(operation, asked) is expected
            return
        with refuses(expected):
            checks.chosen_engine(operation, asked)


@pytest.mark.parametrize("source", [hbm([[1.0]], dtype=np.float32), np.zeros((2, 2))], ids=["tensor", "array"])
def test_refuses_operation_outside_of_a_kernel(source: Any) -> None:
    def outside() -> None:
        with refuses("err_nki_api_outside_of_nki_kernel"):
            nl.load(source)

    contextvars.Context().run(outside)
