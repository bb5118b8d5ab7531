"""The tables of legality, as documented, and that every row of them is enforced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import functions
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.legality import CHIP, HBM, OPERATORS, ROWS, SBUF, row
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import hbm, refuses, running, tile

LISTED = {(operation, name): operand for operation, legal in ROWS.items() for name, operand in legal.operands.items()}
MEMORY = {key: operand.memory for key, operand in LISTED.items() if operand.memory != CHIP}
F32, F16, U8, I8, U16, I16, U32, I32 = map(np.dtype, ("f4", "f2", "u1", "i1", "u2", "i2", "u4", "i4"))
BOOL = np.dtype(bool)
E5M2 = np.dtype(nl.float8_e5m2)
DMA, TENSOR, VECTOR, SCALAR, GPSIMD = Engine.DMA, Engine.TENSOR, Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running("trn2"):
        yield


def zeros(*shape: int, dtype: Any = np.float32, space: Space = Space.SBUF) -> Any:
    return tile(np.zeros(shape), dtype, space=space)


def blank(*shape: int) -> Any:
    return hbm(np.zeros(shape, dtype=np.float32))


# -------------------------------------------------------------------------------------------- engines

ENGINES = {
    "load": (DMA,),
    "store": (DMA,),
    "atomic_rmw": (DMA,),
    "load_transpose2d": (DMA,),
    "dma_transpose": (DMA,),
    "dma_copy": (DMA,),
    "nc_matmul": (TENSOR,),
    "nc_matmul double_row_gen3": (TENSOR,),
    "nc_transpose": (TENSOR, VECTOR),
    "nc_transpose on Vector": (VECTOR,),
    "activation": (SCALAR,),
    "activation_reduce": (SCALAR,),
    "tensor_tensor": (VECTOR, GPSIMD),
    "tensor_tensor_scan": (VECTOR,),
    "tensor_scalar": (VECTOR, SCALAR, GPSIMD),
    "scalar_tensor_tensor": (VECTOR,),
    "select_reduce": (VECTOR,),
    "range_select": (VECTOR,),
    "tensor_copy_predicated": (VECTOR,),
    "bn_stats": (VECTOR,),
    "max8": (VECTOR,),
    "nc_find_index8": (VECTOR,),
    "nc_match_replace8": (VECTOR,),
    "memset": (VECTOR, GPSIMD),
    "copy": (VECTOR, SCALAR, GPSIMD),
    "tensor_copy": (VECTOR, SCALAR, GPSIMD),
    "tensor_copy_dynamic_src": (VECTOR, SCALAR, GPSIMD),
    "tensor_copy_dynamic_dst": (VECTOR, SCALAR, GPSIMD),
    "affine_select": (GPSIMD,),
    "iota": (GPSIMD,),
    "local_gather": (GPSIMD,),
    "gather_flattened": (GPSIMD,),
    "sequence_bounds": (GPSIMD,),
    "tensor_partition_reduce": (GPSIMD,),
}


@pytest.mark.parametrize("operation", ENGINES)
def test_instruction_runs_on_the_documented_engines(operation: str) -> None:
    assert row(operation).engines == ENGINES[operation]


def test_operation_without_a_row_runs_on_the_vector_engine() -> None:
    assert row("bn_aggr").engines == (VECTOR,)


def test_few_instructions_came_with_gen3() -> None:
    newer = {operation for operation, legal in ROWS.items() if legal.nc_version_min > 2}
    assert newer == {"range_select", "nc_matmul double_row_gen3"}


def test_every_operator_has_a_function_and_an_engine() -> None:
    assert set(OPERATORS) <= set(functions.UNARY) | set(functions.BINARY) | {"invert"}
    assert all(OPERATORS.values())


@pytest.mark.parametrize(
    ("engine", "operators"),
    [
        (GPSIMD, {"add", "multiply", "rsqrt", "power"}),
        (SCALAR, {"add", "multiply", "rsqrt", "reciprocal", "abs"}),
        (VECTOR, set(OPERATORS) - {"rsqrt", "power"}),
    ],
    ids=lambda one: one.value if isinstance(one, Engine) else "",
)
def test_engines_have_the_documented_operators(engine: Engine, operators: set[str]) -> None:
    assert {name for name, engines in OPERATORS.items() if engine in engines} == operators


# ------------------------------------------------------------------------------------------- memories

DOCUMENTED: dict[tuple[str, str], frozenset[Space]] = {
    ("load", "src"): HBM,
    ("store", "dst"): HBM,
    ("atomic_rmw", "dst"): HBM,
    ("load_transpose2d", "src"): HBM,
    ("dma_transpose", "src"): HBM | SBUF,
    ("dma_copy", "src"): HBM | SBUF,
    ("dma_copy", "dst"): HBM | SBUF,
    ("nc_matmul", "stationary"): SBUF,
    ("nc_matmul", "moving"): SBUF,
    ("nc_matmul double_row_gen3", "stationary"): SBUF,
    ("nc_matmul double_row_gen3", "moving"): SBUF,
    ("nc_transpose", "data"): SBUF,
    ("local_gather", "src_buffer"): SBUF,
    ("local_gather", "index"): SBUF,
}


def rmw(destination: Any) -> Any:
    i = zeros(4, 1, dtype=np.int32)
    i[...] = nisa.iota(nl.arange(4)[:, None], np.int32)
    return nl.atomic_rmw(destination[i, nl.arange(4)[None, :]], zeros(4, 4), np.add)


def pair(**more: Any) -> Any:
    given = {"stationary": zeros(4, 2, 4, dtype=E5M2), "moving": zeros(4, 2, 4, dtype=E5M2)} | more
    return nisa.nc_matmul(**given, perf_mode="double_row_gen3")


MEMORY_CALLS: dict[tuple[str, str], tuple[Callable[[Any], Any], tuple[int, ...], Any]] = {
    ("load", "src"): (nl.load, (4, 4), F32),
    ("store", "dst"): (lambda t: nl.store(t, zeros(4, 4)), (4, 4), F32),
    ("load_transpose2d", "src"): (nl.load_transpose2d, (4, 4), F32),
    ("dma_transpose", "src"): (nisa.dma_transpose, (4, 4), F32),
    ("dma_copy", "src"): (lambda t: nisa.dma_copy(dst=zeros(4, 4), src=t), (4, 4), F32),
    ("dma_copy", "dst"): (lambda t: nisa.dma_copy(dst=t, src=zeros(4, 4)), (4, 4), F32),
    ("nc_matmul", "stationary"): (lambda t: nisa.nc_matmul(t, zeros(4, 4)), (4, 4), F32),
    ("nc_matmul", "moving"): (lambda t: nisa.nc_matmul(zeros(4, 4), t), (4, 4), F32),
    ("nc_matmul double_row_gen3", "stationary"): (lambda t: pair(stationary=t), (4, 2, 4), E5M2),
    ("nc_matmul double_row_gen3", "moving"): (lambda t: pair(moving=t), (4, 2, 4), E5M2),
    ("nc_transpose", "data"): (lambda t: nisa.nc_transpose(t, engine=nisa.tensor_engine), (4, 4), F32),
    ("local_gather", "src_buffer"): (lambda t: nisa.local_gather(t, zeros(16, 1, dtype=U16)), (16, 4), F32),
    ("local_gather", "index"): (lambda t: nisa.local_gather(zeros(16, 4), t), (16, 1), U16),
}
"""One call per row of the table, with that operand's shape and dtype; atomic_rmw is tried apart."""


