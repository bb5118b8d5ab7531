"""Evidence of a real run, recorded by ``scripts/neuron_evidence.sh`` on a host with NeuronCores.

Nothing else may make a kit say that something ran on hardware. A file is taken only for the very bytes it was recorded
with, and quoted, not summarised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nkifix import atomic
from nkifix.errors import RefusalError

SCHEMA = "nkifix.neuron-evidence/1"
"""Name and version of the form that is read here."""

_INSTANCE = re.compile(r"(trn[12]n?|inf2|trn2u)\.[\w-]+")
_STAGES = ("before", "after")
_TEXTS = ("schema", "recorded", "base_commit")
_ENVIRONMENT = ("instance_type", "python", "neuron_ls")


@dataclass(frozen=True)
class HardwareRun:
    """One run of upstream's whole test file on the device."""

    command: str
    seconds: float
    output: str
    outcomes: Mapping[str, str]
    """Id of a test -> ``passed``, ``failed`` or ``error``."""


@dataclass(frozen=True)
class HardwareEvidence:
    """What an evidence file says."""

    file: str
    """Its name, without its folder."""
    raw: Mapping[str, Any]
    instance_type: str
    python: str
    packages: Mapping[str, str]
    base_commit: str
    digests: Mapping[str, Mapping[str, str]]
    """Path in the clone -> stage -> sha256."""
    before: HardwareRun
    after: HardwareRun


def read(path: Path) -> HardwareEvidence:
    """Read and check an evidence file.

    Raises
    ------
    RefusalError
        It is no such file, of another version, or not from an instance with NeuronCores.
    """
    try:
        raw = json.loads(atomic.read(path))
        return _checked(path, raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusalError(
            "this is no evidence of a run on hardware",
            where=str(path),
            why=f"{type(error).__name__}: {error}",
            next_step="record one with scripts/neuron_evidence.sh on a Trn1, Inf2 or Trn2 host",
        ) from error


def _checked(path: Path, raw: Mapping[str, Any]) -> HardwareEvidence:
    for name in _TEXTS:
        _text(raw[name], name)
    if raw["schema"] != SCHEMA:
        raise ValueError(f"its schema is {raw['schema']}, not {SCHEMA}")
    environment = raw["environment"]
    for name in _ENVIRONMENT:
        _text(environment[name], name)
    if not _INSTANCE.fullmatch(environment["instance_type"]):
        raise ValueError(f"{environment['instance_type']} is no instance type with NeuronCores")
    packages = {str(name): _text(version, name) for name, version in environment["packages"].items()}
    if "neuronx-cc" not in packages:
        raise ValueError("neuronx-cc is not among its packages, so no compiler ran")
    digests = {name: {stage: _text(both[stage], stage) for stage in _STAGES} for name, both in raw["files"].items()}
    before, after = (_run(raw["runs"][stage]) for stage in _STAGES)
    return HardwareEvidence(
        path.name,
        raw,
        environment["instance_type"],
        environment["python"],
        packages,
        raw["base_commit"],
        digests,
        before,
        after,
    )


def _run(raw: Mapping[str, Any]) -> HardwareRun:
    outcomes = {str(name): _text(outcome, name) for name, outcome in raw["tests"].items()}
    if not outcomes:
        raise ValueError("one of its runs has no tests")
    return HardwareRun(_text(raw["command"], "command"), float(raw["seconds"]), str(raw["output"]), outcomes)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is no text")
    return value


def require_fit(evidence: HardwareEvidence, new: tuple[str, ...]) -> None:
    """Check that the new tests failed before and passed after on hardware too.

    Raises
    ------
    RefusalError
        One of them did not.
    """
    for name in new:
        seen = tuple(run.outcomes.get(name, "not run") for run in (evidence.before, evidence.after))
        if seen != ("failed", "passed"):
            raise RefusalError(
                f"on hardware the new test is {seen[0]} before and {seen[1]} after the fix",
                where=f"{evidence.file}: {name}",
                why="a kit is made for a test that fails before and passes after",
                next_step="find out why hardware differs before you send anything",
            )
