"""Tables of legality: each row at its limit and one beyond it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import checks
from nkifix.emulator.legality import CHIP as ON_CHIP
from nkifix.emulator.legality import ROWS
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import hbm, refuses, running, tile

TOO_LARGE = "err_size_of_dimension_exceed_arch_limit"
TOO_MANY = "err_num_partition_exceed_arch_limit"
MISMATCH = "err_num_partition_mismatch"
MEMORY_CODE = "err_unsupported_memory"
LISTED = {(operation, name): row for operation, rows in ROWS.items() for name, row in rows.operands.items()}
MEMORY = {key: row.memory for key, row in LISTED.items() if row.memory != ON_CHIP or key == ("store", "value")}
FREE_LIMITS = {key: row.free_max for key, row in LISTED.items() if row.free_max}
DTYPES = {key: row.dtypes for key, row in LISTED.items() if row.dtypes}
F32, F16, U8, I8, U16, I16, U32, I32 = map(np.dtype, ("f4", "f2", "u1", "i1", "u2", "i2", "u4", "i4"))
BOOL = np.dtype(bool)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def zeros(*shape: int, dtype: Any = np.float32, space: Space = Space.SBUF) -> Any:
    return tile(np.zeros(shape), dtype, space=space)


def in_memory(space: Space, *shape: int) -> Any:
    return tile(np.zeros(shape), space=space) if space.on_chip else hbm(np.zeros(shape, dtype=np.float32))


# ------------------------------------------------------------------------------------------- memories

OPERATIONS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("load", "src"): nl.load,
    ("store", "dst"): lambda t: nl.store(t, zeros(4, 4)),
    ("store", "value"): lambda t: nl.store(hbm(np.zeros((4, 4), dtype=np.float32)), t),
    ("load_transpose2d", "src"): nl.load_transpose2d,
    ("dma_transpose", "src"): nisa.dma_transpose,
    ("nc_matmul", "stationary"): lambda t: nisa.nc_matmul(t, zeros(4, 4)),
    ("nc_matmul", "moving"): lambda t: nisa.nc_matmul(zeros(4, 4), t),
    ("nc_transpose", "data"): nisa.nc_transpose,
}
"""One call per row of the table, with that operand."""

UNLISTED: dict[str, Callable[[Any], Any]] = {
    "copy": nl.copy,
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


def test_every_row_of_the_memory_table_is_tried() -> None:
    assert set(OPERATIONS) == set(MEMORY)


@pytest.mark.filterwarnings("ignore:affine_select reads PSUM")
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.value)
@pytest.mark.parametrize(
    ("call", "legal"),
    [pytest.param(OPERATIONS[row], MEMORY[row], id=", ".join(row)) for row in MEMORY]
    + [pytest.param(call, ON_CHIP, id=name) for name, call in UNLISTED.items()],
)
def test_operand_lives_where_the_engine_reaches(call: Callable[[Any], Any], legal: set[Space], space: Space) -> None:
    operand = in_memory(space, 4, 4)
    if space in legal:
        call(operand)
        return
    with refuses(MEMORY_CODE, f"got a tensor in {space.value}"):
        call(operand)


@pytest.mark.parametrize(
    ("operation", "name", "places"),
    [
        pytest.param("load", "src", {"hbm", "private_hbm", "shared_hbm"}, id="load"),
        pytest.param("store", "dst", {"hbm", "private_hbm", "shared_hbm"}, id="store"),
        pytest.param("store", "value", {"sbuf", "psum"}, id="store value"),
        pytest.param("dma_transpose", "src", {"hbm", "private_hbm", "shared_hbm", "sbuf"}, id="dma_transpose"),
        pytest.param("load_transpose2d", "src", {"hbm", "private_hbm", "shared_hbm"}, id="load_transpose2d"),
        pytest.param("nc_matmul", "stationary", {"sbuf"}, id="stationary"),
        pytest.param("nc_matmul", "moving", {"sbuf"}, id="moving"),
        pytest.param("nc_transpose", "data", {"sbuf"}, id="nc_transpose"),
    ],
)
def test_memory_table_as_documented(operation: str, name: str, places: set[str]) -> None:
    assert {space.value for space in MEMORY[operation, name]} == places


def test_operands_without_a_row_live_on_chip() -> None:
    assert {space.value for space in ON_CHIP} == {"sbuf", "psum"}


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        pytest.param(lambda: nl.exp(in_memory(Space.HBM, 2, 2)), "load it first", id="HBM to an engine"),
        pytest.param(lambda: nisa.nc_transpose(zeros(2, 2, space=Space.PSUM)), "copy it to SBUF first", id="PSUM"),
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


def test_every_row_of_the_size_table_is_a_limit_of_the_chip() -> None:
    assert set(FREE_LIMITS) == {("nc_matmul", "stationary"), ("nc_matmul", "moving"), ("nc_transpose", "data")}
    for field in FREE_LIMITS.values():
        assert all(hasattr(limits, field) for limits in TARGETS.values())


def test_matmul_result_fills_at_most_a_psum_bank() -> None:
    result = nisa.nc_matmul(zeros(128, 128), zeros(128, 512))
    assert result.space is Space.PSUM
    assert result.shape[1] * result.dtype.itemsize == 2048


# -------------------------------------------------------------------------------------------- dtypes

DTYPE_CALLS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("nc_matmul", "stationary"): lambda d: nisa.nc_matmul(zeros(2, 2, dtype=d), zeros(2, 2)),
    ("nc_matmul", "moving"): lambda d: nisa.nc_matmul(zeros(2, 2), zeros(2, 2, dtype=d)),
    ("affine_select", "on_true_tile"): lambda d: nisa.affine_select(
        nl.arange(2)[:, None] >= nl.arange(2)[None, :], zeros(2, 2, dtype=d), 0.0, dtype=np.float32
    ),
    ("affine_select", "dtype"): lambda d: nisa.affine_select(
        nl.arange(2)[:, None] >= nl.arange(2)[None, :], zeros(2, 2), 0.0, dtype=d
    ),
}


@pytest.mark.parametrize("dtype", [F32, F16, BF16, U8, I8, U16, I16, U32, I32, BOOL], ids=str)
@pytest.mark.parametrize("row", list(DTYPES), ids=", ".join)
def test_operand_has_a_dtype_that_the_engine_takes(row: tuple[str, str], dtype: np.dtype[Any]) -> None:
    legal = dtype in (F32, F16, BF16) or (row[0] == "affine_select" and dtype not in (U32, I32))
    if legal:
        DTYPE_CALLS[row](dtype)
        return
    with refuses("", f"{row[0]}: {row[1]} is {dtype}"):
        DTYPE_CALLS[row](dtype)


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


@pytest.mark.parametrize("source", [hbm([[1.0]], dtype=np.float32), np.zeros((2, 2))], ids=["tensor", "array"])
def test_refuses_operation_outside_of_a_kernel(source: Any) -> None:
    def outside() -> None:
        with refuses("err_nki_api_outside_of_nki_kernel"):
            nl.load(source)

    contextvars.Context().run(outside)
