"""What the engines compute, by name: functions of arrays, whole tiles at a time.

Source: "NKI API shared fields" (supported math operators, supported activation functions) and the
``nki.language`` reference, Neuron SDK 2.26. The device approximates its activation functions by piecewise
polynomials of undocumented accuracy; here they are numpy's, in float32 (docs/fidelity.md, "Numbers").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from nkifix.emulator import numeric, sums
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.numeric import BOOL, F32, INTEGERS, Array

Unary = Callable[[Array], Array]
Binary = Callable[[Array, Array], Array]

_ERF_END = 20.0
"""Where the polynomial for erf(x) / x ends, in x**2: beyond, erf is 1 in float32."""


def _erf_polynomial() -> Array:
    """Coefficients of erf(sqrt(t)) / sqrt(t) for t in (0, 20), in powers of t / 10 - 1.

    The function is entire, so its interpolation at Chebyshev's points converges fast: degree 32 leaves an
    error below 1e-9, and float32 results within one unit in the last place (test_functions.py).
    """
    points = chebyshev.chebpts1(33)
    roots = np.sqrt((points + 1) * (_ERF_END / 2))
    ratios = [math.erf(root) / root for root in roots]
    coefficients: Array = chebyshev.cheb2poly(chebyshev.chebfit(points, ratios, 32))
    return coefficients


_ERF = _erf_polynomial()


def _erf64(x: Array) -> Array:
    wide = x.astype(np.float64)
    end = math.sqrt(_ERF_END)
    held = np.clip(wide, -end, end)
    t = held * held * (2 / _ERF_END) - 1
    total = np.full_like(t, _ERF[-1])
    for coefficient in _ERF[-2::-1]:
        total *= t
        total += coefficient
    result: Array = np.where(np.abs(wide) < end, total * held, np.sign(wide))
    return result


def _normal64(x: Array) -> tuple[Array, Array]:
    """The standard normal distribution's cumulative probability and density, in float64."""
    wide = x.astype(np.float64)
    return (1 + _erf64(wide * math.sqrt(0.5))) / 2, np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)


def _erf(x: Array) -> Array:
    return _erf64(x).astype(F32)


def _erf_dx(x: Array) -> Array:
    result: Array = np.float32(2 / math.sqrt(math.pi)) * np.exp(-x * x)
    return result


def _gelu(x: Array) -> Array:
    result: Array = (_finite_or(x, -0.0) * _normal64(x)[0]).astype(F32)
    return result


def _gelu_dx(x: Array) -> Array:
    below, density = _normal64(x)
    result: Array = (below + np.where(density == 0, 0, x * density)).astype(F32)
    return result


def _gelu_tanh(x: Array) -> Array:
    """Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    result: Array = np.float32(0.5) * _finite_or(x, -0.0) * (1 + np.tanh(inner))
    return result


def _gelu_sigmoid(x: Array) -> Array:
    """Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2."""
    return _finite_or(x, -0.0) * _sigmoid(np.float32(1.702) * x)


def _finite_or(x: Array, at_minus_infinity: float) -> Array:
    """``x``, but a number where it is -inf, for functions whose limit there is that number times 0."""
    return np.where(x == -np.inf, np.float32(at_minus_infinity), x)


def _sigmoid(x: Array) -> Array:
    result: Array = np.float32(1) / (np.float32(1) + np.exp(-x))
    return result


def _silu(x: Array) -> Array:
    return _finite_or(x, -0.0) * _sigmoid(x)


def _silu_dx(x: Array) -> Array:
    s = _sigmoid(x)
    result: Array = s * (1 + np.where(np.isinf(x), np.float32(0), x) * (1 - s))
    return result


def _softplus(x: Array) -> Array:
    result: Array = np.logaddexp(np.float32(0), x)
    return result


def _mish(x: Array) -> Array:
    result: Array = _finite_or(x, -0.0) * np.tanh(_softplus(x))
    return result


def _rsqrt(x: Array) -> Array:
    result: Array = np.float32(1.0) / np.sqrt(x)
    return result


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Unary] = {
    "abs": np.abs,
    "arctan": np.arctan,
    "copy": lambda x: x,
    "erf": _erf,
    "erf_dx": _erf_dx,
    "exp": np.exp,
    "gelu": _gelu,
    "gelu_apprx_sigmoid": _gelu_sigmoid,
    "gelu_apprx_tanh": _gelu_tanh,
    "gelu_dx": _gelu_dx,
    "log": np.log,
    "mish": _mish,
    "reciprocal": np.reciprocal,
    "relu": _relu,
    "rsqrt": _rsqrt,
    "sigmoid": _sigmoid,
    "sign": np.sign,
    "silu": _silu,
    "silu_dx": _silu_dx,
    "sin": np.sin,
    "softplus": _softplus,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}
"""The Scalar Engine's functions, of one float32 array, by the name of the ``nl`` function that stands for them."""

