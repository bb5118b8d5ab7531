from __future__ import annotations

import itertools

import pytest

from nkifix.differential.covering import combinations

FACTORS = {"a": "xyz", "b": [1, 2], "c": [None, True, 0, 9], "d": ["one"]}


def test_full_is_every_combination() -> None:
    made = [tuple(one.values()) for one in combinations(FACTORS, "full")]
    assert made == list(itertools.product(*FACTORS.values()))


def test_singles_show_every_value_in_as_few_as_the_longest_factor_has() -> None:
    made = list(combinations(FACTORS, "singles"))
    assert len(made) == 4
    for name, values in FACTORS.items():
        assert {repr(one[name]) for one in made} == set(map(repr, values))


def test_pairs_show_every_pair_of_values_in_fewer_than_all() -> None:
    made = list(combinations(FACTORS, "pairs"))
    for a, b in itertools.combinations(FACTORS, 2):
        seen = {(repr(one[a]), repr(one[b])) for one in made}
        assert seen == set(itertools.product(map(repr, FACTORS[a]), map(repr, FACTORS[b])))
    assert 12 <= len(made) < 24
    assert made == list(combinations(FACTORS, "pairs"))


@pytest.mark.parametrize("coverage", ["singles", "pairs", "full"])
def test_one_factor_is_its_values(coverage: str) -> None:
    made = list(combinations({"a": [1, 2]}, coverage))  # type: ignore[arg-type]
    assert made == [{"a": 1}, {"a": 2}]
