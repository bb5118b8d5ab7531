"""Write docs/costs.md: what the kernels cost, by documented formulas, on the emulator and without arithmetic.

    NKIFIX_UPSTREAM=PATH_OF_A_CLONE python scripts/make_costs.py [--jobs N] [--check] [--seq 2048 --seq 8192 …]

NKIFIX_UPSTREAM names a clone (bare or not) of aws-neuron/neuronx-distributed-inference: the stock kernel is read
from it, and fixed in memory. --check writes nothing, and exits with 1 if docs/costs.md would change.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nkifix.differential.named_cases import read_case
from nkifix.differential.references import resolve
from nkifix.emulator.engines import Engine
from nkifix.emulator.params import Target
from nkifix.errors import RefusalError
from nkifix.profiling.measure import Measurement, measure

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "costs.md"
VARIABLE = "NKIFIX_UPSTREAM"
TAG = "v0.7.14366"
TARGETS: tuple[Target, ...] = ("trn1", "trn2")
LENGTHS = (2048, 4096, 8192, 16384, 32768)
LONGEST_OF_SHARED = 8192
"""Four heads take four times as long."""
MASKS = {
    "causal": "causal=1,window=-2",
    "window of 1024": "window=1023",
    "full": "causal=0",
}
"""Causal is asked for as (-2, -1), which the stock kernel runs, too."""
HEADS = {
    "one head": "",
    "4 heads that share keys and values": ",heads=4,kv_heads=1",
}
"""Query heads of one key/value head."""
KERNELS = {
    "stock": "{upstream}",
    "typo-fixed": "{upstream}+fix",
    "fully fixed": "{upstream}+fix:full",
    "vendored": "vendored",
}


@dataclass(frozen=True)
class Job:
    """One row of the document."""

    target: Target
    mask: str
    heads: str
    seq: int
    kernel: str
    reference: str


@dataclass(frozen=True)
class Row:
    """Its answer; ``refused`` says why there are no numbers."""

    job: Job
    cells: tuple[str, ...]
    refused: str = ""


def main() -> int:
    """Run every kernel on every case and write, or check, the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--seq", type=int, action="append", help="only these lengths")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    clone = os.environ.get(VARIABLE)
    if not clone:
        print(f"{VARIABLE} is not set: it names a clone of aws-neuron/neuronx-distributed-inference", file=sys.stderr)
        return 2
    jobs = list(_jobs(f"git:{clone}@{TAG}", given.seq or LENGTHS))
    with multiprocessing.Pool(given.jobs, maxtasksperchild=8) as pool:
        rows = list(pool.imap(_priced, jobs))
    text = document(rows)
    if given.check:
        return int(DOCUMENT.read_text(encoding="utf-8") != text)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"written: {DOCUMENT}")
    return 0


def _jobs(upstream: str, lengths: list[int] | tuple[int, ...]) -> Iterator[Job]:
    for target in TARGETS:
        for mask, heads in itertools.product(MASKS, HEADS):
            for seq in lengths:
                if HEADS[heads] and seq > LONGEST_OF_SHARED:
                    continue
                for kernel, reference in KERNELS.items():
                    yield Job(target, mask, heads, seq, kernel, reference.format(upstream=upstream))


def _priced(job: Job) -> Row:
    case = read_case(f"seq={job.seq},d=128,{MASKS[job.mask]}{HEADS[job.heads]}")
    try:
        return Row(job, cells(measure(_resolved(job.reference), case, job.target, compute=False)))
    except RefusalError as error:
        return Row(job, (), "raises " + str(error).split(": ")[1])


_resolved = functools.cache(resolve)


def cells(measured: Measurement) -> tuple[str, ...]:
    """The numbers of a row."""
    profile, held = measured.profile, measured.footprint
    cycles = [
        f"{row.cycles:,.0f}" for row in measured.engines if row.engine is not Engine.DMA and row.cycles is not None
    ]
    return (
        *cycles,
        f"{profile.loaded_bytes:,}",
        f"{profile.stored_bytes:,}",
        f"{held.peak_sbuf_bytes_per_partition:,}",
        f"{held.peak_psum_bytes_per_partition:,}",
        f"{profile.bound_seconds * 1e6:,.0f}",
        f"{measured.schedule.latency_seconds * 1e6:,.0f}",
    )


HEADER = """\
# What the kernels cost

Written by `scripts/make_costs.py`; do not edit. It needs `NKIFIX_UPSTREAM`, a clone of neuronx-distributed-inference
(here at {tag}), to read the stock kernel from.

Heads of 128, bfloat16, mixed precision, the default config: one head, and four that share their keys and values, as
in Llama 3 8B. Cycles and bytes rest on the formulas of the NKI reference (Neuron SDK 2.26; see
`src/nkifix/emulator/cost/formulas.py` for each) and are bounds: no schedule makes an engine less busy. The last column
is an estimate on top of them; `nkifix profile --assumptions` prints what it assumes. SBUF and PSUM are what the kernel
holds at most, in bytes per partition, before the compiler shares or spills. Nothing here was measured on a device.
"""
COLUMNS = (
    "queries = keys",
    "kernel",
    *(f"{engine} cycles" for engine in ("Tensor", "Vector", "Scalar", "GpSimd")),
    "DMA bytes in",
    "DMA bytes out",
    "SBUF",
    "PSUM",
    "busiest engine, us",
    "estimated latency, us",
)


def document(rows: list[Row]) -> str:
    """All rows as Markdown: a table for each target, mask and number of heads."""
    parts = [HEADER.format(tag=TAG).rstrip()]
    for target in TARGETS:
        for mask, heads in itertools.product(MASKS, HEADS):
            parts.append(f"\n## {target}, {mask}, {heads}\n")
            parts.append("| " + " | ".join(COLUMNS) + " |")
            parts.append("|---:|---|" + "---:|" * (len(COLUMNS) - 2))
            for row in rows:
                if (row.job.target, row.job.mask, row.job.heads) == (target, mask, heads):
                    answer = row.cells or (row.refused, *("" for _ in COLUMNS[3:]))
                    parts.append("| " + " | ".join((f"{row.job.seq:,}", row.job.kernel, *answer)) + " |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
