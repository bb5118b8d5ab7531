"""Two parallel iterations, or programs, that write one element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import Params, machine
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.memory import Space
from nkifix.emulator.writes import Region
from tests.emulator.kernels import hbm, refuses, running

CODE = "err_unexpected_output_dependencies"
F32 = np.float32


def sbuf(*shape: int) -> Any:
    return nl.ndarray(shape, F32)


def same_place() -> None:
    t = sbuf(4, 8)
    for _ in nl.affine_range(2):
        t[...] = 0


def overlap_of_rows() -> None:
    out = hbm(np.zeros((16, 8), F32))
    for i in nl.affine_range(3):
        nl.store(out[nl.ds(i * 4, 5), :], 0.0)


def overlap_of_columns() -> None:
    t = sbuf(4, 64)
    for i in nl.affine_range(3):
        t[:, nl.ds(i * 8, 9)] = 0


def missing_outer_index() -> None:
    t = nl.ndarray((4, nl.par_dim(4), 8), F32)
    for _ in nl.affine_range(2):
        for j in nl.affine_range(4):
            t[j] = 0


def sequence_inside() -> None:
    t = sbuf(4, 8)
    for _ in nl.affine_range(2):
        for j in nl.sequential_range(8):
            t[:, j] = 0


def sequence_outside() -> None:
    t = sbuf(4, 8)
    for _ in nl.sequential_range(2):
        for _ in nl.affine_range(2):
            t[:, 0] = 0


def columns_in_steps() -> None:
    t = sbuf(4, 16)
    i, j = nl.mgrid[0:4, 0:4]
    for k in nl.affine_range(2):
        t[i, 4 * j + 2 * k] = 0
        t[i, 4 * j + 2] = 0


def a_view_that_no_box_describes() -> None:
    t = sbuf(4, 16)
    i, j = nl.mgrid[0:4, 0:4]
    for k in nl.affine_range(2):
        t[i, 3 - j + k] = 0


def diagonals_that_meet() -> None:
    out = hbm(np.zeros((4, 16), F32))
    i, j = nl.mgrid[0:4, 0:2]
    for k in nl.affine_range(2):
        nl.store(out[i, i + j + k], 0.0)


def masked_parts_that_meet() -> None:
    out = hbm(np.zeros((4, 8), F32))
    i, j = nl.mgrid[0:4, 0:8]
    for k in nl.affine_range(2):
        nl.store(out[i, j], 0.0, mask=j < 4 + k)


def parts_out_of_bounds() -> None:
    out = hbm(np.zeros((4, 8), F32))
    i, j = nl.mgrid[0:4, 0:8]
    for k in nl.affine_range(2):
        nl.store(out[i, j + k], 0.0, mask=j + k < 8)


def third_meets_the_first() -> None:
    t = sbuf(4, 8)
    for k in nl.affine_range(3):
        t[:, (k % 2) * 4 : (k % 2) * 4 + 4] = 0


def later_instruction_of_the_iteration() -> None:
    t = nl.ndarray((4, 8), F32)
    for k in nl.affine_range(2):
        t[:, k] = 0
        t[:, k] = 1
        t[:, 7] = 0


CLASHES = [
    same_place,
    overlap_of_rows,
    overlap_of_columns,
    missing_outer_index,
    sequence_inside,
    sequence_outside,
    columns_in_steps,
    a_view_that_no_box_describes,
    diagonals_that_meet,
    masked_parts_that_meet,
    parts_out_of_bounds,
    third_meets_the_first,
    later_instruction_of_the_iteration,
]


def own_rows_and_columns() -> None:
    t = sbuf(128, 64)
    for i in nl.affine_range(4):
        for j in nl.affine_range(8):
            t[nl.ds(i * 32, 32), nl.ds(j * 8, 8)] = 0
            t[nl.ds(i * 32, 32), nl.ds(j * 8, 8)] = 1


def own_blocks() -> None:
    t = nl.ndarray((4, 2, nl.par_dim(4), 8), F32)
    for j in nl.affine_range(2):
        for i in nl.affine_range(4):
            t[i, j] = 0
            t[i, j, :, 0] = 1


def sequential() -> None:
    t = sbuf(4, 8)
    for _ in nl.sequential_range(2):
        t[...] = 0


def unrolled() -> None:
    t = sbuf(4, 8)
    for _ in nl.static_range(2):
        t[...] = 0


def one_loop_after_another() -> None:
    t = sbuf(4, 8)
    for _ in range(2):
        for i in nl.affine_range(8):
            t[:, i] = 0
    for i in nl.affine_range(8):
        t[:, i] = 0
    t[...] = 0


def declared_inside() -> None:
    for _ in nl.affine_range(2):
        t = sbuf(4, 8)
        t[...] = 0
        for i in nl.affine_range(8):
            t[:, i] = 0


def accumulated() -> None:
    t = nl.zeros((4, 8), F32)
    p = nl.zeros((4, 8), F32, buffer=nl.psum)
    for _ in nl.affine_range(2):
        t += 1
        t[:, 0:4] += 1.0
        p[...] += nl.matmul(nl.zeros((4, 4), F32), nl.zeros((4, 8), F32), transpose_x=True)


def interleaved_steps() -> None:
    t = sbuf(4, 16)
    i, j = nl.mgrid[0:4, 0:4]
    for k in nl.affine_range(4):
        t[i, 4 * j + k] = 0


def interleaved_from_both_ends() -> None:
    t = sbuf(4, 16)
    i, j = nl.mgrid[0:4, 0:4]
    for k in nl.affine_range(2):
        t[i, 6 - 2 * j + k] = 0


def interleaved_planes() -> None:
    out = hbm(np.zeros((4, 16), F32))
    i, j, k = nl.mgrid[0:4, 0:4, 0:2]
    for n in nl.affine_range(2):
        nl.store(out[i, 4 * j + k + 2 * n], 0.0)


def diagonals_apart() -> None:
    out = hbm(np.zeros((4, 16), F32))
    i, j = nl.mgrid[0:4, 0:2]
    for k in nl.affine_range(2):
        nl.store(out[i, i + j + 2 * k], 0.0)


def masked_parts_apart() -> None:
    out = hbm(np.zeros((4, 8), F32))
    i, j = nl.mgrid[0:4, 0:8]
    for k in nl.affine_range(2):
        nl.store(out[i, j], 0.0, mask=(j >= 4 * k) & (j < 4 * k + 4))


def nothing_kept() -> None:
    out = hbm(np.zeros((4, 8), F32))
    i, j = nl.mgrid[0:4, 0:8]
    for k in nl.affine_range(2):
        nl.store(out[i, j], 0.0, mask=k < 1)


LEGAL = [
    own_rows_and_columns,
    own_blocks,
    sequential,
    unrolled,
    one_loop_after_another,
    declared_inside,
    accumulated,
    interleaved_steps,
    interleaved_from_both_ends,
    interleaved_planes,
    diagonals_apart,
    masked_parts_apart,
    nothing_kept,
]


@contextmanager
def running_with(**params: Any) -> Iterator[None]:
    launch = machine.Launch(Params(**params), ())
    with machine.executing(machine.Program(launch, (), tensor_type=LegacyTensor)):
        yield


@pytest.mark.parametrize("body", CLASHES, ids=lambda body: body.__name__)
def test_refuses_iterations_that_write_one_element(body: Callable[[], None]) -> None:
    with running(), refuses(CODE, "two iterations of an affine_range write the same elements of"):
        body()
    with running_with(order="shuffled", seed=1), refuses(CODE):
        body()


@pytest.mark.parametrize("body", LEGAL, ids=lambda body: body.__name__)
def test_accepts_iterations_that_keep_apart(body: Callable[[], None]) -> None:
    with running():
        body()
    for seed in range(3):
        with running_with(order="shuffled", seed=seed):
            body()


def test_accepts_all_of_it_where_the_rule_is_off() -> None:
    with running_with(rules_off=frozenset({CODE})):
        same_place()


def test_message_names_both_lines_and_the_tensor() -> None:
    with running(), refuses(CODE) as caught:
        later_instruction_of_the_iteration()
    line = later_instruction_of_the_iteration.__code__.co_firstlineno
    fault = caught.value
    assert f"tensor 't' of {__file__}:{line + 1}, shape (4, 8)" in fault.what
    assert "4x1 elements from (0, 7)" in fault.what
    assert "at the same line" in fault.what
    assert "nl.sequential_range" in str(fault.next_step)


# --------------------------------------------------------------------------------------------- programs


@nki.jit
def copies(x: Any, shared: bool) -> Any:
    out = nl.ndarray((4, 8), F32, buffer=nl.shared_hbm)
    scratch = nl.ndarray((4, 8), F32, buffer=nl.private_hbm)
    row = 0 if shared else nl.program_id(0)
    tile = nl.load(x[nl.ds(nl.program_id(0), 1), :])
    nl.store(scratch[0:1, :], tile)
    for i in nl.affine_range(8):
        nl.store(out[nl.ds(row, 1), i], tile[:, i])
    return out


@nki.jit
def stores_into_parameter(x: Any, out: Any) -> None:
    nl.store(out[0:1, :], nl.load(x[nl.ds(nl.program_id(0), 1), :]))


X = np.arange(32, dtype=F32).reshape(4, 8)


def test_programs_that_write_their_own_part() -> None:
    np.testing.assert_array_equal(copies[4](X, False), X)


def test_refuses_programs_that_write_one_element() -> None:
    with refuses(CODE, "two programs of the grid write the same elements of") as caught:
        copies[4](X, True)
    assert "program ids" in str(caught.value.next_step)


def test_refuses_programs_that_store_into_one_part_of_a_parameter() -> None:
    with refuses(CODE, "tensor 'out'"):
        stores_into_parameter[2](X, np.zeros((4, 8), F32))
    stores_into_parameter[1](X, out := np.zeros((4, 8), F32))
    np.testing.assert_array_equal(out[0], X[0])


def test_programs_may_store_the_same_bytes_into_one_part() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((1, 8), F32, buffer=nl.shared_hbm)
        row = nl.arange(8)[None, :]
        nl.store(out[nl.arange(1)[:, None], row], nl.load(x[0:1, :]), mask=row < 8 - 0 * nl.program_id(0))
        nl.store(out[nl.arange(1)[:, None], row], nl.load(x[0:1, :]), mask=row < 3)
        return out

    np.testing.assert_array_equal(kernel[3](X), X[:1])


def test_many_programs_are_compared_by_their_boxes() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray((3, 4, 8), F32, buffer=nl.shared_hbm)
        tile = nl.load(x[0:1, :])
        nl.store(out[nl.program_id(1), nl.ds(nl.program_id(0), 1), :], tile)
        return out

    np.testing.assert_array_equal(kernel[4, 3](X), np.broadcast_to(X[0], (3, 4, 8)))


# ---------------------------------------------------------------------------------------------- regions


@pytest.mark.parametrize(
    ("key", "spans", "filled"),
    [
        pytest.param((slice(0, 4), slice(8, 16)), ((0, 3, 1), (8, 15, 1)), True, id="slices"),
        pytest.param((1, slice(0, 16, 4)), ((1, 1, 1), (0, 12, 4)), False, id="step"),
        pytest.param((slice(None), 3), ((0, 3, 1), (3, 3, 1)), True, id="column"),
    ],
)
def test_region_is_the_box_around_a_view(key: Any, spans: Any, filled: bool) -> None:
    with running():
        region = Region(hbm(np.zeros((4, 16), F32))[key], None)
    assert (region.spans, region.filled) == (spans, filled)


def test_places_of_a_region_are_its_elements() -> None:
    with running():
        view = hbm(np.zeros((4, 8), F32))[1:3, 2:4]
    assert Region(view, None).places().tolist() == [10, 11, 18, 19]
    assert Region(view, np.array([[True, False], [False, True]])).places().tolist() == [10, 19]


def test_space_of_scratch_does_not_matter() -> None:
    with running(), refuses(CODE):
        t = nl.ndarray((4, 8), F32, buffer=Space.PSUM)
        for _ in nl.affine_range(2):
            t[...] = 0
