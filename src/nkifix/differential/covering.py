"""Choosing few combinations of many settings such that every pair of values is seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Coverage = Literal["singles", "pairs", "full"]
"""Every value once at least; every pair of values of two factors; every combination."""

_Pick = tuple[int, int]
"""(factor, value), both by position."""


def combinations(factors: Mapping[str, Sequence[Any]], coverage: Coverage) -> Iterator[dict[str, Any]]:
    """Combinations of one value for each factor; the same ones at every call.

    Parameters
    ----------
    factors:
        Name of a factor -> its values.

    Notes
    -----
    Pairs are covered greedily: each combination starts from a pair that is still missing, and every other factor
    takes the value that adds most missing pairs (D. M. Cohen et al., "The AETG system", IEEE Transactions on Software
    Engineering 23, 1997).
    """
    names, sizes = list(factors), [len(values) for values in factors.values()]
    for picked in _chosen(sizes, coverage):
        yield {name: factors[name][value] for name, value in zip(names, picked, strict=True)}


def _chosen(sizes: list[int], coverage: Coverage) -> Iterator[tuple[int, ...]]:
    if coverage == "full":
        yield from itertools.product(*map(range, sizes))
    elif coverage == "singles" or len(sizes) < 2:
        for number in range(max(sizes, default=0)):
            yield tuple(number % size for size in sizes)
    else:
        yield from _pairwise(sizes)


def _pairwise(sizes: list[int]) -> Iterator[tuple[int, ...]]:
    missing: dict[tuple[_Pick, _Pick], None] = {
        ((a, i), (b, j)): None
        for a, b in itertools.combinations(range(len(sizes)), 2)
        for i in range(sizes[a])
        for j in range(sizes[b])
    }
    while missing:
        picked = dict(next(iter(missing)))
        for factor in range(len(sizes)):
            if factor not in picked:
                picked[factor] = max(
                    range(sizes[factor]),
                    key=lambda value: sum(_pair((factor, value), other) in missing for other in picked.items()),
                )
        for pair in itertools.combinations(sorted(picked.items()), 2):
            missing.pop(pair, None)
        yield tuple(picked[factor] for factor in range(len(sizes)))


def _pair(one: _Pick, other: _Pick) -> tuple[_Pick, _Pick]:
    return (one, other) if one < other else (other, one)
