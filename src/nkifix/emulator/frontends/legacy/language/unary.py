"""Functions of one tile, element by element. Default dtype: the tile's."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import elementwise

__all__ = [
    "abs",
    "arctan",
    "ceil",
    "cos",
    "erf",
    "erf_dx",
    "exp",
    "floor",
    "gelu",
    "gelu_apprx_sigmoid",
    "gelu_apprx_tanh",
    "gelu_dx",
    "invert",
    "log",
    "logical_not",
    "mish",
    "negative",
    "reciprocal",
    "relu",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "silu_dx",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]


def _unary(name: str, x: Any, dtype: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs:
        refuse_unknown(f"nl.{name}", kwargs)
    return elementwise.unary(name, x, dtype=dtype, mask=mask)


def abs(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Absolute value."""
    return _unary("abs", x, dtype, mask, kwargs)


def arctan(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Inverse tangent."""
    return _unary("arctan", x, dtype, mask, kwargs)


def ceil(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The smallest whole number that is not below."""
    return _unary("ceil", x, dtype, mask, kwargs)


def cos(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Cosine."""
    return _unary("cos", x, dtype, mask, kwargs)


def erf(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Error function."""
    return _unary("erf", x, dtype, mask, kwargs)


def erf_dx(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Derivative of :func:`erf`."""
    return _unary("erf_dx", x, dtype, mask, kwargs)


def exp(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Exponential."""
    return _unary("exp", x, dtype, mask, kwargs)


def floor(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The largest whole number that is not above."""
    return _unary("floor", x, dtype, mask, kwargs)


def gelu(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Gaussian error linear unit."""
    return _unary("gelu", x, dtype, mask, kwargs)


def gelu_apprx_sigmoid(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """:func:`gelu`, approximated by a sigmoid."""
    return _unary("gelu_apprx_sigmoid", x, dtype, mask, kwargs)


def gelu_apprx_tanh(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """:func:`gelu`, approximated by a hyperbolic tangent."""
    return _unary("gelu_apprx_tanh", x, dtype, mask, kwargs)


def gelu_dx(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Derivative of :func:`gelu`."""
    return _unary("gelu_dx", x, dtype, mask, kwargs)


def invert(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The complement of an integer's bits."""
    refuse_unknown("nl.invert", kwargs)
    return elementwise.invert(x, dtype=dtype, mask=mask)


def log(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Natural logarithm."""
    return _unary("log", x, dtype, mask, kwargs)


def logical_not(x: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """Whether it is zero."""
    return _unary("logical_not", x, dtype, mask, kwargs)


def mish(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x * tanh(softplus(x))``."""
    return _unary("mish", x, dtype, mask, kwargs)


def negative(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``-x``."""
    return _unary("negative", x, dtype, mask, kwargs)


def reciprocal(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``1 / x``."""
    return _unary("reciprocal", x, dtype, mask, kwargs)


def relu(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``max(x, 0)``."""
    return _unary("relu", x, dtype, mask, kwargs)


def rsqrt(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Reciprocal of the square root."""
    return _unary("rsqrt", x, dtype, mask, kwargs)


def sigmoid(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``1 / (1 + exp(-x))``."""
    return _unary("sigmoid", x, dtype, mask, kwargs)


def sign(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """-1, 0 or 1."""
    return _unary("sign", x, dtype, mask, kwargs)


def silu(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x * sigmoid(x)``."""
    return _unary("silu", x, dtype, mask, kwargs)


def silu_dx(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Derivative of :func:`silu`."""
    return _unary("silu_dx", x, dtype, mask, kwargs)


def sin(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Sine."""
    return _unary("sin", x, dtype, mask, kwargs)


def softplus(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``log(1 + exp(x))``."""
    return _unary("softplus", x, dtype, mask, kwargs)


def sqrt(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Square root."""
    return _unary("sqrt", x, dtype, mask, kwargs)


def square(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x * x``."""
    return _unary("square", x, dtype, mask, kwargs)


def tan(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Tangent."""
    return _unary("tan", x, dtype, mask, kwargs)


def tanh(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """Hyperbolic tangent."""
    return _unary("tanh", x, dtype, mask, kwargs)


def trunc(x: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The next whole number towards zero."""
    return _unary("trunc", x, dtype, mask, kwargs)
