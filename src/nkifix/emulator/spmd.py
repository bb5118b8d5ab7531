"""Dimensions of a launch grid that say which programs run on which physical NeuronCore.

Source: ``nl.nc``, ``nl.spmd_dim`` and the example of the SPMD grid (``nki.language`` reference, Neuron SDK 2.26).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from nkifix.emulator.affine import is_integer
from nkifix.emulator.faults import KernelFault


class Factor(NamedTuple):
    """A part of a dimension: its size, and whether it counts physical NeuronCores."""

    size: int
    is_core: bool


class Dimension(int):
    """A grid dimension made of factors, the slowest first: an integer, their product.

    Program ids run over it as over any dimension. ``nc(2) * 2`` puts programs 0 and 1 on the first core,
    ``2 * nc(2)`` programs 0 and 2.
    """

    factors: tuple[Factor, ...]

    @classmethod
    def of(cls, *factors: Factor) -> Dimension:
        """The dimension of these factors."""
        self = cls(math.prod(factor.size for factor in factors))
        self.factors = factors
        return self

    def __mul__(self, other: object) -> Any:
        return combined(self, other)

    def __rmul__(self, other: object) -> Any:
        return combined(other, self)

    def __repr__(self) -> str:
        return " * ".join(f"nc({size})" if is_core else str(size) for size, is_core in self.factors)

    def core(self, program_id: int) -> int:
        """Number of the physical core, among this dimension's, that a program runs on."""
        number, step = 0, int(self)
        for size, is_core in self.factors:
            step //= size
            if is_core:
                number = number * size + program_id // step % size
        return number

    @property
    def cores(self) -> int:
        """How many physical cores it counts."""
        return math.prod(factor.size for factor in self.factors if factor.is_core)


def physical_cores(size: object) -> Dimension:
    """``nl.nc(size)``: as many physical NeuronCores."""
    return Dimension.of(Factor(_size("nl.nc", size), is_core=True))


def combined(*parts: object) -> Dimension:
    """``nl.spmd_dim(...)``, and the product of a dimension and a number."""
    if not parts:
        raise KernelFault("", "nl.spmd_dim takes sizes, got none", next_step="nl.spmd_dim(nl.nc(2), 2)")
    factors: list[Factor] = []
    for part in parts:
        if isinstance(part, Dimension):
            factors.extend(part.factors)
        else:
            factors.append(Factor(_size("nl.spmd_dim", part), is_core=False))
    return Dimension.of(*factors)


def _size(operation: str, value: object) -> int:
    if not is_integer(value) or int(value) <= 0:  # type: ignore[call-overload]
        raise KernelFault("", f"{operation} takes a positive whole number, got {value!r}", next_step=f"{operation}(2)")
    return int(value)  # type: ignore[call-overload,no-any-return]


def cores_of(grid: tuple[int, ...]) -> int:
    """How many physical cores a grid asks for; 1 where it leaves that to the compiler."""
    return math.prod(size.cores for size in grid if isinstance(size, Dimension))


def core_of(grid: tuple[int, ...], position: tuple[int, ...]) -> int:
    """Number of the physical core that runs one program of a grid; 0 where the grid does not say."""
    number = 0
    for size, program_id in zip(grid, position, strict=True):
        if isinstance(size, Dimension):
            number = number * size.cores + size.core(program_id)
    return number
