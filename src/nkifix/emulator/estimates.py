"""How long a kernel call takes on a NeuronCore: an estimate of documented formulas, made on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nkifix.emulator import launch, machine
from nkifix.emulator.cost.estimate import estimated_latency_seconds
from nkifix.emulator.memory import Tensor
from nkifix.emulator.observe import observing
from nkifix.emulator.params import Params


@dataclass(frozen=True, eq=False)
class Call:
    """A kernel call that can be priced: all that :func:`nkifix.emulator.launch.run` takes, and its parameters."""

    function: Callable[..., Any]
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensor_type: type[Tensor]
    params: Params
    force_automatic: bool = False


def latency_us(call: Call) -> float:
    """Estimated latency of a call in microseconds, of all its programs one after another on one NeuronCore.

    The kernel runs once more without arithmetic, on copies of its arrays: nothing is written into them.
    See :mod:`nkifix.emulator.cost.schedule` for what the estimate assumes. It is not a measurement.
    """
    args = tuple(map(_copied, call.args))
    kwargs = {name: _copied(value) for name, value in call.kwargs.items()}
    priced = dataclasses.replace(call.params, arithmetic=False)
    with machine.using(priced), observing(sequence=True) as observed:
        launch.run(call.function, call.grid, args, kwargs, call.tensor_type, force_automatic=call.force_automatic)
    return estimated_latency_seconds(observed, priced.target) * 1e6


def _copied(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_copied, value)) if type(value) in (tuple, list) else value
    return value.copy() if isinstance(value, np.ndarray) else value
