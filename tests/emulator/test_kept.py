"""Records that outlive their launch: later launches compute what they would have without."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import nkifix.emulator.frontends.legacy.isa as nisa
import nkifix.emulator.frontends.legacy.language as nl
from nkifix.emulator import Params, kept, machine, repeats
from nkifix.emulator.actions import Actions, Scratch
from nkifix.emulator.faults import EmulatorWarning, KernelFault
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.kept import Records
from nkifix.emulator.machine import Launch
from nkifix.emulator.observe import observing
from tests.emulator.kernels import same_bytes
from tests.emulator.test_awaited import F32, random
from tests.emulator.test_repeats import loaded, never

CALLS = 8
factor = 2.0


def twice(tile: Any) -> Any:
    return nl.multiply(tile, 2.0)


step = twice


@dataclass(frozen=True)
class Choice:
    by: float = 2.0

    def times(self, tile: Any) -> Any:
        return nl.multiply(tile, self.by)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "LEAST_INSTRUCTIONS", 0)
    kept.forget()


def kernel_with(body: Callable[..., None], *extra: Any) -> Any:
    """A kernel that calls ``body`` on each of its tiles."""
    return kernel_of_calls((nki.jit(body, mode="trace"), extra))


def kernel_of_calls(*calls: tuple[Any, tuple[Any, ...]]) -> Any:
    """A kernel that calls several helpers on each of its tiles, each with more arguments."""

    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        wide, out = loaded(x), nl.zeros((nl.par_dim(8), CALLS * 16), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(CALLS):
            for helper, extra in calls:
                helper(out, wide, i, *extra)
        nl.store(o, out)
        return o

    return kernel


def doubled(out: Any, wide: Any, i: Any) -> None:
    out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], factor)


def launched(kernel: Any, x: Any, *grid: int, **params: Any) -> Any:
    with machine.using(Params(workers=1, **params)):
        return (kernel[grid] if grid else kernel)(x)


X = random(8, CALLS * 16)


def test_later_launch_repeats_all_but_the_first_call(repeated: list[Actions]) -> None:
    kernel = kernel_with(doubled)
    for seed, most in ((1, CALLS - 2), (2, CALLS - 1), (3, CALLS - 1)):
        repeated.clear()
        x = random(8, CALLS * 16, seed=seed)
        assert same_bytes(launched(kernel, x), 2 * x)
        assert len(repeated) == most, seed


@pytest.mark.parametrize("what", ["launch", "params", "mode", "observer", "no arithmetic", "shuffled"])
def test_launches_that_differ_share_nothing(what: str, repeated: list[Actions]) -> None:
    kernel = kernel_with(doubled)
    launched(kernel, X)
    repeated.clear()
    if what == "launch":
        launched(kernel_with(doubled), X)
        launched(kernel, X, 2)
        assert len(repeated) == CALLS - 2 + 2 * CALLS - 2
    elif what == "params":
        launched(kernel, X, target="trn2")
        assert len(repeated) == CALLS - 2
    elif what == "mode":
        from nkifix.emulator.frontends.legacy import compiler

        launched(compiler.force_auto_alloc(kernel), X)
        assert len(repeated) == CALLS - 2
    elif what == "observer":
        with observing():
            launched(kernel, X)
        assert len(repeated) == CALLS - 2
    else:
        launched(kernel, X, **({"arithmetic": False} if what == "no arithmetic" else {"order": "shuffled"}))
        assert not repeated


def use_factor(out: Any, wide: Any, i: Any) -> None:
    out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], factor)


def use_step(out: Any, wide: Any, i: Any) -> None:
    out[:, nl.ds(i * 16, 16)] = step(wide[:, nl.ds(i * 16, 16)])


def use_module(out: Any, wide: Any, i: Any) -> None:
    out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], 2.0)


def use_inner(out: Any, wide: Any, i: Any) -> None:
    use_factor(out, wide, i)


def use_choice(out: Any, wide: Any, i: Any, choice: Choice) -> None:
    out[:, nl.ds(i * 16, 16)] = choice.times(wide[:, nl.ds(i * 16, 16)])


def use_default(out: Any, wide: Any, i: Any, by: float = 2.0) -> None:
    out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], by)


def thrice(tile: Any) -> Any:
    return nl.multiply(tile, 3.0)


HERE = sys.modules[__name__]
CHANGES: dict[str, tuple[Callable[..., None], tuple[Any, ...], Any, str, Any]] = {
    "global number": (use_factor, (), HERE, "factor", 3.0),
    "global function": (use_step, (), HERE, "step", thrice),
    "code of a global function": (use_step, (), twice, "__code__", thrice.__code__),
    "function of a module": (use_module, (), nl, "multiply", lambda tile, by: nl.add(tile, nl.add(tile, tile))),
    "global of another function": (use_inner, (), HERE, "factor", 3.0),
    "method of an argument": (use_choice, (Choice(),), Choice, "times", lambda self, tile: thrice(tile)),
    "default": (use_default, (), use_default, "__defaults__", (3.0,)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_between_launches_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch, repeated: list[Actions]
) -> None:
    body, extra, owner, attribute, other = CHANGES[name]
    kernel = kernel_with(body, *extra)
    for _ in range(2):
        assert same_bytes(launched(kernel, X), 2 * X)
    assert len(repeated) == 2 * CALLS - 3
    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, other)
        for _ in range(2):
            repeated.clear()
            assert same_bytes(launched(kernel, X), 3 * X)
        assert len(repeated) == CALLS - 1
    assert same_bytes(launched(kernel, X), 2 * X)


def test_outer_variable_is_seen() -> None:
    by = 2.0

    def body(out: Any, wide: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], by)

    kernel = kernel_with(body)
    assert same_bytes(launched(kernel, X), 2 * X)
    by = 3.0
    assert same_bytes(launched(kernel, X), 3 * X)


@pytest.mark.parametrize("sign", [1, -1])
def test_zeros_of_both_signs_are_two_arguments(sign: int) -> None:
    helper = nki.jit(use_default, mode="trace")
    kernel = kernel_of_calls((helper, (sign * 0.0,)), (helper, (-sign * 0.0,)))
    assert same_bytes(launched(kernel, X), X * np.float32(-sign * 0.0))


def copy_of(function: Any, **names: Any) -> Any:
    """The function with the same code, in a module of its own."""
    code, names = function.__code__.replace(), {**function.__globals__, **names}
    return types.FunctionType(code, names, function.__name__, closure=function.__closure__)


def test_same_code_in_another_module(repeated: list[Actions]) -> None:
    kernels = []
    for by in (2.0, 3.0):
        kernel = kernel_with(copy_of(use_factor, factor=by))
        kernels.append((nki.jit(copy_of(kernel.func)), by))
    for _ in range(3):
        repeated.clear()
        for kernel, by in kernels:
            assert same_bytes(launched(kernel, X), np.float32(by) * X)
    assert len(repeated) == 2 * CALLS - 2


def test_same_code_twice_in_one_launch() -> None:
    """Code that was read with one module's names is read again with another's."""
    count = []

    def noted(tile: Any) -> Any:
        count.append(1)
        return twice(tile)

    quiet, loud = (copy_of(use_step, step=one) for one in (twice, noted))
    kernel = kernel_of_calls(*((nki.jit(one, mode="trace"), ()) for one in (quiet, loud)))
    launched(kernel, X)
    assert len(count) == CALLS


def test_grid_belongs_to_a_record() -> None:
    def body(out: Any, wide: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], float(nl.num_programs(0)))

    kernel = kernel_with(body)
    for programs in (2, 3, 2):
        assert same_bytes(launched(kernel, X, programs), programs * X)


def test_each_launch_warns() -> None:
    def body(out: Any, wide: Any, i: Any) -> None:
        if i >= 2:  # the first call of a launch is executed: the warning is one that only other calls give
            scores = nl.ndarray((nl.par_dim(8), 16), dtype=F32, buffer=nl.psum)
            scores[...] = nl.copy(wide[:, nl.ds(i * 16, 16)])
            rows, columns = nl.mgrid[0:8, 0:16]
            kept_rows = nisa.affine_select(
                pred=(rows * 2 + i >= columns), on_true_tile=scores[rows, columns], on_false_value=0.0
            )
            out[:, nl.ds(i * 16, 16)] = kept_rows
        else:
            out[:, nl.ds(i * 16, 16)] = nl.copy(wide[:, nl.ds(i * 16, 16)])

    kernel = kernel_with(body)
    seen = []
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EmulatorWarning)
            launched(kernel, X)
        seen.append([f"{one.lineno} {one.message}" for one in caught])
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 1
    assert "affine_select reads PSUM" in seen[0][0]


def test_what_an_operand_holds_warns_only_where_it_does() -> None:
    def body(out: Any, wide: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.log(wide[:, nl.ds(i * 16, 16)])

    kernel = kernel_with(body)
    counts = []
    for x in (np.full_like(X, 2.0), np.zeros_like(X), np.full_like(X, 2.0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EmulatorWarning)
            launched(kernel, x)
        counts.append(len(caught))
    assert counts == [0, 1, 0]


@pytest.mark.parametrize("others", [0, 1])
def test_helpers_of_the_kernels_own_are_not_kept(others: int) -> None:
    other = nki.jit(doubled, mode="trace")

    @nki.jit
    def kernel(x: Any) -> Any:
        @nki.jit(mode="trace")
        def helper(out: Any, wide: Any, i: Any) -> None:
            out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], 2.0)

        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        wide, out = loaded(x), nl.zeros((nl.par_dim(8), CALLS * 16), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(CALLS):
            helper(out, wide, i)
            for _ in range(others):
                other(out, wide, i)
        nl.store(o, out)
        return o

    assert same_bytes(launched(kernel, X), 2 * X)
    found = [(key[0], records.launches) for records in kept._kept.values() for key in records.calls]
    assert found == [(doubled, 0)] * others


def test_what_is_forgotten_takes_no_memory() -> None:
    code = kernel_of_calls.__code__
    (inner,) = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    kernel_made = types.FunctionType(inner, globals(), closure=tuple(types.CellType() for _ in inner.co_freevars))
    records = Records(code, launches=1)
    records.scratch.block(10)
    records.instructions = records.actions = 5
    for key in ((doubled,), (kernel_made,)):
        records.calls[key] = object()
    records.forget_inner(code)
    assert (list(records.calls), records.launches, records.instructions, records.bytes > 0) == (
        [(doubled,)],
        0,
        5,
        True,
    )
    records.launches = 1
    records.forget_inner(code)
    assert (records.launches, records.instructions) == (1, 5)
    del records.calls[doubled,]
    records.calls[kernel_made,] = object()
    records.forget_inner(code)
    assert (records.calls, records.launches, records.instructions, records.bytes) == ({}, 0, 0, 0)


def test_launch_that_failed_leaves_right_records(repeated: list[Actions]) -> None:
    def body(out: Any, wide: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.multiply(wide[:, nl.ds(i * 16, 16)], 2.0)

    helper = nki.jit(body, mode="trace")

    @nki.jit
    def kernel(x: Any, last: int) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        wide, out = loaded(x), nl.zeros((nl.par_dim(8), CALLS * 16), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(last):
            helper(out, wide, i)
        nl.store(o, out)
        return o

    with machine.using(Params(workers=1)):
        with pytest.raises(KernelFault):
            kernel(X, CALLS + 1)
        repeated.clear()
        assert same_bytes(kernel(X, CALLS), 2 * X)
    assert len(repeated) == CALLS - 1


def test_memory_is_lent_to_one_launch_at_a_time() -> None:
    code = launched.__code__
    one, other = (Launch(Params(), (), code=code) for _ in range(2))
    with kept.lent_to(one):
        assert one.repeats is not None
        assert other.repeats is not None
        first = one.repeats.records
        first.calls["a call",] = object()
        with kept.lent_to(other):
            assert other.repeats.records is not first
    with kept.lent_to(other):
        assert other.repeats.records is first


def lend(code: types.CodeType, **state: Any) -> None:
    launch = Launch(Params(), (), code=code)
    with kept.lent_to(launch):
        assert launch.repeats is not None
        records = launch.repeats.records
        records.calls["a call",] = object()
        for name, value in state.items():
            setattr(records, name, value)


def codes(count: int) -> list[types.CodeType]:
    return [compile(f"x = {number}", "here", "exec") for number in range(count)]


def test_least_recent_records_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MOST_LAUNCHES", 2)
    one, two, three = codes(3)
    for code in (one, two, one, three):
        lend(code)
    assert [records.code for records in kept._kept.values()] == [one, three]


def test_memory_between_launches_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = codes(2)
    monkeypatch.setattr(kept, "MOST_BYTES", 5 * kept._BYTES_PER_ACTION + 100)
    lend(one, actions=3)
    lend(two, actions=2)
    assert [records.code for records in kept._kept.values()] == [one, two]
    scratch = Scratch()
    scratch.block(101)
    lend(two, actions=2, scratch=scratch)
    assert [records.code for records in kept._kept.values()] == [two]


def test_scratch_is_one_block_for_all() -> None:
    scratch = Scratch()
    first = scratch.block(100)
    assert scratch.block(90) is first
    second = scratch.block(101)
    assert (first.size, second.size, scratch.bytes) == (100, 200, 300)


@pytest.mark.parametrize(("launches", "programs", "in_worker", "expected"), [
    (1, 1, False, False),
    (2, 1, False, True),
    (1, 2, False, True),
    (2, 2, True, False),
])  # fmt: skip
def test_when_a_record_is_likely_to_pay(launches: int, programs: int, in_worker: bool, expected: bool) -> None:
    launch = Launch(Params(), (programs,))
    launch.in_worker = in_worker
    records = Records()
    for _ in range(launches):
        records.begin()
    assert records.will_be_used(launch) is expected


@pytest.mark.parametrize(("one", "other", "same"), [
    (1, 1, True),
    (1, True, False),
    (0.0, -0.0, False),
    (float("nan"), float("nan"), True),
    ((1, 2.0), (1, 2.0), True),
    ((0.0,), (-0.0,), False),
    ([1], [1], False),
    (len, len, True),
])  # fmt: skip
def test_what_is_the_same(one: Any, other: Any, same: bool) -> None:
    records = Records()
    records.begin()
    records.check([one])
    records.calls["a call",] = object()
    records.begin()
    records.check([other])
    assert bool(records.calls) is same
    assert records.launches == (2 if same else 1)


def test_nothing_is_taken_from_the_call_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of the calls' own tensors holds nothing that a repeated call reads before it writes it."""
    from vendored_kernel import flash_fwd

    blocks: list[Any] = []
    block, repeat = Scratch.block, Actions.repeat

    def noted(self: Scratch, size: int) -> Any:
        blocks.append(block(self, size))
        return blocks[-1]

    def poisoned(self: Actions, *args: Any) -> None:
        for one in blocks:
            one.fill(0xFF)
        repeat(self, *args)

    monkeypatch.setattr(Scratch, "block", noted)
    monkeypatch.setattr(Actions, "repeat", poisoned)
    query, key, value = random(1, 2, 64, 1024), random(1, 2, 64, 1024, seed=1), random(1, 2, 1024, 64, seed=2)
    for choice in ({}, {"use_causal_mask": False}, {"window_size": (200, -1)}):
        with machine.using(Params(workers=1)):
            with never():
                expected = flash_fwd[1, 2](query, key, value, **choice)
            for _ in range(2):
                assert same_bytes(flash_fwd[1, 2](query, key, value, **choice), expected)
    assert blocks
