"""Calls that are repeated without being executed: nobody who watches can tell."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import Params, repeats
from nkifix.emulator.cost.schedule import Scheduler
from nkifix.emulator.faults import EmulatorWarning, KernelFault
from nkifix.emulator.footprint import Footprint, measuring
from nkifix.emulator.frontends.legacy import compiler as ncc
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.machine import Launch
from nkifix.emulator.observe import Event, Instruction, Region, RepeatedCall, observing

F32 = np.float32
helper = nki.jit(mode="trace")


class Told:
    """Takes events one by one, or a call at once, and tells both in the same words."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.repeated = 0
        self._names: dict[object, int] = {}

    def __call__(self, event: Event) -> None:
        self._tell(event.instruction, event.program, event.reads, event.writes)

    def repeat(self, call: RepeatedCall) -> None:
        self.repeated += 1
        regions: dict[int, Any] = dict(call.others)
        for number, region in enumerate(call.repetition.regions):
            if region is not None:
                regions[number] = region._replace(storage=(self.repeated, region.storage))  # type: ignore[arg-type]
        for one, reads, writes in call.repetition.steps:
            self._tell(one, call.program, [regions[n] for n in reads], [regions[n] for n in writes])

    def _tell(self, one: Instruction, program: object, reads: Sequence[Region], writes: Sequence[Region]) -> None:
        named = [
            tuple([(self._names.setdefault(region.storage, len(self._names)), *region[1:]) for region in regions])
            for regions in (reads, writes)
        ]
        self.events.append((one, program, *named))


class Seen(NamedTuple):
    """All that can be seen of a launch."""

    events: list[object]
    counts: Counter[Instruction]
    latency_seconds: float
    footprint: Footprint
    warned: list[str]
    fault: str


@contextmanager
def never() -> Iterator[None]:
    """Nothing is repeated inside."""
    prepare = Launch.__post_init__

    def without(self: Launch) -> None:
        prepare(self)
        self.repeats = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Launch, "__post_init__", without)
        yield


def launch(kernel: Any, *args: Any, grid: tuple[int, ...] = (), **params: Any) -> tuple[Seen, int]:
    """What is seen of a launch without arithmetic, and how many calls were repeated."""
    from nkifix.emulator import machine

    told, scheduler, fault = Told(), Scheduler("trn1"), ""
    with warnings.catch_warnings(record=True) as warned, machine.using(Params(arithmetic=False, workers=1, **params)):
        warnings.simplefilter("always", EmulatorWarning)
        with measuring() as footprints, observing(told, scheduler) as observer:
            try:
                (kernel[grid] if grid else kernel)(*args)
            except KernelFault as caught:
                fault = str(caught)
    messages = [f"{one.filename}:{one.lineno} {one.message}" for one in warned]
    latency = scheduler.schedule.latency_seconds
    return Seen(told.events, observer.counts, latency, footprints[-1], messages, fault), told.repeated


def same(kernel: Any, *args: Any, **choices: Any) -> int:
    """Launch with and without repeats, and compare; how many calls were repeated."""
    seen, repeated = launch(kernel, *args, **choices)
    with never():
        expected, none = launch(kernel, *args, **choices)
    assert none == 0
    for name, one, other in zip(Seen._fields, seen, expected, strict=True):
        assert one == other, name
    return repeated


def x(*shape: int) -> Any:
    return np.zeros(shape or (8, 256), dtype=F32)


@dataclass(frozen=True)
class Settings:
    """Constants that a kernel passes around."""

    size: int
    halves: tuple[int, ...] = (1, 2)
    dtype: Any = F32


class Tile(NamedTuple):
    """Variables that a kernel passes around."""

    number: Any
    rows: int


# ------------------------------------------------------------------- helpers, each with one way to depend on more


@helper
def scale(out: Any, tile: Any, i: Any) -> None:
    """The plain case: a fresh tile, a part of an argument by a loop's index."""
    part = nl.ndarray((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
    part[:, :] = nl.multiply(tile[:, nl.ds(i * 16, 16)], 2.0)
    out[:, nl.ds(i * 16, 16)] = nl.add(part, part)


@helper
def branches(out: Any, tile: Any, i: Any) -> None:
    if i * 16 >= 128:
        scale(out, tile, i)
    elif i > 2:
        out[:, nl.ds(i * 16, 16)] = nl.exp(tile[:, nl.ds(i * 16, 16)])


@helper
def loops_over(out: Any, tile: Any, i: Any) -> None:
    for j in nl.affine_range(4):
        if i * 4 + j != 5:
            out[:, nl.ds(i * 16 + 4 * j, 4)] = nl.copy(tile[:, nl.ds(i * 16 + j, 4)])


@helper
def as_often_as_the_index(out: Any, tile: Any, i: Any) -> None:
    for _ in range(i % 3):
        out[:, nl.ds(i * 16, 16)] = nl.exp(tile[:, nl.ds(0, 16)])
    out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(0, 16)])


