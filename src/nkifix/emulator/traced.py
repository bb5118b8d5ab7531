"""Integers that remember what was found out about them.

A call that computes nothing is told by its tensors' layouts, its constants, and by what it finds out about the loop
indices it is given and about where its tensors begin: the outcome of a comparison, a value where one is needed. A
:class:`Traced` number stands for such an integer while a call is recorded. Sums and multiples of it are traced as
well; every other use is an observation, and goes into the :class:`Log`. Another call for which all observations come
out alike does the same (:mod:`nkifix.emulator.repeats`).

It is no ``int``, so that nothing can take its value unseen; it only claims to be one where ``isinstance`` asks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from nkifix.emulator.loops import LoopIndex
from nkifix.emulator.symbols import Affine

Terms: TypeAlias = tuple[tuple[int, int], ...]
"""Number of a variable and its factor, ordered by variables."""


class Form(NamedTuple):
    """A linear function of a call's variables."""

    terms: Terms
    const: int

    def at(self, values: Sequence[int]) -> int:
        """Its value."""
        total = self.const
        for variable, factor in self.terms:
            total += factor * values[variable]
        return total


Question: TypeAlias = tuple[Form, str, int, int]
"""What an observation asked of a form: a name of :data:`_ANSWERS`, and two numbers for it."""


_ANSWERS: dict[str, Callable[[int, int, int], int]] = {
    "value": lambda value, _, __: value,
    "<": lambda value, _, __: value < 0,
    "<=": lambda value, _, __: value <= 0,
    "==": lambda value, _, __: value == 0,
    "within": lambda value, low, high: low <= value <= high,
    "partition": lambda value, row, partitions: value // row % partitions,
}


def answer(question: Question, values: Sequence[int]) -> int:
    """What an observation would find for other values of the variables."""
    form, name, first, second = question
    return _ANSWERS[name](form.at(values), first, second)


class Log:
    """What a call has found out about its variables.

    Attributes
    ----------
    values:
        The variables.
    observed:
        Question -> its answer, in the order in which they came up first.
    """

    def __init__(self) -> None:
        self.values: list[int] = []
        self.observed: dict[Question, int] = {}

    def variable(self, value: int, origin: Any = None) -> Traced:
        """A new variable; ``origin`` is what it stands for."""
        self.values.append(value)
        return Traced(self, ((len(self.values) - 1, 1),), 0, value, origin)

    def ask(self, traced: Traced, name: str, first: int = 0, second: int = 0) -> int:
        """Note an observation, and return what it finds."""
        question = (Form(traced.terms, traced.const), name, first, second)
        found = self.observed.get(question)
        if found is None:
            found = self.observed[question] = _ANSWERS[name](traced.value, first, second)
        return found


