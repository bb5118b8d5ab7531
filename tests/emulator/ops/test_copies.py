"""Copies on chip."""

from __future__ import annotations

from collections.abc import Iterator
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

MEMORY = "err_unsupported_memory"
DYNAMIC = "err_copy_dynamic_indirect_indices_not_natively_supported"
BIG = 2**24 + 1


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def window(source: Any, offset: Any, size: int = 2) -> Any:
    """A view whose offset in each partition is the first element of a tile."""
    i, j = nl.mgrid[0 : source.shape[0], 0:size]
    return source[i, offset[0, 0] + j]


@pytest.mark.parametrize(
    ("target", "engine", "exact"),
    [
        pytest.param("trn1", nisa.unknown_engine, True, id="compiler's choice"),
        pytest.param("trn1", nisa.vector_engine, True, id="Vector"),
        pytest.param("trn1", nisa.gpsimd_engine, True, id="GpSimd"),
        pytest.param("trn1", nisa.scalar_engine, False, id="Scalar of gen2"),
        pytest.param("trn2", nisa.scalar_engine, True, id="Scalar of gen3"),
    ],
)
def test_copy_of_large_integers_is_exact_but_for_the_scalar_engine(target: Any, engine: Any, exact: bool) -> None:
    with running(target):
        made = nisa.tensor_copy(tile([[BIG]], np.int32), engine=engine)
    assert values(made).tolist() == [[BIG if exact else BIG - 1]]


def test_copy_to_another_dtype_goes_through_float32() -> None:
    assert values(nisa.tensor_copy(tile([[BIG]], np.int32), dtype=np.uint32)).tolist() == [[BIG - 1]]


@pytest.mark.parametrize(
    ("engine", "space", "legal"),
    [
        (nisa.gpsimd_engine, Space.SBUF, True),
        (nisa.gpsimd_engine, Space.PSUM, False),
        (nisa.vector_engine, Space.PSUM, True),
        (nisa.scalar_engine, Space.PSUM, True),
    ],
    ids=str,
)
def test_gpsimd_copies_from_sbuf_only(engine: Any, space: Space, legal: bool) -> None:
    source = tile([[1.0]], space=space)
    if legal:
        nisa.tensor_copy(source, engine=engine)
        return
    with refuses(MEMORY, "GpSimd"):
        nisa.tensor_copy(source, engine=engine)


def test_refuses_copy_on_the_tensor_engine() -> None:
    with refuses("engine-operation"):
        nisa.tensor_copy(tile([[1.0]]), engine=nisa.tensor_engine)


def test_copy_masks_and_keeps_what_is_undefined() -> None:
    made = nisa.tensor_copy(tile([[1.0, 2.0, 3.0]], holes=[[True, False, False]]), mask=nl.arange(3)[None, :] < 2)
    assert holes(made).tolist() == [[True, False, True]]
    assert holes(nisa.tensor_copy(tile([[1.0]]), mask=False)).all()


def test_dynamic_source_is_copied() -> None:
    source = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = nisa.tensor_copy_dynamic_src(window(tile(source), tile([[1]], np.int32)), dtype=BF16)
    np.testing.assert_array_equal(values(made).astype(np.float32), source[:, 1:3])
    assert made.dtype == BF16


def test_dynamic_source_may_be_static() -> None:
    assert values(nisa.tensor_copy_dynamic_src(tile([[1.0]]))).tolist() == [[1.0]]


def test_refuses_dynamic_source_out_of_bounds() -> None:
    with refuses("err_tensor_access_out_of_bound"):
        nisa.tensor_copy_dynamic_src(window(tile(np.zeros((3, 4))), tile([[3]], np.int32)))


def test_dynamic_destination_is_written() -> None:
    target = tile(np.zeros((2, 4)))
    nisa.tensor_copy_dynamic_dst(dst=window(target, tile([[2]], np.int32)), src=tile([[1.0, 2.0], [3.0, 4.0]]))
    assert values(target).tolist() == [[0, 0, 1, 2], [0, 0, 3, 4]]