def test_memory_table_is_as_documented() -> None:
    assert MEMORY == DOCUMENTED


def test_every_row_of_the_memory_table_is_tried() -> None:
    assert set(MEMORY_CALLS) | {("atomic_rmw", "dst")} == set(MEMORY)


@pytest.mark.parametrize("space", [Space.SBUF, Space.PSUM, Space.HBM], ids=lambda space: space.value)
@pytest.mark.parametrize("key", MEMORY_CALLS, ids=", ".join)
def test_operand_lives_where_the_engine_reaches(key: tuple[str, str], space: Space) -> None:
    call, shape, dtype = MEMORY_CALLS[key]
    operand = zeros(*shape, dtype=dtype, space=space) if space.on_chip else hbm(np.zeros(shape, dtype))
    if space in DOCUMENTED[key]:
        call(operand)
        return
    with refuses("err_unsupported_memory", f"got a tensor in {space.value}"):
        call(operand)


def test_atomic_rmw_reaches_hbm_only() -> None:
    rmw(blank(4, 4))
    with refuses("err_indirect_indices_free_dim"):
        rmw(zeros(4, 4))


@pytest.mark.parametrize(
    "key",
    [key for key, operand in LISTED.items() if operand.indirect],
    ids=", ".join,
)
def test_indirect_operands_are_the_documented_ones(key: tuple[str, str]) -> None:
    assert key in {
        ("load", "src"),
        ("store", "dst"),
        ("atomic_rmw", "dst"),
        ("dma_copy", "src"),
        ("dma_copy", "dst"),
        ("tensor_copy_dynamic_src", "src"),
        ("tensor_copy_dynamic_dst", "dst"),
    }


def test_limits_that_have_a_name_exist_on_every_chip() -> None:
    names = {operand.free_max for operand in LISTED.values() if isinstance(operand.free_max, str)}
    assert names
    assert all(hasattr(limits, name) for name in names for limits in TARGETS.values())


# --------------------------------------------------------------------------------------------- dtypes

FLOATS = {F32, F16, BF16, E5M2}
UP_TO_16 = {U8, I8, U16, I16, BOOL}
TRIED = [F32, F16, BF16, E5M2, U8, I8, U16, I16, U32, I32, BOOL]


def causal() -> Any:
    return nl.arange(2)[:, None] >= nl.arange(2)[None, :]


def select(**more: Any) -> Any:
    given = {"dst": zeros(2, 2), "predicate": zeros(2, 2, dtype=U8), "on_true": zeros(2, 2), "on_false": 0.0}
    return nisa.select_reduce(**(given | more))