class Traced:
    """A linear function of the variables of a :class:`Log`, and its value.

    Attributes
    ----------
    value:
        Looking at it is no observation: for who does what is right for any value.
    origin:
        What a variable stands for.
    """

    __slots__ = ("const", "log", "origin", "terms", "value")
    __array_ufunc__ = None

    def __init__(self, log: Log, terms: Terms, const: int, value: int, origin: Any = None) -> None:
        self.log = log
        self.terms = terms
        self.const = const
        self.value = value
        self.origin = origin

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What ``isinstance`` is told."""
        return Affine

    def observed(self) -> Affine:
        """Its value, as what it stands for: from now on, the call depends on it."""
        return Affine(self.log.ask(self, "value"))

    def is_within(self, low: int, high: int) -> bool:
        """Whether low <= value <= high."""
        return bool(self.log.ask(self, "within", low, high))

    def partition(self, row: int, partitions: int) -> int:
        """Its value // row % partitions."""
        return self.log.ask(self, "partition", row, partitions)

    def __add__(self, other: Any) -> Any:
        return _sum(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _sum(self, other, -1)

    def __rsub__(self, other: Any) -> Any:
        return _sum(-self, other, 1)

    def __mul__(self, other: Any) -> Any:
        if type(other) is not int:
            return _of_values(operator.mul, self, other)
        if not other:
            return Affine(0)
        terms = tuple([(variable, factor * other) for variable, factor in self.terms])
        return Traced(self.log, terms, self.const * other, self.value * other)

    __rmul__ = __mul__

    def __lshift__(self, other: Any) -> Any:
        return self * (1 << other) if type(other) is int and other >= 0 else _of_values(operator.lshift, self, other)

    def __neg__(self) -> Traced:
        return Traced(
            self.log, tuple([(variable, -factor) for variable, factor in self.terms]), -self.const, -self.value
        )

    def __pos__(self) -> Traced:
        return self

    def __bool__(self) -> bool:
        return not self.log.ask(self, "==")

    def __hash__(self) -> int:
        return hash(self.observed())

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return np.asarray(int(self.observed()), *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if not hasattr(Affine, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.observed(), name)


def _sum(traced: Traced, other: Any, sign: int) -> Any:
    kind = type(other)
    if kind is Traced:
        if other.log is not traced.log:
            return _of_values(operator.add if sign > 0 else operator.sub, traced, other)
        factors = dict(traced.terms)
        for variable, factor in other.terms:
            factors[variable] = factors.get(variable, 0) + sign * factor
        terms = tuple(sorted([(variable, factor) for variable, factor in factors.items() if factor]))
        value, const = traced.value + sign * other.value, traced.const + sign * other.const
        return Traced(traced.log, terms, const, value) if terms else Affine(value)
    if kind is int or kind in _INDICES:
        number = sign * int(other)
        return Traced(traced.log, traced.terms, traced.const + number, traced.value + number)
    return _of_values(operator.add if sign > 0 else operator.sub, traced, other)


_INDICES: tuple[type, ...] = (Affine, LoopIndex)
"""Types of integers, besides ``int``, whose sum with an affine expression is one."""


_QUESTIONS = {"<": "<", "<=": "<=", ">": "<", ">=": "<=", "==": "==", "!=": "=="}
"""Comparison with zero -> what is asked: of the negative for ``>`` and ``>=``, and ``!=`` is the other answer."""


def _compared(traced: Traced, other: Any, relation: str, plain: Callable[[Any, Any], Any]) -> Any:
    kind = type(other)
    if not (kind is int or kind is Traced or kind in _INDICES):
        return _of_values(plain, traced, other)
    difference = traced - other
    if type(difference) is not Traced:
        return plain(difference, 0)
    found = bool(difference.log.ask(-difference if relation in (">", ">=") else difference, _QUESTIONS[relation]))
    return not found if relation == "!=" else found


def _comparison(name: str, relation: str) -> Any:
    plain_one = getattr(operator, name)

    def method(self: Traced, other: Any) -> Any:
        return _compared(self, other, relation, plain_one)

    return method


for _name, _relation in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    setattr(Traced, f"__{_name}__", _comparison(_name, _relation))


def _of_values(operation: Callable[[Any, Any], Any], *operands: Any) -> Any:
    """An operation that is no linear function: its result depends on the values."""
    if not all(isinstance(one, (int, float, complex)) or hasattr(one, "dtype") for one in operands):
        return NotImplemented
    return operation(*[one.observed() if type(one) is Traced else one for one in operands])


def _by_value(name: str, *, swapped: bool = False) -> Any:
    operation = getattr(operator, name)

    def method(self: Traced, other: Any) -> Any:
        return _of_values(operation, other, self) if swapped else _of_values(operation, self, other)

    return method


for _name in ("truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "rshift"):
    setattr(Traced, f"__{_name.strip('_')}__", _by_value(_name))
    setattr(Traced, f"__r{_name.strip('_')}__", _by_value(_name, swapped=True))
Traced.__rlshift__ = _by_value("lshift", swapped=True)  # type: ignore[attr-defined]


def _converted(name: str) -> Any:
    def method(self: Traced, *args: Any) -> Any:
        return getattr(self.observed(), name)(*args)

    return method


for _name in (
    "__index__",
    "__round__",
    "__trunc__",
    "__abs__",
    "__invert__",
    "__divmod__",
    "__rdivmod__",
    "__repr__",
    "__format__",
    "__reduce__",
):
    setattr(Traced, _name, _converted(_name))


def plain(value: Any) -> Any:
    """What a traced number stands for, to be looked at without being observed; anything else as it is."""
    return value.value if type(value) is Traced else value
