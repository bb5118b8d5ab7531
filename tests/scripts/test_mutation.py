"""What a mutation run changes, and what it leaves alone."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from scripts import mutation


def changes(source: str) -> list[str]:
    return [mutant.change for mutant in mutation.find_mutants("m.py", textwrap.dedent(source).encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("x = a < b", ["a < b -> a <= b", "a < b -> a >= b"], id="comparison"),
        pytest.param("x = a and b", ["a and b -> a or b"], id="and"),
        pytest.param("x = not a", ["not a -> a"], id="not"),
        pytest.param("x = 3", ["3 -> 4"], id="number"),
        pytest.param("x = True", ["True -> False"], id="truth"),
        pytest.param("x = 'err_tile'", ["'err_tile' -> 'err_tile_mutated'"], id="word"),
        pytest.param("x = 'a sentence'", [], id="prose"),
        pytest.param("def f():\n    return a", ["return a -> return None"], id="return"),
        pytest.param("def f():\n    return None", [], id="return-none"),
        pytest.param("check(a)", ["check(a) -> pass"], id="call"),
        pytest.param("x += a", ["x += a -> x -= a"], id="in-place"),
        pytest.param("if a: pass", ["a -> not a"], id="condition"),
        pytest.param(
            "raise E(f'{a + 1}', code='err_x')",
            ["raise E(f'{a + 1}', code='err_x') -> pass", "'err_x' -> 'err_x_mutated'"],
            id="raise",
        ),
        pytest.param("def f(a: Literal[1]) -> Literal[2]: ...", [], id="annotation"),
        pytest.param("@dataclass(frozen=True)\nclass C: ...", [], id="decorator"),
        pytest.param("if a:\n    f = g.__name__", ["a -> not a"], id="condition-over-a-name"),
        pytest.param("if TYPE_CHECKING:\n    x = 1", [], id="type-checking"),
    ],
)
def test_find_mutants_of(source: str, expected: list[str]) -> None:
    assert sorted(changes(source)) == sorted(expected)


def test_find_mutants_numbers_equal_changes_of_equal_lines() -> None:
    assert changes("x = f(0, 0)\nx = f(0, 0)") == ["0 -> 1", "0 -> 1 #2", "0 -> 1 #3", "0 -> 1 #4"]


def test_apply_changes_only_its_span() -> None:
    source = "é = 'é'; x = a < b  # ä\r\ny = 1\r\n".encode()
    boundary = next(one for one in mutation.find_mutants("m.py", source) if one.change == "a < b -> a <= b")
    assert boundary.apply(source) == source.replace(b"a < b", b"(a <= b)")


def test_every_mutant_of_a_module_compiles() -> None:
    source = Path(mutation.__file__).read_bytes()
    for mutant in mutation.find_mutants("scripts/mutation.py", source):
        compile(mutant.apply(source), "mutation.py", "exec")