def ranged(**more: Any) -> Any:
    given = {"on_true_tile": zeros(2, 2), "bound0": zeros(2, 1), "bound1": zeros(2, 1)} | more
    return nisa.range_select(**given, comp_op0=np.less, comp_op1=np.less)


def found(**more: Any) -> Any:
    x = zeros(1, 8)
    return nisa.nc_find_index8(**({"data": x, "vals": x} | more))


def replaced(dtype: Any) -> Any:
    x = zeros(1, 8)
    return nisa.nc_match_replace8(data=x, vals=x, imm=0.0, dst_idx=zeros(1, 8, dtype=dtype))


DTYPE_CALLS: dict[tuple[str, str], tuple[Callable[[Any], Any], set[Any]]] = {
    ("nc_matmul", "stationary"): (lambda d: nisa.nc_matmul(zeros(2, 2, dtype=d), zeros(2, 2)), FLOATS),
    ("nc_matmul", "moving"): (lambda d: nisa.nc_matmul(zeros(2, 2), zeros(2, 2, dtype=d)), FLOATS),
    ("nc_matmul double_row_gen3", "stationary"): (lambda d: pair(stationary=zeros(4, 2, 4, dtype=d)), {E5M2}),
    ("nc_matmul double_row_gen3", "moving"): (lambda d: pair(moving=zeros(4, 2, 4, dtype=d)), {E5M2}),
    ("affine_select", "on_true_tile"): (
        lambda d: nisa.affine_select(causal(), zeros(2, 2, dtype=d), 0.0, dtype=np.float32),
        FLOATS | UP_TO_16,
    ),
    ("affine_select", "dtype"): (
        lambda d: nisa.affine_select(causal(), zeros(2, 2), 0.0, dtype=d),
        FLOATS | UP_TO_16,
    ),
    ("select_reduce", "on_true"): (lambda d: select(on_true=zeros(2, 2, dtype=d)), FLOATS | UP_TO_16),
    ("select_reduce", "predicate"): (lambda d: select(predicate=zeros(2, 2, dtype=d)), UP_TO_16),
    ("select_reduce", "reduce_res"): (
        lambda d: select(reduce_res=zeros(2, 1, dtype=d), reduce_cmd=nisa.reduce_cmd.reset_reduce),
        FLOATS,
    ),
    ("range_select", "on_true_tile"): (lambda d: ranged(on_true_tile=zeros(2, 2, dtype=d)), FLOATS),
    ("range_select", "bound0"): (lambda d: ranged(bound0=zeros(2, 1, dtype=d)), {F32}),
    ("range_select", "bound1"): (lambda d: ranged(bound1=zeros(2, 1, dtype=d)), {F32}),
    ("tensor_copy_predicated", "predicate"): (
        lambda d: nisa.tensor_copy_predicated(src=0.0, dst=zeros(2, 2), predicate=zeros(2, 2, dtype=d)),
        {U8, U16, U32, BOOL},
    ),
    ("nc_find_index8", "dtype"): (lambda d: found(dtype=d), {U16, U32}),
    ("nc_match_replace8", "dst_idx"): (replaced, {U16, U32}),
    ("local_gather", "index"): (lambda d: nisa.local_gather(zeros(16, 4), zeros(16, 1, dtype=d)), {U16}),
    ("gather_flattened", "indices"): (lambda d: nl.gather_flattened(zeros(2, 2), zeros(2, 2, dtype=d)), {U32}),
    ("sequence_bounds", "segment_ids"): (
        lambda d: nisa.sequence_bounds(segment_ids=zeros(1, 4, dtype=d), dtype=F32),
        {F32, I32},
    ),
    ("sequence_bounds", "dtype"): (lambda d: nisa.sequence_bounds(segment_ids=zeros(1, 4), dtype=d), {F32, I32}),
}


def test_every_row_of_the_dtype_table_is_tried() -> None:
    assert set(DTYPE_CALLS) == {key for key, operand in LISTED.items() if operand.dtypes}


@pytest.mark.parametrize("dtype", TRIED, ids=str)
@pytest.mark.parametrize("key", DTYPE_CALLS, ids=", ".join)
def test_operand_has_a_documented_dtype(key: tuple[str, str], dtype: np.dtype[Any]) -> None:
    call, legal = DTYPE_CALLS[key]
    if dtype in legal:
        call(dtype)
        return
    with refuses("", f"{key[1]} (is|are) {dtype}"):
        call(dtype)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda extra: pair(moving=zeros(4, *extra, 2, 4, dtype=E5M2)), id="double row, moving"),
        pytest.param(lambda extra: pair(stationary=zeros(4, *extra, 2, 4, dtype=E5M2)), id="double row, stationary"),
        pytest.param(
            lambda extra: nl.gather_flattened(zeros(2, 2), zeros(2, *extra, 1, 1, 2, dtype=U32)), id="gather, indices"
        ),
    ],
)
def test_refuses_one_dimension_too_many(call: Callable[[tuple[int, ...]], Any]) -> None:
    with running("trn2"):
        call(())
        with refuses("err_exceed_max_supported_dimension", "the limit is"):
            call((1,))
