from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import Event, Observer, Region, accessed, kept_box, observing, region
from tests.emulator.kernels import hbm, running, tile

F32 = np.float32
BF16 = nl.bfloat16

Executed = tuple[str, str, Engine, int]


def executed(body: Callable[[], Any], target: Any = "trn1") -> list[Executed]:
    """What a piece of a kernel executes: operation, function, engine, how often; in order of first execution."""
    with observing() as seen, running(target):
        body()
    total: Counter[tuple[str, str, Engine]] = Counter()
    for one, count in seen.counts.items():
        total[one.operation, one.function, one.engine] += count
    return [(*what, count) for what, count in total.items()]


def events(body: Callable[[], Any]) -> list[Event]:
    with observing(sequence=True) as seen, running():
        body()
    return seen.events


def psum(*shape: int) -> Any:
    return nl.ndarray(shape, dtype=F32, buffer=nl.psum)


def sbuf(*shape: int, dtype: Any = F32) -> Any:
    return nl.ndarray(shape, dtype=dtype, buffer=nl.sbuf)


def ones(*shape: int, dtype: Any = F32) -> Any:
    return tile(np.ones(shape), dtype)


# ------------------------------------------------------------------------------- one instruction, counted once


def fresh_result_into_declared_tensor() -> None:
    psum(8, 16)[...] = nisa.nc_matmul(ones(4, 8), ones(4, 16))


def result_assigned_twice() -> None:
    made = nl.exp(ones(4, 8))
    sbuf(4, 8)[...] = made
    sbuf(4, 8)[...] = made


def result_read_then_assigned() -> None:
    made = nl.exp(ones(4, 8))
    nl.negative(made)
    sbuf(4, 8)[...] = made


def declared_into_declared() -> None:
    sbuf(4, 8)[...] = ones(4, 8)


def accumulation_in_psum() -> None:
    total = psum(8, 16)
    total[...] += nisa.nc_matmul(ones(4, 8), ones(4, 16))
    total[...] += nisa.nc_matmul(ones(4, 8), ones(4, 16))


def accumulation_in_sbuf() -> None:
    total = ones(4, 8)
    total[...] += ones(4, 8)


def matmul_that_transposes_first() -> None:
    nl.matmul(ones(8, 4), ones(4, 16))


def masked_off_altogether() -> None:
    nl.exp(ones(4, 8), mask=False)


