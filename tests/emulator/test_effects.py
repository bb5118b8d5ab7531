"""Helpers that do more than execute instructions: what they do is done as often as they are called."""

from __future__ import annotations

import logging
import math
import os
import random
import sys
import time
import types
import warnings
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from nkifix.emulator import effects
from nkifix.emulator.faults import EmulatorWarning
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from tests.emulator.test_repeats import kernel_of, launch, never, same, x

CALLS = 15 * 2
helper = nki.jit(mode="trace")
seen_global = 0
log = logging.getLogger("kernel")


class Holder:
    count = 0

    def note(self) -> None:
        self.count += 1


def in_global() -> Callable[[], object]:
    global seen_global
    seen_global = 0

    def effect() -> None:
        global seen_global
        seen_global += 1

    return effect


def in_closure() -> Callable[[], object]:
    count = 0

    def effect() -> int:
        nonlocal count
        count += 1
        return count

    return effect


holder, found, counted, queue = Holder(), list[int](), Counter[str](), deque[int]()
EFFECTS: dict[str, tuple[Callable[[], object], Callable[[str], int]]] = {
    "print": (lambda: print("here"), lambda text: text.count("here")),  # noqa: T201
    "write": (lambda: sys.stdout.write("here\n"), lambda text: text.count("here")),
    "list": (lambda: found.append(1), lambda _: len(found)),
    "queue": (lambda: queue.append(1), lambda _: len(queue)),
    "counter": (lambda: counted.update(["a"]), lambda _: counted["a"]),
    "attribute": (holder.note, lambda _: holder.count),
    "setattr": (lambda: setattr(holder, "other", getattr(holder, "other", 0) + 1), lambda _: holder.other),  # type: ignore[attr-defined]
    "global": (in_global(), lambda _: seen_global),
}


class Counting(NamedTuple):
    start: Any

    def note(self) -> int:
        found.append(1)
        return 16


@dataclass(frozen=True)
class Sized:
    size: int

    def width(self) -> int:
        found.append(1)
        return self.size


SETTINGS = Sized(3)
NUMBERS = (1, 2)
CHOICES: dict[str, Callable[[int], object]] = {"quiet": lambda n: n, "loud": lambda n: print(n)}  # noqa: T201


LOUD = (lambda n: n, print)
ARRAY = np.zeros(3)


def recursive(n: int) -> int:
    return recursive(n - 1) if n else 0


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    found.clear()
    counted.clear()
    queue.clear()
    holder.count = 0
    vars(holder).pop("other", None)
    in_global()


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_comes_with_every_call(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    effect, count = EFFECTS[name]

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        effect()
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    _, repeated = launch(kernel_of(body), x())
    assert (count(capsys.readouterr().out), repeated) == (CALLS, 0)


@pytest.mark.parametrize("named", [False, True])
def test_effect_in_a_helper_of_a_helper(named: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def plain(i: Any) -> None:
        print("here", "of some" if i >= 5 else "")  # noqa: T201

    inner = helper(plain) if named else plain

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        inner(i)
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    launch(kernel_of(body), x())
    assert capsys.readouterr().out.count("here") == CALLS


def test_log_and_warning(caplog: pytest.LogCaptureFixture) -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        log.warning("here")
        warnings.warn("there", EmulatorWarning, stacklevel=1)
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    seen, repeated = launch(kernel_of(body), x())
    assert (caplog.text.count("here"), len(seen.warned), repeated) == (CALLS, CALLS, 0)


@pytest.mark.parametrize(
    "outside",
    [
        pytest.param(in_closure(), id="count"),
        pytest.param(lambda: int(time.time() * 1e6) % 3 + 1, id="time"),
        pytest.param(lambda: eval("1 + 1"), id="eval"),
    ],
)
def test_number_that_comes_from_outside(outside: Callable[[], int]) -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        for _ in range(outside() % 3):
            out[:, nl.ds(i * 16, 16)] = nl.exp(tile[:, nl.ds(i * 16, 16)])
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    assert launch(kernel_of(body), x())[1] == 0


def test_what_the_emulator_does_for_itself_is_no_effect() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        first, second = (j for j in (1, 2))
        parts = [nl.copy(tile[:, nl.ds(i * 16 + j, 8)]) for j in (first, second)]
        out[:, nl.ds(i * 16, 8)] = nl.add(*parts)

    assert same(kernel_of(body), x()) > 20


def test_profiler_sees_every_call() -> None:
    calls: Counter[str] = Counter()

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    def profiler(frame: Any, event: str, _: Any) -> None:
        calls[frame.f_code.co_name] += event == "call"

    sys.setprofile(profiler)
    try:
        launch(kernel_of(body), x())
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert calls["body"] == CALLS


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(lambda tile: [one for one in tile], False, id="names of its own"),  # noqa: C416
        pytest.param(in_global(), True, id="global"),
        pytest.param(in_closure(), True, id="outer variable"),
        pytest.param(in_closure, False, id="variable that an inner function changes"),
        pytest.param(Holder.note, True, id="attribute"),
        pytest.param(holder.note, True, id="bound method"),
        pytest.param(lambda: holder.note(), True, id="method of a global object"),
        pytest.param(lambda: Holder, False, id="class"),
        pytest.param(lambda: NUMBERS[0] + len(NUMBERS), False, id="global numbers"),
        pytest.param(lambda: CHOICES["quiet"](1), True, id="global dict"),
        pytest.param(lambda: LOUD[0](1), True, id="functions in a global tuple"),
        pytest.param(lambda: Sized, False, id="class of settings"),
        pytest.param(lambda: SETTINGS.size, False, id="global settings"),
        pytest.param(lambda: ARRAY[0], True, id="global array"),
        pytest.param(lambda x, kept=[]: kept, True, id="default that may change"),
        pytest.param(lambda x, size=3: size, False, id="default number"),
        pytest.param(lambda parts: parts.append(1), True, id="method that changes a list"),
        pytest.param(lambda t: nl.add(t, t), False, id="function of the language with such a name"),
        pytest.param(lambda: time.perf_counter(), True, id="time"),
        pytest.param(lambda: random.choice(NUMBERS), True, id="random"),
        pytest.param(lambda: math.sqrt(2), False, id="arithmetic"),
        pytest.param(lambda: np.log2(8), False, id="numpy"),
        pytest.param(lambda: os.urandom(1), False, id="function of another module, which is not read"),
        pytest.param(lambda: recursive(3), False, id="recursion"),
        pytest.param(lambda: missing, False, id="name that is missing"),  # type: ignore[name-defined]  # noqa: F821
        pytest.param(print, True, id="built-in"),
        pytest.param(found.append, True, id="built-in method"),
        pytest.param(len, False, id="built-in function"),
        pytest.param(helper(in_global()), True, id="kernel"),
        pytest.param(3, False, id="number"),
    ],
)
def test_code_that_has_an_effect(function: Any, expected: bool) -> None:
    assert effects.Reader().has_effect(function) is expected


