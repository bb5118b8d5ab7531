"""Calling kernels whose signature is not NxDI's with the same cases.

A kernel that takes ``sliding_window`` (the keys that a query sees, itself included; -1 for none) and a seed after q, k
and v is of nki-samples' kind (``flash_fwd`` of its reference kernels, revision 8370e11).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from nkifix.differential.cases import Case


class NotExpressibleError(Exception):
    """A kernel has no arguments for what a case asks."""


Adapter = Callable[[Case, Any], tuple[tuple[Any, ...], dict[str, Any]]]
"""(case, config class) -> (arguments after q, k and v; keyword arguments)."""


def adapter_of(kernel: Any) -> Adapter:
    """How a kernel is called with a case, by the names of its parameters."""
    names = inspect.signature(getattr(kernel, "func", kernel)).parameters
    return _sliding_window if "sliding_window" in names and "window_size" not in names else _window_size


def _checked_config(case: Case, config_type: Any, **more: Any) -> dict[str, Any]:
    known = {field.name for field in fields(config_type)}
    unknown = sorted(set(case.config) - known)
    if unknown:
        raise NotExpressibleError(f"its FlashConfig has no {', '.join(unknown)}")
    return {**{name: value for name, value in more.items() if name in known}, **case.config}


def _window_size(case: Case, config_type: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    _checked_config(case, config_type)
    return (), case.keywords(config_type)


def _sliding_window(case: Case, config_type: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    left, right = case.window_size or (-1, -1)
    if right >= 0:
        raise NotExpressibleError("it has no right window")
    if case.config.get("windowed_context_encoding"):
        raise NotExpressibleError("it has no windowed context encoding")
    keywords: dict[str, Any] = {
        "use_causal_mask": left >= 0 or case.use_causal_mask is not False,
        "sliding_window": left + 1 if left >= 0 else -1,
        "mixed_precision": case.mixed_precision,
        # Otherwise it also returns the log-sum-exp, and its default configuration does.
        "config": config_type(**_checked_config(case, config_type, training=False)),
    }
    if case.softmax_scale is not None:
        keywords["softmax_scale"] = case.softmax_scale
    return (None,), keywords