ONCE: list[Any] = [
    pytest.param(fresh_result_into_declared_tensor, [("nc_matmul", "", Engine.TENSOR, 1)], id="placed result"),
    pytest.param(
        result_assigned_twice,
        [("exp", "", Engine.VECTOR, 1), ("tensor_copy", "", Engine.VECTOR, 1)],
        id="second assignment copies",
    ),
    pytest.param(
        result_read_then_assigned,
        [
            ("exp", "", Engine.VECTOR, 1),
            ("tensor_copy", "", Engine.VECTOR, 1),
            ("negative", "", Engine.VECTOR, 1),
        ],
        id="assignment after a reader copies",
    ),
    pytest.param(declared_into_declared, [("tensor_copy", "", Engine.VECTOR, 1)], id="declared tensor is copied"),
    pytest.param(accumulation_in_psum, [("nc_matmul", "", Engine.TENSOR, 2)], id="PSUM accumulates for nothing"),
    pytest.param(accumulation_in_sbuf, [("add", "", Engine.VECTOR, 1)], id="SBUF accumulates by an addition"),
    pytest.param(
        matmul_that_transposes_first,
        [
            ("nc_transpose", "", Engine.TENSOR, 1),
            ("copy", "", Engine.VECTOR, 1),
            ("nc_matmul", "", Engine.TENSOR, 1),
        ],
        id="matmul with a transpose of its own",
    ),
    pytest.param(masked_off_altogether, [], id="masked off"),
    pytest.param(lambda: nl.zeros((4, 8), dtype=F32), [("memset", "zero", Engine.VECTOR, 1)], id="zeros"),
    pytest.param(lambda: nl.full((4, 8), 3.0, dtype=F32), [("memset", "", Engine.VECTOR, 1)], id="full"),
    pytest.param(lambda: sbuf(4, 8).__setitem__(..., 0), [("memset", "zero", Engine.VECTOR, 1)], id="assigned zero"),
    pytest.param(lambda: sbuf(4, 8).__setitem__(..., 2), [("memset", "", Engine.VECTOR, 1)], id="assigned number"),
    pytest.param(lambda: sbuf(4, 8), [], id="declaration"),
    pytest.param(lambda: nl.load(hbm(np.ones((4, 8)), dtype=F32)), [("load", "", Engine.DMA, 1)], id="load"),
    pytest.param(
        lambda: nisa.tensor_reduce(np.max, ones(4, 8), axis=(1,)),
        [("tensor_reduce", "max", Engine.VECTOR, 1)],
        id="tensor_reduce",
    ),
    pytest.param(
        lambda: nisa.tensor_tensor(ones(4, 8), ones(4, 8), np.add),
        [("tensor_tensor", "add", Engine.VECTOR, 1)],
        id="tensor_tensor",
    ),
    pytest.param(
        lambda: nisa.scalar_tensor_tensor(
            data=ones(4, 8), op0=np.subtract, operand0=1.0, op1=np.multiply, operand1=ones(4, 8)
        ),
        [("scalar_tensor_tensor", "subtract+multiply", Engine.VECTOR, 1)],
        id="scalar_tensor_tensor",
    ),
    pytest.param(
        lambda: nisa.tensor_scalar_reduce(
            data=ones(4, 8), op0=np.multiply, operand0=1.0, reduce_op=np.max, reduce_res=sbuf(4, 1)
        ),
        [("tensor_scalar_reduce", "multiply+max", Engine.VECTOR, 1)],
        id="tensor_scalar_reduce",
    ),
    pytest.param(
        lambda: nisa.activation_reduce(np.exp, ones(4, 8), reduce_op=np.add, reduce_res=sbuf(4, 1)),
        [("activation_reduce", "exp", Engine.SCALAR, 1)],
        id="activation_reduce",
    ),
    pytest.param(lambda: nisa.memset((4, 8), 0, dtype=BF16), [("memset", "zero", Engine.VECTOR, 1)], id="memset"),
    pytest.param(
        lambda: nisa.tensor_copy(ones(4, 8), engine=nisa.scalar_engine),
        [("tensor_copy", "", Engine.SCALAR, 1)],
        id="chosen engine",
    ),
]


@pytest.mark.parametrize(("body", "expected"), ONCE)
def test_instruction_is_counted_once(body: Callable[[], Any], expected: list[Executed]) -> None:
    assert executed(body) == expected


def selected(first_row: int) -> Callable[[], Any]:
    def body() -> None:
        row, column = nl.mgrid[0:4, 0:8]
        nisa.affine_select(pred=(first_row + row >= column), on_true_tile=ones(4, 8), on_false_value=0.0)

    return body


@pytest.mark.parametrize(
    ("first_row", "effect"),
    [
        pytest.param(7, "keeps all", id="all"),
        pytest.param(6, "cuts", id="one element less"),
        pytest.param(-3, "cuts", id="one element"),
        pytest.param(-4, "keeps none", id="none"),
    ],
)
def test_select_says_what_its_predicate_does(first_row: int, effect: str) -> None:
    assert executed(selected(first_row)) == [("affine_select", effect, Engine.GPSIMD, 1)]


def test_line_of_the_kernel_is_noted() -> None:
    with observing() as seen, running():
        nl.exp(ones(4, 8))
    (one,) = seen.counts
    assert (one.file, one.line) == (__file__, test_line_of_the_kernel_is_noted.__code__.co_firstlineno + 2)


def test_nothing_is_collected_outside() -> None:
    with observing() as seen:
        pass
    with running():
        nl.exp(ones(4, 8))
    assert not seen.counts


