"""What calls do to elements when they are repeated: the bytes of calls that are executed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nkifix.emulator.frontends.legacy.isa as nisa
import nkifix.emulator.frontends.legacy.language as nl
from nkifix.emulator import Params, kept, machine, repeats
from nkifix.emulator.actions import ActionLog, Actions
from nkifix.emulator.faults import EmulatorWarning
from nkifix.emulator.footprint import measuring
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.layout import kind_of
from nkifix.emulator.memory import Space
from nkifix.emulator.observe import observing
from nkifix.emulator.symbols import Affine
from nkifix.emulator.traced import Form, Log
from tests.emulator.kernels import running, same_bytes, tile, values
from tests.emulator.test_awaited import BF16, F32, I32, STATEMENTS, random
from tests.emulator.test_repeats import REPEATED, loaded, never

NAMES = "abcpsw"


@pytest.fixture(autouse=True)
def any_helper_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "LEAST_INSTRUCTIONS", 0)
    monkeypatch.setattr(repeats, "RECORDS_TO_BEGIN_WITH", 100)
    kept.forget()  # a launch of the same kernel in an earlier test


def tiles(seed: int) -> dict[str, Any]:
    """Tiles as the statements want them, each a part of a larger one, with other values for each seed."""
    return {
        "a": tile(random(4, 24, seed=seed)),
        "b": tile(random(4, 24, seed=seed + 1), BF16),
        "c": tile(np.arange(96).reshape(4, 24) % (seed + 7) - 9, I32),
        "p": tile(random(4, 24, seed=seed + 2), space=Space.PSUM),
        "s": tile(random(4, 3, seed=seed + 3)),
        "w": tile(random(4, 48, seed=seed + 4), space=Space.PSUM),
    }


def parts(wide: dict[str, Any], number: int) -> list[Any]:
    width = {"s": 1, "w": 16}
    return [wide[name][:, nl.ds(number * width.get(name, 8), width.get(name, 8))] for name in NAMES]


def executed(names: list[str], order: list[int]) -> list[Any]:
    """The tiles after calls of a helper with these statements, on the parts of that order."""

    statements = tuple([STATEMENTS[name] for name in names])

    @nki.jit(mode="trace")
    def body(a: Any, b: Any, c: Any, p: Any, s: Any, w: Any, i: Any) -> None:
        t = {"a": a, "b": b, "c": c, "p": p, "s": s, "w": w}
        t["kept"] = nl.copy(a)
        for number, statement in enumerate(statements):
            statement(t, int(i) + number)

    with running():
        wide = tiles(len(names))
        for number in order:
            body(*parts(wide, number), Affine(number))
        return [values(wide[name]) for name in NAMES]


def hold(names: list[str], order: list[int]) -> None:
    with never():
        expected = executed(names, order)
    for name, found, other in zip(NAMES, executed(names, order), expected, strict=True):
        assert same_bytes(found, other), name


ORDER = [0, 1, 2, 1, 2, 0, 1]
UNTOLD = {"bits of a result"}
"""Statements that look at the bytes of a tensor as those of another one: their calls are executed."""


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_each_statement(name: str, repeated: list[Actions]) -> None:
    hold([name], ORDER)
    assert bool(repeated) == (name not in UNTOLD)
    hold([name, "number", name], ORDER)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(STATEMENTS)), min_size=1, max_size=6),
    st.lists(st.integers(0, 2), min_size=3, max_size=8),
)
def test_any_statements(names: list[str], order: list[int]) -> None:
    hold(names, order)


# ------------------------------------------------------------------------------------------- every kind of result


def _select(t: Any, i: Any) -> Any:
    row, column = nl.mgrid[0:8, 0:16]
    return nisa.affine_select(pred=(row + i * 5 >= column), on_true_tile=t, on_false_value=-1.0)


def _masked(t: Any, i: Any) -> Any:
    row, column = nl.mgrid[0:8, 0:16]
    out = nl.zeros((nl.par_dim(8), 16), dtype=F32, buffer=nl.sbuf)
    out[row, column] = nl.exp(t[row, column], mask=(row + i * 5 >= column))
    return out


def _accumulated(t: Any, i: Any) -> Any:
    total = nl.ndarray((nl.par_dim(8), 1), dtype=F32, buffer=nl.sbuf)
    first = nisa.activation_reduce(np.exp, t, reduce_op=nl.add, reduce_res=total[:, 0])
    return nl.multiply(first, nl.add(total, i))


def _registers(t: Any, _: Any) -> Any:
    total = nl.ndarray((nl.par_dim(8), 1), dtype=F32, buffer=nl.sbuf)
    first = nisa.activation(np.exp, t, reduce_op=nl.add, reduce_cmd=nisa.reduce_cmd.reset_reduce)
    second = nisa.activation(
        np.tanh, first, reduce_op=nl.add, reduce_cmd=nisa.reduce_cmd.reduce, reduce_res=total[:, 0]
    )
    return nl.multiply(second, total)


def _seeded(t: Any, i: Any) -> Any:
    nl.random_seed(int(i))
    return nl.multiply(t, nl.rand((8, 16)))


def _iota(_: Any, i: Any) -> Any:
    return nl.copy(nisa.iota(nl.arange(16)[None, :] + nl.arange(8)[:, None] + i, dtype=nl.int32), dtype=F32)


def _product(t: Any, _: Any) -> Any:
    turned = nl.copy(nisa.nc_transpose(t), dtype=BF16)
    total = nl.zeros((nl.par_dim(8), 8), dtype=F32, buffer=nl.psum)
    for j in nl.affine_range(2):
        total[:, :] += nl.matmul(turned, nl.add(turned, j), transpose_x=True)
    return total


def _scanned(t: Any, _: Any) -> Any:
    return nisa.tensor_tensor_scan(t, t, 0.5, np.multiply, np.add)


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "copy": lambda t, i: nl.copy(t),
    "narrow copy": lambda t, i: nl.copy(t, dtype=BF16),
    "tf32": lambda t, i: nl.copy(t, dtype=nl.tfloat32),
    "8 bits": lambda t, i: nl.copy(t, dtype=nl.float8_e5m2),
    "integers": lambda t, i: nl.copy(nl.copy(nl.multiply(t, 9.0), dtype=nl.int32), dtype=F32),
    "exponential": lambda t, i: nl.exp(t),
    "power of the index": lambda t, i: nl.multiply(t, i),
    "logarithm": lambda t, i: nl.log(nl.abs(t)),
    "logarithm that warns": lambda t, i: nl.log(t),
    "activation that warns": lambda t, i: nisa.activation(np.log, t, scale=2.0),
    "activation that warns, and sum": lambda t, i: nisa.activation_reduce(
        np.log, t, reduce_op=nl.add, reduce_res=nl.ndarray((nl.par_dim(8), 1), dtype=F32, buffer=nl.sbuf)
    ),
    "inverse root": lambda t, i: nl.rsqrt(nl.add(nl.square(t), 1.0)),
    "sum": lambda t, i: nl.sum(t, axis=1, keepdims=True).broadcast_to((8, 16)),
    "mean and variance": lambda t, i: nl.add(nl.mean(t, axis=1), nl.var(t, axis=1)).broadcast_to((8, 16)),
    "maximum": lambda t, i: nl.subtract(t, nl.max(t, axis=1, keepdims=True)),
    "softmax": lambda t, i: nl.softmax(t, axis=1),
    "where": lambda t, i: nl.where(nl.greater(t, 0.0), t, 1.0),
    "comparison": lambda t, i: nl.copy(nl.less(t, 0.1 * i), dtype=F32),
    "difference in place": lambda t, i: nl.subtract(t, nl.multiply(t, 0.25)),
    "three operands": lambda t, i: nisa.scalar_tensor_tensor(
        data=t, op0=np.multiply, operand0=2.0, op1=np.add, operand1=t
    ),
    "tile as operand": lambda t, i: nisa.tensor_scalar(t, np.multiply, t[:, 3], op1=np.add, operand1=0.5),
    "bias and scale": lambda t, i: nisa.activation(np.exp, t, bias=t[:, 1], scale=t[:, 2]),
    "activation and sum": _accumulated,
    "registers": _registers,
    "scaled and maximum": lambda t, i: nisa.tensor_scalar_reduce(
        data=t, op0=np.multiply, operand0=t[:, 0], reduce_op=np.max, reduce_res=t[:, 15]
    ),
    "largest eight": lambda t, i: nl.add(nisa.max8(src=t), 1.0).broadcast_to((8, 8))[:, nl.ds(0, 8)],
    "select": _select,
    "mask": _masked,
    "random numbers": _seeded,
    "numbers": _iota,
    "matmul": _product,
    "scan": _scanned,
    "statistics": lambda t, i: nisa.bn_stats(t, dtype=F32)[:, 1:2].broadcast_to((8, 16)),
    "shuffle": lambda t, i: nl.copy(t[:, 0:16:2]),
    "transpose on Vector": lambda t, i: nl.copy(nisa.nc_transpose(t, engine=nisa.vector_engine))[0:8, :],
    "reciprocal": lambda t, i: nl.reciprocal(nl.add(t, 9.0)),
    "negative": lambda t, i: -t,
    "logical": lambda t, i: nl.copy(nl.logical_not(nl.greater(t, 0.0)), dtype=F32),
}
"""Results of part of a tile (8, 16) float32 and a loop's index."""


