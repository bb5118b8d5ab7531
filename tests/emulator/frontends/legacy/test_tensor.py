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


@pytest.mark.parametrize("compute", [operator.floordiv, operator.mod, operator.pow, operator.and_, operator.matmul])
def test_refuses_operator_without_an_emulation(compute: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(TypeError):
        compute(tile(A), tile(B))


def test_refuses_operators_on_hbm() -> None:
    with refuses("err_unsupported_memory"):
        hbm(A) + 1


@pytest.mark.parametrize(
    ("symbol", "compare"),
    [
        ("==", operator.eq),
        ("!=", operator.ne),
        ("<", operator.lt),
        ("<=", operator.le),
        (">", operator.gt),
        (">=", operator.ge),
    ],
)
def test_refuses_comparison_of_elements(symbol: str, compare: Callable[[Any, Any], Any]) -> None:
    for other in (0, 0.5, tile(B)):
        with refuses("", f"cannot be compared with {symbol} here"):
            compare(tile(A), other)


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
    buffer[1, 0:1] /= 4.0
    assert values(buffer).tolist() == [[12.0, 2.0, 8.0], [6.0, 4.0, 12.0]]


def test_augmented_assignment_other_than_plus_rebinds_a_name() -> None:
    buffer = tile(A)
    other = buffer
    other *= 2
    assert other is not buffer
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
