"""Integers that stand for a call's variables: the same values as plain ones, and nothing looked at unseen."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import loops
from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.symbols import Affine, Nonlinear, QuasiAffine
from nkifix.emulator.traced import Log, Traced, answer, plain

UNSEEN: dict[str, Callable[[Any], Any]] = {
    "plus a number": lambda x: x + 3,
    "a number plus": lambda x: 3 + x,
    "minus a number": lambda x: x - 3,
    "a number minus": lambda x: 3 - x,
    "plus an index": lambda x: x + Affine(5),
    "an index plus": lambda x: Affine(5) + x,
    "an index minus": lambda x: Affine(5) - x,
    "plus a loop's index": lambda x: x + loops.LoopIndex.of(2, loops.Level(parallel=False)),
    "times": lambda x: x * 128,
    "a number times": lambda x: 128 * x,
    "times zero": lambda x: x * 0,
    "sum times a number": lambda x: (x + 3) * 4,
    "less three times itself": lambda x: x - 3 * x,
    "shifted by nothing": lambda x: (x + 1) << 0,
    "negative": lambda x: -x,
    "positive": lambda x: +x,
    "shifted left": lambda x: x << 3,
    "less itself": lambda x: x - x,
    "compared with itself": lambda x: x + 1 > x,
    "an integer": lambda x: isinstance(x, int) and isinstance(x, Affine),
    "in an index": lambda x: (AffineIndex.arange(0, 4) + x).coeffs,
}
"""Uses that hold for any value."""
SEEN: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "index": operator.index,
    "range": lambda x: list(range(x)),
    "item of a list": lambda x: list(range(100))[x],
    "slice of a list": lambda x: list(range(100))[x : x + 2],
    "key of a dict": lambda x: {7: "seven"}[x],
    "among numbers": lambda x: x in {7, 8},
    "repeated": lambda x: [0] * x,
    "hash": hash,
    "repr": repr,
    "str": str,
    "format": lambda x: f"{x:03d}",
    "percent": lambda x: "%d" % x,  # noqa: UP031
    "quotient": lambda x: x // 2,
    "remainder": lambda x: x % 4,
    "both": lambda x: divmod(x, 4),
    "swapped": lambda x: (100 // x, 100 % x, 2**x, 1 << x, divmod(100, x)),
    "division": lambda x: x / 2,
    "power": lambda x: x**2,
    "square": lambda x: x * x,
    "times an index": lambda x: x * Affine(3),
    "bits": lambda x: (x & 3, x | 8, x ^ 1, ~x, x >> 1),
    "shift by an index": lambda x: 1 << x,
    "plus a float": lambda x: x + 0.5,
    "plus a quotient": lambda x: x + Affine(9) // 2,
    "plus a numpy number": lambda x: x + np.int64(3),
    "numpy array": lambda x: np.asarray(x).dtype,
    "numpy range": lambda x: np.arange(x).sum(),
    "square root": math.sqrt,
    "ceiling": math.ceil,
    "floor": math.floor,
    "truncation": math.trunc,
    "round": round,
    "absolute": abs,
    "greatest divisor": lambda x: math.gcd(x, 21),
    "bit length": lambda x: x.bit_length(),
    "pair": lambda x: x.__reduce__(),
    "copy": copy.copy,
    "less than a float": lambda x: x < 7.5,
    "times an index range": lambda x: (AffineIndex.arange(0, 4) * x).coeffs,
}
"""Uses that depend on the value."""
COMPARED: dict[str, Callable[[Any], Any]] = {
    "less": lambda x: x < 8,
    "at most": lambda x: x <= 6,
    "greater": lambda x: x > 6,
    "at least": lambda x: x >= 8,
    "equal": lambda x: x == 7,
    "not equal": lambda x: x != 7,
    "a number less": lambda x: x > 6,
    "less than an index": lambda x: x < Affine(9),
    "greatest": lambda x: max(x, 3),
    "least": lambda x: min(x, 3),
    "truth": bool,
    "condition": lambda x: "yes" if x else "no",
}
"""Uses of which the outcome alone is seen."""


@pytest.mark.parametrize("name", UNSEEN)
def test_sums_and_multiples_are_not_seen(name: str) -> None:
    log = Log()
    found = UNSEEN[name](log.variable(7))
    assert not log.observed
    assert plain(found) == UNSEEN[name](Affine(7))
    if type(found) is Traced:
        assert [(found.const + sum(f * log.values[v] for v, f in found.terms))] == [found.value]


@pytest.mark.parametrize("name", SEEN)
def test_every_other_use_sees_the_value(name: str) -> None:
    log = Log()
    found, expected = SEEN[name](log.variable(7)), SEEN[name](Affine(7))
    assert found == expected
    assert type(found) is type(expected)
    assert any(question[1] == "value" for question in log.observed)


@pytest.mark.parametrize("name", COMPARED)
def test_comparison_sees_its_outcome(name: str) -> None:
    log = Log()
    assert plain(COMPARED[name](log.variable(7))) == COMPARED[name](Affine(7))
    ((question, found),) = log.observed.items()
    assert question[1] != "value"
    assert answer(question, [7]) == found
    if name not in ("greatest", "least"):
        alike = [COMPARED[name](Affine(other)) == COMPARED[name](Affine(7)) for other in range(12)]
        assert [answer(question, [other]) == found for other in range(12)] == alike
    assert {answer(question, [other]) for other in range(12)} == {False, True}


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda x: x == None, id="None"),  # noqa: E711
        pytest.param(lambda x: x == "7", id="text"),
        pytest.param(lambda x: x != None, id="not None"),  # noqa: E711
    ],
)
def test_other_kinds_are_told_apart_unseen(use: Callable[[Any], Any]) -> None:
    log = Log()
    assert use(log.variable(7)) == use(7)
    assert not log.observed


@pytest.mark.parametrize("use", [lambda x: x + "a", lambda x: x < "a", lambda x: x.nothing, lambda x: [] * (x / x)])
def test_wrong_use_fails_as_with_a_plain_number(use: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, AttributeError)) as plainly:
        use(Affine(7))
    with pytest.raises(plainly.type):
        use(Log().variable(7))


def test_departure_from_affine_is_kept() -> None:
    log = Log()
    x: Any = log.variable(7)
    assert type(x // 2) is QuasiAffine
    assert type(x * x) is Nonlinear
    assert type(x + QuasiAffine(2)) is QuasiAffine


def test_numbers_of_two_calls_meet_by_value() -> None:
    one, other = Log(), Log()
    assert one.variable(7) + other.variable(3) == 10
    assert one.variable(7) - other.variable(3) == 4
    assert one.observed
    assert other.observed


Steps = st.lists(
    st.tuples(st.sampled_from(["+x", "-x", "+y", "+c", "-c", "*c", "neg", "<", ">=", "=="]), st.integers(-5, 5)),
    max_size=12,
)


def walk(steps: list[tuple[str, int]], x: Any, y: Any) -> list[object]:
    """What a kernel would see of these steps: outcomes of comparisons; and the last number's value."""
    seen: list[object] = []
    value = x
    for name, number in steps:
        if name in ("+x", "-x", "+y"):
            value = value + (x if name[1] == "x" else y) * (1 if name[0] == "+" else -1)
        elif name in ("+c", "-c"):
            value = value + number if name == "+c" else number - value
        elif name == "*c":
            value = value * number
        elif name == "neg":
            value = -value
        else:
            seen.append({"<": operator.lt, ">=": operator.ge, "==": operator.eq}[name](value, number + y))
    return [*seen, plain(value)]