# ------------------------------------------------------------------------------------------------ what was used


def test_result_is_that_of_the_place_it_is_assigned_to() -> None:
    (event,) = events(fresh_result_into_declared_tensor)
    result = event.instruction.result
    assert (result.space, result.dtype, result.shape) == (Space.PSUM, np.dtype(F32), (8, 16))


def test_result_takes_the_dtype_of_its_place() -> None:
    (event,) = events(lambda: sbuf(4, 8, dtype=BF16).__setitem__(..., nl.exp(ones(4, 8))))
    assert event.instruction.result.dtype == np.dtype(BF16)


def test_operands_come_in_order() -> None:
    (event,) = events(lambda: nisa.nc_matmul(ones(4, 8), ones(4, 16)))
    assert [operand.shape for operand in event.instruction.operands] == [(4, 8), (4, 16)]
    assert len(event.reads) == 2


def test_instruction_that_writes_twice_has_two_destinations() -> None:
    body = ONCE[-3].values[0]
    (event,) = events(body)
    assert event.instruction.operation == "activation_reduce"
    assert [where.end - where.start for where in event.writes] == [8, 1]


def test_mask_leaves_the_box_of_what_it_keeps() -> None:
    def body() -> None:
        row, column = nl.mgrid[0:4, 0:8]
        nl.exp(ones(4, 8), mask=(row < 3) & (column < 5))

    (event,) = events(body)
    assert event.instruction.shape == (3, 5)
    assert event.instruction.operands[0].shape == (3, 5)


@pytest.mark.parametrize(
    ("kept", "box"),
    [
        pytest.param(None, None, id="no mask"),
        pytest.param(np.ones((2, 3), bool), None, id="all"),
        pytest.param(np.array([[0, 1, 1], [0, 0, 1]], bool), (2, 2), id="a corner missing"),
        pytest.param(np.zeros((2, 3), bool), (0, 0), id="none"),
    ],
)
def test_box_spans_what_a_mask_keeps(kept: Any, box: tuple[int, ...] | None) -> None:
    assert kept_box(kept, (2, 3)) == box


@pytest.mark.parametrize(
    ("make", "shape", "contiguous", "run_bytes"),
    [
        pytest.param(lambda: ones(4, 8), (4, 8), True, 32, id="tile: a partition's row"),
        pytest.param(lambda: ones(4, 8)[:, 2:5], (4, 3), True, 12, id="slice of the free dimension"),
        pytest.param(lambda: ones(4, 2, 8)[:, :, 2:5], (4, 2, 3), True, 12, id="two runs a row"),
        pytest.param(lambda: ones(4, 2, 8), (4, 2, 8), True, 64, id="two free dimensions in one run"),
        pytest.param(
            lambda: tile(np.ones((3, 4, 8)), partition_axis=1), (4, 3, 8), True, 32, id="block dimension counts as free"
        ),
        pytest.param(lambda: hbm(np.ones((4, 8)), dtype=F32), (4, 8), True, 128, id="HBM: all of it"),
        pytest.param(lambda: hbm(np.ones((4, 8)), dtype=F32)[:, 0:4], (4, 4), True, 16, id="HBM: a part of each row"),
        pytest.param(lambda: ones(4, 1), (4, 1), True, 4, id="column"),
        pytest.param(
            lambda: ones(4, 8)[nl.arange(4)[:, None], 2 * nl.arange(4)[None, :]], (4, 4), False, 4, id="every other one"
        ),
    ],
)
def test_access_has_shape_and_contiguity(
    make: Callable[[], Any], shape: tuple[int, ...], contiguous: bool, run_bytes: int
) -> None:
    with running():
        seen = accessed(make())
    assert (seen.shape, seen.contiguous, seen.run_bytes) == (shape, contiguous, run_bytes)


