"""The part of ``torch_xla`` that programs around a kernel call, for machines without it: the device is the CPU.

Signatures follow torch_xla's public documentation; names that are not here are refused by name when they are
used. torch is imported only when a device is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nkifix.errors import RefusalError

KIND = "CPU"
"""What the stub answers where a kind of device is asked for."""


def xla_device(n: int | None = None, devkind: str | None = None) -> Any:
    """The CPU: the one device there is."""
    import torch

    if n not in (None, 0):
        raise RefusalError(
            f"the stub of torch_xla has no device number {n}",
            why="it stands for one device, the CPU",
            next_step="use xm.xla_device(), or device number 0",
        )
    if devkind not in (None, KIND):
        raise RefusalError(
            f"the stub of torch_xla has no device of kind {devkind!r}",
            why="it stands for one device, the CPU",
            next_step="leave devkind out, or run the program where torch_xla is installed",
        )
    return torch.device("cpu")


def device(index: int | None = None) -> Any:
    """As :func:`xla_device`."""
    return xla_device(index)


def devices() -> list[Any]:
    """All devices."""
    return [xla_device()]


def device_count() -> int:
    """Number of devices."""
    return 1


def sync(wait: bool = False) -> None:
    """Nothing to do: operations on the CPU are not deferred."""


def mark_step(wait: bool = False, reset_scope: bool = True) -> None:
    """Nothing to do: operations on the CPU are not deferred."""


def wait_device_ops(devices: object = None) -> None:
    """Nothing to do: operations on the CPU have ended when they return."""


def get_xla_supported_devices(devkind: str | None = None, max_devices: int | None = None) -> list[str] | None:
    """Names of the devices of a kind, at most ``max_devices``; None where there are none."""
    if devkind not in (None, KIND):
        return None
    return [str(one) for one in devices()][:max_devices] or None


def xla_real_devices(devices: list[Any] | None = None) -> list[str]:
    """The hardware behind each device."""
    return [f"{KIND}:0"] * (device_count() if devices is None else len(devices))


def xla_device_hw(device: object) -> str:  # noqa: ARG001  documented argument
    """The kind of hardware behind a device."""
    return KIND


def get_ordinal(defval: int = 0) -> int:  # noqa: ARG001  documented argument
    """Rank of this process: it is the only one."""
    return 0


def get_local_ordinal(defval: int = 0) -> int:  # noqa: ARG001  documented argument
    """Rank of this process on this machine."""
    return 0


def is_master_ordinal(local: bool = True) -> bool:  # noqa: ARG001  documented argument
    """Whether this process has rank 0."""
    return True


def xrt_world_size(defval: int = 1) -> int:  # noqa: ARG001  documented argument
    """Number of processes."""
    return 1


def _named(*functions: Any) -> dict[str, object]:
    return {function.__name__: function for function in functions}


MODULES: Mapping[str, Mapping[str, object]] = {
    "torch_xla": _named(device, device_count, devices, sync),
    "torch_xla.core": {},
    "torch_xla.core.xla_model": _named(
        get_local_ordinal,
        get_ordinal,
        get_xla_supported_devices,
        is_master_ordinal,
        mark_step,
        wait_device_ops,
        xla_device,
        xla_device_hw,
        xla_real_devices,
        xrt_world_size,
    ),
}
"""Served module -> the names that it offers."""
