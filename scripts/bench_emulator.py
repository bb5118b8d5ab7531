"""Measure the emulator: kernels on it against torch's attention and against plain NumPy, in the same run.

    python scripts/bench_emulator.py [--preset smoke|targets|full] [--seq N …] [--heads N …] [--mask NAME …]
        [--dtype NAME …] [--only CONTENDER …] [--rounds N] [--threads N] [--json FILE] [--plot FILE.png]

NKIFIX_UPSTREAM names a clone of aws-neuron/neuronx-distributed-inference; without it upstream's kernels do not take
part. In each round every contender answers once, in an order that rotates, after a first round that is told apart: it
holds what a first call pays (starting processes, filling caches). Medians, and ratios to torch in float32 and to NumPy.
Filters replace what the preset says, for all its cases. Figures are of this machine, and only when it is quiet.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # as in a launch; torch's threads are set apart
    os.environ.setdefault(_variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # found from any directory, installed or not

import argparse  # noqa: E402  after what must be set before numpy is imported
import itertools  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
import types  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from nkifix.differential.cases import Array, Case  # noqa: E402
from nkifix.differential.named_cases import read_case  # noqa: E402
from nkifix.errors import MissingExtraError, NkifixError  # noqa: E402
from scripts import bench_report  # noqa: E402
from scripts.bench_contenders import UPSTREAM, CannotRun, Contender, Run, contenders, params_with  # noqa: E402
from scripts.bench_report import MASKS, Measured, Setting  # noqa: E402
from scripts.benching import Times, rotated  # noqa: E402

DTYPES = ("bfloat16", "float32")
_PEAK_CASE = Setting(32768, 1, "causal", "bfloat16")


@dataclass(frozen=True)
class Preset:
    """Which cases, how often, and whether the memory of a long one is measured."""

    settings: tuple[Setting, ...]
    rounds: int
    peak: Setting | None = None


PRESETS = {
    "smoke": Preset((Setting(512, 2, "causal", "bfloat16", head_dim=16),), 1, Setting(512, 1, "causal", head_dim=16)),
    "targets": Preset(
        (
            *(Setting(seq, 8, mask) for seq in (2048, 4096) for mask in ("causal", "full")),
            Setting(2048, 32, "causal"),
            Setting(8192, 1, "causal"),
            Setting(8192, 1, "window"),
        ),
        5,
        _PEAK_CASE,
    ),
    "full": Preset(
        tuple(
            Setting(seq, heads, mask, dtype)
            for seq, heads, mask, dtype in itertools.product((512, 1024, 2048, 4096, 8192), (1, 8, 32), MASKS, DTYPES)
        ),
        5,
        _PEAK_CASE,
    ),
}


@dataclass
class _Entry:
    """A contender in one case."""

    contender: Contender
    run: Run | None = None
    times: list[Times] = field(default_factory=list)
    first: Times | None = None
    answer: Array | None = None
    refused: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write what was asked for."""
    given = _parser().parse_args(arguments)
    if given.peak:
        return _peak_here(given.peak)
    try:
        torch = _module("torch", "torch", "the comparison with torch's attention")
        if given.plot:
            _module("matplotlib", "plots", "--plot")
        preset = filtered(PRESETS[given.preset], given)
        made = measured(preset, given, torch)
    except NkifixError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 2
    print(bench_report.text(made), end="")
    if given.json:
        given.json.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    if given.plot:
        bench_report.plot(made, given.plot)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="targets")
    parser.add_argument("--seq", type=_positive, nargs="+")
    parser.add_argument("--heads", type=_positive, nargs="+")
    parser.add_argument("--mask", choices=MASKS, nargs="+")
    parser.add_argument("--dtype", choices=DTYPES, nargs="+")
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help="names as in the table")
    parser.add_argument("--rounds", type=_positive)
    parser.add_argument("--threads", type=_positive, default=2, help="of torch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # what the child does whose memory is measured
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _module(name: str, extra: str, needed_for: str) -> types.ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingExtraError(name, extra=extra, needed_for=needed_for) from error


def filtered(preset: Preset, given: argparse.Namespace) -> Preset:
    """The preset with the values that filters give in place of its own; each case once."""
    chosen = [
        Setting(seq, heads, mask, dtype, one.head_dim)
        for one in preset.settings
        for seq in given.seq or [one.seq]
        for heads in given.heads or [one.heads]
        for mask in given.mask or [one.mask]
        for dtype in given.dtype or [one.dtype]
    ]
    is_all = not (given.seq or given.heads or given.mask or given.dtype)
    return Preset(tuple(dict.fromkeys(chosen)), given.rounds or preset.rounds, preset.peak if is_all else None)


def measured(preset: Preset, given: argparse.Namespace, torch: Any) -> dict[str, Any]:
    """The document of all cases."""
    if not os.environ.get(UPSTREAM):
        print(f"{UPSTREAM} is not set: upstream's kernels do not take part", file=sys.stderr)
    results: dict[Setting, list[Measured]] = {}
    with contenders(torch, given.threads) as everyone:
        known = [one.name for one in everyone]
        if unknown := [name for name in given.only or [] if name not in known]:
            raise NkifixError(f"there is no contender {unknown[0]!r}", next_step=f"choose among: {', '.join(known)}")
        chosen = [one for one in everyone if not given.only or one.name in given.only]
        for number, setting in enumerate(preset.settings, 1):
            _say(f"case {number} of {len(preset.settings)}: {setting.name}")
            results[setting] = rounds(setting.case(), chosen, preset.rounds)
    peak = None
    if preset.peak:
        _say(f"memory: {preset.peak.name}")
        peak = (preset.peak, peak_bytes(preset.peak))
    return bench_report.document(results, peak, preset=given.preset, rounds=preset.rounds, threads=given.threads)


def rounds(case: Case, everyone: Sequence[Contender], count: int) -> list[Measured]:
    """Each contender's times on one case."""
    inputs = case.inputs()
    entries = [_Entry(one) for one in everyone]
    for turn in range(count + 1):
        for entry in rotated([one for one in entries if not one.refused], turn):
            _take_turn(entry, case, inputs, is_first=turn == 0)
    base = next((entry.answer for entry in entries if entry.answer is not None), None)
    return [
        Measured(
            entry.contender.name,
            tuple(entry.times),
            entry.first,
            None if entry.answer is None or base is None else float(np.max(np.abs(entry.answer - base))),
            entry.refused,
        )
        for entry in entries
    ]


def _take_turn(entry: _Entry, case: Case, inputs: Sequence[Array], *, is_first: bool) -> None:
    try:
        if entry.run is None:
            entry.run = entry.contender.prepare(case, inputs)
        answer, taken = timed(entry.run)
    except CannotRun as error:
        entry.refused = str(error)
        return
    if is_first:
        entry.first, entry.answer = taken, entry.contender.as_array(answer)
    else:
        entry.times.append(taken)


def timed(run: Run) -> tuple[Any, Times]:
    """What a call returned, and its wall-clock and processor seconds, those of its ended children included."""
    before, started = _processor_s(), time.perf_counter()
    answer = run()
    wall = time.perf_counter() - started
    return answer, Times(wall, _processor_s() - before)


def _processor_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes(setting: Setting) -> int:
    """Memory of a process that runs the vendored kernel once, in bytes; the interpreter and imports are in it."""
    command = [sys.executable, __file__, "--peak", setting.words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NkifixError(f"the process whose memory is measured failed: {done.stderr.strip()}")
    return int(done.stdout)


def _peak_here(words: str) -> int:
    from nkifix.differential.kernels import Crashed, loaded
    from nkifix.differential.references import resolve

    case = read_case(words)
    with loaded({"vendored": resolve("vendored").source}, params_with(1)) as kernels:
        result = kernels["vendored"].call(case)
    if isinstance(result, Crashed):
        print(result.in_words(), file=sys.stderr)
        return 1
    print(own_peak_bytes())
    return 0


def own_peak_bytes() -> int:
    """Most memory that this program had; getrusage on Linux also counts what its parent had when it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _say(what: str) -> None:
    """A line of progress, where somebody looks."""
    if sys.stderr.isatty():
        print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
