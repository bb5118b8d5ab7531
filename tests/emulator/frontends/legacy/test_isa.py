"""What ``nisa`` adds to the machine's operations; these are tested with ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy.documented import DOCUMENTED
from nkifix.emulator.params import Params, Target
from tests.emulator.kernels import refuses, running, tile, values


@pytest.mark.parametrize(("target", "generation"), [("trn1", 2), ("trn2", 3)])
def test_generation_is_the_targets(target: Target, generation: int) -> None:
    with machine.using(Params(target=target)):
        assert nisa.get_nc_version() == generation
    with running(target):
        assert isinstance(nisa.get_nc_version(), nisa.nc_version)


def test_generations_compare() -> None:
    assert nisa.nc_version.gen2 < nisa.nc_version.gen3
    assert (int(nisa.nc_version.gen2), int(nisa.nc_version.gen3)) == (2, 3)


@pytest.mark.parametrize("keyword", [False, True], ids=["by position", "by name"])
def test_operands_by_position_and_by_name(keyword: bool) -> None:
    x, sums = np.ones((2, 2), dtype=np.float32), tile(np.zeros((2, 1)))
    with running():
        t: Any = tile(x)
        if keyword:
            results = [
                nisa.nc_matmul(stationary=t, moving=t),
                nisa.nc_transpose(data=t),
                nisa.activation(op=np.copy, data=t),
                nisa.activation_reduce(op=np.copy, data=t, reduce_op=np.add, reduce_res=sums),
                nisa.tensor_reduce(op=np.add, data=t, axis=1),
                nisa.tensor_copy(src=t),
                nisa.dma_transpose(src=t),
            ]
        else:
            results = [
                nisa.nc_matmul(t, t),
                nisa.nc_transpose(t),
                nisa.activation(np.copy, t),
                nisa.activation_reduce(np.copy, t, reduce_op=np.add, reduce_res=sums),
                nisa.tensor_reduce(np.add, t, 1),
                nisa.tensor_copy(t),
                nisa.dma_transpose(t),
            ]
        found = [values(result).tolist() for result in results]
    one, two = [[1.0, 1.0]] * 2, [[2.0, 2.0]] * 2
    assert found == [two, one, one, one, [[2.0]] * 2, one, one]
    assert values(sums).tolist() == [[2.0]] * 2


# -------------------------------------------------------------------------------------------- names


def test_every_documented_name_is_offered() -> None:
    assert set(nisa.__all__) == set(DOCUMENTED["neuronxcc.nki.isa"])
    assert all(hasattr(nisa, name) for name in nisa.__all__)


@pytest.mark.parametrize(
    ("enumeration", "members"),
    [
        (nisa.engine, {"unknown": 0, "tensor": 1, "scalar": 2, "gpsimd": 3, "vector": 5, "sync": 6}),
        (nisa.nc_version, {"gen2": 2, "gen3": 3}),
        (nisa.dge_mode, {"none": 0, "swdge": 1, "hwdge": 2, "unknown": 3}),
        (nisa.oob_mode, {"error": 0, "skip": 1}),
        (nisa.reduce_cmd, {"idle": 0, "reset": 1, "reduce": 2, "reset_reduce": 3}),
    ],
    ids=["engine", "nc_version", "dge_mode", "oob_mode", "reduce_cmd"],
)
def test_enumerations_have_the_documented_members(enumeration: Any, members: dict[str, int]) -> None:
    assert {one.name: int(one) for one in enumeration} == members


@pytest.mark.parametrize("name", ["tensor", "vector", "scalar", "gpsimd", "unknown"])
def test_engines_have_aliases(name: str) -> None:
    assert getattr(nisa, f"{name}_engine") is nisa.engine[name]


def test_smallest_float32() -> None:
    assert nisa.fp32.min == float(np.finfo(np.float32).min)


# ---------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("engine", [nisa.engine.sync, nisa.dma_engine, 99, "vector"], ids=str)
def test_refuses_engine_that_executes_no_copy(engine: Any) -> None:
    with running(), refuses("engine-operation"):
        nisa.tensor_copy(tile([[1.0]]), engine=engine)


def test_engine_none_is_the_compilers_choice() -> None:
    with running():
        assert values(nisa.tensor_copy(tile([[1.0]]), engine=None)).tolist() == [[1.0]]


@pytest.mark.parametrize(
    "call",
    [
        lambda t: nisa.tensor_copy(t, colour=1),
        lambda t: nisa.nc_matmul(t, t, colour=1),
        lambda t: nisa.dma_transpose(t, colour=1),
        lambda t: nisa.activation(np.exp, t, colour=1),
    ],
    ids=["tensor_copy", "nc_matmul", "dma_transpose", "activation"],
)
def test_refuses_options_that_are_not_documented(call: Any) -> None:
    with running(), refuses("", "no option 'colour'"):
        call(tile([[1.0]]))


def test_refuses_a_library_of_the_device() -> None:
    with running(), refuses("", "cannot be emulated"):
        nisa.builtin_custom_op("f", "lib.so", 1, 1, [], [])


@pytest.mark.parametrize("negate", [False, True], ids=["as is", "negated"])
def test_tensor_reduce_passes_its_options_on(negate: bool) -> None:
    with running():
        made = nisa.tensor_reduce(np.add, tile(np.ones((2, 3, 4))), [1, 2], negate=negate, keepdims=True)
        bits = tile(np.ones((2, 3)), np.int32)
        assert values(nisa.tensor_reduce(np.bitwise_or, bits, 1)).tolist() == [[1], [1]]
        with refuses("", "works on bits"):
            nisa.tensor_reduce(np.bitwise_or, bits, 1, negate=True)
    assert values(made).tolist() == [[[-12.0 if negate else 12.0]]] * 2


# ------------------------------------------------------------------------------------------ dropout


@pytest.mark.parametrize(
    ("data", "prob", "dtype", "legal"),
    [
        pytest.param(np.float32, np.float16, None, True, id="float data, float prob"),
        pytest.param(np.float32, np.float32, np.int8, True, id="float data, any result"),
        pytest.param(np.float32, np.int32, None, False, id="float data, integer prob"),
        pytest.param(np.int32, np.float32, None, True, id="integer data"),
        pytest.param(np.int32, np.float16, None, False, id="integer data, narrow prob"),
        pytest.param(np.int32, np.float32, np.int32, True, id="integer data, its dtype"),
        pytest.param(np.int32, np.float32, np.float32, False, id="integer data, another result"),
    ],
)
def test_dropout_has_documented_dtypes(data: Any, prob: Any, dtype: Any, legal: bool) -> None:
    with running():
        x, rate = tile(np.ones((2, 3)), data), tile(np.zeros((2, 1)), prob)
        if legal:
            assert (values(nisa.dropout(x, rate, dtype=dtype)) == 1).all()
            return
        with refuses("", "dropout"):
            nisa.dropout(x, rate, dtype=dtype)


def test_dropout_keeps_all_or_nothing() -> None:
    with running():
        x = tile(np.ones((2, 3)))
        assert (values(nisa.dropout(x, 0.0)) == 1).all()
        assert (values(nisa.dropout(x, prob=1.0)) == 0).all()
        with refuses("", "must be a tensor"):
            nisa.dropout(3, 0.5)
