"""What bench_emulator.py measured, as data (``bench-1.json``), as a table and as a plot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nkifix import __version__
from nkifix.differential.cases import Case
from nkifix.differential.named_cases import read_case
from scripts.bench_contenders import (
    BASE,
    BASE_ONE_THREAD,
    FLOOR,
    IN_PROCESS,
    TYPO_FIXED,
    TYPO_FIXED_UNCHECKED,
    UNCHECKED,
    VENDORED,
)
from scripts.benching import Spread, Times, digits, machine, ratio, table
from vendored_kernel.schedule import band_of, work

SCHEMA = "nkifix.bench/1"
SCHEMA_FILE = Path(__file__).with_name("bench-1.json")
PACKAGES = ("ml_dtypes", "nkifix", "numpy", "torch")
MASKS = {"causal": "window=-2", "full": "causal=0", "window": "window=1023"}
"""Causal is asked for as (-2, -1), which the stock kernel runs, too."""

RATIO_TARGETS: Mapping[str, float] = {TYPO_FIXED: 3.0, TYPO_FIXED_UNCHECKED: 2.0, VENDORED: 3.0}
"""Contender -> wall-clock ratio to torch in float32 that is aimed at, on cases of :data:`RATIO_CASES`."""
RATIO_CASES = frozenset(f"{seq} x 8 heads, {mask}, bfloat16" for seq in (2048, 4096) for mask in ("causal", "full"))
PEAK_TARGET_BYTES = 2 << 30
GROWTH_ALLOWANCES = {"mask": 1.3, "heads": 1.05}
"""What differs -> by how much more than the executed tiles time may grow; no target is set for lengths."""
_TILE_KEYS = 2048


@dataclass(frozen=True)
class Setting:
    """One case: as many keys as queries, one batch entry, as many key heads as query heads."""

    seq: int
    heads: int
    mask: str
    dtype: str = "bfloat16"
    head_dim: int = 64

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.seq} x {self.heads} head{'s' if self.heads > 1 else ''}, {self.mask}, {self.dtype}"

    @property
    def words(self) -> str:
        """As ``nkifix profile --case`` takes it. Upstream's kernels want whole tiles of keys."""
        tile = f",tile={self.seq}" if self.seq < _TILE_KEYS and self.seq % 512 == 0 else ""
        return f"seq={self.seq},heads={self.heads},d={self.head_dim},dtype={self.dtype},{MASKS[self.mask]}{tile}"

    def case(self) -> Case:
        """The call."""
        return read_case(self.words)

    @property
    def tiles(self) -> int:
        """Tiles of 128 queries by 512 keys that the vendored kernel executes."""
        case = self.case()
        band = band_of(case.use_causal_mask is not False, (case.window_size or (-1, -1))[0], False)
        return self.heads * work(band, self.seq, self.seq, seq_tile_size=_TILE_KEYS).score_matmuls


@dataclass(frozen=True)
class Measured:
    """One contender on one case.

    Attributes
    ----------
    first:
        Its first call, which may start processes and fill caches.
    differs_by:
        The largest difference of its answer to that of the first contender.
    refused:
        Why there are no times.
    """

    name: str
    times: tuple[Times, ...]
    first: Times | None = None
    differs_by: float | None = None
    refused: str = ""

    @property
    def wall_s(self) -> float | None:
        """The median."""
        return Spread.of([one.wall_s for one in self.times]).median if self.times else None

    @property
    def cpu_s(self) -> float | None:
        """The median."""
        return Spread.of([one.cpu_s for one in self.times]).median if self.times else None


Results = Mapping[Setting, Sequence[Measured]]


def document(
    results: Results, peak: tuple[Setting, int] | None, *, preset: str, rounds: int, threads: int
) -> dict[str, Any]:
    """All as data, whose form is ``bench-1.json``."""
    return {
        "schema": SCHEMA,
        "nkifix": __version__,
        "machine": machine(PACKAGES),
        "preset": preset,
        "rounds": rounds,
        "torch_threads": threads,
        "cases": [_case(setting, rows) for setting, rows in results.items()],
        "growth": list(growth(results)),
        "peak": None if peak is None else {"case": peak[0].words, "bytes": peak[1]},
        "targets": list(targets(results, peak)),
    }


