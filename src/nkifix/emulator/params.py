"""What an emulation is told to imitate, as one frozen object."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from nkifix.emulator.rules import RULES, check_names
from nkifix.errors import RefusalError

Target = Literal["trn1", "trn2"]
Precision = Literal["precise", "fp32"]
Order = Literal["program", "shuffled"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Fidelity choices of one emulation.

    Attributes
    ----------
    target:
        ``trn1`` (NeuronCore-v2, also Inf2) or ``trn2`` (NeuronCore-v3). Decides what
        ``nisa.get_nc_version()`` answers, and so which branches a kernel takes.
    storage:
        ``precise`` rounds every stored element to its dtype; ``fp32`` keeps floating elements in float32
        whatever their dtype, which tells an algorithm's error from rounding.
    rules_on, rules_off:
        Names of :data:`nkifix.emulator.rules.RULES` to enforce, or not to enforce, against their default.
    order:
        ``program`` runs grid programs and ``affine_range`` iterations in order, ``shuffled`` in a random one.
    seed:
        Seed of that random order.
    arithmetic:
        False prices a kernel: shapes, masks, control flow and rules as always, but no element is computed, and
        what comes out holds nothing of meaning.
    workers:
        Processes that share the programs of a grid. None: what the environment variable ``NKIFIX_WORKERS`` says, and
        where it is not set, as many as pay; 1: this process; more: as many, whether it pays or not. Answers do not
        depend on it. See :mod:`nkifix.emulator.workers` for when it is one process in any case.
    """

    target: Target = "trn1"
    storage: Precision = "precise"
    rules_on: frozenset[str] = frozenset()
    rules_off: frozenset[str] = frozenset()
    order: Order = "program"
    seed: int = 0
    arithmetic: bool = True
    workers: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("target", Target), ("storage", Precision), ("order", Order)):
            if getattr(self, name) not in get_args(choices):
                raise RefusalError(
                    f"{name}={getattr(self, name)!r} is not a {name} of the emulator",
                    next_step=f"choose one of {', '.join(get_args(choices))}",
                )
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise RefusalError(
                f"workers={self.workers!r} is no number of processes",
                next_step="pass a whole number of at least 1, or None for as many as pay",
            )
        check_names(self.rules_on, self.rules_off)

    def to_text(self) -> str:
        """What differs from the default, as JSON; for another process."""
        chosen = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return json.dumps(
            {name: sorted(value) if isinstance(value, frozenset) else value for name, value in chosen.items()}
        )

    @classmethod
    def from_text(cls, text: str) -> Params:
        """What :meth:`to_text` wrote."""
        chosen: dict[str, Any] = json.loads(text)
        rules: dict[str, Any] = {name: frozenset(value) for name, value in chosen.items() if isinstance(value, list)}
        return cls(**(chosen | rules))

    def enforces(self, rule: str) -> bool:
        """Whether the rule of that name is enforced."""
        return rule in self.rules_on or (rule not in self.rules_off and RULES[rule].default)
