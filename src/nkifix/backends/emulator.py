"""The CPU emulator as a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nkifix.backends.base import Backend, Missing
from nkifix.emulator import Params, serving


class EmulatorBackend(Backend):
    """Runs everywhere; checks what hardware and compiler would refuse. Its times say nothing of a NeuronCore."""

    name = "emulator"

    def __init__(self, params: Params | None = None) -> None:
        self.params = params

    def missing(self) -> Missing | None:
        return None

    @contextmanager
    def session(self) -> Iterator[None]:
        with serving(self.params, beside_real=True):
            yield

    def launch(self, kernel: Any, grid: Sequence[int], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        return (kernel[tuple(grid)] if grid else kernel)(*args, **keywords)
