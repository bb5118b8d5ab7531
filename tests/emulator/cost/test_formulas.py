"""Every documented formula, at numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator.cost.chip import CHIPS
from nkifix.emulator.cost.formulas import ACTIVATIONS, FORMULAS, REDUCTIONS, TWO_OPERANDS, charges, lowered
from nkifix.emulator.engines import Engine
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import Instruction
from tests.emulator.cost.instructions import BF16, access, instruction

P = 128
PSUM = Space.PSUM
HALF: dict[str, Any] = {"dtype": BF16}
FLOAT16: dict[str, Any] = {"dtype": np.float16}


def tiles(operation: str, free: int, operands: int = 1, **given: Any) -> Instruction:
    """An element-by-element instruction on float32 tiles in SBUF."""
    return instruction(operation, access(P, free), *[access(P, free)] * operands, **given)


def two(operation: str, first: Any, second: Any, result: Any, function: str = "") -> Instruction:
    return instruction(operation, result, first, second, function=function)


def on_scalar(operation: str, free: int) -> Instruction:
    return tiles(operation, free, engine=Engine.SCALAR)


def on_gpsimd(operation: str, free: int, **given: Any) -> Instruction:
    return tiles(operation, free, engine=Engine.GPSIMD, **given)


def matmul(stationary: Any, moving: Any) -> Instruction:
    result = access(stationary.shape[1], moving.shape[1], space=PSUM)
    return instruction("nc_matmul", result, stationary, moving, engine=Engine.TENSOR)


def transposed(partitions: int, free: int, engine: Engine = Engine.TENSOR) -> Instruction:
    return instruction("nc_transpose", access(free, partitions), access(partitions, free), engine=engine)


CYCLES: list[Any] = [
    ("activation", on_scalar("activation", 512), 512),
    ("activation", on_scalar("activation", 63), 64),
    ("activation_reduce", on_scalar("activation_reduce", 1024), 1088),
    ("activation_reduce", on_scalar("activation_reduce", 1), 128),
    ("affine_select", on_gpsimd("affine_select", 512), 662),
    ("affine_select", on_gpsimd("affine_select", 1), 151),
    ("bn_aggr", tiles("bn_aggr", 60), 260),
    ("bn_aggr", tiles("bn_aggr", 6), 64),
    ("bn_stats", tiles("bn_stats", 500), 500),
    ("dropout", tiles("dropout", 65), 65),
    ("iota", instruction("iota", access(P, 512), engine=Engine.GPSIMD), 662),
    ("max8", instruction("max8", access(P, 8), access(P, 30)), 30),
    ("memset", instruction("memset", access(P, 512), function="zero"), 512),
    ("memset", instruction("memset", access(P, 512, **HALF), function="zero"), 256),
    ("memset", instruction("memset", access(P, 512, **FLOAT16), function="zero"), 256),
    ("memset", instruction("memset", access(P, 512, **HALF)), 512),
    ("memset", instruction("memset", access(P, 66, **HALF), function="zero"), 64),
    ("nc_find_index8", two("nc_find_index8", access(P, 100), access(P, 8), access(P, 8)), 100),
    ("nc_match_replace8", two("nc_match_replace8", access(P, 100), access(P, 8), access(P, 100)), 100),
    ("nc_match_replace8", two("nc_match_replace8", access(P, 10), access(P, 8), access(P, 10)), 64),
    ("nc_matmul", matmul(access(P, 128, **HALF), access(P, 512, **HALF)), 512),
    ("nc_matmul", matmul(access(P, 128, **HALF), access(P, 16, **HALF)), 64),
    ("nc_matmul", matmul(access(P, 32, **HALF), access(P, 16, **HALF)), 32),
    ("nc_matmul", matmul(access(P, 128), access(P, 512, **HALF)), 2048),
    ("nc_matmul", matmul(access(P, 128, **HALF), access(P, 512)), 2048),
    ("nc_stream_shuffle", tiles("nc_stream_shuffle", 65), 65),
    ("nc_transpose", transposed(128, 128), 128),
    ("nc_transpose", transposed(16, 128), 64),
    ("nc_transpose", transposed(16, 32), 32),
    ("nc_transpose", transposed(32, 32, Engine.VECTOR), 64),
    ("range_select", tiles("range_select", 65), 65),
    ("reciprocal", tiles("reciprocal", 100), 800),
    ("reciprocal", tiles("reciprocal", 7), 64),
    ("scalar_tensor_tensor", tiles("scalar_tensor_tensor", 100, 2, function="subtract+multiply"), 200),
    (
        "scalar_tensor_tensor",
        two(
            "scalar_tensor_tensor", access(P, 100, **HALF), access(P, 100, **HALF), access(P, 100), "subtract+multiply"
        ),
        100,
    ),
    (
        "scalar_tensor_tensor",
        two(
            "scalar_tensor_tensor", access(P, 101, **HALF), access(P, 101, **HALF), access(P, 101), "subtract+multiply"
        ),
        202,
    ),
    (
        "scalar_tensor_tensor",
        two("scalar_tensor_tensor", access(P, 100, **HALF), access(P, 100, **HALF), access(P, 100), "add+multiply"),
        200,
    ),
    (
        "scalar_tensor_tensor",
        two("scalar_tensor_tensor", access(P, 100, **HALF), access(P, 100), access(P, 100), "subtract+multiply"),
        200,
    ),
    ("tensor_copy", tiles("tensor_copy", 512), 512),
    ("tensor_copy", on_scalar("tensor_copy", 12), 64),
    ("tensor_copy", on_gpsimd("tensor_copy", 512), 512),
    ("tensor_copy_dynamic_dst", tiles("tensor_copy_dynamic_dst", 500), 600),
    ("tensor_copy_dynamic_src", tiles("tensor_copy_dynamic_src", 700), 700),
    ("tensor_copy_predicated", tiles("tensor_copy_predicated", 100, 2), 200),
    ("tensor_copy_predicated", tiles("tensor_copy_predicated", 10, 2), 64),
    (
        "tensor_copy_predicated",
        two("tensor_copy_predicated", access(P, 100, space=PSUM), access(P, 100), access(P, 100)),
        100,
    ),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1), access(P, 512), function="max"), 512),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1), access(P, 2), function="add"), 2),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1, **HALF), access(P, 512, **HALF), function="max"), 256),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1, **HALF), access(P, 512, **HALF), function="add"), 256),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1, **HALF), access(P, 512, **HALF), function="min"), 512),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1), access(P, 512, **HALF), function="max"), 512),
    ("tensor_reduce", instruction("tensor_reduce", access(P, 1, **HALF), access(P, 512), function="max"), 512),
    ("tensor_scalar", tiles("tensor_scalar", 512), 512),
    ("tensor_scalar", on_scalar("tensor_scalar", 512), 512),
    ("tensor_scalar_reduce", tiles("tensor_scalar_reduce", 512), 576),
    ("tensor_tensor", tiles("tensor_tensor", 128, 2, function="add"), 256),
    ("tensor_tensor", tiles("tensor_tensor", 1, 2, function="add"), 64),
    ("tensor_tensor", two("tensor_tensor", access(P, 128), access(P, 128, space=PSUM), access(P, 128), "add"), 128),
    (
        "tensor_tensor",
        two("tensor_tensor", access(P, 128, **HALF), access(P, 128, **HALF), access(P, 128, **HALF), "multiply"),
        128,
    ),
    (
        "tensor_tensor",
        two("tensor_tensor", access(P, 128, **HALF), access(P, 128, **HALF), access(P, 128, **HALF), "maximum"),
        256,
    ),
    (
        "tensor_tensor",
        two("tensor_tensor", access(P, 128, **HALF), access(P, 128, **HALF), access(P, 128), "multiply"),
        256,
    ),
    (
        "tensor_tensor",
        two(
            "tensor_tensor",
            access(P, 128, contiguous=False, **HALF),
            access(P, 128, **HALF),
            access(P, 128, **HALF),
            "multiply",
        ),
        256,
    ),
    ("tensor_tensor_scan", tiles("tensor_tensor_scan", 100, 2), 200),
    # C = (28 + 4 w) / (4 w) / min(4 / itemsize, w) elements a cycle, at w = 1 element for each index of float32
    (
        "local_gather",
        instruction("local_gather", access(P, 80), access(P, 512), access(P, 5), engine=Engine.GPSIMD, function="1"),
        150 + 80 / 8,
    ),
    (
        "local_gather",
        instruction(
            "local_gather",
            access(P, 80, **HALF),
            access(P, 512, **HALF),
            access(P, 5),
            engine=Engine.GPSIMD,
            function="2",
        ),
        150 + 80 / 2.25,
    ),
]


@pytest.mark.parametrize(
    ("one", "cycles"),
    [pytest.param(one, cycles, id=f"{name} {number}") for number, (name, one, cycles) in enumerate(CYCLES)],
)
def test_cycles_are_those_of_the_documented_formula(one: Instruction, cycles: float) -> None:
    charged = charges(one, CHIPS["trn1"])
    assert charged is not None
    assert [charge.engine for charge in charged] == [one.engine]
    assert charged[0].cycles == pytest.approx(cycles)


def test_every_formula_is_tried() -> None:
    assert {name for name, _, _ in CYCLES} == set(FORMULAS)


# --------------------------------------------------------------------------------------- NeuronCore-v3 fast modes


@pytest.mark.parametrize("operation", ["tensor_copy", "tensor_scalar"])
@pytest.mark.parametrize(
    ("data", "result", "cycles"),
    [
        pytest.param(access(P, 512, **HALF), access(P, 512, **HALF), 128, id="bfloat16 in SBUF"),
        pytest.param(access(P, 512, **FLOAT16), access(P, 512, **FLOAT16), 128, id="float16 in SBUF"),
        pytest.param(access(P, 512, contiguous=False, **HALF), access(P, 512, **HALF), 256, id="strided"),
        pytest.param(access(P, 512, space=PSUM, **HALF), access(P, 512, **HALF), 256, id="out of PSUM"),
        pytest.param(access(P, 512, space=PSUM, **HALF), access(P, 512, space=PSUM, **HALF), 512, id="in PSUM"),
        pytest.param(
            access(P, 512, space=PSUM, **HALF), access(P, 512, contiguous=False, **HALF), 512, id="out of PSUM, strided"
        ),
        pytest.param(access(P, 512), access(P, 512, **HALF), 512, id="out of float32"),
        pytest.param(access(P, 512, **HALF), access(P, 512), 512, id="into float32"),
        pytest.param(access(P, 100, **HALF), access(P, 100, **HALF), 64, id="short"),
    ],
)
def test_fast_modes_of_neuroncore_v3(operation: str, data: Any, result: Any, cycles: int) -> None:
    one = instruction(operation, result, data)
    assert charges(one, CHIPS["trn2"]) == ((Engine.VECTOR, cycles),)
    assert charges(one, CHIPS["trn1"]) == ((Engine.VECTOR, max(64, data.free_size)),)


def test_fast_modes_are_the_vector_engines() -> None:
    one = instruction("tensor_copy", access(P, 512, **HALF), access(P, 512, **HALF), engine=Engine.SCALAR)
    assert charges(one, CHIPS["trn2"]) == ((Engine.SCALAR, 512),)


def test_two_half_tiles_are_twice_as_fast_on_neuroncore_v3() -> None:
    half = access(P, 512, **FLOAT16)
    one = two("tensor_tensor", half, half, half, "maximum")
    assert charges(one, CHIPS["trn2"]) == ((Engine.VECTOR, 512),)
    assert charges(one, CHIPS["trn1"]) == ((Engine.VECTOR, 1024),)


# ------------------------------------------------------------------------------------------------ what has none


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(on_gpsimd("tensor_partition_reduce", 64), id="no formula"),
        pytest.param(tiles("softmax", 64), id="composite function"),
        pytest.param(on_gpsimd("tensor_tensor", 64, operands=2), id="tensor_tensor on GpSimd"),
        pytest.param(on_gpsimd("tensor_scalar", 64), id="tensor_scalar on GpSimd"),
        pytest.param(on_gpsimd("memset", 64), id="memset on GpSimd"),
    ],
)
def test_instruction_without_a_documented_formula_is_not_costed(one: Instruction) -> None:
    assert charges(one, CHIPS["trn1"]) is None


# -------------------------------------------------------------------------------------------------- helper copies


def test_operand_in_psum_costs_gpsimd_a_copy() -> None:
    one = instruction("affine_select", access(P, 512), access(P, 512, space=PSUM), engine=Engine.GPSIMD)
    assert charges(one, CHIPS["trn1"]) == ((Engine.GPSIMD, 662), (Engine.VECTOR, 512))


def test_operands_in_psum_cost_the_tensor_engine_a_copy_each() -> None:
    one = matmul(access(P, 128, space=PSUM, **HALF), access(P, 16, space=PSUM, **HALF))
    assert charges(one, CHIPS["trn1"]) == ((Engine.TENSOR, 64), (Engine.VECTOR, 128), (Engine.VECTOR, 64))


def test_store_from_psum_costs_a_copy_and_no_engines_cycles_besides() -> None:
    into = access(P, 512, space=Space.SHARED_HBM)
    one = instruction("store", into, access(P, 512, space=PSUM), engine=Engine.DMA)
    assert charges(one, CHIPS["trn1"]) == ((Engine.VECTOR, 512),)
    assert charges(instruction("store", into, access(P, 512), engine=Engine.DMA), CHIPS["trn1"]) == ()


def test_vector_and_scalar_engines_read_psum_themselves() -> None:
    for engine in (Engine.VECTOR, Engine.SCALAR):
        one = instruction("activation", access(P, 512), access(P, 512, space=PSUM), engine=engine)
        assert charges(one, CHIPS["trn1"]) == ((engine, 512),)


# ------------------------------------------------------------------------------------------ language functions


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation_function_is_one_activation(name: str) -> None:
    one = lowered(tiles(name, 8))
    assert (one.operation, one.engine, one.function) == ("activation", Engine.SCALAR, name)


@pytest.mark.parametrize("name", sorted(TWO_OPERANDS))
@pytest.mark.parametrize(
    ("operands", "operation"),
    [
        pytest.param((access(P, 8), access(P, 8)), "tensor_tensor", id="two tiles"),
        pytest.param((access(P, 8), access(P, 1)), "tensor_scalar", id="tile and column"),
        pytest.param((access(P, 1), access(P, 8)), "tensor_scalar", id="column and tile"),
        pytest.param((access(P, 1), access(P, 1)), "tensor_tensor", id="two columns"),
        pytest.param((access(P, 8),), "tensor_scalar", id="tile and number"),
    ],
)
def test_binary_function_is_one_instruction(name: str, operands: Any, operation: str) -> None:
    one = lowered(instruction(name, access(P, 8), *operands))
    assert (one.operation, one.engine, one.function) == (operation, Engine.VECTOR, name)


@pytest.mark.parametrize(
    ("name", "dtypes", "engine"),
    [
        pytest.param("add", (np.int32, np.int32), Engine.GPSIMD, id="int32 sum"),
        pytest.param("multiply", (np.uint32, np.int32), Engine.GPSIMD, id="uint32 product"),
        pytest.param("add", (np.int32, np.float32), Engine.VECTOR, id="mixed sum"),
        pytest.param("maximum", (np.int32, np.int32), Engine.VECTOR, id="int32 maximum"),
        pytest.param("add", (np.int16, np.int16), Engine.VECTOR, id="int16 sum"),
    ],
)
def test_words_are_added_on_gpsimd(name: str, dtypes: Any, engine: Engine) -> None:
    first, second = (access(P, 8, dtype=dtype) for dtype in dtypes)
    assert lowered(instruction(name, access(P, 8, dtype=np.int32), first, second)).engine is engine


@pytest.mark.parametrize(("name", "operator"), sorted(REDUCTIONS.items()))
def test_reduction_is_one_tensor_reduce(name: str, operator: str) -> None:
    one = lowered(instruction(name, access(P, 1), access(P, 8)))
    assert (one.operation, one.engine, one.function) == ("tensor_reduce", Engine.VECTOR, operator)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("copy", "tensor_copy"),
        ("static_cast", "tensor_copy"),
        ("negative", "tensor_scalar"),
        ("invert", "tensor_scalar"),
        ("logical_not", "tensor_scalar"),
        ("zeros", "memset"),
    ],
)
def test_plain_function_is_one_vector_instruction(name: str, operation: str) -> None:
    one = lowered(tiles(name, 8))
    assert (one.operation, one.engine) == (operation, Engine.VECTOR)


def test_isa_instruction_stays_what_it_is() -> None:
    one = tiles("tensor_copy", 8, engine=Engine.SCALAR)
    assert lowered(one) is one
