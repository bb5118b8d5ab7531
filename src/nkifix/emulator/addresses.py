"""Arithmetic on the element addresses of strided views."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np

Span: TypeAlias = tuple[int, int, int]
"""First and last position along one dimension of a tensor, and the step between."""
Box: TypeAlias = tuple[Span, ...]
"""One span per dimension of the tensor."""


def element_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of ``shape``, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def names_twice(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements of a view with these extents and strides have one address."""
    steps = [(abs(step), extent) for step, extent in zip(strides, shape, strict=True) if extent > 1]
    reach = 0
    for step, extent in sorted(steps):
        if step <= reach:
            break
        reach += step * (extent - 1)
    else:
        return False  # each step goes beyond all that the smaller ones reach
    places = np.zeros(1, dtype=np.int64)
    for step, extent in steps:
        places = np.add.outer(places, step * np.arange(extent)).ravel()
    return len(np.unique(places)) < len(places)


def box(sizes: tuple[int, ...], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[Box, bool]:
    """The box around a view of a tensor of ``sizes``, and whether the view fills it."""
    whole = tuple((0, size - 1, 1) for size in sizes)
    steps = [(step, extent) for step, extent in zip(strides, shape, strict=True) if extent > 1]
    if any(step <= 0 for step, _ in steps):
        return whole, False
    spans, filled = [], True
    rest, pitch = offset, math.prod(sizes)
    for size in sizes:
        pitch //= size
        first, rest = divmod(rest, pitch)
        own = [(step, extent) for step, extent in steps if step >= pitch]
        steps = [(step, extent) for step, extent in steps if step < pitch]
        last = first + sum(step // pitch * (extent - 1) for step, extent in own)
        if last >= size or any(step % pitch for step, _ in own):
            return whole, False
        stride = math.gcd(*(step // pitch for step, _ in own)) or 1
        spans.append((first, last, stride))
        filled = filled and stride == 1 and len(own) <= 1
    return tuple(spans), filled


@lru_cache(maxsize=1 << 14)
def disjoint(a: Box, b: Box) -> bool:
    """Whether two boxes share no position in some dimension, whatever their steps."""
    return any(mine[1] < theirs[0] or theirs[1] < mine[0] for mine, theirs in zip(a, b, strict=True))


@lru_cache(maxsize=1 << 14)
def without(a: Box, b: Box) -> tuple[Box, ...]:
    """What is left of a box with steps of 1 when another such box is taken away, as boxes."""
    if disjoint(a, b):
        return (a,)
    left: list[Box] = []
    for axis, ((first, last, _), (begin, end, _)) in enumerate(zip(a, b, strict=True)):
        if begin > first:
            left.append((*a[:axis], (first, begin - 1, 1), *a[axis + 1 :]))
        if end < last:
            left.append((*a[:axis], (end + 1, last, 1), *a[axis + 1 :]))
        a = (*a[:axis], (max(first, begin), min(last, end), 1), *a[axis + 1 :])
    return tuple(left)
