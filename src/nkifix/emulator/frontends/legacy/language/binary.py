"""Functions of two operands, element by element: tiles that broadcast, or a tile and a number.

Default dtype: the promotion of both operands; bool for comparisons and logic.
"""

from __future__ import annotations

from typing import Any

from nkifix.emulator.frontends.legacy.options import refuse_unknown
from nkifix.emulator.ops import elementwise

__all__ = [
    "add",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "divide",
    "equal",
    "fmod",
    "greater",
    "greater_equal",
    "left_shift",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "not_equal",
    "power",
    "right_shift",
    "subtract",
    "where",
]


def _binary(name: str, x: Any, y: Any, dtype: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs:
        refuse_unknown(f"nl.{name}", kwargs)
    return elementwise.binary(name, x, y, dtype=dtype, mask=mask)


def add(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x + y``."""
    return _binary("add", x, y, dtype, mask, kwargs)


def bitwise_and(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The bits that both integers have."""
    return _binary("bitwise_and", x, y, dtype, mask, kwargs)


def bitwise_or(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The bits that one of the integers has."""
    return _binary("bitwise_or", x, y, dtype, mask, kwargs)


def bitwise_xor(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The bits in which the integers differ."""
    return _binary("bitwise_xor", x, y, dtype, mask, kwargs)


def divide(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x / y``."""
    return _binary("divide", x, y, dtype, mask, kwargs)


def equal(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x == y``."""
    return _binary("equal", x, y, dtype, mask, kwargs)


def fmod(x: Any, y: Any, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The remainder of a division rounded towards zero: it has the sign of ``x``."""
    return _binary("fmod", x, y, dtype, mask, kwargs)


def greater(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x > y``."""
    return _binary("greater", x, y, dtype, mask, kwargs)


def greater_equal(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x >= y``."""
    return _binary("greater_equal", x, y, dtype, mask, kwargs)


def left_shift(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The bits of ``x`` moved up by ``y``."""
    return _binary("left_shift", x, y, dtype, mask, kwargs)


def less(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x < y``."""
    return _binary("less", x, y, dtype, mask, kwargs)


def less_equal(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x <= y``."""
    return _binary("less_equal", x, y, dtype, mask, kwargs)


def logical_and(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """Whether neither is zero."""
    return _binary("logical_and", x, y, dtype, mask, kwargs)


def logical_or(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """Whether one is not zero."""
    return _binary("logical_or", x, y, dtype, mask, kwargs)


def logical_xor(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """Whether exactly one is not zero."""
    return _binary("logical_xor", x, y, dtype, mask, kwargs)


def maximum(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The larger of both."""
    return _binary("maximum", x, y, dtype, mask, kwargs)


def minimum(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The smaller of both."""
    return _binary("minimum", x, y, dtype, mask, kwargs)


def mod(x: Any, y: Any, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The remainder of a division rounded down: it has the sign of ``y``."""
    return _binary("mod", x, y, dtype, mask, kwargs)


def multiply(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x * y``."""
    return _binary("multiply", x, y, dtype, mask, kwargs)


def not_equal(x: Any, y: Any, *, dtype: Any = bool, mask: Any = None, **kwargs: Any) -> Any:
    """``x != y``."""
    return _binary("not_equal", x, y, dtype, mask, kwargs)


def power(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x`` to the power of ``y``."""
    return _binary("power", x, y, dtype, mask, kwargs)


def right_shift(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """The bits of ``x`` moved down by ``y``; zeros come from above, whatever the sign."""
    return _binary("right_shift", x, y, dtype, mask, kwargs)


def subtract(x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x - y``."""
    return _binary("subtract", x, y, dtype, mask, kwargs)


def where(condition: Any, x: Any, y: Any, *, dtype: Any = None, mask: Any = None, **kwargs: Any) -> Any:
    """``x`` where ``condition`` is not zero, ``y`` elsewhere."""
    refuse_unknown("nl.where", kwargs)
    return elementwise.where(condition, x, y, dtype=dtype, mask=mask)