@settings(deadline=None)
@given(Steps, st.integers(-4, 4), st.integers(-4, 4), st.integers(-4, 4), st.integers(-4, 4))
def test_same_answers_mean_the_same_walk(steps: list[tuple[str, int]], x: int, y: int, x2: int, y2: int) -> None:
    log = Log()
    seen = walk(steps, log.variable(x), log.variable(y))
    assert seen == walk(steps, x, y)
    if all(answer(question, [x2, y2]) == found for question, found in log.observed.items()):
        assert walk(steps, x2, y2)[:-1] == seen[:-1]


def test_place_in_a_tile_is_asked_for() -> None:
    log = Log()
    x = log.variable(5) * 512 + 100
    assert x.partition(64, 8) == 1
    assert x.is_within(0, 3000)
    assert not x.is_within(0, 100)
    (partition, inside, outside) = log.observed
    assert [answer(partition, [n]) for n in range(3)] == [1, 1, 1]
    assert [answer(inside, [n]) for n in (-1, 0, 5, 6)] == [0, 1, 1, 0]
    assert [answer(outside, [n]) for n in (0, 1)] == [1, 0]
    y = log.variable(4)
    assert [y.is_within(4, 9), y.is_within(0, 4), y.is_within(5, 9), y.is_within(0, 3)] == [True, True, False, False]
