"""Compile-time index expressions: affine functions of index ranges, and predicates over them.

``nl.arange`` and ``nl.mgrid`` make :class:`AffineIndex` values. One is a function of a rectangular index
space: its value at ``(i0, i1, …)`` is ``const + sum(coeffs[d] * i_d)``, where ``i_d`` runs over
``range(extents[d])``. Comparing two gives a :class:`Predicate`, which serves as a mask. Both stay
symbolic, so that an all-true mask costs nothing and an index becomes strides instead of a gather.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from nkifix.emulator.faults import KernelFault
from nkifix.emulator.symbols import Affine, Comparison, Nonlinear, QuasiAffine
from nkifix.emulator.traced import Traced, plain

Mask: TypeAlias = npt.NDArray[np.bool_] | Literal[False] | None
"""Evaluated mask: None keeps everything, False drops everything, an array decides per element."""


broadcast = lru_cache(maxsize=1 << 12)(np.broadcast_shapes)
"""The common shape of shapes, as numpy has it; ValueError where there is none."""


def is_integer(value: object) -> bool:
    """A Python or numpy integer, but no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class AffineIndex:
    """An affine function over a rectangular index space (see the module docstring)."""

    __slots__ = ("coeffs", "const", "extents")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, const: int, coeffs: tuple[int, ...], extents: tuple[int, ...]) -> None:
        self.const = const
        self.coeffs = coeffs
        self.extents = extents

    @classmethod
    def arange(cls, start: int, stop: int) -> AffineIndex:
        """The one-dimensional index ``start, start + 1, …, stop - 1``."""
        if stop <= start:
            raise KernelFault("", f"an index range must not be empty, got [{start}, {stop})")
        return cls(start, (1,), (stop - start,))

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of every dimension of the index space."""
        return self.extents

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""
        spans = [c * (n - 1) for c, n in zip(self.coeffs, self.extents, strict=True)]
        return self.const + sum(min(s, 0) for s in spans), self.const + sum(max(s, 0) for s in spans)

    def values(self) -> npt.NDArray[np.int64]:
        """All values, as an array that broadcasts to :attr:`shape`."""
        rank = len(self.extents)
        total = np.full((1,) * rank, self.const, dtype=np.int64)
        for dim, (coeff, extent) in enumerate(zip(self.coeffs, self.extents, strict=True)):
            if coeff:
                line = coeff * np.arange(extent, dtype=np.int64)
                total = total + line.reshape((1,) * dim + (extent,) + (1,) * (rank - dim - 1))
        return total

    def __getitem__(self, key: Any) -> AffineIndex:
        """Only inserts dimensions (``[:, None]``) and keeps them (``:``), as numpy users write it."""
        parts = key if isinstance(key, tuple) else (key,)
        source = iter(zip(self.coeffs, self.extents, strict=True))
        dims: list[tuple[int, int]] = []
        for part in parts:
            if part is None:
                dims.append((0, 1))
            elif isinstance(part, slice) and part == slice(None):
                dim = next(source, None)
                if dim is None:
                    raise KernelFault("", f"too many indices for an index of shape {self.shape}: {key!r}")
                dims.append(dim)
            else:
                raise KernelFault(
                    "",
                    f"an index can only be reshaped with ':' and 'None', got {part!r}",
                    next_step="write the range you want: nl.arange(n)[:, None]",
                )
        dims += source
        return AffineIndex(self.const, tuple(coeff for coeff, _ in dims), tuple(extent for _, extent in dims))

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise KernelFault(
            "err_cannot_assign_to_index",
            "an index made by nl.arange or nl.mgrid cannot be assigned to",
            why="an index is a compile-time expression, not a tensor",
            next_step="build the index you want by arithmetic on nl.arange",
        )

    def __bool__(self) -> NoReturn:
        _no_truth_value()

    def __iter__(self) -> NoReturn:
        raise KernelFault("", "an index cannot be iterated over", next_step="use nl.affine_range for a loop")

    def _plus(self, other: Any, sign: int) -> Any:
        if type(other) is AffineIndex and other.extents == self.extents:
            pairs = zip(self.coeffs, other.coeffs)  # noqa: B905  as many as extents
            coeffs = tuple([a + b for a, b in pairs] if sign > 0 else [a - b for a, b in pairs])
            return AffineIndex(self.const + sign * other.const, coeffs, self.extents)
        if is_integer(other):
            # What is not affine stays so in the sum: it may be an index, but no mask.
            constant = other if isinstance(other, QuasiAffine) or type(other) is Traced else int(other)
            return AffineIndex(self.const + sign * constant, self.coeffs, self.extents)
        if not isinstance(other, AffineIndex):
            return NotImplemented
        try:
            extents = broadcast(self.extents, other.extents)
        except ValueError:
            raise KernelFault("", f"indices of shapes {self.shape} and {other.shape} do not broadcast") from None
        mine, theirs = self._padded(len(extents)), other._padded(len(extents))
        coeffs = tuple(a + sign * b for a, b in zip(mine, theirs, strict=True))
        return AffineIndex(self.const + sign * other.const, coeffs, extents)

    def _padded(self, rank: int) -> tuple[int, ...]:
        """The coefficients in an index space of ``rank`` dimensions."""
        return (0,) * (rank - len(self.extents)) + self.coeffs

    def __add__(self, other: Any) -> Any:
        return self._plus(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._plus(other, -1)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __neg__(self) -> Any:
        return self * -1

    def __mul__(self, other: Any) -> Any:
        if is_integer(other):
            factor = int(other)
            constant = Nonlinear(self.const * factor) if isinstance(other, Affine) else self.const * factor
            return AffineIndex(constant, tuple(c * factor for c in self.coeffs), self.extents)
        if isinstance(other, AffineIndex):
            _not_affine("a product of two indices")
        return NotImplemented

    __rmul__ = __mul__

    def __mod__(self, other: Any) -> NoReturn:
        _not_affine("the remainder of an index")

    def __floordiv__(self, other: Any) -> NoReturn:
        _not_affine("the floor division of an index")

    def _compare(self, other: Any, relation: str) -> Any:
        if not (isinstance(other, AffineIndex) or is_integer(other)):
            return NotImplemented
        difference = self - other
        if isinstance(difference.const, QuasiAffine):
            _not_affine(difference.const.in_words)
        return Predicate(((difference, relation),))

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, ">=")

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, ">")

    def __le__(self, other: Any) -> Any:
        return self._compare(other, "<=")

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, "<")

    def __eq__(self, other: Any) -> Any:
        return self._compare(other, "==")

    def __ne__(self, other: Any) -> Any:
        return self._compare(other, "!=")

    def __repr__(self) -> str:
        return f"AffineIndex({self.const}, coeffs={self.coeffs}, extents={self.extents})"


_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


def _always(relation: str, low: int, high: int) -> bool | None:
    """Truth of ``x relation 0`` for all ``x`` in [low, high]; None where it depends on ``x``."""
    if relation in ("==", "!="):
        if low == high == 0:
            return relation == "=="
        return None if low <= 0 <= high else relation == "!="
    at_low, at_high = _RELATIONS[relation](low, 0), _RELATIONS[relation](high, 0)
    return bool(at_low) if at_low == at_high else None


class Predicate:
    """A conjunction of affine comparisons with zero: the symbolic form of a mask."""

    __slots__ = ("terms",)
    __array_ufunc__ = None

    def __init__(self, terms: tuple[tuple[AffineIndex, str], ...], *, never: bool = False) -> None:
        self.terms = ((AffineIndex(0, (), ()), "!="),) if never else terms

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of every dimension of the index space that the comparisons span together."""
        return broadcast(*[expression.extents for expression, _ in self.terms])

    def __and__(self, other: Any) -> Any:
        if isinstance(other, Predicate):
            return Predicate(self.terms + other.terms)
        if isinstance(other, (bool, np.bool_)):
            return self if other else Predicate((), never=True)
        if isinstance(other, Comparison):
            _not_affine(QuasiAffine.in_words)
        return NotImplemented

    __rand__ = __and__

    def __bool__(self) -> NoReturn:
        _no_truth_value()

    @property
    def effect(self) -> str:
        """Of a single comparison: whether it "keeps all" or "keeps none" of its index space, or "cuts" it."""
        ((expression, relation),) = self.terms
        always = _always(relation, *expression.bounds())
        return "cuts" if always is None else "keeps all" if always else "keeps none"

    def now(self) -> Mask:
        """:meth:`evaluate`, for who does the same whatever traced numbers are: it is no observation."""
        return _evaluated(tuple([(int(plain(one.const)), one.coeffs, one.extents, rel) for one, rel in self.terms]))

    def evaluate(self) -> Mask:
        """The mask as None, False, or an array that broadcasts to the index space."""
        return _evaluated(tuple([(int(one.const), one.coeffs, one.extents, relation) for one, relation in self.terms]))


