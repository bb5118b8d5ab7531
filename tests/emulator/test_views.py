"""Views in another shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import views
from nkifix.emulator.frontends.legacy import language as nl
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values

X = np.arange(48, dtype=np.float32).reshape(4, 12)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def dynamic(tensor: Any) -> Any:
    return tensor[tile([[0], [1]], np.int32), nl.arange(tensor.shape[1])[None, :]]


# -------------------------------------------------------------------------------------------- reshape


@pytest.mark.parametrize("shape", [(4, 3, 4), (4, 12), [4, 2, 2, 3], (4, 1, 12)], ids=str)
def test_reshape_on_chip_keeps_the_partitions(shape: Any) -> None:
    source = tile(X)
    view = views.reshape(source, shape)
    assert same_bytes(values(view), X.reshape(shape))
    assert same_bytes(holes(views.reshape(tile(X, holes=X > 40), shape)), (X > 40).reshape(shape))
    assert view.partition_axis == 0
    view.write(-1.0, None)
    assert (values(source) == -1).all()


@pytest.mark.parametrize("shape", [(48,), 48, (12, 4), (2, 24), (6, 8, 1)], ids=str)
def test_reshape_in_hbm_is_free(shape: Any) -> None:
    assert same_bytes(values(views.reshape(hbm(X), shape)), X.reshape(shape))


def test_reshape_of_a_part() -> None:
    part = tile(X)[:, 4:8]
    assert same_bytes(values(views.reshape(part, (4, 2, 2))), X[:, 4:8].reshape(4, 2, 2))
    with refuses("", "cannot be reshaped to .* in place"):
        views.reshape(hbm(X)[:, 4:8], (16,))


def test_reshape_keeps_the_partition_dimension_behind_blocks() -> None:
    buffer = nl.ndarray((6, nl.par_dim(4), 8), np.float32)
    view = views.reshape(buffer, (2, 3, 4, 2, 4))
    assert view.partition_axis == 2
    assert views.reshape(view, (6, 4, 8)).partition_axis == 1


@pytest.mark.parametrize("shape", [(48, 1), (2, 24), (2, 2, 12), (1, 48)], ids=str)
def test_refuses_reshape_that_moves_partitions(shape: tuple[int, ...]) -> None:
    with refuses("", "the partition dimension of 4"):
        views.reshape(tile(X), shape)


@pytest.mark.parametrize("shape", [(4, 11), (4, 4, 4), (5, 12)], ids=str)
def test_refuses_reshape_to_another_number_of_elements(shape: tuple[int, ...]) -> None:
    with refuses("", "the number of elements differs"):
        views.reshape(tile(X), shape)


@pytest.mark.parametrize("shape", [(4, -1), (4, 12.0), "48", None, (True, 48)], ids=str)
def test_refuses_what_is_no_shape(shape: Any) -> None:
    with refuses("", "positive whole numbers"):
        views.reshape(hbm(X), shape)


# ------------------------------------------------------------------------------------------ broadcast


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((1, 3), (5, 3)), ((4, 1), (4, 6)), ((1, 1), (5, 6)), ((4, 1, 3), (4, 2, 3)), ((4, 3), (4, 3))],
    ids=str,
)
def test_broadcast_repeats_dimensions_of_one(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    view = views.broadcast(tile(x), wanted)
    assert same_bytes(values(view), np.array(np.broadcast_to(x, wanted)))
    assert same_bytes(values(nl.add(view, 0.0)), np.array(np.broadcast_to(x, wanted)))


def test_broadcast_in_hbm_may_add_dimensions() -> None:
    assert same_bytes(values(views.broadcast(hbm(X[0]), (3, 12))), np.repeat(X[:1], 3, axis=0))


def test_refuses_to_write_a_repeated_element() -> None:
    view = views.broadcast(tile([[1.0]]), (2, 3))
    with refuses("err_store_dst_shape_smaller_than_other_shape"):
        view.write(1.0, None)


@pytest.mark.parametrize("wanted", [(4, 24), (2, 12), (4, 12, 1), (12,), (2, 4, 12)], ids=str)
def test_refuses_broadcast_to(wanted: tuple[int, ...]) -> None:
    with refuses("", "cannot be broadcast"):
        views.broadcast(tile(X), wanted)


# ---------------------------------------------------------------------------------------- expand_dims


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(1, (4, 1, 12)), (2, (4, 12, 1)), (-1, (4, 12, 1)), ([1, 3], (4, 1, 12, 1)), ((2, 3), (4, 12, 1, 1))],
    ids=str,
)
def test_expand_dims_inserts_dimensions_of_one(axis: Any, shape: tuple[int, ...]) -> None:
    view = views.expand_dims(tile(X), axis)
    assert same_bytes(values(view), X.reshape(shape))
    assert view.partition_axis == 0


def test_expand_dims_in_hbm_may_come_first() -> None:
    assert views.expand_dims(hbm(X), 0).shape == (1, 4, 12)


@pytest.mark.parametrize("axis", [0, 3, -3, (1, 1), "1", 1.0, True], ids=str)
def test_refuses_expand_dims_at(axis: Any) -> None:
    with refuses("", "new dimensions come after the partition dimension"):
        views.expand_dims(tile(X), axis)


# ---------------------------------------------------------------------------------------- run-time index


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: views.reshape(t, (2, 3, 4)), id="reshaped"),
        pytest.param(lambda t: views.broadcast(t, (2, 12)), id="broadcast"),
        pytest.param(lambda t: views.expand_dims(t, 2), id="expanded"),
    ],
)
def test_refuses_view_of_a_run_time_index(change: Any, request: pytest.FixtureRequest) -> None:
    with refuses("", f"known only at run time cannot be {request.node.callspec.id}"):
        change(dynamic(hbm(X)))


def test_refuses_view_of_what_is_out_of_bounds() -> None:
    outside = hbm(X)[nl.arange(5)[:, None], nl.arange(12)[None, :]]
    with refuses("err_tensor_access_out_of_bound"):
        views.reshape(outside, (60,))
