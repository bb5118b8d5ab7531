"""Direct allocation: formulas, rules, and tensors that share bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy import compiler
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.compiler import psum, sbuf
from nkifix.emulator.memory import Space
from nkifix.emulator.params import Params
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, values

OVERWRITTEN = "overwritten-tensor"
F32 = np.float32


def direct(shape: Any, dtype: Any = F32, *, at: int = 0, tiles: Any = (), name: str = "") -> Any:
    """A tensor in SBUF at a byte address."""
    return nl.ndarray(shape, dtype, buffer=sbuf.mod_alloc(base_addr=at, num_free_tiles=tiles), name=name)


def any_value(value: Any) -> Any:
    """An argument of a type that is not declared."""
    return value


def start(tensor: Any, *block: int) -> tuple[int, int]:
    """First partition and first byte of a block."""
    placed = tensor.storage.placed
    number = int(np.ravel_multi_index(block, tensor.shape[: len(block)])) if block else 0
    return int(placed.partition_of[number]), int(placed.byte_of[number])


# ------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("shape", "tiles", "expected"),
    [
        pytest.param((4, nl.par_dim(128), 512), (2,), [0, 1024, 0, 1024], id="the guide's example"),
        pytest.param((4, nl.par_dim(128), 512), (), [0, 0, 0, 0], id="one tile by default"),
        pytest.param((4, nl.par_dim(128), 512), (4,), [0, 1024, 2048, 3072], id="a tile each"),
        pytest.param((2, 3, nl.par_dim(128), 512), (2, 2), [0, 1024, 0, 2048, 3072, 2048], id="two dimensions"),
        pytest.param((2, 2, nl.par_dim(128), 4, 128), (1, 2), [0, 1024, 0, 1024], id="several free dimensions"),
    ],
)
def test_modulo_allocation_in_sbuf_along_the_bytes(shape: Any, tiles: Any, expected: list[int]) -> None:
    with running():
        tensor = nl.ndarray(shape, nl.bfloat16, buffer=sbuf.mod_alloc(base_addr=64, num_free_tiles=tiles))
        assert tensor.storage.placed.byte_of.tolist() == [64 + byte for byte in expected]
        assert tensor.storage.placed.partition_of.tolist() == [0] * len(expected)


def test_modulo_allocation_in_sbuf_along_the_partitions() -> None:
    with running():
        plan = sbuf.mod_alloc(base_addr=0, num_par_tiles=(2, 2), num_free_tiles=(2, 1))
        tensor = nl.ndarray((2, 3, nl.par_dim(32), 8), F32, buffer=plan)
        assert tensor.storage.placed.partition_of.tolist() == [0, 32, 0, 64, 96, 64]
        assert tensor.storage.placed.byte_of.tolist() == [0, 0, 0, 32, 32, 32]


@pytest.mark.parametrize(
    ("shape", "tiles", "banks"),
    [
        pytest.param((4, nl.par_dim(128), 512), (2,), [1, 2, 1, 2], id="the guide's example"),
        pytest.param((2, 2, nl.par_dim(128), 512), (1, 2), [1, 2, 1, 2], id="two dimensions"),
        pytest.param((2, nl.par_dim(128), 512), (), [1, 1], id="one bank by default"),
    ],
)
def test_modulo_allocation_in_psum(shape: Any, tiles: Any, banks: list[int]) -> None:
    with running():
        tensor = nl.ndarray(shape, F32, buffer=psum.mod_alloc(base_bank=1, num_bank_tiles=tiles))
        assert tensor.storage.placed.byte_of.tolist() == [2048 * bank for bank in banks]


def test_function_gets_the_block_its_partitions_and_its_bytes() -> None:
    asked = []

    def place(idx: Any, pdim_size: int, fdim_size: int) -> tuple[int, int]:
        asked.append((idx, pdim_size, fdim_size))
        return 0, 4096 * idx[0] + fdim_size * idx[1]

    with running():
        tensor = nl.ndarray((2, 2, nl.par_dim(128), 4, 32), nl.bfloat16, buffer=sbuf.alloc(place))
        assert asked == [((i, j), 128, 256) for i in range(2) for j in range(2)]
        assert [start(tensor, i, j) for i, j in np.ndindex(2, 2)] == [(0, 0), (0, 256), (0, 4096), (0, 4352)]


def test_function_is_called_by_name_so_that_others_can_be_bound() -> None:
    def place(banks: Any, idx: Any, pdim_size: int, fdim_size: int) -> tuple[int, int, int]:
        return banks[idx], 0, 0

    with running():
        plan = psum.alloc(functools.partial(place, banks={(0,): 5, (1,): 2}))
        tensor = nl.ndarray((2, nl.par_dim(128), 512), F32, buffer=plan)
        assert [start(tensor, i) for i in (0, 1)] == [(0, 10240), (0, 4096)]


def test_tensor_without_block_dimensions_takes_the_first_tile() -> None:
    with running():
        assert start(direct((128, 8), at=64, tiles=(2,))) == (0, 64)


@pytest.mark.parametrize("space", [sbuf, psum])
def test_automatic_allocation_is_the_plain_buffer(space: ModuleType) -> None:
    with running():
        for buffer in (space.auto_alloc(), space):
            tensor = nl.ndarray((128, 8), F32, buffer=buffer)
            assert tensor.space is space.auto_alloc()
            assert tensor.storage.placed is None
    assert sbuf.auto_alloc() is nl.sbuf
    assert psum.auto_alloc() is nl.psum


def test_refuses_a_module_that_allocates_nothing() -> None:
    with running(), refuses("", "is no memory"):
        nl.ndarray((128, 8), F32, buffer=np)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: sbuf.mod_alloc(base_addr=-4), "base_addr=-4", id="negative address"),
        pytest.param(lambda: sbuf.mod_alloc(base_addr=any_value("0")), "base_addr='0'", id="address of a string"),
        pytest.param(lambda: sbuf.mod_alloc(base_addr=0, base_partition=32), "base_partition=32", id="partition"),
        pytest.param(lambda: sbuf.mod_alloc(base_addr=0, num_free_tiles=2), "num_free_tiles=2", id="no tuple"),
        pytest.param(lambda: sbuf.mod_alloc(base_addr=0, num_free_tiles=(0,)), r"\(0,\)", id="no tiles"),
        pytest.param(lambda: psum.mod_alloc(base_bank=0, base_addr=4), "base_addr=4", id="address in a bank"),
        pytest.param(lambda: psum.mod_alloc(base_bank=0, base_partition=1), "base_partition=1", id="bank partition"),
        pytest.param(lambda: psum.mod_alloc(base_bank=0, num_par_tiles=(2,)), "num_par_tiles", id="partition tiles"),
        pytest.param(lambda: psum.mod_alloc(base_bank=0, num_free_tiles=(1, 2)), "num_free_tiles", id="free tiles"),
        pytest.param(lambda: sbuf.alloc(3), "no function of idx", id="no function"),
        pytest.param(lambda: psum.alloc(lambda i, p, f: (0, 0, 0)), "no function of idx", id="other names"),
    ],
)
def test_refuses_arguments_of_an_allocation(make: Callable[[], Any], message: str) -> None:
    with running(), refuses("", message):
        make()


def test_takes_ones_for_the_psum_dimensions_that_must_be_one() -> None:
    with running():
        plan = psum.mod_alloc(base_bank=3, num_par_tiles=(1,), num_free_tiles=(1,))
        assert start(nl.ndarray((2, nl.par_dim(8), 4), F32, buffer=plan), 1) == (0, 6144)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((0, 0, 0), id="three numbers"),
        pytest.param(0, id="one number"),
        pytest.param((0, -4), id="negative"),
        pytest.param((0, 4.0), id="float"),
    ],
)
def test_refuses_answers_of_a_function(answer: Any) -> None:
    with running(), refuses("", "the function answered"):
        nl.ndarray((128, 8), F32, buffer=sbuf.alloc(lambda idx, pdim_size, fdim_size: answer))


@pytest.mark.parametrize(("shape", "tiles"), [((2, nl.par_dim(128), 8), (1, 2)), ((2, 2, nl.par_dim(128), 8), (2,))])
def test_refuses_tiles_that_do_not_match_the_block_dimensions(shape: Any, tiles: Any) -> None:
    with running(), refuses("", "block dimension"):
        direct(shape, tiles=tiles)


def test_refuses_an_address_that_depends_on_a_loop() -> None:
    with running(), refuses("", "base_addr=1"):
        for i in nl.affine_range(1, 2):
            direct((128, 8), at=i)


# --------------------------------------------------------------------------------- declared once, run often


def test_tensor_of_a_loop_stays_where_its_first_iteration_put_it() -> None:
    with running():
        address, places = 0, []
        for _ in nl.sequential_range(3):
            for _ in nl.affine_range(2):
                first, second = direct((128, 8), at=address), direct((128, 8), at=address + 32)
                address += 64
                places.append((start(first)[1], start(second)[1]))
        assert places == [(0, 32)] * 6


def test_unrolled_loops_and_helpers_declare_tensors_of_their_own() -> None:
    def helper(address: int) -> int:
        return start(direct((128, 8), at=address))[1]

    with running():
        assert [helper(at) for at in (0, 32)] == [0, 32]
        assert [start(direct((128, 8), at=32 * i))[1] for i in nl.static_range(3)] == [0, 32, 64]
        places, address = [], 0
        for _ in nl.affine_range(2):
            places.append((helper(address), helper(address + 32), *[helper(address + at) for at in (64, 96)]))
            address += 128
        assert places == [(0, 32, 64, 96)] * 2


def test_two_loops_of_one_line_declare_tensors_of_their_own() -> None:
    with running():
        address, places = 0, []
        for _ in (0, 1):
            for _ in nl.affine_range(2):
                places.append(start(direct((128, 8), at=address))[1])
                address += 32
        assert places == [0, 0, 64, 64]


def test_another_shape_in_a_later_iteration_is_another_tensor() -> None:
    with running():
        sizes = iter((8, 16))
        places = [start(direct((128, next(sizes)), at=32 * int(i)))[1] for i in map(int, nl.affine_range(2))]
        assert places == [0, 32]


def test_all_programs_of_a_grid_use_the_same_places() -> None:
    address = [0]

    def kernel(x: Any) -> Any:
        o = nl.ndarray((2, *x.shape), x.dtype, buffer=nl.shared_hbm)
        t = direct(x.shape, at=address[0])
        address[0] += 100_000
        t[...] = nl.load(x)
        nl.store(o[nl.program_id(0)], t)
        return o

    x = np.arange(512, dtype=F32).reshape(128, 4)
    assert same_bytes(nki.jit(kernel)[2](x), np.stack([x, x]))


# ---------------------------------------------------------------------------------------------- aliasing


def test_refuses_to_read_a_tensor_that_another_was_written_over() -> None:
    with running():
        a, b = direct((128, 8), at=0, name="a"), direct((128, 8), at=16, name="b")
        a[...] = 1.0
        b[...] = 2.0
        assert values(b).tolist() == [[2.0] * 8] * 128
        assert values(a[:, 0:4]).tolist() == [[1.0] * 4] * 128
        with refuses(OVERWRITTEN, "tensor 'a' .* is read after tensor 'b'") as caught:
            values(a)
    text = str(caught.value)
    assert text.count("test_placement.py:") >= 4  # both declarations, both writes


def test_bytes_that_another_left_are_read_without_the_rule() -> None:
    params = Params(rules_off=frozenset({OVERWRITTEN}))
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        a, b = direct((2, 4)), direct((2, 4), nl.bfloat16, at=8)
        a[...] = 1.0
        b[...] = 2.0
        expected = np.ones((2, 4), F32)
        expected.view(nl.bfloat16)[:, 4:] = 2.0
        assert same_bytes(values(a), expected)
        a[:, 2:3] = 3.0  # now the first half of b is a's
        taken = values(b).view(np.uint8)
        assert same_bytes(taken[:, :4], np.full((2, 1), 3.0, F32).view(np.uint8))
        assert values(b)[:, 2:].tolist() == [[2.0, 2.0]] * 2


def test_float32_storage_takes_over_rounded_bytes() -> None:
    params = Params(rules_off=frozenset({OVERWRITTEN}), storage="fp32")
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        a, b = direct((2, 4), nl.bfloat16), direct((2, 4), nl.bfloat16)
        a[...] = 1.0
        b[...] = 1.0078125 + 0.0001
        assert values(a).tolist() == [[1.0078125] * 4] * 2


def test_never_written_elements_stay_undefined_under_others_writes() -> None:
    for off in (frozenset[str](), frozenset({OVERWRITTEN})):
        with machine.executing(machine.Program(machine.Launch(Params(rules_off=off), ()), (), tensor_type=nki.tensor)):
            a, b = direct((2, 4)), direct((2, 4))
            b[...] = 2.0
            a[:, 0:2] = 1.0
            _, undefined = a.read()
            assert undefined is not None
            assert (undefined.ids != 0).tolist() == [[False, False, True, True]] * 2


def test_blocks_take_turns_in_their_tiles() -> None:
    with running():
        x = hbm(np.arange(4 * 128 * 8, dtype=F32).reshape(4, 128, 8))
        t = direct((4, nl.par_dim(128), 8), tiles=(2,), name="t")
        for i in nl.affine_range(4):
            t[i] = nl.load(x[i])
            assert same_bytes(values(t[i]), values(x)[int(i)])
        assert same_bytes(values(t[2]), values(x)[2])
        with refuses(OVERWRITTEN, r"block \(1,\) of tensor 't'.* after block \(3,\) of tensor 't'"):
            values(t[1])


def test_blocks_with_places_of_their_own_are_independent() -> None:
    with running():
        t = direct((3, nl.par_dim(128), 8), tiles=(3,))
        for i in range(3):
            t[i] = float(i)
        assert [float(values(t[i])[0, 0]) for i in range(3)] == [0.0, 1.0, 2.0]
        assert not t.storage.placed.tracked


def test_tensors_side_by_side_are_independent() -> None:
    with running():
        a, b, c = direct((64, 8)), direct((64, 8), at=32), direct((128, 8), at=64)
        on_others = nl.ndarray((64, 8), F32, buffer=sbuf.alloc(lambda idx, pdim_size, fdim_size: (64, 0)))
        for number, tensor in enumerate((a, b, c, on_others)):
            tensor[...] = float(number)
        assert [float(values(t)[0, 0]) for t in (a, b, c, on_others)] == [0.0, 1.0, 2.0, 3.0]


def test_dead_tensor_is_no_conflict() -> None:
    with running():
        a = direct((128, 8))
        a[...] = 1.0
        del a
        b = direct((128, 8))
        assert not b.storage.placed.tracked


def test_tensor_in_psum_and_one_in_sbuf_share_nothing() -> None:
    with running():
        a = direct((128, 8))
        b = nl.ndarray((128, 8), F32, buffer=psum.mod_alloc(base_bank=0))
        a[...] = 1.0
        b[...] = 2.0
        assert float(values(a)[0, 0]) == 1.0


def test_masked_reads_and_writes_touch_what_they_keep() -> None:
    with running():
        i, j = nl.mgrid[0:4, 0:4]
        a, b = direct((4, 4)), direct((4, 4))
        a[...] = 1.0
        b[...] = nl.copy(a[i, j], mask=i < 0)  # keeps nothing
        assert values(a).tolist() == [[1.0] * 4] * 4
        b[i, j] = nl.add(a[i, j], 1.0, mask=j < 2)
        a.read((np.arange(4) >= 2)[None, :])
        with refuses(OVERWRITTEN):
            a.read((np.arange(4) >= 1)[None, :])
        a.read(False)


def test_views_over_several_blocks_and_gathers_are_found_too() -> None:
    with running():
        a, b = direct((2, nl.par_dim(4), 4), tiles=(2,)), direct((2, nl.par_dim(4), 4), tiles=(2,))
        a[0], a[1] = 1.0, 2.0
        whole, _ = a.read()
        assert whole[:, 0, 0].tolist() == [1.0, 2.0]
        b[1] = 3.0
        with refuses(OVERWRITTEN):
            a.read()
        a[0].read()
        i, j = nl.mgrid[0:8, 0:4]
        a[1][i, j].read(np.arange(8)[:, None] < 0)  # keeps nothing
        with refuses(OVERWRITTEN):
            a[1][i, j].read(np.arange(8)[:, None] < 4)
        a[1][i, j].write(5.0, None, np.arange(8)[:, None] < 4)
        assert values(a[1]).tolist() == [[5.0] * 4] * 4


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        pytest.param((3, 3), (4, 1), 2, id="wraps around the rows"),
        pytest.param((4, 4), (4, -1), 3, id="runs backwards"),
        pytest.param((4, 1), (5, 1), 0, id="diagonal"),
        pytest.param((2, 3), (8, 1), 4, id="every other row"),
    ],
)
def test_views_of_any_strides_are_found(shape: Any, strides: Any, offset: int) -> None:
    with running():
        a, b = direct((4, 4)), direct((4, 4))
        a[...] = 1.0
        view = type(b)._new(b.storage, shape, strides, offset, 0)
        view.write(3.0, None)
        assert values(view).tolist() == np.full(shape, 3.0).tolist()
        taken = ~holes(b)
        assert int(taken.sum()) == np.prod(shape)
        a.read(~taken)
        for place in zip(*np.nonzero(taken), strict=True):
            with refuses(OVERWRITTEN):
                a[int(place[0]), int(place[1])].read()
        a[...] = 1.0
        with refuses(OVERWRITTEN):
            view.read()


def test_reinterpreted_tensor_shares_the_original_places() -> None:
    with running():
        a, b = direct((4, 4)), direct((4, 4))
        a[...] = 1.0
        halves = a.view(nl.bfloat16)
        b[:, 2:4] = 2.0
        assert values(halves[:, 0:4]).shape == (4, 4)
        with refuses(OVERWRITTEN):
            values(halves[:, 3:5])


def test_modulo_buffering_through_a_kernel() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        t = direct((8, nl.par_dim(128), 4), tiles=(2,))
        u = direct((8, nl.par_dim(128), 4), at=32, tiles=(1,))
        for i in nl.affine_range(8):
            t[i] = nl.load(x[i])
            u[i] = nl.multiply(t[i], 2.0)
            nl.store(o[i], u[i])
        return o

    x = np.arange(8 * 128 * 4, dtype=F32).reshape(8, 128, 4)
    assert same_bytes(nki.jit(kernel)(x), 2 * x)


def test_lifetime_conflict_through_a_kernel_is_refused() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        t = direct((8, nl.par_dim(128), 4), tiles=(2,))
        for i in nl.affine_range(8):
            t[i] = nl.load(x[i])
        for i in nl.affine_range(8):
            nl.store(o[i], t[i])
        return o

    x = np.ones((8, 128, 4), F32)
    with refuses(OVERWRITTEN):
        nki.jit(kernel)(x)
    assert same_bytes(compiler.force_auto_alloc(nki.jit(kernel))(x), x)


# ------------------------------------------------------------------------------------------ where tiles fit

LAST = 180_224 - 32


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda: direct((128, 8), at=LAST + 4), "on-chip-capacity", id="ends beyond sbuf"),
        pytest.param(lambda: nl.ndarray((128, 45_057), F32, buffer=nl.sbuf), "on-chip-capacity", id="larger than sbuf"),
        pytest.param(lambda: direct((128, 8), at=2), "allocation-alignment", id="unaligned"),
        pytest.param(
            lambda: nl.ndarray((128, 8), F32, buffer=psum.mod_alloc(base_bank=8)), "psum-bank", id="no such bank"
        ),
        pytest.param(lambda: nl.ndarray((8, 8), F32, buffer=psum_at(0, 0, 64)), "psum-bank", id="inside a bank"),
        pytest.param(lambda: nl.ndarray((8, 8), F32, buffer=psum_at(0, 32, 0)), "psum-bank", id="psum partition"),
    ],
)
def test_refuses_places_outside_of_the_memory(make: Callable[[], Any], code: str) -> None:
    with running(), refuses(code):
        make()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: direct((128, 8), at=LAST), id="ends with sbuf"),
        pytest.param(lambda: nl.ndarray((128, 45_056), F32, buffer=nl.sbuf), id="as large as sbuf"),
        pytest.param(lambda: nl.ndarray((128, 512), F32, buffer=psum.mod_alloc(base_bank=7)), id="last bank"),
        pytest.param(lambda: nl.ndarray((8, 8), F32, buffer=nl.private_hbm), id="no tile at all"),
    ],
)
def test_takes_places_at_the_end_of_the_memory(make: Callable[[], Any]) -> None:
    with running():
        make()


def test_sbuf_of_trn2_is_larger() -> None:
    with running("trn2"):
        direct((128, 8), at=212_984 - 32)
        with refuses("on-chip-capacity"):
            direct((128, 8), at=212_984 - 28)


def psum_at(bank: int, partition: int, byte: int) -> Any:
    return psum.alloc(lambda idx, pdim_size, fdim_size: (bank, partition, byte))


def sbuf_at(partition: int) -> Any:
    return sbuf.alloc(lambda idx, pdim_size, fdim_size: (partition, 0))


STARTS = [
    pytest.param(128, 0, True, id="128 at 0"),
    pytest.param(65, 0, True, id="65 at 0"),
    pytest.param(65, 32, False, id="65 at 32"),
    pytest.param(64, 64, True, id="64 at 64"),
    pytest.param(33, 64, True, id="33 at 64"),
    pytest.param(33, 32, False, id="33 at 32"),
    pytest.param(32, 32, True, id="32 at 32"),
    pytest.param(32, 96, True, id="32 at 96"),
    pytest.param(1, 96, True, id="1 at 96"),
    pytest.param(1, 16, False, id="1 at 16"),
]


@pytest.mark.parametrize(("partitions", "first", "legal"), STARTS)
def test_first_partition_of_a_direct_allocation(partitions: int, first: int, legal: bool) -> None:
    with running():
        if legal:
            assert start(nl.ndarray((partitions, 8), F32, buffer=sbuf_at(first))) == (first, 0)
            return
        with refuses("partition-start", f"starts at partition {first}"):
            nl.ndarray((partitions, 8), F32, buffer=sbuf_at(first))


@pytest.mark.parametrize(("partitions", "first", "legal"), STARTS)
def test_first_partition_of_an_operand_and_of_a_destination(partitions: int, first: int, legal: bool) -> None:
    with running():
        whole = nl.zeros((128, 2), F32)
        part = slice(first, first + partitions)
        if legal:
            whole[part, :] = nl.copy(whole[part, :])
            whole[part, :] = 1.0
            return
        with refuses("partition-start", "copy starts at partition"):
            nl.copy(whole[part, :])
        with refuses("partition-start", "the destination starts at"):
            whole[part, :] = nl.copy(whole[0:partitions, :])
        with refuses("partition-start"):
            whole[part, :] = whole[0:partitions, :]
        whole[part, :] = 1.0  # a number may go anywhere


def test_dma_starts_at_any_partition() -> None:
    with running():
        x = hbm(np.ones((4, 2), F32))
        whole = nl.zeros((128, 2), F32)
        whole[3:7, :] = nl.load(x)
        nl.store(nl.ndarray((4, 2), F32, buffer=nl.shared_hbm), whole[3:7, :])


def test_partition_starts_are_not_checked_without_the_rule() -> None:
    params = Params(rules_off=frozenset({"partition-start"}))
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        whole = nl.zeros((128, 2), F32)
        nl.copy(whole[3:7, :])


# ------------------------------------------------------------------------------- what direct allocation forbids

BIAS = "err_bias_tensor_must_be_specified_in_allocation"
TRANSPOSE = "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel"
INITIAL = "err_tensor_creation_on_scratchpad_with_init_value_not_supported"


def given(shape: Any = (128, 8), at: int = 8192) -> Any:
    """A directly allocated tensor of ones."""
    tensor = direct(shape, at=at)
    tensor[...] = 1.0
    return tensor


BREACHES = [
    pytest.param("mixed-allocation", lambda: nl.ndarray((128, 8), F32, buffer=nl.sbuf), id="automatic tensor"),
    pytest.param("mixed-allocation", lambda: nl.copy(nl.load(hbm(np.ones((4, 4), F32)))), id="result of a load"),
    pytest.param("mixed-allocation", lambda: nl.add(nl.load(hbm(np.ones((4, 4), F32))), 1.0), id="result added to"),
    pytest.param("allocated-kernel-hbm", lambda: nl.ndarray((4, 4), F32, buffer=nl.private_hbm), id="private hbm"),
    pytest.param("allocated-kernel-hbm", lambda: nl.ndarray((4, 4), F32, buffer=nl.hbm), id="hbm"),
    pytest.param(BIAS, lambda: nisa.activation(np.exp, given()), id="activation without bias"),
    pytest.param(BIAS, lambda: nisa.activation(np.exp, given(), bias=1.0), id="activation with a number as bias"),
    pytest.param(BIAS, lambda: nl.exp(given()), id="nl.exp"),
    pytest.param(TRANSPOSE, lambda: nisa.nc_transpose(given((32, 32))), id="nc_transpose"),
    pytest.param(TRANSPOSE, lambda: nl.matmul(given((32, 32)), given((32, 32), 16384)), id="matmul"),
]


@pytest.mark.parametrize(("code", "breach"), BREACHES)
def test_refuses_in_a_directly_allocated_kernel(code: str, breach: Callable[[], Any]) -> None:
    with running():
        direct((128, 8))
        with refuses(code) as caught:
            breach()
        assert "test_placement.py:" in str(caught.value.why)


@pytest.mark.parametrize(("code", "breach"), [p for p in BREACHES if p.values[0] not in (BIAS, TRANSPOSE)])
def test_refuses_when_a_kernel_turns_out_to_allocate_directly(code: str, breach: Callable[[], Any]) -> None:
    with running():
        breach()
        breach()
        with refuses(code):
            direct((128, 8))


@pytest.mark.parametrize(("code", "breach"), BREACHES)
def test_takes_it_without_the_rule(code: str, breach: Callable[[], Any]) -> None:
    params = Params(rules_off=frozenset({code, "mixed-allocation"}))
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        direct((128, 8))
        breach()


@pytest.mark.parametrize(
    "legal",
    [
        pytest.param(lambda t, b: nisa.activation(np.exp, t, bias=b), id="activation with a bias"),
        pytest.param(lambda t, b: nl.load(hbm(np.ones((128, 8), F32))), id="load"),
        pytest.param(lambda t, b: nl.multiply(t, t), id="operands of its own"),
        pytest.param(lambda t, b: nl.reciprocal(t), id="no activation"),
    ],
)
def test_takes_in_a_directly_allocated_kernel(legal: Callable[[Any, Any], Any]) -> None:
    with running():
        t, bias = given(), given((128, 1), 16384)
        t[...] = legal(t, bias)


def test_accumulation_and_matmul_into_direct_psum_are_legal() -> None:
    with running():
        t = given((128, 8))
        total = nl.ndarray((8, 8), F32, buffer=psum.mod_alloc(base_bank=0))
        for _ in nl.affine_range(2):
            total[...] += nisa.nc_matmul(t, t)
        assert values(total).tolist() == [[256.0] * 8] * 8


@pytest.mark.parametrize("create", [nl.zeros, nl.ones, lambda *a, **k: nl.full(a[0], 2.0, *a[1:], **k)])
def test_refuses_a_direct_allocation_with_a_value(create: Callable[..., Any]) -> None:
    with running(), refuses(INITIAL):
        create((128, 8), F32, buffer=sbuf.mod_alloc(base_addr=0))


def test_direct_allocation_with_a_value_is_taken_without_the_rule() -> None:
    params = Params(rules_off=frozenset({INITIAL}))
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        assert values(nl.ones((2, 2), F32, buffer=sbuf.mod_alloc(base_addr=0))).tolist() == [[1.0, 1.0]] * 2


def test_forced_automatic_allocation_ignores_places_and_their_rules() -> None:
    launch = machine.Launch(Params(), (), force_automatic=True)
    with machine.executing(machine.Program(launch, (), tensor_type=nki.tensor)):
        t = nl.zeros((128, 8), F32, buffer=sbuf.mod_alloc(base_addr=2))
        assert t.storage.placed is None
        assert t.space is Space.SBUF
        nl.exp(nl.copy(t))


def test_block_dimensions_are_refused_where_the_rule_is_on() -> None:
    rule = "err_leading_dimension_of_tensor_must_be_partition"
    with running():
        nl.ndarray((2, nl.par_dim(128), 8), F32, buffer=nl.sbuf)
    params = Params(rules_on=frozenset({rule}))
    with machine.executing(machine.Program(machine.Launch(params, ()), (), tensor_type=nki.tensor)):
        nl.ndarray((nl.par_dim(128), 8), F32, buffer=nl.sbuf)
        with refuses(rule, r"1 dimension\(s\) before"):
            nl.ndarray((2, nl.par_dim(128), 8), F32, buffer=nl.sbuf)
