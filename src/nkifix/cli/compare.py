"""``nkifix compare``: may one kernel version take another's place?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nkifix import atomic
from nkifix.cli import console
from nkifix.errors import RefusalError

if TYPE_CHECKING:
    from nkifix.differential.covering import Coverage
    from nkifix.differential.report.document import Document
    from nkifix.emulator import Target

EPILOG = """\
BASELINE and COMPARISON are each `vendored`, `installed`, PATH/attention.py[:function] (or a checkout),
git:REPO@REV[:path] or nki-samples:REPO@REV; each may end in +fix (the misspelled name), +fix:full (every fix) or
+fix:id,id.

Example: nkifix compare git:REPO@v0.7.14366+fix vendored

Exit code 0: it may replace the baseline in every case; 1: it differs or regresses; 2: that cannot be said, because a
run was broken off, nothing could be compared, or something is missing.
"""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=EPILOG)
@click.argument("baseline")
@click.argument("comparison")
@click.option(
    "--cases", "wish", default="quick", show_default=True, metavar="quick|full|models|FILE.toml", help="What to call."
)
@click.option("--only", multiple=True, metavar="TEXT", help="Only cases whose name holds this; repeatable.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Seed of the inputs; repeatable.")
@click.option(
    "--coverage",
    type=click.Choice(["singles", "pairs", "full"]),
    default="pairs",
    show_default=True,
    help="How settings are combined in quick and full: each value once, each pair, or all (hours).",
)
@click.option("--target", type=click.Choice(["trn1", "trn2"]), default="trn1", show_default=True, help="Chip.")
@click.option(
    "--backend",
    type=click.Choice(["emulator", "simulator", "device"]),
    default="emulator",
    show_default=True,
    help="Where both run.",
)
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes; one a core unless said.")
@click.option("--cluster", metavar="ADDRESS", help="Use the workers of this dask scheduler instead.")
@click.option("--results", type=_FILE, help="Write each result as a line of JSON as it comes.")
@click.option("--resume", is_flag=True, help="Leave out what --results holds already.")
@click.option("--json", "json_file", type=_FILE, help="Write the report as JSON.")
@click.option("--markdown", "markdown_file", type=_FILE, help="Write it for a pull request.")
@click.option("--html", "html_file", type=_FILE, help="Write it as one page.")
@click.option("--fail-on", multiple=True, metavar="differs|crash|slower:5%", help="Exit 1 for this, too; repeatable.")
def command(
    *,
    baseline: str,
    comparison: str,
    wish: str,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    coverage: Coverage,
    target: Target,
    backend: str,
    workers: int,
    cluster: str | None,
    results: Path | None,
    resume: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    html_file: Path | None,
    fail_on: tuple[str, ...],
) -> None:
    """Say whether kernel COMPARISON may replace kernel BASELINE, case by case."""
    from nkifix import backends
    from nkifix.cli import compare_view
    from nkifix.differential.conditions import read_condition
    from nkifix.differential.references import resolve
    from nkifix.differential.report.document import document
    from nkifix.differential.runner import Job, run
    from nkifix.differential.selection import choose
    from nkifix.differential.signatures import signature_differences
    from nkifix.emulator import Params
    from nkifix.profiling.mask import MaskTracker

    backends.backend(backend)  # says what is missing before anything is read
    if cluster and backend != "emulator":
        raise RefusalError("a cluster runs the emulator only", next_step="leave --cluster or --backend out")
    conditions = [read_condition(text) for text in fail_on]
    rows = choose(wish, only=only, seeds=seeds, coverage=coverage)
    job = Job(resolve(baseline), resolve(comparison), Params(target=target), MaskTracker, backend)
    with job.kernels() as kernels:
        differing = signature_differences(*kernels)
    rows_done, complete = run(
        job,
        rows,
        workers=workers if backend == "emulator" else 1,
        cluster=cluster,
        stream=results,
        resume=resume,
        progress=lambda found, total: console.counted("comparing", found, total),
    )
    report = document(
        job.baseline,
        job.comparison,
        job.params,
        rows_done,
        backend=backend,
        complete=complete,
        signature_differences=differing,
        conditions=conditions,
    )
    _write(report, json_file, markdown_file, html_file)
    compare_view.render(report)
    if not complete:
        console.note(f"Broken off after {len(rows_done)} of {len(rows)} cases.")
    raise SystemExit(report["exit_code"])


def _write(report: Document, json_file: Path | None, markdown_file: Path | None, html_file: Path | None) -> None:
    texts: dict[Path, str] = {}
    if json_file:
        texts[json_file] = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if markdown_file:
        from nkifix.differential.report.markdown import markdown

        texts[markdown_file] = markdown(report)
    if html_file:
        from nkifix.differential.report.html import page

        texts[html_file] = page(report)
    for path, text in texts.items():
        atomic.put(path, text.encode())
        console.note(f"written: {path}")
