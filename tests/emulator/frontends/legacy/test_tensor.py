"""Operators, truth values and aliasing of the tensor that legacy kernels hold."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values

AMBIGUOUS = "err_ambiguous_tensor_truth_value"
DYNAMIC = "err_dynamic_control_flow_not_supported"
A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
B = np.array([[0.5, 0.25, 2.0], [7.0, -1.0, 0.125]], dtype=np.float32)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


@pytest.mark.parametrize(
    "compute", [operator.add, operator.sub, operator.mul, operator.truediv], ids=lambda f: f.__name__
)
def test_operators_compute_like_numpy(compute: Callable[[Any, Any], Any]) -> None:
    assert same_bytes(values(compute(tile(A), tile(B))), compute(A, B))
    assert same_bytes(values(compute(tile(A), 0.3)), compute(A, np.float32(0.3)))
    assert same_bytes(values(compute(0.3, tile(A))), compute(np.float32(0.3), A))
    assert same_bytes(values(compute(np.float32(0.3), tile(A))), compute(np.float32(0.3), A))
    assert same_bytes(values(compute(tile(A), tile(B[:, :1]))), compute(A, B[:, :1]))


@pytest.mark.parametrize(
    "compute", [operator.add, operator.sub, operator.mul, operator.truediv], ids=lambda f: f.__name__
)
def test_refuses_operator_that_broadcasts_partitions(compute: Callable[[Any, Any], Any]) -> None:
    with refuses("err_num_partition_mismatch"):
        compute(tile(A), tile(B[:1]))
    with refuses("err_num_partition_mismatch"):
        compute(tile(B[:1]), tile(A))


def test_negation() -> None:
    assert same_bytes(values(-tile(A)), -A)
    assert values(-tile([[1, -2]], np.int32)).tolist() == [[-1, 2]]


@pytest.mark.parametrize(
    "other", ["1", None, [1.0], np.ones((2, 3), dtype=np.float32)], ids=["str", "None", "list", "array"]
)
def test_refuses_operator_with_what_is_neither_tile_nor_number(other: Any) -> None:
    with pytest.raises(TypeError):
        tile(A) + other
    with pytest.raises(TypeError):
        other - tile(A)


@pytest.mark.parametrize("compute", [operator.mod, operator.pow], ids=lambda f: f.__name__)
def test_remainder_and_power(compute: Callable[[Any, Any], Any]) -> None:
    assert same_bytes(values(compute(tile(A), tile(B))), compute(A, B))
    assert same_bytes(values(compute(tile(A), 2)), compute(A, np.float32(2)))
    assert same_bytes(values(compute(2, tile(A))), compute(np.float32(2), A))


@pytest.mark.parametrize(
    "compute",
    [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift],
    ids=lambda f: f.__name__,
)
def test_bit_operators(compute: Callable[[Any, Any], Any]) -> None:
    a, b = np.array([[12, 7, 5]], dtype=np.int32), np.array([[10, 1, 0]], dtype=np.int32)
    assert same_bytes(values(compute(tile(a, np.int32), tile(b, np.int32))), compute(a, b))
    assert same_bytes(values(compute(tile(a, np.int32), 3)), compute(a, np.int32(3)))
    assert same_bytes(values(compute(3, tile(b, np.int32))), compute(np.int32(3), b))
    with refuses("", "takes integers"):
        compute(tile(A), 1)


def test_operators_of_one_operand() -> None:
    assert same_bytes(values(abs(tile(-A))), A)
    assert same_bytes(values(~tile([[0, 5]], np.uint8)), np.array([[255, 250]], dtype=np.uint8))
    assert values(-tile([[-128]], np.int8)).tolist() == [[127]]  # the dtype stays, and saturates


def test_refuses_floor_division() -> None:
    with refuses("", "no floor division"):
        tile(A) // 2
    with refuses("", "no floor division"):
        2 // tile(A)
    buffer = tile(A)
    with refuses("", "no floor division"):
        buffer //= 2


def test_refuses_matrix_product_by_operator() -> None:
    with pytest.raises(TypeError):
        operator.matmul(tile(A), tile(B))


def test_refuses_operators_on_hbm() -> None:
    with refuses("err_unsupported_memory"):
        hbm(A) + 1


@pytest.mark.parametrize(
    "compare",
    [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge],
    ids=lambda f: f.__name__,
)
def test_comparison_of_elements_gives_bools(compare: Callable[[Any, Any], Any]) -> None:
    other = np.where(B > 1, A, B)
    assert same_bytes(values(compare(tile(A), tile(other))), compare(A, other))
    assert same_bytes(values(compare(tile(A), 3)), compare(A, 3))
    assert same_bytes(values(compare(3.0, tile(A))), compare(3.0, A))
    with refuses("err_num_partition_mismatch"):
        compare(tile(A), tile(B[:1]))
    with refuses("err_ambiguous_tensor_truth_value"):
        bool(compare(tile(A), 3))


def test_comparison_with_none_is_one_of_identity() -> None:
    t = tile(A)
    assert (t == None) is False  # noqa: E711  kernels write it
    assert (t != None) is True  # noqa: E711  kernels write it
    assert len({t, t}) == 1


# --------------------------------------------------------------------------------------- truth values


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (2, 3)], ids=str)
def test_refuses_truth_of_several_elements(shape: tuple[int, ...]) -> None:
    for use in (bool, operator.not_):
        with refuses(AMBIGUOUS, "has no single truth value"):
            use(tile(np.ones(shape)))


@pytest.mark.parametrize("use", [bool, int, float, operator.index, operator.not_, range], ids=lambda f: f.__name__)
def test_refuses_value_of_one_element(use: Callable[[Any], Any]) -> None:
    with refuses(DYNAMIC, "cannot steer the kernel"):
        use(tile([[1.0]]))


def test_refuses_iteration() -> None:
    with refuses("", "cannot be iterated"):
        list(tile(A))


# ------------------------------------------------------------------------------------------- aliasing


def test_slices_are_views() -> None:
    buffer = nl.zeros((2, 3), np.float32)
    view = buffer[:, 1:3]
    view[...] = 5
    assert values(buffer).tolist() == [[0, 5, 5]] * 2
    buffer[...] = 7
    assert values(view).tolist() == [[7, 7]] * 2


def test_copy_is_no_view() -> None:
    buffer = nl.zeros((2, 3), np.float32)
    copied = nl.copy(buffer[:, 1:3])
    copied[...] = 5
    assert not values(buffer).any()
    buffer[...] = 7
    assert values(copied).tolist() == [[5, 5]] * 2


def test_augmented_assignment_writes_through_the_view() -> None:
    buffer = tile(A)
    part = buffer[0:1, :]
    part += 1
    buffer[:, 0] += tile([[10.0], [20.0]])
    buffer[:, 1] -= 1.0
    buffer[:, 2] *= 2.0
    buffer[0, 0:1] /= 4.0
    assert values(buffer).tolist() == [[3.0, 2.0, 8.0], [24.0, 4.0, 12.0]]


@pytest.mark.parametrize(
    ("assign", "compute"),
    [
        pytest.param(operator.isub, operator.sub, id="-="),
        pytest.param(operator.imul, operator.mul, id="*="),
        pytest.param(operator.itruediv, operator.truediv, id="/="),
        pytest.param(operator.imod, operator.mod, id="%="),
        pytest.param(operator.ipow, operator.pow, id="**="),
    ],
)
def test_augmented_assignment_keeps_the_object_and_its_dtype(
    assign: Callable[[Any, Any], Any], compute: Callable[[Any, Any], Any]
) -> None:
    buffer = tile(A, nl.bfloat16)
    assert assign(buffer, 3.0) is buffer
    assert same_bytes(values(buffer), compute(A, np.float32(3)).astype(nl.bfloat16))
    j = nl.arange(3)[None, :]
    masked = tile(A)
    assign(masked, nl.copy(tile(B), mask=j < 1))
    assert same_bytes(values(masked), np.concatenate([compute(A, B)[:, :1], A[:, 1:]], axis=1))
    assign(masked, nl.copy(tile(B), mask=False))
    assert same_bytes(values(masked)[:, 1:], A[:, 1:])


def test_augmented_assignment_of_bits() -> None:
    buffer = tile([[12, 7]], np.uint8)
    buffer &= np.uint8(6)
    buffer <<= np.uint8(1)
    assert values(buffer).tolist() == [[8, 12]]


def test_accumulation_that_its_mask_drops_changes_nothing() -> None:
    buffer = tile(A)
    buffer += nl.copy(tile(B), mask=False)
    assert same_bytes(values(buffer), A)


def test_accumulation_keeps_the_object() -> None:
    buffer = tile(A)
    other = buffer
    other += 1
    assert other is buffer
    assert same_bytes(values(buffer), A + 1)


def test_refuses_accumulation_of_what_is_no_tile() -> None:
    buffer = tile(A)
    with refuses("", "add: operand must be a tensor"):
        buffer += None


def test_psum_accumulation_from_a_fresh_tile() -> None:
    psum = nl.ndarray((2, 2), np.float32, buffer=nl.psum)
    for _ in nl.affine_range(3):
        psum[...] += nl.matmul(tile(A), tile(B), transpose_x=True)[0:2, 0:2]
    assert not holes(psum).any()
    assert psum.space is Space.PSUM
    np.testing.assert_allclose(values(psum), 3 * (A.T @ B)[0:2, 0:2], rtol=1e-6)


# -------------------------------------------------------------------------------------------- methods


def test_item_size_is_that_of_the_dtype() -> None:
    assert [tile(A, dtype).itemsize for dtype in (np.int8, nl.bfloat16, np.float32)] == [1, 2, 4]
    assert nl.ndarray((2, 2), nl.tfloat32).itemsize == 4


def test_asserted_shape() -> None:
    buffer = tile(A)
    assert buffer.assert_shape((2, 3)) is buffer
    assert buffer.assert_shape([2, 3]) is buffer
    with refuses("", r"has shape \(2, 3\), not \(3, 2\) as asserted"):
        buffer.assert_shape((3, 2))


def test_astype_always_copies() -> None:
    buffer = tile(A)
    copied = buffer.astype(np.float32)
    copied[...] = 0
    assert same_bytes(values(buffer), A)
    assert same_bytes(values(buffer.astype(np.int8)), A.astype(np.int8))


def test_views_by_method() -> None:
    buffer = tile(A)
    buffer.reshape((2, 1, 3))[:, 0, 1] = 7.0
    buffer.expand_dims(2)[:, 2, :] = 8.0
    buffer.view(np.int32)[:, 0:1] = 0
    assert values(buffer).tolist() == [[0.0, 7.0, 8.0]] * 2
    assert values(buffer[:, 1:2].broadcast_to((2, 4))).tolist() == [[7.0] * 4] * 2


@pytest.mark.parametrize(
    ("other", "dtype"),
    [
        pytest.param(2, np.float32, id="int"),
        pytest.param(True, np.float32, id="bool"),
        pytest.param(2.0, np.float32, id="float"),
    ],
)
def test_quotient_of_integers_is_no_integer(other: Any, dtype: Any) -> None:
    with running():
        quotient = tile([[7]], np.int32) / other
        assert quotient.dtype == dtype
        assert values(quotient)[0, 0] == 7 / other
        assert values(other / tile([[4]], np.int32))[0, 0] == other / 4
        assert (tile([[7]], np.int32) / tile([[2]], np.int32)).dtype == np.float32
        assert (tile([[7]], np.float16) / tile([[2]], np.int32)).dtype == np.float16


def test_quotient_with_something_else_is_pythons_error() -> None:
    with running(), pytest.raises(TypeError):
        tile([[7]], np.int32) / "x"
