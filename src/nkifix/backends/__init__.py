"""Where a kernel runs, behind one protocol: the CPU emulator, AWS's simulator, or NeuronCores."""

from __future__ import annotations

from nkifix.backends.base import Backend, Latency
from nkifix.backends.device import DeviceBackend
from nkifix.backends.emulator import EmulatorBackend
from nkifix.backends.simulator import SimulatorBackend
from nkifix.errors import BackendError, RefusalError

__all__ = ["BACKENDS", "Backend", "DeviceBackend", "EmulatorBackend", "Latency", "SimulatorBackend", "backend"]

BACKENDS: dict[str, type[Backend]] = {one.name: one for one in (EmulatorBackend, SimulatorBackend, DeviceBackend)}
"""Name -> backend; the first is the default."""


def backend(name: str = EmulatorBackend.name) -> Backend:
    """The backend of that name, if it can run here.

    Raises
    ------
    RefusalError
        For a name that is none of :data:`BACKENDS`.
    BackendError
        Where something that it needs is missing; the message says what.
    """
    if name not in BACKENDS:
        raise RefusalError(f"{name!r} is no backend", next_step=f"choose one of {', '.join(BACKENDS)}")
    made = BACKENDS[name]()
    missing = made.missing()
    if missing is not None:
        raise BackendError(
            f"the backend {name!r} cannot run here: {missing.what}",
            why=missing.why,
            next_step=missing.next_step,
        )
    return made
