"""Write docs/comparisons.md: versions of the kernel against one another, on the emulator.

    NKIFIX_UPSTREAM=CLONE NKIFIX_NKI_SAMPLES=CLONE python scripts/make_comparisons.py [--cases quick] [--check]

The variables name clones (bare or not) of aws-neuron/neuronx-distributed-inference and aws-neuron/nki-samples: the
kernels are read from them, and fixed in memory. --check writes nothing, and exits with 1 if the document would change.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nkifix.differential.cases import POISONS, Case
from nkifix.differential.comparison import Row, case_of
from nkifix.differential.conditions import BOUND
from nkifix.differential.references import resolve
from nkifix.differential.report.document import Document, RowDocument, document
from nkifix.differential.report.words import by_weight, did
from nkifix.differential.runner import Job, row_key, run
from nkifix.differential.selection import choose
from nkifix.differential.signatures import signature_differences
from nkifix.emulator import Params
from nkifix.profiling.mask import MaskTracker

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "comparisons.md"
CLONES = {"nxdi": "NKIFIX_UPSTREAM", "samples": "NKIFIX_NKI_SAMPLES"}


@dataclass(frozen=True)
class Pair:
    """Two kernels to compare; what stands in braces is the path of a clone."""

    title: str
    baseline: str
    comparison: str


PAIRS = (
    Pair("SDK 2.26 against SDK 2.27", "git:{nxdi}@v0.6.10598", "git:{nxdi}@v0.7.14366"),
    Pair("Stock against its typo fixed", "git:{nxdi}@v0.7.14366", "git:{nxdi}@v0.7.14366+fix"),
    Pair("Fully fixed against vendored", "git:{nxdi}@v0.7.14366+fix:full", "vendored"),
    Pair("Typo fixed against nki-samples", "git:{nxdi}@v0.7.14366+fix", "nki-samples:{samples}@8370e11"),
)


def _left(case: Case) -> int:
    return -1 if case.window_size is None else case.window_size[0]


def _tile(case: Case) -> int:
    size: int = case.config.get("seq_tile_size", 2048)
    return size


TRIGGERS: dict[str, Callable[[Case], bool]] = {
    "misspelled-causal-mask": lambda case: _left(case) == -1 or (_left(case) < -1 and case.use_causal_mask is False),
    "zero-left-window": lambda case: _left(case) == 0 and case.use_causal_mask is False,
    "unwritten-query-rows": lambda case: case.seq_q % 128 != 0,
    "key-tile-multiple": lambda case: _tile(case) % 512 != 0 or case.seq_k % _tile(case) != 0,
    "mask-constant": lambda case: case.values in ("very negative logits", "large queries"),
    "wcte-window-alignment": lambda case: (
        bool(case.config.get("windowed_context_encoding")) and (_left(case) + 1) % 128 != 0
    ),
    "scale-zero": lambda case: case.softmax_scale == 0.0,
    "keyless-rows": lambda case: not case.visible().any(axis=1).all(),
    "unmixed-bf16-accumulators": lambda case: not case.mixed_precision and case.dtype != "float32",
    "fp32-output-rounding": lambda case: case.mixed_precision and case.dtype != "bfloat16",
    "default-window-tile-skip": lambda case: _left(case) == -1 and case.values in POISONS,
}
"""Defect of NxDI's kernel -> whether a call triggers it: by its documented condition, not by what was observed."""


def triggered(case: Case) -> str:
    """Ids of the defects that a call triggers."""
    return ", ".join(name for name, applies in TRIGGERS.items() if applies(case))


def main() -> int:
    """Compare every pair and write, or check, the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="quick")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    missing = [variable for variable in CLONES.values() if not os.environ.get(variable)]
    if missing:
        print(f"not set: {', '.join(missing)}; {__doc__}", file=sys.stderr)
        return 2
    rows = choose(given.cases)
    reports = [(pair, compared(pair, rows, given.workers)) for pair in PAIRS]
    text = text_of(reports, {row_key(row): case_of(row) for row in rows})
    if given.check:
        return int(DOCUMENT.read_text(encoding="utf-8") != text)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"written: {DOCUMENT}")
    return 0


def compared(pair: Pair, rows: list[Row], workers: int = 0) -> Document:
    """The report of one pair, with names that hold no path."""
    clones = {name: os.environ[variable] for name, variable in CLONES.items()}
    names = {"nxdi": "neuronx-distributed-inference", "samples": "nki-samples"}
    baseline, comparison = (
        replace(resolve(wish.format(**clones)), name=wish.format(**names)) for wish in (pair.baseline, pair.comparison)
    )
    job = Job(baseline, comparison, Params(), MaskTracker)
    with job.kernels() as kernels:
        differing = signature_differences(*kernels)
    cases, complete = run(job, rows, workers=workers)
    return document(baseline, comparison, job.params, cases, complete=complete, signature_differences=differing)


HEADER = """\
# Kernel versions, compared

Written by `scripts/make_comparisons.py`; do not edit. It needs clones of neuronx-distributed-inference and nki-samples.
Each section is what `nkifix compare BASELINE COMPARISON` says of the case set `quick`, on the emulator of trn1; nothing
was run on a device.

`May replace` asks that no call be worse off. It counts as worse off, too, to answer wrongly where the baseline crashed:
a crash is seen. The last column names the defects of NxDI's kernel that a call triggers by their documented conditions
(`patches/` explains each), whatever was observed; calls of identical bytes and refusals are counted only. Queries that
do not see a key of NaN or Inf are poisoned where a tile that is computed for them holds it.
"""


def text_of(reports: list[tuple[Pair, Document]], cases: dict[str, Case]) -> str:
    """All reports as Markdown."""
    return "\n".join([HEADER, *(line for pair, report in reports for line in _section(pair, report, cases))]) + "\n"


def _section(pair: Pair, report: Document, cases: dict[str, Case]) -> Iterator[str]:
    baseline, comparison = report["baseline"]["name"], report["comparison"]["name"]
    yield f"## {pair.title}: {report['verdict']}"
    yield ""
    yield f"`nkifix compare {baseline} {comparison}` exits with {report['exit_code']}."
    yield ""
    for line in report["signature_differences"]:
        yield f"- {line}"
    if report["signature_differences"]:
        yield ""
    ratios = sorted(case["cost_ratio"][BOUND] for case in report["cases"] if BOUND in case["cost_ratio"])
    if ratios:
        yield (
            f"Busy time of the busiest engine, comparison over baseline, in {len(ratios)} calls that both answer: "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}, median {ratios[len(ratios) // 2]:.2f}."
        )
        yield ""
    yield "| outcome | cases |"
    yield "|---|---:|"
    for words, count in report["summary"].items():
        yield f"| {words} | {count} |"
    yield ""
    yield "| case | outcome | baseline | comparison | triggers |"
    yield "|---|---|---|---|---|"
    for case in by_weight(report["cases"]):
        if case["status"] not in ("IDENTICAL", "REFUSED"):
            sides = " | ".join(_cell(case["reason"] or _did(case[side])) for side in ("baseline", "comparison"))
            call = "" if case["expected_refusal"] else triggered(cases[case["key"]])
            yield f"| {_cell(case['name'])} | {case['words']} | {sides} | {call} |"
    yield ""


def _did(side: RowDocument) -> str:
    """What a kernel did; of a crash, its type alone."""
    return side["crash"]["words"].split(":")[0] if side["crash"] else did(side)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_")


if __name__ == "__main__":
    sys.exit(main())
