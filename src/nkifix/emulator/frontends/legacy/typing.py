"""``neuronxcc.nki.typing`` (``nt``): annotations of kernel parameters."""

from __future__ import annotations

from typing import Any

__all__ = ["mutable_tensor", "tensor"]


class tensor:
    """A read-only tensor parameter; ``tensor[128, 512]`` also states a shape."""

    def __class_getitem__(cls, shape: Any) -> type[tensor]:
        return cls


class mutable_tensor(tensor):
    """A tensor parameter that the kernel may store into, and then returns."""