@lru_cache(maxsize=128)
def _evaluated(terms: tuple[tuple[int, tuple[int, ...], tuple[int, ...], str], ...]) -> Mask:
    """A conjunction's value: the tiles along a diagonal have the same few masks, over and over."""
    result: Mask = None
    for const, coeffs, extents, relation in terms:
        expression = AffineIndex(const, coeffs, extents)
        known = _always(relation, *expression.bounds())
        if known is False:
            return False
        if known is None:
            term = _RELATIONS[relation](expression.values(), 0)
            result = term if result is None else result & term
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
    return result


def evaluate_mask(mask: object) -> Mask:
    """Turn a ``mask=`` argument into its evaluated form.

    Raises
    ------
    KernelFault
        ``err_unsupported_expression_in_mask`` where the mask is no compile-time predicate.
    """
    if mask is None:
        return None
    if isinstance(mask, (bool, np.bool_)):
        return None if mask else False
    if isinstance(mask, Predicate):
        return mask.evaluate()
    if isinstance(mask, Comparison):
        _not_affine(QuasiAffine.in_words)
    raise KernelFault(
        "err_unsupported_expression_in_mask",
        f"mask= takes a comparison of compile-time indices, got {type(mask).__name__}",
        why="a mask is resolved when the kernel is compiled",
        next_step="compare nl.arange / nl.mgrid / loop indices and join the comparisons with &",
    )


def _no_truth_value() -> NoReturn:
    raise KernelFault(
        "err_control_flow_condition_depending_on_arange",
        "a comparison of nl.arange or nl.mgrid indices has no single truth value",
        why="it differs from element to element, so it can be a mask but not a condition",
        next_step="pass it as mask=, and join masks with & instead of 'and'",
    )


def _not_affine(what: str) -> NoReturn:
    raise KernelFault(
        "err_unsupported_expression_in_mask",
        f"{what} is not an affine expression",
        why="the compiler resolves indices and masks to strides and bounds",
        next_step="rewrite it as integer * index + index, or split the loop",
    )
