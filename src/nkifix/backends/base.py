"""The protocol of a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Missing:
    """What a backend lacks on this machine, and what to do."""

    what: str
    why: str
    next_step: str


@dataclass(frozen=True)
class Latency:
    """Measured times of one launch, repeated.

    Attributes
    ----------
    microseconds:
        One wall-clock time for each repeat, in order, after the warm-up.
    """

    microseconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Time that ``percent`` of the repeats did not exceed, in microseconds."""
        return float(np.percentile(np.array(self.microseconds), percent))


class Backend(ABC):
    """Somewhere a kernel can run.

    Attributes
    ----------
    name:
        As the command line and reports call it.
    is_hardware:
        Whether its answers and times are a NeuronCore's.
    """

    name: ClassVar[str]
    is_hardware: ClassVar[bool] = False

    @abstractmethod
    def missing(self) -> Missing | None:
        """What this machine lacks for it; None where it can run. Imports nothing of AWS's."""

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """Inside, ``import neuronxcc.nki`` gives what this backend runs; kernel files are imported inside."""

    @abstractmethod
    def launch(self, kernel: Any, grid: Sequence[int], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """``kernel[grid](*args, **keywords)`` with numpy arrays in, and numpy arrays out."""

    def latency(
        self,
        kernel: Any,
        grid: Sequence[int],
        args: Sequence[Any],
        keywords: Mapping[str, Any],
        *,
        warmup: int = 10,
        repeats: int = 100,
    ) -> Latency | None:
        """Measured times of a launch; None from a backend whose clock says nothing of a NeuronCore."""
        return None

    def suspicion(self, answer: Array) -> str:
        """Why an answer cannot be one, in words; "" where nothing is wrong with it at first sight.

        A device that does not run a kernel may hand back zeros without an error (SDK 2.30 and later do so for
        legacy kernels, nki-samples issue 134).
        """
        values = np.asarray(answer, dtype=np.float32)
        if values.size and not values.any():
            return "every element is zero"
        not_numbers = int(np.count_nonzero(np.isnan(values)))
        return f"{not_numbers} of {values.size} elements are NaN" if not_numbers else ""
