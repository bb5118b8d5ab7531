"""``nki.FrameworkKernel``: what a framework implements to put kernels into its graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from nkifix.errors import BackendError

__all__ = ["FrameworkKernel"]


class FrameworkKernel(ABC):
    """A kernel as seen by a framework; a subclass says what the framework's tensors are.

    Parameters
    ----------
    func_name, func:
        The kernel.
    grid:
        Its launch grid.
    """

    def __init__(
        self,
        func_name: str | None = None,
        func: Callable[..., Any] | None = None,
        grid: tuple[int, ...] = (),
        enable_cache: bool = True,
        **options: Any,
    ) -> None:
        self.func = func
        self.func_name = func_name or str(getattr(func, "__name__", ""))
        self.grid = grid
        self.enable_cache = enable_cache
        self.options = options

    @abstractmethod
    def is_framework_tensor(self, t: Any) -> bool:
        """Whether ``t`` is one of the framework's tensors; all else is a compile-time constant."""

    @abstractmethod
    def map_framework_tensor(self, t: Any) -> tuple[Any, Any]:
        """Shape and dtype of a framework's tensor."""

    @abstractmethod
    def translate_to_neuron_dtype(self, _dtype: Any) -> Any:
        """A framework's dtype as numpy's or ``nl``'s."""

    def dump_config(self, *args: Any, **kwargs: Any) -> tuple[str, list[str], list[str]]:
        """Refused: a backend configuration is the compiler's encoding of a kernel, and nothing is compiled here.

        Raises
        ------
        BackendError
            Always.
        """
        raise BackendError(
            f"{type(self).__name__}.dump_config has no configuration of {self.func_name}",
            why="the backend configuration of an XLA custom call is made by the Neuron compiler",
            next_step="run the kernel itself: nki.jit(func)[grid](...), or compile on a host with neuronx-cc",
        )
