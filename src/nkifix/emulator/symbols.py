"""Integers that remember how they were computed from loop indices and program ids.

AWS's tracer executes a loop body once, with a symbolic index. Here every iteration runs, and an index is a
Python integer: a kernel's own ``if`` and ``range`` work on it, while a mask or a tensor index can tell an
affine expression from one that the tracer refuses.

Source: error code ``err_unsupported_expression_in_mask`` (Neuron SDK 2.26). That remainders and quotients by
a constant are taken as tensor indices is read off shipped kernels: docs/fidelity.md, "Loops".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Affine(int):
    """An affine expression of loop indices and program ids: sums and multiples by a constant stay affine.

    Remainders and quotients are :class:`QuasiAffine`, products of two indices :class:`Nonlinear`; these are
    integers too. Pickled, printed and hashed as the integer.
    """

    __slots__ = ()
    departure = 0
    """How far from affine it is; of two summands, the larger decides."""
    in_words = "an affine expression"

    def __add__(self, other: Any) -> Any:
        return _sum(self, other, int.__add__)

    def __radd__(self, other: Any) -> Any:
        return _sum(self, other, int.__radd__)

    def __sub__(self, other: Any) -> Any:
        return _sum(self, other, int.__sub__)

    def __rsub__(self, other: Any) -> Any:
        return _sum(self, other, int.__rsub__)

    def __mul__(self, other: Any) -> Any:
        if type(other) is int:  # the hot path: i * 128
            return _KINDS[self.departure](int.__mul__(self, other))
        value = int.__mul__(self, _plain(other))
        if value is NotImplemented:
            return value
        return Nonlinear(value) if isinstance(other, Affine) else _KINDS[self.departure](value)

    __rmul__ = __mul__

    def __lshift__(self, other: Any) -> Any:
        return self * (1 << int(other)) if isinstance(other, int) else NotImplemented

    def __neg__(self) -> Any:
        return _KINDS[self.departure](int.__neg__(self))

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    __hash__ = int.__hash__


class QuasiAffine(Affine):
    """A remainder or a quotient of an index: taken as a tensor index, never in a mask."""

    __slots__ = ()
    departure = 1
    in_words = "a remainder or quotient of an index"


class Nonlinear(QuasiAffine):
    """An expression that no stride expresses: a product of two indices, a power."""

    __slots__ = ()
    departure = 2
    in_words = "a product or power of indices"


class Comparison(int):
    """The outcome of a comparison that is not affine: good as a condition, refused as ``mask=``.

    Prints, hashes and pickles as the bool that it stands for, which it cannot be: bool has no subclasses.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(bool(self))

    def __reduce__(self) -> tuple[type[bool], tuple[int]]:
        return bool, (int(self),)


_KINDS: tuple[type[Affine], ...] = (Affine, QuasiAffine, Nonlinear)


def _plain(value: Any) -> Any:
    """A numpy integer as Python's; anything else as it is."""
    return int(value) if hasattr(value, "dtype") and not value.shape and value.dtype.kind in "iu" else value


def _sum(index: Affine, other: Any, operation: Callable[[int, int], Any]) -> Any:
    if type(other) is int:  # the hot path: i * 128 + 64
        return _KINDS[index.departure](operation(index, other))
    value = operation(index, _plain(other))
    if value is NotImplemented:
        return value
    return _KINDS[max(index.departure, other.departure if isinstance(other, Affine) else 0)](value)


def _quotient(name: str, *, constant: int) -> Any:
    """An operator whose result no stride expresses; ``constant`` is its departure beside a constant."""
    plain = getattr(int, name)

    def operator(self: Affine, other: Any) -> Any:
        value = plain(self, _plain(other))
        if value is NotImplemented or not isinstance(value, int):
            return value
        departure = Nonlinear.departure if isinstance(other, Affine) else constant
        return _KINDS[max(self.departure, departure)](value)

    operator.__name__ = name
    return operator


def _comparison(name: str) -> Any:
    plain = getattr(int, name)

    def operator(self: Affine, other: Any) -> Any:
        outcome = plain(self, other)
        if outcome is NotImplemented or not (self.departure or isinstance(other, QuasiAffine)):
            return outcome
        return Comparison(outcome)

    operator.__name__ = name
    return operator


for _name in (
    "__mod__",
    "__floordiv__",
    "__and__",
    "__rand__",
    "__or__",
    "__ror__",
    "__xor__",
    "__rxor__",
    "__rshift__",
):
    setattr(Affine, _name, _quotient(_name, constant=QuasiAffine.departure))
for _name in ("__pow__", "__rpow__", "__rmod__", "__rfloordiv__", "__rlshift__", "__rrshift__"):
    setattr(Affine, _name, _quotient(_name, constant=Nonlinear.departure))
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
    setattr(Affine, _name, _comparison(_name))
