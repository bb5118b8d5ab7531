"""Arithmetic on the element addresses of strided views."""

from __future__ import annotations

import numpy as np


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