@helper
def from_a_list(out: Any, tile: Any, i: Any) -> None:
    functions = [nl.exp, nl.square, nl.tanh]
    out[:, nl.ds(i * 16, 16)] = functions[i % 3](tile[:, nl.ds(0, 16)])


@helper
def selects(out: Any, tile: Any, i: Any) -> None:
    row, column = nl.mgrid[0:8, 0:16]
    out[:, nl.ds(i * 16, 16)] = nisa.affine_select(
        pred=(i * 4 + row >= 12 + column), on_true_tile=tile[:, nl.ds(i * 16, 16)], on_false_value=0.0
    )


@helper
def masks(out: Any, tile: Any, i: Any) -> None:
    row, column = nl.mgrid[0:8, 0:16]
    part = nl.zeros((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
    part[row, column] = nl.exp(tile[row, column + i * 16], mask=(i * 4 + row >= 12 + column))
    out[:, nl.ds(i * 16, 16)] = nl.copy(part)


@helper
def out_of_bounds(out: Any, tile: Any, i: Any) -> None:
    row, column = nl.mgrid[0:8, 0:16]
    part = nl.zeros((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
    part[row, column] = nl.exp(tile[row, column + i * 17], mask=(column + i * 17 < 256))
    out[:, nl.ds(i * 16, 16)] = nl.copy(part)


@helper
def sums(out: Any, tile: Any, i: Any) -> None:
    total = nl.ndarray((nl.par_dim(8), 1), dtype=F32, buffer=nl.sbuf)
    out[:, nl.ds(i * 16, 16)] = nisa.activation_reduce(
        np.exp, tile[:, nl.ds(i * 16, 16)], reduce_op=nl.add, reduce_res=total[:, 0], dtype=F32
    )


@helper
def multiplies(out: Any, tile: Any, i: Any) -> None:
    product = nl.zeros((nl.par_dim(16), 16), dtype=F32, buffer=nl.psum)
    for j in nl.affine_range(2):
        product[:, :] += nl.matmul(tile[:, nl.ds(i * 8, 16)], tile[:, nl.ds(j * 16, 16)], transpose_x=True)
    turned = nisa.nc_transpose(nl.copy(product))
    out[:, nl.ds(i * 16, 16)] = nl.copy(turned[0:8, :])


@helper
def slices(out: Any, tile: Any, i: Any) -> None:
    out[:, i * 16 : i * 16 + 16] = nl.copy(tile[0:8, i * 8 : 16 + i * 8])


@helper
def partitions(out: Any, tile: Any, i: Any) -> None:
    part = nl.ndarray((nl.par_dim(64), 16), dtype=F32, buffer=nl.sbuf)
    part[:, :] = 1.0
    out[:, nl.ds(i * 16, 16)] = nl.copy(part[nl.ds((i % 2) * 32, 8), :])


@helper
def grows_the_tile(out: Any, tile: Any, i: Any) -> None:
    part = nl.ndarray((nl.par_dim(8), i + 1), dtype=F32, buffer=nl.sbuf)
    part[:, :] = 1.0
    out[:, nl.ds(i * 16, 1)] = nl.copy(part[:, i])


@helper
def warns(out: Any, tile: Any, i: Any) -> None:
    product = nl.ndarray((nl.par_dim(16), 16), dtype=F32, buffer=nl.psum)
    product[:, :] = nl.matmul(tile[:, nl.ds(0, 16)], tile[:, nl.ds(0, 16)], transpose_x=True)
    row, column = nl.mgrid[0:16, 0:16]
    chosen = nisa.affine_select(pred=(row >= column + i * 0), on_true_tile=product, on_false_value=0.0)
    out[:, nl.ds(i * 16, 16)] = nl.copy(chosen[0:8, :])


REPEATED = [
    scale,
    branches,
    loops_over,
    as_often_as_the_index,
    from_a_list,
    selects,
    masks,
    sums,
    multiplies,
    slices,
    partitions,
    out_of_bounds,
    warns,
]


def loaded(x: Any) -> Any:
    tile = nl.ndarray((nl.par_dim(x.shape[0]), x.shape[1]), dtype=F32, buffer=nl.sbuf)
    tile[:, :] = nl.load(x)
    return tile


def kernel_of(body: Any, *, loop: Any = nl.affine_range, count: int = 15) -> Any:
    """A kernel that calls ``body`` once for each part of a tile, twice over."""

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(2):
            for i in loop(count):
                body(out, tile, i)
        nl.store(o, out)
        return o

    return nki.jit(kernel)


@pytest.mark.parametrize("loop", [nl.affine_range, nl.sequential_range, nl.static_range])
@pytest.mark.parametrize("body", REPEATED, ids=lambda body: body.__name__)
def test_repeated_calls_look_as_if_they_were_executed(body: Any, loop: Any) -> None:
    repeated = same(kernel_of(body, loop=loop), x())
    assert repeated >= 14  # of thirty


def test_value_that_is_needed_is_told_apart() -> None:
    assert same(kernel_of(grows_the_tile), x()) == 14  # the second time over, but for what was called first


@pytest.mark.parametrize("body", REPEATED, ids=lambda body: body.__name__)
def test_on_a_grid(body: Any) -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((2, 8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        number = nl.program_id(0)
        tile = loaded(x[number])
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(6):
            body(out, tile, i)
        nl.store(o[number], out)
        return o

    assert same(nki.jit(kernel), x(2, 8, 256), grid=(2,)) >= 5


# ----------------------------------------------------------------------------------------- kinds of arguments


def test_settings_tuples_and_names() -> None:
    @helper
    def work(out: Any, tile: Any, *, where: Tile, settings: Settings, pair: Any, function: Any) -> None:
        first, width = pair
        if settings.size == width and where.rows in settings.halves:
            part = nl.copy(tile[:, nl.ds(where.number * 16, width)], dtype=settings.dtype)
            out[:, nl.ds(first, width)] = function(part)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.sequential_range(8):
            for rows in (1, 2, 3):
                for size in (16, 8):
                    work(
                        out,
                        tile,
                        where=Tile(i, rows),
                        settings=Settings(size),
                        pair=(i * 16 + rows * 4, 16),
                        function=nl.exp if rows == 1 else nl.square,
                    )
        nl.store(o, out)
        return o

    # Recorded is each of the six kinds of call, and where they read the tile at its beginning; the first is measured.
    assert same(nki.jit(kernel), x()) == 6 * 8 - 6 - 2


def test_same_numbers_of_other_types_are_told_apart() -> None:
    @helper
    def work(out: Any, i: Any, factor: Any) -> None:
        if isinstance(factor, bool):
            out[:, nl.ds(i, 4)] = 1.0
        out[:, nl.ds(i + 4, 4)] = nl.multiply(out[:, nl.ds(i + 4, 4)], factor)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.sequential_range(3):
            for factor in (1, 1.0, True):
                work(out, i * 8, factor)
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) == 9 - 1 - 3


def test_tensors_that_are_one_are_told_apart() -> None:
    @helper
    def work(a: Any, b: Any) -> None:
        a[:, :] = nl.exp(b)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 16), dtype=x.dtype, buffer=nl.shared_hbm)
        one, other = loaded(x), loaded(x)
        for _ in nl.sequential_range(3):
            work(one, other)
            work(one, one)
            work(other, one)
        nl.store(o, one)
        return o

    assert same(nki.jit(kernel), x(8, 16)) == 9 - 1 - 3  # the first of all, and each line's


def test_result_that_was_not_read_yet() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(3):
            tile = nl.load(x)  # the first reader gives it a place of its own
            for i in nl.affine_range(4):
                scale(out, tile, i)
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) == 12 - 3 - 1


def test_result_that_has_no_place_of_its_own_yet() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, out = loaded(x), nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(4):
            made = nl.exp(tile)
            out[:, :] = made  # the result was placed there: who reads it again is the first to need a place for it
            for i in nl.affine_range(3):
                scale(out, made, i + 1)
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) == 12 - 1 - 4


def test_parts_of_tensors() -> None:
    @helper
    def body(out: Any, part: Any) -> None:
        out[:, :] = nl.exp(part[:, nl.ds(4, 8)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, out = loaded(x), nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(12):
            body(out[:, nl.ds(i * 8 + 8, 8)], tile[:, nl.ds(i * 16 + 16, 16)])
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) == 12 - 1 - 1


def test_registers_that_hold_nothing() -> None:
    @helper
    def reduce(total: Any, tile: Any, i: Any) -> None:
        nisa.activation(
            np.exp,
            tile[:, nl.ds(i * 16, 16)],
            reduce_op=nl.add,
            reduce_cmd=nisa.reduce_cmd.reduce,
            reduce_res=total[:, 0],
        )

    def kernel(x: Any) -> Any:
        o = nl.ndarray((2, 8, 1), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, total = loaded(x), nl.zeros((nl.par_dim(8), 1), dtype=F32, buffer=nl.sbuf)
        other = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        if nl.program_id(0) == 0:
            other[:, :] = nisa.activation(np.exp, tile, reduce_op=nl.add, reduce_cmd=nisa.reduce_cmd.reset_reduce)
        for i in nl.sequential_range(6):
            reduce(total, tile, i)
        nl.store(o[nl.program_id(0)], total)
        return o

    seen, _ = launch(nki.jit(kernel), x(), grid=(2,))
    assert "undefined" in seen.fault
    same(nki.jit(kernel), x(), grid=(2,))


def test_registers_that_a_call_sets_first() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((3, 8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, out = loaded(x), nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(4):
            sums(out, tile, i)
        nl.store(o[nl.program_id(0)], out)
        return o

    # Measured, then recorded; in the second program, recorded where the registers hold nothing.
    assert same(nki.jit(kernel), x(), grid=(3,)) == 12 - 1 - 1 - 1


def test_loops_around_a_call_decide_what_is_noted() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds(0, 16)] = nl.copy(tile[:, nl.ds(i * 16 + 16, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, out = loaded(x), nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for loop in (nl.sequential_range, nl.affine_range):
            for i in loop(5):
                body(out, tile, i)
        nl.store(o, out)
        return o

    seen, _ = launch(nki.jit(kernel), x())
    assert "err_unexpected_output_dependencies" in seen.fault
    same(nki.jit(kernel), x())


@pytest.mark.parametrize("masked", [False, True])
def test_masked_and_scattered_writes(masked: bool) -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        row, column = nl.mgrid[0:8, 0:16]
        if masked:
            out[row, column + i * 16] = nl.exp(tile[row, column], mask=(column < 8))
        else:
            out[row, column + i * 16 + 8] = nl.exp(tile[row, column], mask=(column + i * 16 + 8 < 256))

    assert bool(same(kernel_of(body, count=16), x())) == (not masked)


def test_settings_that_may_change_are_not_described() -> None:
    @dataclass
    class Open:
        size: int

    @helper
    def body(out: Any, tile: Any, i: Any, open_settings: Any) -> None:
        out[:, nl.ds(i * 16, open_settings.size)] = nl.copy(tile[:, nl.ds(i * 16, open_settings.size)])

    chosen = Open(4)

    def changing(out: Any, tile: Any, i: Any) -> None:
        chosen.size = 4 + i
        body(out, tile, i, chosen)

    unrepeatable(changing)


def test_index_that_a_helper_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that was given up leaves traced numbers behind, which are as good as indices."""
    monkeypatch.setattr(repeats, "MOST_INSTRUCTIONS", 4)

    @helper
    def inner(total: Any, tile: Any, i: Any) -> None:
        total[:, :] = nl.loop_reduce(nl.copy(tile[:, nl.ds(i * 16, 16)]), op=np.add, loop_indices=[i])

    @helper
    def outer(total: Any, tile: Any, i: Any, count: Any) -> None:
        for _ in range(count):
            total[:, :] = nl.add(total, tile[:, nl.ds(i * 16, 16)])
        inner(total, tile, i)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 16), dtype=x.dtype, buffer=nl.shared_hbm)
        tile, total = loaded(x), nl.zeros((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
        for i in nl.sequential_range(6):
            outer(total, tile, i, i * 6)  # the first call is short, the others are not
        nl.store(o, total)
        return o

    same(nki.jit(kernel), x())


def test_records_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MOST_RECORDED", 3)
    assert 0 < same(kernel_of(grows_the_tile), x()) < 10


def test_tensor_in_a_list_is_not_described() -> None:
    @helper
    def work(tiles: list[Any], i: Any) -> None:
        tiles[i % 2][:, nl.ds(i, 4)] = nl.exp(tiles[1][:, nl.ds(i, 4)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tiles = [nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf) for _ in range(2)]
        for i in nl.sequential_range(6):
            work(tiles, i)
        nl.store(o, tiles[0])
        return o

    assert same(nki.jit(kernel), x()) == 0


# ------------------------------------------------------------------------ what depends on more, or does more


def unrepeatable(body: Any, *, count: int = 6, **choices: Any) -> None:
    assert same(kernel_of(body, count=count), x(), **choices) == 0


def test_result_that_is_returned() -> None:
    @helper
    def made(tile: Any, i: Any) -> Any:
        return nl.exp(tile[:, nl.ds(i * 16, 16)]), i + 1, tile[:, nl.ds(i * 16, 16)]

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        result, after, part = made(tile, i)
        out[:, nl.ds((after - 1) * 16, 16)] = nl.add(result, part)

    seen, _ = launch(kernel_of(made_and_used(made)), x())
    with never():
        assert seen == launch(kernel_of(made_and_used(made)), x())[0]
    assert same(kernel_of(body), x()) >= 15


def made_and_used(made: Any) -> Callable[..., None]:
    def plain_body(out: Any, tile: Any, i: Any) -> None:
        result, after, part = made(tile, i)
        assert type(after) is type(i + 1)
        assert type(part.offset) is int or part.offset == i * 16
        out[:, nl.ds(i * 16, 16)] = nl.add(result, part)

    return plain_body


def test_tensor_that_is_kept_outside() -> None:
    kept = []

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        kept.append(nl.exp(tile[:, nl.ds(i * 16, 16)]))
        out[:, nl.ds(i * 16, 16)] = nl.copy(kept[-1])

    unrepeatable(body)
    assert len(kept) == 24


def test_tensor_that_is_found_outside() -> None:
    found: list[Any] = []

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.exp(found[-1][:, nl.ds(i * 16, 16)])

    def with_tile(out: Any, tile: Any, i: Any) -> None:
        found.append(tile)
        body(out, out, i)

    unrepeatable(with_tile)


def test_result_that_nothing_reads() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        nl.exp(tile[:, nl.ds(i * 16, 16)])
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    unrepeatable(body)


def test_program_id_inside() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds((i + nl.program_id(0)) * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((2, 8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.load(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(6):
            body(out, tile, i)
        nl.store(o[nl.program_id(0)], out)
        return o

    assert same(nki.jit(kernel), x(), grid=(2,)) == 0


def test_random_numbers_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        nl.device_print("here", 1)
        out[:, nl.ds(i * 16, 16)] = nl.rand((8, 16))

    def seeded(out: Any, tile: Any, i: Any) -> None:
        nl.random_seed(1)
        body(out, tile, i)

    unrepeatable(seeded)
    assert capsys.readouterr().out.count("here") == 24


def test_direct_allocation() -> None:
    @helper
    def body(out: Any, i: Any) -> None:
        part = nl.ndarray((nl.par_dim(8), 16), dtype=F32, buffer=ncc.sbuf.mod_alloc(base_addr=4096))
        part[:, :] = nl.copy(out[:, nl.ds(i * 16, 16)])
        out[:, nl.ds(i * 16, 16)] = nl.exp(part)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        out = nl.ndarray((nl.par_dim(8), 256), dtype=F32, buffer=ncc.sbuf.mod_alloc(base_addr=0))
        out[:, :] = nl.load(x)
        for i in nl.sequential_range(6):
            body(out, i)
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) == 0


def test_reduction_over_loops() -> None:
    @helper
    def body(total: Any, tile: Any, i: Any) -> None:
        total[:, :] = nl.loop_reduce(nl.copy(tile[:, nl.ds(i * 16, 16)]), op=np.add, loop_indices=[i])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 16), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.load(x)
        total = nl.zeros((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(6):
            body(total, tile, i)
        nl.store(o, total)
        return o

    assert same(nki.jit(kernel), x()) == 0


def test_shuffled_iterations() -> None:
    assert same(kernel_of(scale), x(), order="shuffled", seed=3) == 0


def test_too_many_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST_INSTRUCTIONS", 3)

    @helper
    def outer(out: Any, tile: Any, i: Any) -> None:
        for _ in nl.sequential_range(2):
            scale(out, tile, i)
            loops_over(out, tile, i)  # four instructions: never recorded, but executed

    assert same(kernel_of(outer), x()) > 15


def test_helper_whose_calls_never_repeat_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MOST_IN_VAIN", 3)
    assert same(kernel_of(grows_the_tile), x()) == 0


# ------------------------------------------------------------------------------------- rules that calls break


def test_iterations_that_write_one_element() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        place = i * 16
        if i == 9:
            place = 3 * 16
        out[:, nl.ds(place, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    def clash(out: Any, tile: Any, i: Any) -> None:
        scale(out, tile, i if i < 9 else i - 6)

    for one in (body, clash):
        seen, _ = launch(kernel_of(one), x())
        assert "err_unexpected_output_dependencies" in seen.fault
        same(kernel_of(one), x())


def test_programs_that_write_one_element() -> None:
    @helper
    def store(o: Any, tile: Any, i: Any) -> None:
        nl.store(o[:, nl.ds(i * 16, 16)], tile[:, nl.ds(i * 16, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.load(x)
        for i in nl.affine_range(16):
            store(o, tile, i)
        return o

    same(nki.jit(kernel), x(), grid=(2,))


def test_elements_that_were_never_written() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.ndarray((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        tile[:, nl.ds(0, 96)] = nl.load(x[:, nl.ds(0, 96)])
        out = nl.ndarray((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(16):
            body(out, tile, i)
        nl.store(o, out)
        return o

    seen, _ = launch(nki.jit(kernel), x())
    assert seen.fault
    same(nki.jit(kernel), x())


def test_index_that_leaves_the_bounds() -> None:
    def beyond(out: Any, tile: Any, i: Any) -> None:
        scale(out, tile, i + 3)

    seen, _ = launch(kernel_of(beyond), x())
    assert "err_tensor_access_out_of_bound" in seen.fault
    same(kernel_of(beyond), x())


def test_partition_that_an_instruction_cannot_start_at() -> None:
    @helper
    def body(out: Any, part: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.copy(part[nl.ds(i * 16, 8), :])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        part = nl.zeros((nl.par_dim(128), 16), dtype=F32, buffer=nl.sbuf)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(4):
            body(out, part, i * 2)
        for i in nl.affine_range(4):
            body(out, part, i + 8)
        nl.store(o, out)
        return o

    seen, _ = launch(nki.jit(kernel), x())
    assert seen.fault
    same(nki.jit(kernel), x())


def test_argument_that_is_stored_into() -> None:
    @helper
    def store(o: Any, tile: Any, i: Any) -> None:
        nl.store(o[:, nl.ds(i * 16, 16)], tile[:, nl.ds(i * 16, 16)])

    def kernel(x: Any, o: Any) -> None:
        tile = nl.load(x)
        for i in nl.affine_range(16):
            store(o, tile, i)

    assert same(nki.jit(kernel), x(), x()) == 0


def test_inner_iterations_that_write_one_element_only_later() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any, j: Any) -> None:
        for k in nl.affine_range(2):
            if k == 0:
                out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(0, 16)])
            else:
                out[:, nl.ds(j * 16, 16)] = nl.copy(tile[:, nl.ds(0, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.sequential_range(4):
            for j in nl.sequential_range(2):
                body(out, tile, i + 1, j * 4 + 3 - j)
        nl.store(o, out)
        return o

    seen, _ = launch(nki.jit(kernel), x())
    assert "err_unexpected_output_dependencies" in seen.fault
    same(nki.jit(kernel), x())


def test_elements_that_a_call_writes_first() -> None:
    @helper
    def fill(part: Any, tile: Any, i: Any) -> None:
        part[:, nl.ds(0, 8)] = nl.copy(tile[:, nl.ds(i * 16, 8)])

    @helper
    def fill_the_rest(part: Any, tile: Any, i: Any) -> None:
        part[:, nl.ds(8, 8)] = nl.copy(tile[:, nl.ds(i * 16, 8)])

    def kernel(x: Any, until: int) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        for i in nl.affine_range(16):
            part = nl.ndarray((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
            fill(part, tile, i)
            if i < until:
                fill_the_rest(part, tile, i)
            nl.store(o[:, nl.ds(i * 16, 16)], part)
        return o

    assert same(nki.jit(kernel), x(), 16) == 28
    seen, _ = launch(nki.jit(kernel), x(), 9)
    assert seen.fault
    same(nki.jit(kernel), x(), 9)


def test_place_where_memory_overflows() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        part = nl.ndarray((nl.par_dim(8), 16 * 1024), dtype=F32, buffer=nl.sbuf)
        part[:, nl.ds(0, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])
        out[:, nl.ds(i * 16, 16)] = nl.copy(part[:, nl.ds(0, 16)])

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        held = []
        for i in nl.sequential_range(16):
            held.append(nl.zeros((nl.par_dim(8), 2048), dtype=F32, buffer=nl.sbuf))
            body(out, tile, i)
        nl.store(o, out)
        return o

    seen, repeated = launch(nki.jit(kernel), x())
    assert repeated > 10
    assert seen.footprint.spill is not None
    same(nki.jit(kernel), x())


# ---------------------------------------------------------------------------------------------- any call at all


class Step(NamedTuple):
    """One statement of a helper: numbers to choose places by, where it reads, and the two columns that it writes."""

    a: int
    at: Any
    place: Any
    j: Any


def fresh(out: Any, tile: Any, s: Step) -> None:
    part = nl.ndarray((nl.par_dim(8), 2 + s.a), dtype=F32, buffer=nl.sbuf)
    part[:, :] = nl.square(tile[:, nl.ds(s.at, 2 + s.a)])
    out[:, nl.ds(s.place, 2)] = nl.add(part[:, nl.ds(s.a, 2)], tile[:, nl.ds(s.at, 2)])


def loop(out: Any, tile: Any, s: Step) -> None:
    for k in nl.affine_range(2):
        out[:, nl.ds(s.place + k, 1)] = nl.copy(tile[:, nl.ds(s.at + k * s.a, 1)])


def condition(out: Any, tile: Any, s: Step) -> None:
    if s.at >= 20 or s.j == s.a:
        out[:, nl.ds(s.place, 2)] = 1.0


def select(out: Any, tile: Any, s: Step) -> None:
    row, column = nl.mgrid[0:8, 0:2]
    out[:, nl.ds(s.place, 2)] = nisa.affine_select(
        pred=(row + s.at >= column + 16), on_true_tile=tile[:, nl.ds(s.at, 2)], on_false_value=0.0
    )


def copy(out: Any, tile: Any, s: Step) -> None:
    out[:, nl.ds(s.place, 2)] = nl.copy(tile[:, nl.ds(s.at, 2)])


def exponential(out: Any, tile: Any, s: Step) -> None:
    out[:, s.place : s.place + 2] = nl.exp(tile[:, s.at : s.at + 2])


def total(out: Any, tile: Any, s: Step) -> None:
    out[:, s.place] = nl.sum(tile[:, nl.ds(s.at, 2 + s.a)], axis=1)


STEPS: list[Callable[[Any, Any, Step], None]] = [copy, exponential, fresh, loop, condition, select, total]
Body = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=6)


def body_of(steps: list[tuple[Callable[[Any, Any, Step], None], int, int]]) -> Any:
    chosen = tuple(steps)

    @helper
    def body(out: Any, tile: Any, i: Any, j: Any) -> None:
        for number, (step, a, b) in enumerate(chosen):
            step(out, tile, Step(a, i * a * 4 + j * 2 + b, i * 16 + 2 * number, j))

    return body


@settings(deadline=None, max_examples=60)
@given(Body, st.integers(1, 6), st.integers(1, 3))
def test_any_helper(steps: list[tuple[Callable[[Any, Any, Step], None], int, int]], count: int, inner: int) -> None:
    body = body_of(steps)

    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = nl.load(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(count):
            for j in nl.sequential_range(inner):
                body(out, tile, i, j)
        nl.store(o, out)
        return o

    same(nki.jit(kernel), x())


def test_helper_that_returns_something_only_later() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> Any:
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])
        return (i, i + 1, tile[:, nl.ds(i * 16, 8)]) if i > 5 else None

    def using(out: Any, tile: Any, i: Any) -> None:
        returned = body(out, tile, i)
        if returned is not None:
            same_index, following, part = returned
            assert type(same_index) is type(i)
            assert type(following) is type(i + 1)
            out[:, nl.ds((following - 1) * 16, 8)] = nl.exp(part)

    assert same(kernel_of(using), x()) > 2
