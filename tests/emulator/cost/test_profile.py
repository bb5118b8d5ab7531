"""Sums: of lines, of engines, of kinds, over launches, programs and processes."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkifix.emulator.cost.profile import COMPILER_COPY, COMPUTE_ENGINES, Profile, Use, transfer
from nkifix.emulator.engines import Engine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import Accessed, Instruction, observing
from nkifix.emulator.params import Target
from tests.emulator.cost.instructions import BF16, access, instruction

HBM = Space.HBM
SPACES = st.sampled_from([Space.SBUF, Space.PSUM])
OPERATIONS = ["tensor_copy", "exp", "affine_select", "tensor_partition_reduce", "add", "load", "nc_matmul", "memset"]
ENGINES = {"affine_select": Engine.GPSIMD, "tensor_partition_reduce": Engine.GPSIMD, "load": Engine.DMA}


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    operation = draw(st.sampled_from(OPERATIONS))
    free = draw(st.integers(1, 600))
    space = HBM if operation == "load" else draw(SPACES)
    operands = [access(128, free, space=space, run_bytes=draw(st.sampled_from([4, 512, 4096])))]
    engine = Engine.TENSOR if operation == "nc_matmul" else ENGINES.get(operation, Engine.VECTOR)
    result = access(128, free)
    operands *= 2 if operation in ("nc_matmul", "add") else 1
    return instruction(operation, result, *operands, engine=engine, line=draw(st.integers(1, 3)))


COUNTS = st.dictionaries(instructions(), st.integers(1, 50), max_size=8)
TARGETS: Any = st.sampled_from(["trn1", "trn2"])


def added(uses: Any) -> tuple[dict[Engine, int], dict[Engine, float], int]:
    executed: Counter[Engine] = Counter()
    cycles: dict[Engine, float] = {}
    dma_bytes = 0
    for use in uses:
        executed.update(use.executed)
        for engine, number in use.cycles.items():
            cycles[engine] = cycles.get(engine, 0.0) + number
        dma_bytes += use.dma_bytes
    return dict(executed), cycles, dma_bytes


def assert_equal_use(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    assert one[1] == pytest.approx(other[1])
    assert one[2] == other[2]


@given(COUNTS, TARGETS)
def test_lines_and_kinds_add_up_to_the_total(counts: dict[Instruction, int], target: Target) -> None:
    profile = Profile.of(counts, target)
    total = added([profile.total])
    assert_equal_use(added(profile.lines.values()), total)
    assert_equal_use(added(profile.kinds.values()), total)
    assert sum(row.total_bytes for row in profile.transfers) == profile.total.dma_bytes == profile.loaded_bytes
    copies = profile.kinds.get(COMPILER_COPY, Use()).count
    assert profile.total.count == sum(counts.values()) + copies


@given(COUNTS, COUNTS, TARGETS)
def test_two_launches_cost_what_each_costs(first: Any, second: Any, target: Target) -> None:
    both = Profile.of(Counter(first) + Counter(second), target)
    apart = [Profile.of(first, target), Profile.of(second, target)]
    assert_equal_use(added([both.total]), added(profile.total for profile in apart))
    assert both.uncosted == apart[0].uncosted + apart[1].uncosted
    for line, use in both.lines.items():
        assert_equal_use(added([use]), added(profile.lines.get(line, Use()) for profile in apart))


def kernel_in_programs(x: Any) -> Any:
    """Programs do different work: a matmul each, and as many exponentials as their number says."""
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    tile = nl.load(x[nl.program_id(0)])
    for _ in range(int(nl.program_id(0))):
        tile = nl.exp(tile)
    product = nl.ndarray((64, 64), np.float32, buffer=nl.psum)
    product[...] = nisa.nc_matmul(tile, tile)
    nl.store(o[nl.program_id(0)], product)
    return o


def counted(grid: int) -> Counter[Instruction]:
    with observing() as seen:
        nki.jit(kernel_in_programs)[grid](np.ones((grid, 64, 64), np.float32))
    return seen.counts


def test_programs_of_a_grid_add_up() -> None:
    three = Counter({(one.operation, one.line): 0 for one in counted(3)})
    for one, count in counted(3).items():
        three[one.operation, one.line] += count
    assert {operation: count for (operation, _), count in three.items()} == {
        "load": 3,
        "exp": 0 + 1 + 2,
        "nc_matmul": 3,
        "store": 3,
    }


def test_processes_add_up() -> None:
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        parts = list(pool.map(counted, [1, 2, 3]))
    assert sum(parts, Counter()) == counted(1) + counted(2) + counted(3)


def test_counts_can_be_sent_between_processes() -> None:
    counts = counted(2)
    assert pickle.loads(pickle.dumps(counts)) == counts


# ----------------------------------------------------------------------------------------------------- one by one


def test_dma_has_bytes_and_no_cycles() -> None:
    one = instruction("load", access(128, 512, dtype=BF16), access(128, 512, space=HBM, dtype=BF16), engine=Engine.DMA)
    profile = Profile.of({one: 3}, "trn1")
    assert (profile.loaded_bytes, profile.stored_bytes) == (3 * 128 * 1024, 0)
    assert profile.total.cycles == {}
    assert profile.total.executed == {Engine.DMA: 3}
    assert profile.dma_seconds == pytest.approx(3 * 128 * 1024 / (16 * 17e9))
    assert not profile.uncosted


def test_store_leaves_the_chip() -> None:
    one = instruction("store", access(128, 64, space=Space.SHARED_HBM), access(128, 64), engine=Engine.DMA)
    profile = Profile.of({one: 1}, "trn1")
    assert (profile.loaded_bytes, profile.stored_bytes) == (0, 128 * 64 * 4)


def test_store_from_psum_has_a_copy_of_its_own_kind() -> None:
    one = instruction(
        "store", access(128, 64, space=Space.SHARED_HBM), access(128, 64, space=Space.PSUM), engine=Engine.DMA
    )
    profile = Profile.of({one: 2}, "trn1")
    assert profile.kinds[COMPILER_COPY].cycles == {Engine.VECTOR: 128}
    assert profile.kinds["store"].executed == {Engine.DMA: 2}
    assert profile.total.executed == {Engine.DMA: 2, Engine.VECTOR: 2}


@pytest.mark.parametrize(
    ("ends", "size", "run"),
    [
        pytest.param((access(128, 64, dtype=BF16), access(128, 64, dtype=BF16, space=HBM)), 16384, 128, id="plain"),
        pytest.param((access(128, 64), access(128, 64, dtype=BF16, space=HBM)), 32768, 256, id="cast: larger dtype"),
        pytest.param(
            (access(128, 64, dtype=BF16), access(128, 64, dtype=BF16, space=HBM, run_bytes=16)),
            16384,
            16,
            id="short runs",
        ),
        pytest.param(
            (access(128, 64, dtype=BF16), access(1, 64, dtype=BF16, space=HBM)), 128, 128, id="broadcast: read once"
        ),
    ],
)
def test_transfer_is_what_both_ends_allow(ends: tuple[Accessed, Accessed], size: int, run: int) -> None:
    moved = transfer(instruction("load", ends[0], ends[1], engine=Engine.DMA))
    assert (moved.size_bytes, moved.run_bytes) == (size, run)


@pytest.mark.parametrize(
    ("run_bytes", "payload"),
    [
        (4096, "saturating"),
        (4095, "near peak"),
        (2048, "near peak"),
        (2047, "below peak"),
        (256, "below peak"),
        (255, "overhead-bound"),
    ],
)
def test_chunks_have_the_documented_class(run_bytes: int, payload: str) -> None:
    one = instruction("load", access(128, 4096), access(128, 4096, space=HBM, run_bytes=run_bytes), engine=Engine.DMA)
    assert [row.payload for row in Profile.of({one: 1}, "trn1").transfers] == [payload]


def test_bounds_are_the_busiest_engine_and_the_roofline() -> None:
    busy = {
        instruction(
            "nc_matmul",
            access(128, 512, space=Space.PSUM),
            access(128, 128, dtype=BF16),
            access(128, 512, dtype=BF16),
            engine=Engine.TENSOR,
        ): 100,
        instruction("tensor_copy", access(128, 512), access(128, 512)): 100,
    }
    profile = Profile.of(busy, "trn2")
    assert profile.engine_seconds[Engine.TENSOR] == pytest.approx(51200 / 2.4e9)
    assert profile.engine_seconds[Engine.VECTOR] == pytest.approx(51200 / 0.96e9)
    assert profile.roofline_seconds == pytest.approx(51200 / 2.4e9)
    assert profile.bound_seconds == pytest.approx(51200 / 0.96e9)
    assert list(profile.engine_seconds) == list(COMPUTE_ENGINES)


def test_roofline_may_be_that_of_dma() -> None:
    one = instruction("load", access(128, 4096), access(128, 4096, space=HBM), engine=Engine.DMA)
    profile = Profile.of({one: 1}, "trn1")
    assert profile.roofline_seconds == profile.bound_seconds == profile.dma_seconds > 0


def test_uncosted_instructions_are_listed_and_counted() -> None:
    one = instruction("softmax", access(128, 64), access(128, 64))
    profile = Profile.of({one: 5}, "trn1")
    assert profile.uncosted == {"softmax": 5}
    assert (profile.total.count, profile.total.cycles) == (5, {})
