"""A schedule as Chrome trace events, which Perfetto and chrome://tracing open.

Format: "Trace Event Format", Google, complete events (``ph: X``) and metadata events (``ph: M``); times in
microseconds. A track is a thread of one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nkifix.emulator.cost.schedule import ASSUMPTIONS, Schedule, Span

_PROCESS = 1


def trace_events(schedule: Schedule, files: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The whole schedule as one JSON-ready object; ``files`` gives kernel files other names."""
    tracks = {track: number for number, track in enumerate(sorted({s.track for s in schedule.spans}, key=_rank), 1)}
    named = [_metadata("process_name", 0, f"{schedule.target}, estimated by nkifix, not measured")]
    named += [_metadata("thread_name", number, track) for track, number in tracks.items()]
    named += [_metadata("thread_sort_index", number, number) for number in tracks.values()]
    return {
        "displayTimeUnit": "ns",
        "otherData": {"estimated": True, "assumptions": list(ASSUMPTIONS)},
        "traceEvents": named + [_event(span, tracks[span.track], files) for span in schedule.spans],
    }


def _rank(track: str) -> tuple[bool, int, str]:
    return track.startswith("DMA"), int(track.split()[1]) if track.startswith("DMA ") else 0, track


def _metadata(name: str, track: int, value: str | int) -> dict[str, Any]:
    key = "sort_index" if name == "thread_sort_index" else "name"
    return {"ph": "M", "pid": _PROCESS, "tid": track, "name": name, "args": {key: value}}


def _event(span: Span, track: int, files: Mapping[str, str]) -> dict[str, Any]:
    one = span.instruction
    return {
        "ph": "X",
        "pid": _PROCESS,
        "tid": track,
        "name": span.kind,
        "cat": one.engine.value,
        "ts": span.start * 1e6,
        "dur": (span.end - span.start) * 1e6,
        "args": {
            "function": one.function,
            "at": f"{files.get(one.file, one.file)}:{one.line}",
            "result": f"{'x'.join(map(str, one.result.shape))} {one.result.dtype} {one.result.space.value}",
            "operands": [f"{'x'.join(map(str, o.shape))} {o.dtype} {o.space.value}" for o in one.operands],
        },
    }