ACTIVATION_NAMES = frozenset(ACTIVATIONS)

UNARY: dict[str, Unary] = ACTIVATIONS | {
    "ceil": np.ceil,
    "cos": np.cos,
    "floor": np.floor,
    "logical_not": lambda x: (x == 0).astype(F32),
    "negative": np.negative,
    "tan": np.tan,
    "trunc": np.trunc,
}
"""All functions of one float32 array."""


@dataclass(frozen=True)
class Range:
    """Inputs for which an activation function is documented to be valid.

    Attributes
    ----------
    low, high:
        Bounds, both included.
    of_magnitude:
        Whether they bound the number's magnitude, for either sign.
    """

    low: float
    high: float
    of_magnitude: bool = False

    def misses(self, x: Array) -> Array:
        """Which elements lie outside; NaN does not."""
        measured = np.abs(x) if self.of_magnitude else x
        outside: Array = (measured < np.float32(self.low)) | (measured > np.float32(self.high))
        return outside

    def in_words(self) -> str:
        """The range, for messages."""
        return f"for {'magnitudes ' if self.of_magnitude else ''}from {self.low:.4g} to {self.high:.4g}"


VALID_INPUTS: dict[str, Range] = {
    "arctan": Range(-math.pi / 2, math.pi / 2),
    "log": Range(2.0**-64, 2.0**64),
    "reciprocal": Range(2.0**-42, 2.0**42, of_magnitude=True),
    "rsqrt": Range(2.0**-87, 2.0**97),
    "sin": Range(-math.pi, math.pi),
    "sqrt": Range(2.0**-116, 2.0**118),
}
"""Activation functions that the Scalar Engine does not compute everywhere (``nki.api.shared``)."""


def _as_number(compare: Callable[[Array, Array], Array]) -> Binary:
    """A predicate as a function with float32 results 1 and 0, which an instruction may go on computing with."""
    return lambda a, b: compare(a, b).astype(F32)


ARITHMETIC: dict[str, Binary] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "mod": np.mod,
    "fmod": np.fmod,
    "equal": _as_number(np.equal),
    "not_equal": _as_number(np.not_equal),
    "greater": _as_number(np.greater),
    "greater_equal": _as_number(np.greater_equal),
    "less": _as_number(np.less),
    "less_equal": _as_number(np.less_equal),
    "logical_and": _as_number(np.logical_and),
    "logical_or": _as_number(np.logical_or),
    "logical_xor": _as_number(np.logical_xor),
}
"""Functions of two float32 arrays (:data:`EXACT_ON_INTEGERS` also take integers)."""


def _shift_right(a: Array, b: Array) -> Array:
    """The bits of ``a`` moved down, zeros from above: the engines have no arithmetic shift to the right."""
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    moved: Array = np.right_shift(a.view(unsigned), b.astype(unsigned)).view(a.dtype)
    return moved


BITWISE: dict[str, Binary] = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": _shift_right,
}
"""Functions of the bits of two integer arrays of one dtype."""

BINARY: dict[str, Binary] = ARITHMETIC | BITWISE
"""All functions of two arrays; :func:`working_dtype` says in which dtype to give them."""

BIT_OPERATIONS = frozenset(BITWISE) | {"invert"}
"""Functions of bit patterns, which take integers only."""

EXACT_ON_INTEGERS = frozenset({"add", "subtract", "multiply"})
"""Binary functions that GpSimd computes on 32-bit integers as integers; all others go through float32."""


def working_dtype(name: str, *operands: np.dtype[Any]) -> np.dtype[Any]:
    """In what :data:`BINARY` ``name`` is computed.

    Float32; for the bits of integers, the operands' common dtype; for sums and products of integers, integers
    wide enough to hold every result.

    Raises
    ------
    KernelFault
        For the bits of a floating operand.
    """
    if name in BIT_OPERATIONS:
        return _dtype_of_bits(name, operands)
    if name not in EXACT_ON_INTEGERS or not all(dtype in INTEGERS for dtype in operands):
        return F32
    unsigned = all(dtype.kind == "u" for dtype in operands)
    return np.dtype(np.uint64) if unsigned and name == "multiply" else np.dtype(np.int64)