def test_gathered_elements_are_moved_one_by_one() -> None:
    with running():
        view = hbm(np.ones((4, 8)), dtype=F32)[nl.arange(6)[:, None], nl.arange(8)[None, :]]
        assert view.gather is not None
        assert accessed(view).run_bytes == 4
        assert region(view)[1:] == (0, 1, 0, 32)


def test_equal_accesses_are_one_object() -> None:
    with running():
        assert accessed(ones(4, 8)) is accessed(ones(4, 8))
        assert accessed(ones(4, 8)) is not accessed(ones(4, 9))


def test_size_counts_every_element() -> None:
    with running():
        assert (accessed(ones(4, 2, 8)).free_size, accessed(ones(4, 2, 8)).size_bytes) == (16, 256)


# ------------------------------------------------------------------------------------------------------ regions


@pytest.mark.parametrize(
    ("make", "box"),
    [
        pytest.param(lambda: ones(4, 8), (0, 4, 0, 8), id="all"),
        pytest.param(lambda: ones(4, 8)[1:3, 2:5], (1, 3, 2, 5), id="a part"),
        pytest.param(lambda: ones(4, 8)[:, 3], (0, 4, 3, 4), id="a column"),
        pytest.param(lambda: tile(np.ones((3, 4, 8)), partition_axis=1)[2], (0, 4, 16, 24), id="a block"),
        pytest.param(lambda: tile(np.ones((3, 4, 8)), partition_axis=1), (0, 4, 0, 24), id="all blocks"),
        pytest.param(lambda: hbm(np.ones((4, 8)), dtype=F32)[1:3, 0:4], (0, 1, 8, 20), id="HBM"),
    ],
)
def test_region_is_the_box_of_a_view(make: Callable[[], Any], box: tuple[int, ...]) -> None:
    with running():
        assert region(make())[1:] == box


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(Region(1, 0, 4, 0, 8), True, id="itself"),
        pytest.param(Region(2, 0, 4, 0, 8), False, id="another storage"),
        pytest.param(Region(1, 3, 9, 7, 9), True, id="a corner"),
        pytest.param(Region(1, 4, 9, 0, 8), False, id="the next partitions"),
        pytest.param(Region(1, 0, 4, 8, 9), False, id="the next columns"),
    ],
)
def test_regions_overlap_where_they_share_an_element(other: Region, expected: bool) -> None:
    one = Region(1, 0, 4, 0, 8)
    assert one.overlaps(other) is expected
    assert other.overlaps(one) is expected


# ------------------------------------------------------------------------------------------------------- events


def test_consumers_get_every_event_in_order_by_the_end() -> None:
    taken: list[Event] = []
    with observing(taken.append, sequence=True) as seen, running():
        made = nl.exp(ones(4, 8))
        nl.negative(ones(4, 8))
        assert not taken, "the first result may still be placed"
        sbuf(4, 8)[...] = made
    assert [event.instruction.operation for event in taken] == ["exp", "negative"]
    assert taken == seen.events
    assert [one.operation for one in seen] == ["exp", "negative"]


def test_events_of_equal_instructions_share_one_object() -> None:
    first, second = events(lambda: [nl.exp(ones(4, 8)) for _ in range(2)])
    assert first.instruction is second.instruction


def test_events_name_program_and_inputs() -> None:
    with observing(sequence=True) as seen, running(grid=(2, 3), position=(1, 2)):
        source = hbm(np.ones((4, 8)), name="q", dtype=F32)
        nl.load(source)
    (event,) = seen.events
    assert event.program == (1, 2)
    read = event.inputs[event.reads[0].storage]
    assert (read.name, read.shape) == ("q", (4, 8))


def test_refuses_events_that_were_not_kept() -> None:
    with pytest.raises(ValueError, match="sequence=True"):
        _ = Observer().events


def test_counts_are_the_same_whether_events_are_kept_or_not() -> None:
    def body() -> None:
        result_assigned_twice()
        accumulation_in_psum()

    with observing() as counted, running():
        body()
    with observing(sequence=True) as kept, running():
        body()
    assert counted.counts == kept.counts
