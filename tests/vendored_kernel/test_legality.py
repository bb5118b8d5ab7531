from __future__ import annotations

from pathlib import Path

import pytest

from tests.vendored_kernel.legality import Traced, either, violations

KERNEL = Path(__file__).resolve().parents[2] / "vendored_kernel" / "kernel.py"

FRAME = """
@nki.jit(mode="trace")
def helper(tile, q0, rows, group):
    first, tail = group
{helper}

@nki.jit
def kernel(q):
    o = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
    n = q.shape[0] // 128
    for i in nl.affine_range(n):
        tile = nl.load(q[i])
        helper(tile, i * 128, 128, (i * 128, n % 128))
{kernel}
    return o
"""


def in_frame(kernel: str = "pass", helper: str = "pass") -> str:
    def indented(text: str, by: int) -> str:
        return "\n".join(" " * by + line for line in text.splitlines())

    return FRAME.format(helper=indented(helper, 4), kernel=indented(kernel, 8))


def test_kernel_breaks_no_rule_of_the_tracer() -> None:
    assert violations(KERNEL.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("kernel", "helper"),
    [
        pytest.param("pass", "pass", id="nothing"),
        pytest.param("if (i * 128 < n) & (i > 2):\n    nl.store(o[i], tile)", "pass", id="inequalities joined by &"),
        pytest.param("pass", "if rows % 128:\n    pass", id="remainder of a size"),
        pytest.param("pass", "if tail:\n    size = tail // 2", id="the size in a tuple beside an index"),
        pytest.param("pass", "if rows is not None:\n    tile[:, :] += 1", id="identity of a constant"),
        pytest.param("place = nl.ds(i * 128 + 5, 3)\nuse(place)", "place = 1\nuse(place)", id="bound and used inside"),
        pytest.param("pass", "size = 2 if rows > 3 else 1", id="conditional expression on a size"),
    ],
)
def test_leaves_what_the_tracer_takes(kernel: str, helper: str) -> None:
    assert violations(in_frame(kernel, helper)) == []


@pytest.mark.parametrize(
    ("kernel", "helper", "what"),
    [
        pytest.param("if i > 1 and i < n:\n    pass", "pass", "and/or between conditions", id="and"),
        pytest.param("if not i > 1:\n    pass", "pass", "not of a traced value", id="not"),
        pytest.param("if 1 < i < n:\n    pass", "pass", "a chained comparison of traced values", id="chain"),
        pytest.param(
            "if i == 3:\n    pass", "pass", "a traced value in a comparison that is no inequality", id="equality"
        ),
        pytest.param("x = i % 4", "pass", "an index expression that is not affine", id="remainder"),
        pytest.param("pass", "x = q0 // 4", "an index expression that is not affine", id="division in a helper"),
        pytest.param("pass", "x = first % 4", "an index expression that is not affine", id="index out of a tuple"),
        pytest.param("pass", "x = group[0] % 4", "an index expression that is not affine", id="item of a tuple"),
        pytest.param("x = i * i", "pass", "a product of two indices", id="product"),
        pytest.param("x = 1 if i > 2 else 0", "pass", "a conditional expression on a traced value", id="ternary"),
        pytest.param("n = n + 1", "pass", "n is bound before the loop and again inside", id="rebinding"),
        pytest.param("tile += 1", "pass", "tile is changed in place, which the tracer does once", id="in place"),
        pytest.param("q.append(i)", "pass", "q.append changes a Python object", id="mutation"),
        pytest.param("while n > 1:\n    pass", "pass", "while", id="while"),
        pytest.param("x = [j for j in q]", "pass", "comprehension", id="comprehension"),
        pytest.param("for j in range(3):\n    pass", "pass", "a Python range", id="range"),
        pytest.param(
            "for j in q:\n    pass", "pass", "a loop over something else than a range of nki.language", id="loop"
        ),
        pytest.param(
            "if i > 2:\n    x = nl.load(q)\nuse(x)", "pass", "x is used after the block that binds it", id="after if"
        ),
        pytest.param(
            "pass", "for j in nl.affine_range(3):\n    x = 1\nuse(x)", "x is used after the block", id="after for"
        ),
        pytest.param(
            "x = nl.ndarray((1,), buffer=nl.shared_hbm)",
            "pass",
            "shared_hbm below the kernel's top level",
            id="in loop",
        ),
        pytest.param(
            "pass",
            "x = nl.ndarray((1,), buffer=nl.shared_hbm)",
            "shared_hbm below the kernel's top level",
            id="in helper",
        ),
        pytest.param("pass", "def f():\n    pass", "a function inside a function", id="nested function"),
    ],
)
def test_finds_what_the_tracer_refuses(kernel: str, helper: str, what: str) -> None:
    assert any(what in text for text in violations(in_frame(kernel, helper)))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        pytest.param("def f(x):\n    pass", "a function without nki.jit", id="none"),
        pytest.param("@cache\ndef f(x):\n    pass", "a decorator that is not nki.jit", id="another"),
    ],
)
def test_finds_functions_that_are_not_traced(source: str, what: str) -> None:
    assert violations(source) != []
    assert any(what in text for text in violations(source))


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        pytest.param((True, False), (False, False), (True, False), id="tuples, item by item"),
        pytest.param(False, (True, False), (True, False), id="nothing traced, and a tuple"),
        pytest.param((True, False), False, (True, False), id="a tuple, and nothing traced"),
        pytest.param(True, (True, False), True, id="traced as a whole"),
        pytest.param((False, False), (True,), True, id="tuples of other lengths"),
    ],
)
def test_what_is_traced_at_either_call_is_traced(one: Traced, other: Traced, joined: Traced) -> None:
    assert either(one, other) == joined