def _dtype_of_bits(name: str, operands: tuple[np.dtype[Any], ...]) -> np.dtype[Any]:
    for dtype in operands:
        if dtype not in INTEGERS and dtype != BOOL:
            raise KernelFault(
                "",
                f"{name} takes integers, got {numeric.dtype_name(dtype)}",
                why="it works on the bits of integers",
                next_step="reinterpret the bits, tile.view(nl.uint32), or convert the values, nl.copy(tile, dtype=...)",
            )
    if all(dtype == BOOL for dtype in operands):
        return np.dtype(np.uint8)
    # int32 with uint32 has no common dtype on the device; their bits have.
    common = np.result_type(*(np.uint8 if dtype == BOOL else dtype for dtype in operands))
    return common if common in INTEGERS else np.dtype(np.uint32)


@dataclass(frozen=True)
class Reduction:
    """How elements are combined into one.

    Attributes
    ----------
    combine:
        Of the elements, and of the number of leading axes that stay.
    neutral:
        What changes no result, for elements that take no part; None where there is none.
    bits:
        Whether it works on the bits of integers.
    """

    combine: Callable[[Array, int], Array]
    neutral: float | None
    bits: bool = False


def _fold(function: np.ufunc) -> Callable[[Array, int], Array]:
    return lambda values, keep: sums.fold_last_axes(function, values, keep)


def _truth(function: np.ufunc) -> Callable[[Array, int], Array]:
    return lambda values, keep: sums.fold_last_axes(function, values != 0, keep).astype(F32)


REDUCTIONS: dict[str, Reduction] = {
    "add": Reduction(sums.sum_last_axes, -0.0),
    "subtract": Reduction(_fold(np.subtract), None),
    "multiply": Reduction(sums.product_last_axes, 1),
    "max": Reduction(_fold(np.maximum), -math.inf),
    "min": Reduction(_fold(np.minimum), math.inf),
    "logical_and": Reduction(_truth(np.logical_and), 1),
    "logical_or": Reduction(_truth(np.logical_or), 0),
    "logical_xor": Reduction(_truth(np.logical_xor), 0),
    "bitwise_and": Reduction(_fold(np.bitwise_and), -1, bits=True),
    "bitwise_or": Reduction(_fold(np.bitwise_or), 0, bits=True),
    "bitwise_xor": Reduction(_fold(np.bitwise_xor), 0, bits=True),
}
"""The operators that are legal for a reduction ("supported math operators", column Legal Reduction)."""

REDUCTION_NAMES = frozenset(REDUCTIONS)

SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset({"abs", "absolute"}),
    frozenset({"add", "sum"}),
    frozenset({"divide", "true_divide"}),
    frozenset({"invert", "bitwise_not"}),
    frozenset({"max", "maximum", "amax"}),
    frozenset({"min", "minimum", "amin"}),
    frozenset({"mod", "remainder"}),
    frozenset({"multiply", "prod"}),
)
"""Names under which numpy and ``nl`` know one operator."""


def operation_name(op: object, allowed: Collection[str], argument: str) -> str:
    """Name of an operation that was passed as a function (``np.exp``, ``nl.max``, …).

    Raises
    ------
    KernelFault
        Where it is none of ``allowed``.
    """
    own = getattr(op, "__name__", None)
    known = _known_name(own, allowed) if isinstance(allowed, frozenset) else _known_name.__wrapped__(own, allowed)
    if known is None:
        raise KernelFault(
            "",
            f"{argument}={op!r} is not supported",
            why="only the documented operators exist on the engines",
            next_step=f"use one of {', '.join(f'nl.{n}' for n in sorted(allowed))}",
        )
    return known


@lru_cache(maxsize=1 << 12)
def _known_name(own: object, allowed: Collection[str]) -> str | None:
    names = {own}.union(*(group for group in SYNONYMS if own in group))
    return min((name for name in allowed if name in names), default=None)


_EXACT = frozenset({np.add, np.subtract, np.multiply, np.true_divide, np.maximum, np.minimum})
"""Functions whose results are rounded once: the same bits by whatever loop of numpy's."""


def apply(function: Unary | Binary, *values: Array, out: Array | None = None) -> Array:
    """``function(*values)``, left in ``out`` where one is given and that changes no bit.

    Numpy has other loops for elements that do not lie side by side, which may round otherwise.
    """
    if out is not None and isinstance(function, np.ufunc) and (function in _EXACT or out.flags.c_contiguous):
        left: Array = function(*values, out=out)
        return left
    return function(*values)


def reduce_last_axes(values: Array, keep: int, name: str) -> Array:
    """Reduce ``values`` over all axes after the first ``keep`` by :data:`REDUCTIONS` ``name``."""
    return REDUCTIONS[name].combine(values, keep)
