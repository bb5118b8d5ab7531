"""What every operation does with masks, results and assignments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import indexing, observe
from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import F32, Array
from nkifix.emulator.ops import operand
from nkifix.emulator.undefined import Origin, Undefined
from tests.emulator.kernels import hbm, holes, refuses, running, tile, values

SMALLER = "err_store_dst_shape_smaller_than_other_shape"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def column(n: int) -> AffineIndex:
    return AffineIndex.arange(0, n)[:, None]


def row(n: int) -> AffineIndex:
    return AffineIndex.arange(0, n)[None, :]


def test_mask_comes_back_in_the_results_shape() -> None:
    kept = operand.fit_mask(row(3) < 2, (2, 3))
    np.testing.assert_array_equal(kept, [[True, True, False]] * 2)
    assert operand.fit_mask(None, (2, 3)) is None
    assert operand.fit_mask(False, (2, 3)) is False
    assert operand.fit_mask(row(3) < 3, (2, 3)) is None


def test_refuses_mask_of_another_shape() -> None:
    with refuses("", r"a mask of shape \(1, 4\) does not fit a tile of shape \(2, 3\)"):
        operand.fit_mask(row(4) < 2, (2, 3))


def test_read_notes_the_first_reader() -> None:
    t = tile([[1.0, 2.0]], holes=[[False, True]])
    operand.read("exp", "data", t)
    operand.read("log", "data", t)
    _, undefined = t.read()
    assert undefined is not None
    assert str(undefined.origins[0].first_read).startswith("exp at ")


def array(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.float32)


def test_result_is_defined_and_rounded() -> None:
    result = operand.result("op", (1, 2), np.dtype(np.int8), lambda: np.array([[1.5, 2.5]], dtype=np.float32))
    assert values(result).tolist() == [[2, 2]]
    assert not holes(result).any()
    assert result.space is Space.SBUF
    assert result.result_mask is None
    assert result.partition_axis == 0


def test_result_has_its_own_memory() -> None:
    source = np.ones((2, 2), dtype=np.float32)
    result = operand.result("op", (2, 2), F32, lambda: source)
    source[...] = 5
    assert (values(result) == 1).all()


def test_result_keeps_undefinedness_of_transposed_operands() -> None:
    ids = np.array([[0, 1], [0, 0], [1, 0]], dtype=np.uint8).T
    result = operand.result("op", (2, 3), F32, lambda: array(2, 3), undefined=Undefined(ids, (Origin(lambda: "it"),)))
    assert holes(result).tolist() == [[False, False, True], [True, False, False]]
    assert holes(indexing.view(result, (slice(0, 1), slice(1, 3)))).tolist() == [[False, True]]
    assert result.storage.undefined_count == 2


def test_result_is_undefined_where_the_mask_drops() -> None:
    ids = Undefined(np.array([[1, 1, 0]], dtype=np.uint8), (Origin(lambda: "it"),))
    kept = np.array([[True, False, True]])
    result = operand.result("op", (1, 3), F32, lambda: array(1, 3), undefined=ids, mask=kept)
    assert holes(result).tolist() == [[True, True, False]]
    assert result.storage.undefined_count == 2
    assert result.result_mask is kept


def test_masked_off_result_is_undefined_everywhere() -> None:
    result = operand.nothing("op", (2, 3), F32, Space.PSUM)
    assert holes(result).all()
    assert result.storage.undefined_count == 6
    assert result.result_mask is False
    assert (result.space, result.dtype) == (Space.PSUM, F32)
    _, undefined = result.read()
    assert undefined is not None
    assert undefined.origins[0].describe().startswith("the masked-off part of op at ")


def test_result_is_observed_unless_masked_off() -> None:
    with observe.observing(sequence=True) as seen:
        operand.result("some", (2, 3), F32, lambda: array(2, 3), mask=np.array([[True, False, True]] * 2))
        operand.nothing("none", (4, 5), F32)
        operand.result("all", (6, 7), F32, lambda: array(6, 7))
    assert [one.operation for one in seen] == ["some", "all"]


def test_refuses_result_with_too_many_partitions() -> None:
    with refuses("err_num_partition_exceed_arch_limit", "the result of op has 129"):
        operand.result("op", (129, 1), F32, lambda: array(129, 1))
    operand.result("op", (128, 1), F32, lambda: array(128, 1))


def test_dtype_asked_for_comes_before_the_default() -> None:
    assert operand.result_dtype(None, F32) == F32
    assert operand.result_dtype(np.int8, F32) == np.dtype(np.int8)
    with refuses(""):
        operand.result_dtype(np.float64, F32)


def test_refuses_shapes_that_do_not_fit() -> None:
    assert operand.broadcast_shape("op", (2, 1), (1, 3)) == (2, 3)
    with refuses("", r"op: shapes \(2, 2\) and \(2, 3\) do not fit together"):
        operand.broadcast_shape("op", (2, 2), (2, 3))


# ----------------------------------------------------------------------------------------- assignment


@pytest.mark.parametrize(
    "number",
    [True, 2, 0.5, np.int8(2), np.float32(0.5), np.True_, ml_dtypes.bfloat16(0.5)],
    ids=lambda n: type(n).__name__,
)
def test_assignment_of_a_number(number: Any) -> None:
    t = tile(np.zeros((2, 2)), holes=True)
    t[0:2, 1] = number
    assert values(t)[:, 1].tolist() == [float(number)] * 2
    assert holes(t).tolist() == [[True, False]] * 2


def test_assignment_casts_and_broadcasts_the_value() -> None:
    t = tile(np.zeros((2, 3)), np.int8)
    t[...] = tile([[1.5], [2.5]])
    assert values(t).tolist() == [[2, 2, 2]] * 2


def test_assignment_of_undefined_elements_is_no_use_of_them() -> None:
    t = tile(np.zeros((1, 3)))
    t[...] = tile([[1.0, 2.0, 3.0]], holes=[[True, False, False]])
    assert holes(t).tolist() == [[True, False, False]]


def test_assignment_of_a_masked_result_touches_only_what_it_kept() -> None:
    t = tile([[7.0, 8.0, 9.0]], holes=[[False, False, True]])
    t[...] = nl.exp(tile(np.zeros((1, 3))), mask=row(3) < 1)
    assert values(t)[0, :2].tolist() == [1.0, 8.0]
    assert holes(t).tolist() == [[False, False, True]]


def test_assignment_of_a_masked_result_brings_no_origin_of_what_it_dropped() -> None:
    t = tile([[7.0, 8.0, 9.0]], holes=[[False, False, True]])
    t[...] = nl.exp(tile(np.zeros((1, 3))), mask=row(3) < 1)
    _, undefined = t.read()
    assert undefined is not None
    assert len(undefined.origins) == 1


def test_assignment_of_a_masked_result_that_is_undefined_where_kept() -> None:
    t = tile([[7.0, 8.0, 9.0]])
    t[...] = nl.exp(tile(np.zeros((1, 3)), holes=[[True, False, False]]), mask=row(3) < 2)
    assert holes(t).tolist() == [[True, False, False]]
    assert values(t)[0, 1:].tolist() == [1.0, 9.0]


def test_assignment_of_a_masked_column_broadcasts_its_mask() -> None:
    t = tile(np.zeros((3, 2)))
    t[...] = nl.exp(tile(np.zeros((3, 1))), mask=column(3) > 0)
    assert values(t).tolist() == [[0, 0], [1, 1], [1, 1]]


def test_assignment_of_a_result_masked_off_entirely_changes_nothing() -> None:
    t = tile([[7.0, 8.0]])
    t[...] = nl.exp(tile(np.zeros((1, 2))), mask=False)
    assert values(t).tolist() == [[7.0, 8.0]]
    assert not holes(t).any()


def test_assignment_of_a_view_to_itself_changes_nothing() -> None:
    t = tile([[1.0, 2.0]], holes=[[False, True]])
    t[:, 0:2] = t[:, 0:2]
    assert holes(t).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        pytest.param((slice(0, 2), slice(0, 2)), (slice(0, 2), slice(1, 3)), id="shifted"),
        pytest.param((slice(0, 2), slice(0, 3, 2)), (slice(0, 2), slice(0, 2)), id="other strides"),
        pytest.param((slice(0, 2), slice(0, 1)), (slice(0, 2), slice(0, 3)), id="other shape"),
    ],
)
def test_assignment_within_a_tensor_is_no_self_assignment(source: Any, destination: Any) -> None:
    array = np.arange(6.0).reshape(2, 3)
    t = tile(array)
    t[destination] = t[source]
    array[destination] = array[source]
    np.testing.assert_array_equal(values(t), array)


def test_view_out_of_bounds_is_not_the_view_inside_with_the_same_strides() -> None:
    t = tile(np.zeros((4, 3)))
    outside = t[0:2, :][column(4), row(3)]
    with refuses("err_tensor_access_out_of_bound"):
        t[0:4, 0:3] = outside


@pytest.mark.parametrize(
    ("shape", "value_shape"),
    [((2, 1), (2, 3)), ((1, 3), (2, 3)), ((2, 3), (2, 2, 3))],
    ids=["free", "partition", "rank"],
)
def test_refuses_assignment_of_a_larger_value(shape: tuple[int, ...], value_shape: tuple[int, ...]) -> None:
    with refuses(SMALLER, "does not fit into"):
        tile(np.zeros(shape))[...] = tile(np.zeros(value_shape))


def test_refuses_assignment_of_another_shape() -> None:
    with refuses("", r"^assignment: shapes \(2, 3\) and \(2, 2\) do not fit together"):
        tile(np.zeros((2, 3)))[...] = tile(np.zeros((2, 2)))


def test_refuses_assignment_into_hbm() -> None:
    with refuses("err_unsupported_memory", "tensor 'x' is in HBM"):
        hbm(np.zeros((2, 2), dtype=np.float32))[...] = tile(np.zeros((2, 2)))


@pytest.mark.parametrize("value", [None, "1", [1], np.zeros((2, 2))], ids=["None", "str", "list", "array"])
def test_refuses_assignment_of_what_is_no_tile(value: Any) -> None:
    with refuses("", "assignment: value must be a tensor"):
        tile(np.zeros((2, 2)))[...] = value


def test_destination_out_of_bounds_takes_a_masked_result() -> None:
    t = tile(np.zeros((2, 3)))
    i, j = column(2), 1 + row(3)
    t[i, j] = nl.exp(tile(np.zeros((2, 3))), mask=j < 3)
    assert values(t).tolist() == [[0, 1, 1]] * 2
    with refuses("err_tensor_access_out_of_bound"):
        t[i, j] = nl.exp(tile(np.zeros((2, 3))), mask=j < 4)
    with refuses("err_tensor_access_out_of_bound"):
        t[i, j] = 1.0


# --------------------------------------------------------------------------------------------- +=


def test_accumulation_adds_in_place_and_rounds_to_the_destination() -> None:
    t = tile([[1.0, 2.0]], np.int8)
    t[...] += tile([[0.5, 200.0]])
    assert values(t).tolist() == [[2, 127]]
    t += 1
    assert values(t).tolist() == [[3, 127]]
    assert t.dtype == np.dtype(np.int8)


def test_accumulation_of_a_masked_result_touches_only_what_it_kept() -> None:
    t = tile([[1.0, 2.0, 3.0]], holes=[[False, False, True]])
    t[...] += nl.exp(tile(np.zeros((1, 3))), mask=row(3) < 1)
    assert values(t)[0, :2].tolist() == [2.0, 2.0]
    assert holes(t).tolist() == [[False, False, True]]
    t[...] += nl.exp(tile(np.zeros((1, 3))), mask=False)
    assert values(t)[0, :2].tolist() == [2.0, 2.0]


def test_accumulation_of_a_masked_column_broadcasts_its_mask() -> None:
    t = tile(np.zeros((3, 2)))
    t[...] += nl.exp(tile(np.zeros((3, 1))), mask=column(3) > 0)
    assert values(t).tolist() == [[0, 0], [1, 1], [1, 1]]


def test_accumulation_out_of_bounds_is_legal_where_masked() -> None:
    t = tile(np.ones((2, 3)))
    i, j = column(2), 1 + row(3)
    t[i, j] += nl.exp(tile(np.zeros((2, 3))), mask=j < 3)
    assert values(t).tolist() == [[1, 2, 2]] * 2
    with refuses("err_tensor_access_out_of_bound"):
        t[i, j] += nl.exp(tile(np.zeros((2, 3))))


def test_accumulation_on_sbuf_that_was_never_written_stays_undefined() -> None:
    t = tile(np.zeros((1, 2)), holes=[[True, False]])
    t[...] += tile([[1.0, 2.0]])
    assert holes(t).tolist() == [[True, False]]


def test_accumulation_of_undefined_elements_spoils_the_sum() -> None:
    t = tile([[1.0, 2.0]])
    t[...] += tile([[1.0, 2.0]], holes=[[True, False]])
    assert holes(t).tolist() == [[True, False]]


def ones_matmul(n: int, mask: Any = None) -> Any:
    return nisa.nc_matmul(nl.ones((2, n), np.float32), nl.ones((2, n), np.float32), mask=mask)


def test_accumulation_of_matmuls_starts_from_zero() -> None:
    psum = tile(np.full((3, 3), 99.0), space=Space.PSUM, holes=True)
    psum[...] += ones_matmul(3)
    assert (values(psum) == 2.0).all()
    psum[...] += ones_matmul(3)
    assert (values(psum) == 4.0).all()
    assert not holes(psum).any()


def test_accumulation_of_matmuls_adds_to_what_was_written() -> None:
    psum = tile(np.full((2, 2), 5.0), space=Space.PSUM, holes=[[False, True], [True, False]])
    psum[...] += ones_matmul(2)
    assert values(psum).tolist() == [[7.0, 2.0], [2.0, 7.0]]


def test_accumulation_of_a_masked_matmul_starts_only_what_it_kept() -> None:
    psum = tile(np.zeros((2, 2)), space=Space.PSUM, holes=True)
    psum[...] += ones_matmul(2, mask=(row(2) < 1) & (column(2) < 2))
    assert holes(psum).tolist() == [[False, True]] * 2
    assert (values(psum)[:, 0] == 2.0).all()


def test_accumulation_of_an_sbuf_tile_on_fresh_psum_stays_undefined() -> None:
    psum = tile(np.zeros((2, 2)), space=Space.PSUM, holes=True)
    psum[...] += tile(np.ones((2, 2)))
    assert holes(psum).all()
    psum[...] += 1
    assert holes(psum).all()


def test_accumulation_of_a_matmul_on_fresh_sbuf_stays_undefined() -> None:
    t = tile(np.zeros((2, 2)), holes=True)
    t[...] += ones_matmul(2)
    assert holes(t).all()


def test_refuses_accumulation_that_broadcasts_the_destination() -> None:
    with refuses(SMALLER):
        tile(np.zeros((2, 1)))[...] += tile(np.zeros((2, 3)))
    with refuses("err_num_partition_mismatch"):
        tile(np.zeros((2, 3)))[...] += tile(np.zeros((1, 3)))


def test_accumulation_of_a_declared_psum_tile_on_fresh_psum_stays_undefined() -> None:
    psum = tile(np.zeros((2, 2)), space=Space.PSUM, holes=True)
    psum[...] += tile(np.ones((2, 2)), space=Space.PSUM)
    assert holes(psum).all()
