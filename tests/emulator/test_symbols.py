"""Loop indices and program ids: integers that remember whether they are still affine."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.symbols import Affine, Comparison, Nonlinear, QuasiAffine

A, B = Affine(7), Affine(3)
Q = A % 4
N = A * B

AFFINE: dict[str, tuple[Callable[[], Any], int]] = {
    "plus a number": (lambda: A + 1, 8),
    "a number plus": (lambda: 1 + A, 8),
    "plus an index": (lambda: A + B, 10),
    "plus a numpy number": (lambda: A + np.int32(1), 8),
    "minus a number": (lambda: A - 1, 6),
    "a number minus": (lambda: 1 - A, -6),
    "minus an index": (lambda: A - B, 4),
    "times a number": (lambda: A * 128, 896),
    "a number times": (lambda: 128 * A, 896),
    "times a numpy number": (lambda: A * np.int64(2), 14),
    "times a program count": (lambda: 2 * A * 3 + B * 4, 54),
    "negative": (lambda: -A, -7),
    "shifted left by a number": (lambda: A << 2, 28),
}
QUASI: dict[str, tuple[Callable[[], Any], int]] = {
    "remainder": (lambda: A % 4, 3),
    "quotient": (lambda: A // 4, 1),
    "remainder of a numpy number": (lambda: A % np.int32(4), 3),
    "quotient and remainder": (lambda: divmod(A, 4)[1], 3),
    "bits": (lambda: A & 1, 1),
    "bits of a number": (lambda: 5 | A, 7),
    "exclusive bits": (lambda: A ^ 1, 6),
    "shifted right": (lambda: A >> 1, 3),
    "remainder plus": (lambda: A % 4 + 1, 4),
    "plus a remainder": (lambda: A + A % 4, 10),
    "a multiple of a remainder": (lambda: (A % 4) * 128, 384),
    "minus a quotient": (lambda: 1 - A // 4, 0),
    "negative remainder": (lambda: -(A % 4), -3),
    "remainder of a remainder": (lambda: A % 4 % 2, 1),
}
NONLINEAR: dict[str, tuple[Callable[[], Any], int]] = {
    "product": (lambda: A * B, 21),
    "square": (lambda: A**2, 49),
    "power of a number": (lambda: 2**B, 8),
    "remainder by an index": (lambda: A % B, 1),
    "number by an index": (lambda: 10 // B, 3),
    "remainder of a number": (lambda: 10 % B, 1),
    "number and remainder": (lambda: divmod(10, B)[1], 1),
    "a multiple of a product": (lambda: A * B * 2, 42),
    "a product plus an index": (lambda: A + A * B, 28),
    "remainder of a product": (lambda: A * B % 4, 1),
    "times a remainder": (lambda: A * (B % 2), 7),
    "shifted by an index": (lambda: 1 << B, 8),
}
CASES = [
    pytest.param(build, value, kind, id=f"{kind.__name__}: {name}")
    for kind, table in ((Affine, AFFINE), (QuasiAffine, QUASI), (Nonlinear, NONLINEAR))
    for name, (build, value) in table.items()
]


@pytest.mark.parametrize(("build", "value", "kind"), CASES)
def test_expression_has_the_value_and_remembers_its_form(build: Callable[[], Any], value: int, kind: type[int]) -> None:
    result = build()
    assert int(result) == value
    assert type(result) is kind


@pytest.mark.parametrize(
    ("build", "value"),
    [
        pytest.param(lambda: A / 2, 3.5, id="division"),
        pytest.param(lambda: A * 0.5, 3.5, id="times a float"),
        pytest.param(lambda: A + 0.5, 7.5, id="plus a float"),
        pytest.param(lambda: 0.5 - A, -6.5, id="a float minus"),
        pytest.param(lambda: A % 4.0, 3.0, id="remainder of a float"),
        pytest.param(lambda: 2**-A, 2.0**-7, id="a fraction"),
        pytest.param(lambda: A < 7.5, True, id="comparison with a float"),
    ],
)
def test_arithmetic_with_floats_is_pythons(build: Callable[[], Any], value: Any) -> None:
    assert build() == value
    assert not isinstance(build(), Affine)


@pytest.mark.parametrize("symbol", [operator.add, operator.sub, operator.mul, operator.mod, operator.lshift])
def test_refuses_arithmetic_with_text(symbol: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(TypeError):
        symbol(A, None)


@pytest.mark.parametrize("index", [A, Q, N], ids=["affine", "quasi-affine", "nonlinear"])
def test_index_is_an_integer_everywhere_else(index: Affine) -> None:
    number = int(index)
    assert isinstance(index, int)
    assert (str(index), repr(index), f"{index:3d}") == (str(number), repr(number), f"{number:3d}")
    assert hash(index) == hash(number)
    assert {number: "found"}[index] == "found"
    assert type(pickle.loads(pickle.dumps(index))) is int
    assert list(range(index)) == list(range(number))
    assert list("abcdefghijklmnopqrstuvwxyz")[index] == "abcdefghijklmnopqrstuvwxyz"[number]
    assert np.arange(30)[index] == number
    assert np.zeros(index).shape == (number,)


COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("a", "b"), [(A, 7), (7, A), (A, B)], ids=["number", "number first", "index"])
def test_affine_comparison_is_a_bool(compare: Callable[[Any, Any], Any], a: Any, b: Any) -> None:
    assert compare(a, b) is compare(int(a), int(b))


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("a", "b"), [(Q, 2), (2, Q), (Q, Q), (A, Q), (Q, A), (N, 2)], ids=["q2", "2q", "qq", "iq", "qi", "n2"]
)
def test_other_comparison_is_a_condition_but_no_bool(compare: Callable[[Any, Any], Any], a: Any, b: Any) -> None:
    outcome = compare(a, b)
    expected = compare(int(a), int(b))
    assert type(outcome) is Comparison
    assert bool(outcome) is expected
    assert (str(outcome), hash(outcome)) == (str(expected), hash(expected))
    assert pickle.loads(pickle.dumps(outcome)) is expected