def test_same_answers_with_effects_and_without_repeats() -> None:
    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        found.append(1)
        out[:, nl.ds(i * 16, 16)] = nl.copy(tile[:, nl.ds(i * 16, 16)])

    same(kernel_of(body), x())
    assert len(found) == 2 * CALLS
    with never():
        launch(kernel_of(body), np.zeros((8, 256), dtype=np.float32))
    assert len(found) == 3 * CALLS


class Quiet(NamedTuple):
    start: Any

    def note(self) -> int:
        return 16


@pytest.mark.parametrize("kind", [Counting, Sized, Quiet])
def test_methods_of_arguments_are_read(kind: Any) -> None:
    @helper
    def body(out: Any, tile: Any, given: Any, i: Any) -> None:
        width = given.width() if isinstance(given, Sized) else given.note()
        out[:, nl.ds(i * 16, width)] = nl.copy(tile[:, nl.ds(i * 16, width)])

    def with_settings(out: Any, tile: Any, i: Any) -> None:
        body(out, tile, Sized(16) if kind is Sized else kind(i), i)

    _, repeated = launch(kernel_of(with_settings), x())
    assert (len(found), repeated > 0) == ((0, True) if kind is Quiet else (CALLS, False))


def test_outer_variable_that_changes_is_told_apart() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((8, 256), dtype=x.dtype, buffer=nl.shared_hbm)
        out = nl.zeros((nl.par_dim(8), 256), dtype=np.float32, buffer=nl.sbuf)
        width, function = 8, nl.exp

        def inner(i: Any) -> Any:
            return nl.ds(i * 16, width)

        @helper
        def body(i: Any) -> None:
            out[:, inner(i)] = function(out[:, inner(i)])

        @helper
        def passed(out: Any, i: Any) -> None:
            out[:, inner(i)] = function(out[:, inner(i)])

        for width, function in ((8, nl.exp), (4, nl.square), (8, nl.exp)):  # noqa: B007
            for i in nl.sequential_range(4):
                body(i)
            for i in nl.sequential_range(4):
                passed(out, i)
        nl.store(o, out)
        return o

    assert same(nki.jit(kernel), x()) > 5


def test_object_that_changes_outside_is_looked_at_each_time() -> None:
    widths = {"now": 8}

    @helper
    def body(out: Any, tile: Any, i: Any) -> None:
        out[:, nl.ds(i * 16, widths["now"])] = nl.copy(tile[:, nl.ds(i * 16, widths["now"])])

    def changing(out: Any, tile: Any, i: Any) -> None:
        widths["now"] = 4 + int(i)
        body(out, tile, i)

    assert same(kernel_of(changing), x()) == 0


def test_modules_are_not_asked_for_what_they_do_not_have() -> None:
    """The language's own suggest names for what they lack, which takes longer than to read a helper."""

    class Silent(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name == "func":
                raise AssertionError(name)
            raise AttributeError(name)

    silent = Silent("silent")

    def body() -> Any:
        return silent

    assert not effects.Reader().has_effect(body)
