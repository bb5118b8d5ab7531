"""A measurement as a JSON document, whose form is ``schema/profile-1.json``."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

from nkifix import __version__
from nkifix.emulator.cost.profile import Profile
from nkifix.emulator.cost.schedule import ASSUMPTIONS
from nkifix.emulator.footprint import Footprint, Sample
from nkifix.profiling.measure import Measurement

SCHEMA = "nkifix.profile/1"
TIMELINE_SAMPLES = 256
"""How many samples of memory use a document holds at most."""


def document(measured: Measurement, against: Measurement | None = None) -> dict[str, Any]:
    """One or two measurements, ready for ``json.dumps``; two come with the ratios of the first to the second."""
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "nkifix": __version__,
        "estimated": True,
        "assumptions": list(ASSUMPTIONS),
        "profile": _measurement(measured),
    }
    if against is not None:
        made["against"] = _measurement(against)
        made["ratios"] = {name: _ratio(mine, other) for name, mine, other in quantities(measured, against)}
    return made


def quantities(measured: Measurement, against: Measurement) -> list[tuple[str, float, float]]:
    """What two measurements are compared by: name, first, second."""
    pairs = [
        (f"{mine.engine.value} cycles", mine.cycles, other.cycles)
        for mine, other in zip(measured.engines, against.engines, strict=True)
        if mine.cycles is not None and other.cycles is not None
    ]
    one, two = measured.profile, against.profile
    held, other_held = measured.footprint, against.footprint
    return [
        *pairs,
        ("instructions", one.total.count, two.total.count),
        ("DMA bytes", one.total.dma_bytes, two.total.dma_bytes),
        (
            "SBUF peak bytes per partition",
            held.peak_sbuf_bytes_per_partition,
            other_held.peak_sbuf_bytes_per_partition,
        ),
        (
            "PSUM peak bytes per partition",
            held.peak_psum_bytes_per_partition,
            other_held.peak_psum_bytes_per_partition,
        ),
        ("busiest engine us", one.bound_seconds * 1e6, two.bound_seconds * 1e6),
        ("estimated latency us", measured.schedule.latency_seconds * 1e6, against.schedule.latency_seconds * 1e6),
    ]


def _ratio(mine: float, other: float) -> float | None:
    return mine / other if other else None


def _measurement(measured: Measurement) -> dict[str, Any]:
    case, profile = measured.case, measured.profile
    return {
        "kernel": {
            "reference": measured.reference.name,
            "file": measured.reference.file,
            "function": measured.reference.function,
            "fixes": list(measured.reference.fixes),
            "sha256": hashlib.sha256(measured.reference.source).hexdigest(),
        },
        "case": {
            "name": case.name,
            "grid": list(case.grid),
            "shapes": dict(zip("qkv", map(list, case.shapes), strict=True)),
            "dtype": case.dtype,
            "use_causal_mask": case.use_causal_mask,
            "window_size": None if case.window_size is None else list(case.window_size),
            "softmax_scale": case.softmax_scale,
            "mixed_precision": case.mixed_precision,
            "config": dict(case.config),
        },
        "target": measured.target,
        "computed": measured.computed,
        "warnings": list(measured.warned),
        "engines": [
            {
                "engine": row.engine.value,
                "instructions": row.executed,
                "cycles": row.cycles,
                "busy_us": row.busy_seconds * 1e6,
                "share": row.share,
            }
            for row in measured.engines
        ],
        "lines": [
            {
                "file": row.file,
                "line": row.line,
                "text": row.text,
                "engine": None if row.engine is None else row.engine.value,
                "instructions": row.executed,
                "cycles": {engine.value: cycles for engine, cycles in row.cycles.items()},
                "busy_us": row.busy_seconds * 1e6,
            }
            for row in measured.lines
        ],
        "kinds": [
            {
                "kind": kind,
                "instructions": use.count,
                "cycles": {engine.value: cycles for engine, cycles in use.cycles.items()},
                "dma_bytes": use.dma_bytes,
            }
            for kind, use in sorted(profile.kinds.items())
        ],
        "dma": _dma(profile),
        "bounds": {
            "tensor_us": measured.engines[0].busy_seconds * 1e6,
            "dma_us": profile.dma_seconds * 1e6,
            "roofline_us": profile.roofline_seconds * 1e6,
            "busiest_us": profile.bound_seconds * 1e6,
        },
        "latency": {
            "estimated_us": measured.schedule.latency_seconds * 1e6,
            "over_roofline": _ratio(measured.schedule.latency_seconds, profile.roofline_seconds),
            "over_busiest": _ratio(measured.schedule.latency_seconds, profile.bound_seconds),
        },
        "footprint": _footprint(measured.footprint, dict(measured.files)),
        "uncosted": [{"kind": kind, "instructions": count} for kind, count in sorted(profile.uncosted.items())],
    }


def _dma(profile: Profile) -> dict[str, Any]:
    return {
        "loaded_bytes": profile.loaded_bytes,
        "stored_bytes": profile.stored_bytes,
        "total_bytes": profile.total.dma_bytes,
        "chunks": [
            {
                "contiguous_bytes": row.run_bytes,
                "class": row.payload,
                "transfers": row.transfers,
                "bytes": row.total_bytes,
            }
            for row in profile.transfers
        ],
    }


def _footprint(held: Footprint, files: dict[str, str]) -> dict[str, Any]:
    return {
        "peak_sbuf_bytes_per_partition": held.peak_sbuf_bytes_per_partition,
        "peak_psum_bytes_per_partition": held.peak_psum_bytes_per_partition,
        "spill": held.spill if held.spill is None else in_report(held.spill, files),
        "timeline": [
            {
                "file": files.get(sample.file, sample.file),
                "line": sample.line,
                "sbuf_bytes": sample.sbuf_bytes,
                "psum_bytes": sample.psum_bytes,
            }
            for sample in thinned(held.timeline)
        ],
    }


def in_report(place: str, files: dict[str, str]) -> str:
    """``file:line`` with the file's name in reports."""
    file, _, line = place.rpartition(":")
    return f"{files.get(file, file)}:{line}"


def thinned(timeline: Sequence[Sample], most: int = TIMELINE_SAMPLES) -> list[Sample]:
    """At most ``most`` samples that still show the peaks: of each stretch, the one with most in SBUF.

    Where that is not the one with most in PSUM, the sample has the larger number of both.
    """
    if len(timeline) <= most:
        return list(timeline)
    cuts = [len(timeline) * part // most for part in range(most + 1)]
    kept = []
    for start, end in itertools.pairwise(cuts):
        stretch = timeline[start:end]
        top = max(stretch, key=lambda sample: sample.sbuf_bytes)
        kept.append(top._replace(psum_bytes=max(sample.psum_bytes for sample in stretch)))
    return kept
