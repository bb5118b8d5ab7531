"""A small comparison, as the tests of its renderers need it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from nkifix.differential.cases import Case
from nkifix.differential.conditions import Condition
from nkifix.differential.matrix import REFUSED
from nkifix.differential.references import Reference, resolve
from nkifix.differential.report.document import Document, document
from nkifix.differential.runner import Job, run
from nkifix.emulator import Params
from nkifix.profiling.mask import MaskTracker

KERNEL = Path(__file__).parents[3] / "vendored_kernel" / "kernel.py"
SMALL = Case(name="causal", head_dim=16, seq_q=300, seq_k=600, config={"seq_tile_size": 512})
ROWS = (
    SMALL,
    replace(SMALL, name="scale <b>0</b> | zero", softmax_scale=0.0),
    replace(SMALL, name="full", use_causal_mask=False),
    REFUSED[0],
)


def faulty() -> Reference:
    """Our kernel with a scale of zero taken for none, and causal calls that crash."""
    source = KERNEL.read_bytes()
    for text, planted in (
        (b"if softmax_scale is None else", b"if not softmax_scale else"),
        (
            b"    o = nl.ndarray",
            b'    assert not use_causal_mask or softmax_scale is not None, "no\\ncausal"\n    o = nl.ndarray',
        ),
    ):
        assert text in source
        source = source.replace(text, planted)
    return Reference("faulty", "faulty.py", source)


@functools.cache
def report(*, complete: bool = True) -> Document:
    """Our kernel against the faulty one: right answers, a wrong one, a crash and a refusal."""
    job = Job(resolve("vendored"), faulty(), Params(), MaskTracker)
    rows, done = run(job, ROWS, workers=1)
    assert done
    return document(
        job.baseline,
        job.comparison,
        job.params,
        rows,
        complete=complete,
        signature_differences=["parameter x: 1 in the baseline, <2> in the comparison"],
        conditions=[Condition("crash"), Condition("slower:5%", 0.05)],
    )
