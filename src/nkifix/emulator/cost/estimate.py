"""How long a launch takes on a device, estimated from what an observer collected."""

from __future__ import annotations

from collections.abc import Iterable

from nkifix.emulator.cost.schedule import scheduled
from nkifix.emulator.observe import Event, Observer
from nkifix.emulator.params import Target


def estimated_latency_seconds(observed: Observer | Iterable[Event], target: Target) -> float:
    """The end of the last instruction, by :mod:`nkifix.emulator.cost.schedule` and its assumptions.

    An estimate, not a measurement. An observer must have been asked for the sequence
    (``observing(sequence=True)``).
    """
    events = observed.events if isinstance(observed, Observer) else observed
    return scheduled(events, target).latency_seconds