def test_dynamic_destination_masks_rounds_and_spoils() -> None:
    target, offset = tile(np.zeros((1, 4)), np.int8), tile([[0]], np.int32)
    mask = nl.arange(2)[None, :] < 1
    nisa.tensor_copy_dynamic_dst(dst=window(target, offset), src=tile([[1.5, 9.0]]), mask=mask)
    nisa.tensor_copy_dynamic_dst(dst=window(target, offset), src=tile([[9.0, 9.0]]), mask=False)
    assert values(target).tolist() == [[2, 0, 0, 0]]
    nisa.tensor_copy_dynamic_dst(dst=window(target, offset), src=tile([[1.0, 9.0]], holes=[[False, True]]))
    assert holes(target).tolist() == [[False, True, False, False]]


def test_dynamic_destination_rounds_to_what_is_asked_first() -> None:
    target = tile([[0.0]])
    nisa.tensor_copy_dynamic_dst(dst=target[:, 0:1], src=tile([[1.0 + 2.0**-10]]), dtype=BF16)
    assert values(target).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("shape", "code"), [((2, 3), ""), ((1, 4), "err_num_partition_mismatch")], ids=["size", "partitions"]
)
def test_refuses_dynamic_destination_of_another_size(shape: Any, code: str) -> None:
    with refuses(code):
        nisa.tensor_copy_dynamic_dst(dst=tile(np.zeros((2, 2))), src=tile(np.zeros(shape)))


def test_refuses_dynamic_destination_in_psum_on_gpsimd() -> None:
    target = tile(np.zeros((1, 1)), space=Space.PSUM)
    with refuses(MEMORY, "dst is in psum"):
        nisa.tensor_copy_dynamic_dst(dst=target, src=tile([[1.0]]), engine=nisa.gpsimd_engine)
    nisa.tensor_copy_dynamic_dst(dst=target, src=tile([[1.0]]), engine=nisa.scalar_engine)


@pytest.mark.parametrize("copy", [nl.copy, nisa.tensor_copy], ids=["nl.copy", "tensor_copy"])
def test_refuses_plain_copy_of_a_dynamic_source(copy: Any) -> None:
    source = window(tile(np.zeros((3, 4))), tile([[1]], np.int32))
    with refuses(DYNAMIC):
        copy(source)
    with running(rules_off=frozenset({DYNAMIC})):
        assert copy(source).shape == (3, 2)


def test_refuses_assignment_through_a_run_time_index() -> None:
    buffer, offset = tile(np.zeros((3, 4))), tile([[1]], np.int32)
    i, j = nl.mgrid[0:3, 0:2]
    with refuses(DYNAMIC, "assignment: value"):
        tile(np.zeros((3, 2)))[...] = window(buffer, offset)
    with refuses(DYNAMIC, "assignment: destination"):
        buffer[i, offset[0, 0] + j] = 1.0


def test_refuses_other_operations_on_a_dynamic_source() -> None:
    with refuses("err_indirect_indices_are_not_supported_with_nki_api"):
        nl.exp(window(tile(np.zeros((3, 4))), tile([[1]], np.int32)))


def test_refuses_copy_of_hbm() -> None:
    with refuses(MEMORY):
        nisa.tensor_copy(hbm(np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize(
    ("call", "engine"),
    [
        (lambda: nisa.tensor_copy(tile([[1.0]])), Engine.VECTOR),
        (lambda: nisa.tensor_copy(tile([[1.0]]), engine=nisa.scalar_engine), Engine.SCALAR),
        (lambda: nisa.tensor_copy_dynamic_dst(dst=tile([[1.0]]), src=tile([[1.0]])), Engine.VECTOR),
    ],
    ids=["compiler's choice", "asked for", "into a place"],
)
def test_copy_is_one_instruction(call: Any, engine: Engine) -> None:
    with observe.observing(sequence=True) as seen:
        call()
    assert [one.engine for one in seen] == [engine]
