"""What the bench scripts share: whose turn it is, what is kept of its times, and what the machine is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Times:
    """Wall-clock and processor seconds of one run; the latter of all threads and waited-for children."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of ``values``, of which there is one at least."""
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        """Rounded to four digits, which is more than they have."""
        return {"median": digits(self.median), "min": digits(self.least), "max": digits(self.most)}


def digits(value: float, count: int = 4) -> float:
    """``value`` with that many significant digits."""
    return float(f"{value:.{count}g}")


def rotated(items: Sequence[Item], turn: int) -> list[Item]:
    """The items in an order that starts one later at each turn, so that none always runs behind the same other."""
    if not items:
        return []
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def ratio(value: float, base: float | None) -> float | None:
    """``value`` over ``base``; None where there is nothing to divide by."""
    return digits(value / base) if base else None


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Facts that a figure means nothing without."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def cpu_model(facts: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as well as the system knows it."""
    try:
        lines = facts.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for first, *others in (heads, ["-" * width for width in widths], *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """``environment`` less some variables."""
    return {name: value for name, value in environment.items() if name not in names}