def launched(compute: Callable[[Any, Any], Any], data: Any, **params: Any) -> tuple[Any, list[str], object]:
    """What a kernel gives that takes these results in a helper, for sixteen parts; its warnings; and what failed."""

    @nki.jit(mode="trace")
    def helper(out: Any, wide: Any, i: Any) -> None:
        part = nl.copy(wide[:, nl.ds(i * 16, 16)])
        made = compute(part, i)
        out[:, nl.ds(i * 16, made.shape[1])] = made
        out[:, nl.ds(i * 16, 1)] += part[:, 7]

    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        wide = nl.ndarray((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        wide[:, :] = nl.load(x)
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(2):
            for i in nl.affine_range(16):
                helper(out, wide, i)
        nl.store(o, out)
        return o

    with warnings.catch_warnings(record=True) as caught, machine.using(Params(workers=1, **params)):
        warnings.simplefilter("always", EmulatorWarning)
        try:
            found: Any = kernel(data)
            fault: object = None
        except Exception as error:
            found, fault = np.zeros(1), str(error)
    return found, [f"{one.filename}:{one.lineno} {one.message}" for one in caught], fault


EXECUTED = {
    "largest eight",
    "mean and variance",
    "numbers",
    "random numbers",
    "scaled and maximum",
    "scan",
    "softmax",
    "statistics",
    "three operands",
    "tile as operand",
    "where",
}
"""Kinds that are computed in a way that no record tells: their calls are executed."""


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_result(name: str, repeated: list[Actions]) -> None:
    data = random(8, 256, seed=5)
    if "warns" in name:
        data = np.abs(data) + 0.1
        data[3, 9 * 16 + 2] = -2.0  # one part alone is out of range, when others have been recorded
    found, warned, fault = launched(KINDS[name], data)
    assert fault is None
    with never():
        expected = launched(KINDS[name], data)
    assert same_bytes(found, expected[0])
    assert warned == expected[1]
    assert len(warned) == ("warns" in name)
    assert bool(repeated) == (name not in EXECUTED)


@pytest.mark.parametrize("grid", [(), (2,)], ids=["alone", "on a grid"])
@pytest.mark.parametrize("body", REPEATED, ids=lambda body: body.__name__)
def test_answers_and_counts_of_repeated_calls(body: Any, grid: tuple[int, ...], repeated: list[Actions]) -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        programs = nl.num_programs() if grid else 1
        number = nl.program_id(0) if grid else 0
        o = nl.ndarray((programs, 8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x[number])
        out = nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(2):
            for i in nl.affine_range(14):
                body(out, tile, i)
        nl.store(o[number], out)
        return o

    def answer() -> tuple[Any, object]:
        with machine.using(Params(workers=1)), observing() as seen, warnings.catch_warnings():
            warnings.simplefilter("ignore", EmulatorWarning)
            found = (kernel[grid] if grid else kernel)(random(2, 8, 256, seed=3))
        return found, seen.counts

    found, counts = answer()
    assert repeated
    with never():
        expected, as_often = answer()
    assert same_bytes(found, expected)
    assert counts == as_often


def test_tensors_of_the_call_are_used_again(repeated: list[Actions]) -> None:
    """What a call makes anew lies where it lay when the call was recorded; what it is given does not."""
    hold(["kept for later", "sum into its operand", "taken later"], [0, 1, 2, 1])
    (actions,) = {id(one): one for one in repeated}.values()
    assert {slot for slot, _, _ in actions.views} <= set(range(len(NAMES)))
    held = [one for step in actions.steps for one in step.operands if isinstance(one, np.ndarray) and one.ndim]
    assert held


def test_stores_and_loads(repeated: list[Actions]) -> None:
    @nki.jit(mode="trace")
    def move(o: Any, x: Any, i: Any) -> None:
        part = nl.load(x[i])
        nl.store(o[i], nl.multiply(part, 2.0))

    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        for _ in nl.sequential_range(3):
            for i in nl.affine_range(5):
                move(o, x, i)
        return o

    data = random(5, 8, 16)
    with machine.using(Params(workers=1)):
        assert same_bytes(kernel(data), 2 * data)
    assert len(repeated) > 5


def test_parameter_that_is_stored_into_is_given_back() -> None:
    @nki.jit(mode="trace")
    def store(o: Any, x: Any, i: Any) -> None:
        nl.store(o[i], nl.load(x[i]))

    @nki.jit
    def kernel(x: Any, o: Any) -> None:
        for i in nl.affine_range(6):
            store(o, x, i)

    data, out = random(6, 8, 16), np.zeros((6, 8, 16), dtype=F32)
    with machine.using(Params(workers=1)):
        kernel(data, out)
    assert same_bytes(out, data)


def test_second_parameter_that_is_stored_into_first_by_a_repeated_call() -> None:
    @nki.jit(mode="trace")
    def store(o: Any, x: Any, i: Any) -> None:
        nl.store(o[i], nl.load(x[i]))

    @nki.jit
    def kernel(x: Any, first: Any, second: Any) -> None:
        for o in (first, second):
            for i in nl.affine_range(6):
                store(o, x, i)

    data, outs = random(6, 8, 16), [np.zeros((6, 8, 16), dtype=F32) for _ in range(2)]
    with machine.using(Params(workers=1)):
        kernel(data, *outs)
    assert same_bytes(outs[0], data)
    assert same_bytes(outs[1], data)


class Noted:
    """A recording of a call without arguments."""

    failed = False
    count = 0

    def fail(self) -> None:
        self.failed = True

    def part(self, _: Any) -> tuple[None, Form]:
        return None, Form((), 0)

    def is_input(self, _: Any) -> bool:
        return False

    def check_length(self, count: int) -> None:
        self.count = count


OWN = np.zeros((2, 3), dtype=F32)


@pytest.mark.parametrize(
    ("operands", "told"),
    [
        pytest.param((1, 2.5, "name", None, True, slice(0, 3)), True, id="constants"),
        pytest.param(
            (np.float32(2), np.dtype(np.int8), np.exp, Affine(3), same_bytes), True, id="numbers and functions"
        ),
        pytest.param(((1, (2, "a")),), True, id="tuple"),
        pytest.param((np.asarray(3.0),), True, id="array of one number"),
        pytest.param((np.ones(3, dtype=bool),), True, id="mask"),
        pytest.param((OWN,), True, id="array that lies in a tensor"),
        pytest.param((np.zeros(3, dtype=F32),), False, id="other array"),
        pytest.param((OWN[:1],), False, id="part of an array"),
        pytest.param(((1, np.zeros(3)),), False, id="array in a tuple"),
        pytest.param(([1],), False, id="list"),
        pytest.param(({},), False, id="dict"),
        pytest.param((Log().variable(3),), False, id="traced number"),
    ],
)
def test_operands_that_can_be_told(operands: tuple[Any, ...], told: bool) -> None:
    recording: Any = Noted()
    log = ActionLog(recording)
    log.owns(OWN)
    log.did(print, *operands)
    assert recording.failed is not told
    assert recording.count == 1


def test_computation_without_arguments_that_show_cannot_be_told() -> None:
    recording: Any = Noted()
    log = ActionLog(recording)
    log.owns(OWN)
    kind = kind_of((2, 3), F32, Space.SBUF, 0, "computed")
    log.delivered(True, kind, kind, partial(np.add, 1.0), OWN)
    assert not recording.failed
    log.delivered(True, kind, kind, partial(np.add, 1.0, where=True), OWN)
    assert recording.failed
    recording.failed = False
    log.delivered(True, kind, kind, lambda _: OWN, OWN)
    assert recording.failed


def test_place_that_is_known_only_at_run_time(repeated: list[Actions]) -> None:
    @nki.jit(mode="trace")
    def gather(out: Any, x: Any, rows: Any, i: Any) -> None:
        i_p, i_f = nl.mgrid[0:4, 0:16]
        out[i, :, :] = nl.load(x[rows[i_p, i], i_f])

    @nki.jit
    def kernel(x: Any, rows: Any) -> Any:
        o = nl.ndarray((5, 4, 16), dtype=x.dtype, buffer=nl.shared_hbm)
        numbers = nl.load(rows)
        out = nl.zeros((5, nl.par_dim(4), 16), dtype=F32, buffer=nl.sbuf)
        for _ in nl.sequential_range(2):
            for i in nl.affine_range(5):
                gather(out, x, numbers, i)
        for i in nl.affine_range(5):
            nl.store(o[i], out[i, :, :])
        return o

    data, rows = random(9, 16), np.random.default_rng(0).integers(0, 9, (4, 5)).astype(np.int32)
    with machine.using(Params(workers=1)):
        assert same_bytes(kernel(data, rows), data[rows.T])
    assert not repeated


def test_result_of_outside_that_borrows_elements() -> None:
    """What was assigned to a tile before a call is still what it was, after the call has written the tile."""

    @nki.jit(mode="trace")
    def overwrite(tile: Any, i: Any) -> None:
        tile[:, nl.ds(i * 16, 16)] = 0.0

    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        tile = loaded(x)
        for i in nl.sequential_range(6):
            made = nl.add(tile[:, nl.ds(i * 16, 16)], 1.0)
            tile[:, nl.ds(i * 16, 16)] = made
            overwrite(tile, i)
            nl.store(o[:, nl.ds(i * 16, 16)], made)
        return o

    data = random(8, 96)
    with machine.using(Params(workers=1)):
        assert same_bytes(kernel(data), data + 1)


def test_nothing_is_repeated_where_lifetimes_are_measured(repeated: list[Actions]) -> None:
    with measuring():
        launched(KINDS["copy"], random(8, 256))
    assert not repeated


def test_small_helpers_are_executed(monkeypatch: pytest.MonkeyPatch, repeated: list[Actions]) -> None:
    monkeypatch.setattr(repeats, "LEAST_INSTRUCTIONS", 5)
    launched(KINDS["copy"], random(8, 256))
    assert not repeated
    monkeypatch.setattr(repeats, "LEAST_INSTRUCTIONS", 2)
    launched(KINDS["copy"], random(8, 256))
    assert repeated


@pytest.mark.parametrize(("first", "most"), [(0, 2), (1, 4), (3, 6), (100, 15)])
def test_records_are_paid_for_by_repeats(
    monkeypatch: pytest.MonkeyPatch, repeated: list[Actions], first: int, most: int
) -> None:
    """Sixteen kinds of call, twice each: the first is measured, and what is recorded comes again once."""
    monkeypatch.setattr(repeats, "RECORDS_TO_BEGIN_WITH", first)
    launched(KINDS["power of the index"], random(8, 256))
    assert most - 2 <= len(repeated) <= most


def test_helper_that_has_nothing_to_do_at_first(monkeypatch: pytest.MonkeyPatch, repeated: list[Actions]) -> None:
    monkeypatch.setattr(repeats, "LEAST_INSTRUCTIONS", 2)

    @nki.jit(mode="trace")
    def body(out: Any, wide: Any, i: Any) -> None:
        if i >= 3:
            part = nl.copy(wide[:, nl.ds(i * 16, 16)])
            out[:, nl.ds(i * 16, 16)] = nl.exp(part)
            out[:, nl.ds(i * 16, 1)] += part[:, 3]

    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
        wide, out = loaded(x), nl.zeros((nl.par_dim(8), 256), dtype=F32, buffer=nl.sbuf)
        for i in nl.affine_range(16):
            body(out, wide, i)
        nl.store(o, out)
        return o

    def answer() -> Any:
        with machine.using(Params(workers=1)):
            return kernel(random(8, 256))

    found = answer()
    assert len(repeated) > 8
    repeated.clear()
    monkeypatch.setattr(repeats, "MOST_SHORT_CALLS", 3)
    assert same_bytes(answer(), found)
    assert not repeated


def test_memory_of_records_is_limited(monkeypatch: pytest.MonkeyPatch, repeated: list[Actions]) -> None:
    monkeypatch.setattr(repeats, "MOST_BYTES", 0)
    launched(KINDS["power of the index"], random(8, 256))
    assert 0 < len(repeated) <= 2
