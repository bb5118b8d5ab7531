"""Schedules of small kernels, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nkifix.emulator.cost.estimate import estimated_latency_seconds
from nkifix.emulator.cost.profile import COMPILER_COPY
from nkifix.emulator.cost.schedule import DEPENDENT_CYCLES, Scheduler, scheduled
from nkifix.emulator.cost.trace import trace_events
from nkifix.emulator.engines import Engine
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import Event, Input, Observer, Region, observing
from nkifix.emulator.params import Target
from tests.emulator.cost.instructions import access, event, instruction, whole
from tests.emulator.kernels import running

VECTOR, SCALAR, GPSIMD, TENSOR = 1.12e9, 1.4e9, 1.4e9, 2.8e9
SBUF, PSUM, HBM = Space.SBUF, Space.PSUM, Space.HBM


def copy(
    source: int, target: int, *, engine: Engine = Engine.VECTOR, free: int = 512, space: Space = SBUF, program: Any = ()
) -> Event:
    """A copy of ``free`` cycles."""
    one = instruction("tensor_copy", access(128, free, space=space), access(128, free, space=space), engine=engine)
    return event(one, reads=(whole(source),), writes=(whole(target),), program=program)


def load(target: int, *, partitions: int = 128, run_bytes: int = 4096) -> Event:
    """A load of a row of 4096 bytes to a partition."""
    source = access(partitions, 1024, space=HBM, run_bytes=run_bytes)
    return event(instruction("load", access(partitions, 1024), source, engine=Engine.DMA), writes=(whole(target),))


def spans(*events: Event, target: Target = "trn1") -> list[tuple[str, Any, Any]]:
    return [(span.track, span.start, span.end) for span in scheduled(events, target, spans=True).spans]


def test_independent_instructions_of_one_engine_follow_one_another() -> None:
    first, second = spans(copy(1, 2), copy(3, 4))
    assert first == ("Vector", 0.0, pytest.approx(512 / VECTOR))
    assert second == ("Vector", pytest.approx(512 / VECTOR), pytest.approx(1024 / VECTOR))


def test_reader_of_the_instruction_before_pays_for_the_dependence() -> None:
    start = (512 + DEPENDENT_CYCLES) / VECTOR
    assert spans(copy(1, 2), copy(2, 3))[1] == ("Vector", pytest.approx(start), pytest.approx(start + 512 / VECTOR))


def test_reader_of_an_earlier_instruction_does_not() -> None:
    assert spans(copy(1, 2), copy(3, 4), copy(2, 5))[2][1] == pytest.approx(1024 / VECTOR)


def test_overwriting_on_the_same_engine_costs_nothing_extra() -> None:
    assert spans(copy(1, 2), copy(3, 2))[1][1] == pytest.approx(512 / VECTOR)


def test_engines_run_at_the_same_time() -> None:
    assert [start for _, start, _ in spans(copy(1, 2), copy(3, 4, engine=Engine.SCALAR))] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        pytest.param(copy(2, 3, engine=Engine.SCALAR), "reads what was written", id="read after write"),
        pytest.param(copy(3, 1, engine=Engine.SCALAR), "overwrites what was read", id="write after read"),
        pytest.param(copy(3, 2, engine=Engine.SCALAR), "overwrites what was written", id="write after write"),
    ],
)
def test_other_engine_waits_for_what_it_depends_on(second: Event, why: str) -> None:
    assert spans(copy(1, 2), second)[1][1] == pytest.approx(512 / VECTOR), why


def test_reading_what_is_only_read_does_not_wait() -> None:
    assert spans(copy(1, 2), copy(1, 3, engine=Engine.SCALAR))[1][1] == 0.0


def part(storage: int, start: int, end: int) -> Region:
    return Region(storage, 0, 128, start, end)


def touching(reads: Region, writes: Region, engine: Engine) -> Event:
    one = instruction("tensor_copy", access(128, 512), access(128, 512), engine=engine)
    return event(one, reads=(reads,), writes=(writes,))


@pytest.mark.parametrize(
    ("written", "read", "waits"),
    [
        pytest.param((0, 8), (8, 16), False, id="neighbours"),
        pytest.param((0, 8), (0, 8), True, id="the same"),
        pytest.param((0, 8), (7, 16), True, id="one element"),
        pytest.param((4, 8), (0, 16), True, id="a part of what is read"),
        pytest.param((0, 16), (4, 8), True, id="more than is read"),
    ],
)
def test_parts_of_a_tensor_depend_on_each_other_where_they_overlap(written: Any, read: Any, waits: bool) -> None:
    first = touching(part(9, 0, 1), part(1, *written), Engine.VECTOR)
    second = touching(part(1, *read), part(2, 0, 1), Engine.SCALAR)
    assert (spans(first, second)[1][1] > 0) is waits


def test_whole_and_parts_are_told_apart_in_any_order() -> None:
    """A memset of the whole, a write of each half, a read of one half, then of the whole."""
    events = [
        touching(part(9, 0, 1), part(1, 0, 16), Engine.GPSIMD),
        touching(part(9, 0, 1), part(1, 0, 8), Engine.SCALAR),
        touching(part(9, 0, 1), part(1, 8, 16), Engine.VECTOR),
        touching(part(1, 0, 8), part(2, 0, 1), Engine.TENSOR),
        touching(part(1, 0, 16), part(3, 0, 1), Engine.GPSIMD),
    ]
    starts = [start for _, start, _ in spans(*events, target="trn2")]
    first, of_scalar = 512 / 1.2e9, 512 / 1.2e9 * 2
    of_vector = first + 512 / 0.96e9
    assert starts[1:3] == [pytest.approx(first)] * 2
    assert starts[3] == pytest.approx(of_scalar)
    assert starts[4] == pytest.approx(of_vector)


def test_vector_and_gpsimd_share_sbuf_on_neuroncore_v2_only() -> None:
    both = (copy(1, 2), copy(3, 4, engine=Engine.GPSIMD))
    assert spans(*both)[1][1] == pytest.approx(512 / VECTOR)
    assert spans(*both, target="trn2")[1][1] == 0.0


def test_vector_and_scalar_share_psum_on_neuroncore_v2_only() -> None:
    both = (copy(1, 2, space=PSUM), copy(3, 4, engine=Engine.SCALAR, space=PSUM))
    assert spans(*both)[1][1] == pytest.approx(512 / VECTOR)
    assert spans(*both, target="trn2")[1][1] == 0.0
    assert spans(copy(1, 2), copy(3, 4, engine=Engine.SCALAR))[1][1] == 0.0, "they may share SBUF"


def test_scalar_and_gpsimd_share_nothing() -> None:
    assert spans(copy(1, 2, engine=Engine.SCALAR), copy(3, 4, engine=Engine.GPSIMD))[1][1] == 0.0


def test_dma_is_spread_over_all_engines() -> None:
    seen = spans(load(1))
    assert {track for track, _, _ in seen} == {f"DMA {number}" for number in range(16)}
    share = 128 * 4096 / 16 / 17e9
    assert {start for _, start, _ in seen} == {1300e-9}
    assert {end for _, _, end in seen} == {1300e-9 + share}


def test_dma_of_few_descriptors_uses_few_engines() -> None:
    assert len(spans(load(1, partitions=3))) == 3


def test_dma_engines_take_one_part_after_another() -> None:
    first, second = spans(load(1, partitions=16)), spans(load(1, partitions=16), load(2, partitions=16))
    busy = 4096 / 17e9
    assert first[0][2] == pytest.approx(1300e-9 + busy)
    assert max(end for _, _, end in second) == pytest.approx(1300e-9 + 2 * busy)


def test_consumer_of_a_load_waits_for_all_its_parts() -> None:
    assert spans(load(1), copy(1, 2))[-1][1] == pytest.approx(1300e-9 + 128 * 4096 / 16 / 17e9)


def test_helper_copy_comes_before_what_needs_it() -> None:
    one = instruction("affine_select", access(128, 512), access(128, 512, space=PSUM), engine=Engine.GPSIMD)
    made = scheduled([event(one, reads=(whole(1),), writes=(whole(2),))], "trn2", spans=True).spans
    assert [(span.track, span.kind) for span in made] == [("Vector", COMPILER_COPY), ("GpSimd", "affine_select")]
    assert made[1].start == made[0].end == pytest.approx(512 / 0.96e9)


def test_store_from_psum_is_copied_first() -> None:
    one = instruction("store", access(128, 512, space=HBM), access(128, 512, space=PSUM), engine=Engine.DMA)
    made = scheduled([event(one, reads=(whole(1),), writes=(whole(2),))], "trn1", spans=True).spans
    assert made[0].kind == COMPILER_COPY
    assert made[1].start == pytest.approx(512 / VECTOR + 1300e-9)


def test_instruction_without_a_formula_takes_no_time_but_keeps_order() -> None:
    unknown = event(instruction("softmax", access(128, 512), access(128, 512)), reads=(whole(2),), writes=(whole(3),))
    made = spans(copy(1, 2), unknown, copy(3, 4, engine=Engine.SCALAR))
    assert len(made) == 2
    assert made[1][1] == pytest.approx(512 / VECTOR)


def test_programs_run_one_after_another() -> None:
    made = spans(copy(1, 2, program=(0,)), copy(3, 4, engine=Engine.SCALAR, program=(1,)))
    assert made[1][1] == pytest.approx(512 / VECTOR)


def test_inputs_are_there_from_the_start_and_wait_once_written() -> None:
    given = {7: Input("x", (128, 64))}
    reader = copy(7, 1)._replace(inputs=given)
    writer = copy(2, 7, engine=Engine.SCALAR)._replace(inputs=given)
    again = copy(7, 3, engine=Engine.GPSIMD)._replace(inputs=given)
    starts = [start for _, start, _ in spans(reader, writer, again, target="trn2")]
    assert starts[:2] == [0.0, 0.0]
    assert starts[2] == pytest.approx(512 / 1.2e9)


def test_latency_is_the_end_of_the_last_instruction() -> None:
    schedule = scheduled([copy(1, 2), copy(3, 4, engine=Engine.SCALAR)], "trn1")
    assert schedule.latency_seconds == pytest.approx(512 / VECTOR)
    assert schedule.spans == []
    assert scheduled([], "trn1").latency_seconds == 0.0


def test_scheduler_gives_what_it_has_so_far() -> None:
    scheduler = Scheduler("trn1")
    scheduler(copy(1, 2))
    first = scheduler.schedule.latency_seconds
    scheduler(copy(3, 4))
    assert scheduler.schedule.latency_seconds == pytest.approx(2 * first)


# ------------------------------------------------------------------------------------------------------- estimate


def test_estimate_takes_events_or_an_observer() -> None:
    events = [copy(1, 2)]
    assert estimated_latency_seconds(events, "trn1") == pytest.approx(512 / VECTOR)
    with observing(sequence=True) as seen, running():
        pass
    assert estimated_latency_seconds(seen, "trn1") == 0.0


def test_refuses_to_estimate_without_a_sequence() -> None:
    with pytest.raises(ValueError, match="sequence=True"):
        estimated_latency_seconds(Observer(), "trn1")


# ---------------------------------------------------------------------------------------------------------- trace


def test_trace_has_the_fields_that_viewers_need() -> None:
    trace = trace_events(scheduled([load(1), copy(1, 2)], "trn1", spans=True), {"kernel.py": "attention.py"})
    events = trace["traceEvents"]
    assert trace["otherData"]["estimated"] is True
    assert {one["ph"] for one in events} == {"M", "X"}
    named = {one["tid"]: one["args"]["name"] for one in events if one["name"] == "thread_name"}
    assert list(named.values()) == ["Vector", *(f"DMA {number}" for number in range(16))]
    assert {one["name"] for one in events if one["ph"] == "M"} == {"process_name", "thread_name", "thread_sort_index"}
    complete = [one for one in events if one["ph"] == "X"]
    assert len(complete) == 17
    for one in complete:
        assert set(one) == {"ph", "pid", "tid", "name", "cat", "ts", "dur", "args"}
        assert one["tid"] in named
        assert one["dur"] > 0
        assert set(one["args"]) == {"function", "at", "result", "operands"}
        assert one["args"]["at"] == "attention.py:1"
    last = complete[-1]
    assert (last["name"], last["cat"], named[last["tid"]]) == ("tensor_copy", "Vector", "Vector")
    assert last["ts"] == pytest.approx(1.3 + 128 * 4096 / 16 / 17e9 * 1e6)
    assert last["dur"] == pytest.approx(512 / VECTOR * 1e6)
    assert last["args"]["result"] == "128x512 float32 sbuf"
