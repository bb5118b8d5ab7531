"""What two kernels take: how their parameters and the fields of their configs differ, in words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from nkifix.differential.kernels import LoadedKernel

_REQUIRED = "no default"


def signature_differences(baseline: LoadedKernel, comparison: LoadedKernel) -> list[str]:
    """Differences of the parameters, their order and defaults, and of ``FlashConfig``."""
    mine, other = _parameters(baseline), _parameters(comparison)
    lines = [*_differences("parameter", mine, other), *_order(mine, other)]
    return lines + list(_differences("FlashConfig field", _config(baseline), _config(comparison)))


def _parameters(kernel: LoadedKernel) -> dict[str, str]:
    function = getattr(kernel.module, kernel.function)
    signature = inspect.signature(getattr(function, "func", function))
    return {
        name: _REQUIRED if one.default is one.empty else repr(one.default) for name, one in signature.parameters.items()
    }


def _config(kernel: LoadedKernel) -> dict[str, str]:
    return {field.name: _default(field) for field in fields(kernel.module.FlashConfig)}


def _default(field: Any) -> str:
    return _REQUIRED if field.default is MISSING else repr(field.default)


def _differences(kind: str, baseline: Mapping[str, str], comparison: Mapping[str, str]) -> Iterator[str]:
    for name, default in baseline.items():
        if name not in comparison:
            yield f"{kind} {name} ({default}): only the baseline has it"
        elif comparison[name] != default:
            yield f"{kind} {name}: {default} in the baseline, {comparison[name]} in the comparison"
    for name, default in comparison.items():
        if name not in baseline:
            yield f"{kind} {name} ({default}): only the comparison has it"


def _order(baseline: Mapping[str, str], comparison: Mapping[str, str]) -> Iterator[str]:
    shared = [name for name in baseline if name in comparison]
    if shared != [name for name in comparison if name in baseline]:
        yield f"order of parameters: {', '.join(baseline)} in the baseline, {', '.join(comparison)} in the comparison"