def _case(setting: Setting, rows: Sequence[Measured]) -> dict[str, Any]:
    by_name = {row.name: row for row in rows}
    return {
        "name": setting.name,
        "case": setting.words,
        "seq": setting.seq,
        "heads": setting.heads,
        "mask": setting.mask,
        "dtype": setting.dtype,
        "tiles": setting.tiles,
        "checks_share": checks_share(by_name),
        "contenders": [_contender(row, by_name) for row in rows],
    }


def _contender(row: Measured, by_name: Mapping[str, Measured]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": row.name, "refused": row.refused or None}
    if row.wall_s is None or row.cpu_s is None or row.first is None:
        return made
    bases = {name: by_name[name].wall_s if name in by_name else None for name in (BASE, FLOOR)}
    one_thread = by_name[BASE_ONE_THREAD].cpu_s if BASE_ONE_THREAD in by_name else None
    return made | {
        "wall_s": Spread.of([one.wall_s for one in row.times]).to_json(),
        "cpu_s": Spread.of([one.cpu_s for one in row.times]).to_json(),
        "first_wall_s": digits(row.first.wall_s),
        "ratio_to_torch": ratio(row.wall_s, bases[BASE]),
        "ratio_to_numpy": ratio(row.wall_s, bases[FLOOR]),
        "cpu_ratio_to_torch": ratio(row.cpu_s, one_thread),
        "differs_by": None if row.differs_by is None else digits(row.differs_by),
    }


def checks_share(by_name: Mapping[str, Measured]) -> float | None:
    """Which part of a call in one process goes into the rules that can be turned off."""
    with_checks, without = (by_name[name].cpu_s if name in by_name else None for name in (IN_PROCESS, UNCHECKED))
    return digits(1 - without / with_checks, 2) if with_checks and without is not None else None


def growth(results: Results) -> Iterator[dict[str, Any]]:
    """How the vendored kernel's time grows from one case to another that differs in one thing, beside its tiles."""
    walls = {setting: row.wall_s for setting, rows in results.items() for row in rows if row.name == VENDORED}
    for one, other in itertools.permutations(walls, 2):
        before, after = walls[one], walls[other]
        if before and after and _is_next(one, other, list(walls)):
            yield {
                "from": one.name,
                "to": other.name,
                "differs": "mask" if one.mask != other.mask else "heads" if one.heads != other.heads else "length",
                "time": digits(after / before),
                "tiles": digits(other.tiles / one.tiles),
            }


def _is_next(one: Setting, other: Setting, every: Sequence[Setting]) -> bool:
    """Whether ``other`` is the next longer, the next with more heads, or the windowed one, and the same otherwise."""
    if (one.dtype, one.head_dim) != (other.dtype, other.head_dim):
        return False
    alike = [same for same in every if (same.dtype, same.head_dim) == (one.dtype, one.head_dim)]
    if one.mask != other.mask:
        same = (one.seq, one.heads) == (other.seq, other.heads)
        return same and (one.mask, other.mask) == ("causal", "window")
    longer = [s.seq for s in alike if s.mask == one.mask and s.heads == one.heads and s.seq > one.seq]
    more = [s.heads for s in alike if s.mask == one.mask and s.seq == one.seq and s.heads > one.heads]
    if one.heads == other.heads:
        return other.seq == min(longer, default=0)
    return one.seq == other.seq and other.heads == min(more, default=0)


def targets(results: Results, peak: tuple[Setting, int] | None) -> Iterator[dict[str, Any]]:
    """What is aimed at, what was measured, and whether that is met; None where no target is set."""
    for setting, rows in results.items():
        walls = {row.name: row.wall_s for row in rows}
        base = walls.get(BASE)
        for name, most in RATIO_TARGETS.items():
            wall = walls.get(name)
            if setting.name in RATIO_CASES and wall and base:
                yield _target(f"{setting.name}: {name} to {BASE}", wall / base, most)
    for row in growth(results):
        what = f"{row['from']} -> {row['to']}: time"
        allowance = GROWTH_ALLOWANCES.get(row["differs"])
        yield _target(what, row["time"], None if allowance is None else digits(row["tiles"] * allowance))
    if peak is not None:
        yield _target(f"{peak[0].name}: peak bytes", peak[1], PEAK_TARGET_BYTES)


def _target(what: str, measured: float, target: float | None) -> dict[str, Any]:
    met = None if target is None else measured <= target
    return {"what": what, "measured": digits(measured), "target": target, "met": met}


# -------------------------------------------------------------------------------------------------- views


def text(made: Mapping[str, Any]) -> str:
    """The document as tables."""
    facts = made["machine"]
    threads, rounds = made["torch_threads"], made["rounds"]
    parts = [f"{facts['cpu']}, {facts['cores']} cores, torch with {threads} threads, medians of {rounds} rounds\n"]
    heads = ("", "wall ms", "min–max", "first", "to torch", "to numpy", "CPU ms", "CPU to torch, 1 thread")
    for case in made["cases"]:
        rows = [_cells(row) for row in case["contenders"]]
        parts.append(f"\n{case['name']}\n{table(heads, rows)}")
        parts += [f"{row['name']}: {row['refused']}\n" for row in case["contenders"] if row["refused"]]
        if case["checks_share"] is not None:
            parts.append(f"share of the checks: {case['checks_share']:.0%}\n")
    words = {None: "no target set", True: "met", False: "MISSED"}
    rows = [
        (
            one["what"],
            f"{one['measured']:,g}",
            "" if one["target"] is None else f"{one['target']:,g}",
            words[one["met"]],
        )
        for one in made["targets"]
    ]
    if rows:
        parts.append("\n" + table(("target", "measured", "at most", ""), rows))
    return "".join(parts)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["refused"]:
        return row["name"], "–", "", "", "", "", "", ""
    wall, cpu = row["wall_s"], row["cpu_s"]
    ratios = (row[f"{name}"] for name in ("ratio_to_torch", "ratio_to_numpy", "cpu_ratio_to_torch"))
    to_torch, to_numpy, cpu_ratio = ("" if one is None else f"{one:.2f}" for one in ratios)
    return (
        row["name"],
        f"{wall['median'] * 1e3:,.1f}",
        f"{wall['min'] * 1e3:,.1f}–{wall['max'] * 1e3:,.1f}",
        f"{row['first_wall_s'] * 1e3:,.1f}",
        to_torch,
        to_numpy,
        f"{cpu['median'] * 1e3:,.1f}",
        cpu_ratio,
    )


def plot(made: Mapping[str, Any], file: Path) -> None:
    """Wall-clock time by length: a picture for each mask, number of heads and dtype, a line for each contender."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = plotted(made)
    figure, axes = pyplot.subplots(1, len(lines), figsize=(5 * len(lines), 5), squeeze=False, sharey=True)
    for axis, (title, contenders) in zip(axes[0], lines.items(), strict=True):
        for name, points in contenders.items():
            axis.loglog(*zip(*points, strict=True), marker="o", label=name, base=2)
        axis.set(title=title, xlabel="queries = keys", ylabel="seconds")
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def plotted(made: Mapping[str, Any]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title of a picture -> contender -> (length, seconds), ascending."""
    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for case in sorted(made["cases"], key=lambda case: case["seq"]):
        title = f"{case['mask']}, {case['heads']} heads, {case['dtype']}"
        for row in case["contenders"]:
            if not row["refused"]:
                points = lines.setdefault(title, {}).setdefault(row["name"], [])
                points.append((case["seq"], row["wall_s"]["median"]))
    return lines
