"""What an emulation is told to imitate, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nkifix.errors import RefusalError

Target = Literal["trn1", "trn2"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Fidelity choices of one emulation.

    Attributes
    ----------
    target:
        ``trn1`` (NeuronCore-v2, also Inf2) or ``trn2`` (NeuronCore-v3). Decides what
        ``nisa.get_nc_version()`` answers, and so which branches a kernel takes.
    """

    target: Target = "trn1"

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise RefusalError(
                f"{self.target=} is not a target of the emulator",
                why="a target names a chip whose limits are documented",
                next_step=f"choose one of {', '.join(get_args(Target))}",
            )
