"""Comparing two kernels over many cases: in parallel, with results on disk as they come, and resumable."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nkifix.backends import EmulatorBackend, backend
from nkifix.differential.comparison import Compared, Row, TrackerType, compare
from nkifix.differential.kernels import LoadedKernel, loaded
from nkifix.differential.references import Reference
from nkifix.differential.report.document import RowDocument, row_document
from nkifix.emulator import Params
from nkifix.errors import MissingExtraError, RefusalError

BASELINE, COMPARISON = "baseline", "comparison"


@dataclass(frozen=True)
class Job:
    """All that a worker needs to compare one case.

    Attributes
    ----------
    tracker:
        Who watches which tiles are computed, if anybody.
    backend:
        Name of the backend that runs both.
    """

    baseline: Reference
    comparison: Reference
    params: Params
    tracker: TrackerType | None = None
    backend: str = EmulatorBackend.name

    @contextlib.contextmanager
    def kernels(self) -> Iterator[tuple[LoadedKernel, LoadedKernel]]:
        """Both kernels, loaded."""
        sources = {BASELINE: self.baseline.source, COMPARISON: self.comparison.source}
        functions = {BASELINE: self.baseline.function, COMPARISON: self.comparison.function}
        where = None if self.backend == EmulatorBackend.name else backend(self.backend)
        with loaded(sources, self.params, functions=functions, backend=where) as kernels:
            yield kernels[BASELINE], kernels[COMPARISON]


def compare_one(job: Job, row: Row) -> Compared:
    """Load both kernels and compare them on one case; everything a worker does."""
    began = time.monotonic()
    with job.kernels() as (baseline, comparison):
        result = compare(row, baseline, comparison, tracker=job.tracker)
    return replace(result, seconds=time.monotonic() - began)


def _document(job: Job, row: Row) -> RowDocument:
    return row_document(compare_one(job, row), key=row_key(row))


def _silent(results: Iterator[RowDocument], _total: int) -> Iterator[RowDocument]:
    return results


def run(
    job: Job,
    rows: Sequence[Row],
    *,
    workers: int = 0,
    cluster: str | None = None,
    stream: Path | None = None,
    resume: bool = False,
    progress: Callable[[Iterator[RowDocument], int], Iterator[RowDocument]] = _silent,
) -> tuple[list[RowDocument], bool]:
    """Compare on every row; results come back in the order of the rows, and whether none is missing.

    Parameters
    ----------
    workers:
        Processes; 0 for one a core.
    cluster:
        Address of a dask scheduler whose workers do it instead.
    stream:
        A file that gets one line of JSON as each result comes; with ``resume``, what it holds already is not
        computed again.
    progress:
        Wraps the results as they come, with how many are expected.

    A keyboard interrupt ends the run with what there is.

    Raises
    ------
    RefusalError
        ``stream`` holds results of other kernels, or cannot be written; or no cluster answers.
    MissingExtraError
        A cluster is asked for without dask.distributed being installed.
    """
    known = _known(stream, job) if resume else {}
    open_rows = [row for row in rows if row_key(row) not in known]
    complete = True
    with _writer(stream, job, append=bool(known)) as write:
        try:
            for document in progress(_computed(job, open_rows, workers, cluster), len(open_rows)):
                known[document["key"]] = document
                write(document)
        except KeyboardInterrupt:
            complete = False
    ordered = [known[row_key(row)] for row in rows if row_key(row) in known]
    return ordered, complete and len(ordered) == len(rows)


def row_key(row: Row) -> str:
    """What tells a row from all others of a run."""
    return repr(row)


def _computed(job: Job, rows: Sequence[Row], workers: int, cluster: str | None) -> Iterator[RowDocument]:
    count = workers or os.cpu_count() or 1
    if cluster is None and (count == 1 or len(rows) < 2):
        yield from (_document(job, row) for row in rows)
        return
    import joblib  # not for a command that only reads a report

    with _backend(cluster, count):
        pool = joblib.Parallel(n_jobs=-1 if cluster else count, return_as="generator_unordered", batch_size=1)
        yield from pool(joblib.delayed(_document)(job, row) for row in rows)


@contextlib.contextmanager
def _backend(cluster: str | None, count: int) -> Iterator[None]:
    import joblib

    if cluster is None:
        with joblib.parallel_config(backend="loky", n_jobs=count, inner_max_num_threads=1):
            yield
        return
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise MissingExtraError("dask.distributed", extra="cluster", needed_for="--cluster") from None
    try:
        client = distributed.Client(cluster)
    except (OSError, ValueError) as error:  # ValueError: no address at all
        raise RefusalError(
            f"no dask scheduler answers at {cluster}",
            why=str(error),
            next_step="start `dask scheduler`, and where nkifix is installed `dask worker ADDRESS`",
        ) from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def _header(job: Job) -> dict[str, Any]:
    return {
        "stream": 1,
        "baseline": [job.baseline.name, job.baseline.digest],
        "comparison": [job.comparison.name, job.comparison.digest],
        "params": job.params.to_text(),
        "backend": job.backend,
    }


def _known(stream: Path | None, job: Job) -> dict[str, RowDocument]:
    """Results that an earlier run left; a last line that was cut off is dropped."""
    if stream is None:
        raise RefusalError("there is nothing to resume", next_step="name the file: --results FILE --resume")
    if not stream.exists():
        return {}
    lines = stream.read_text(encoding="utf-8").splitlines()
    if not lines:
        return {}
    try:
        header = json.loads(lines[0])
    except ValueError:
        header = None
    if header != _header(job):
        raise RefusalError(
            f"{stream} holds results of another comparison",
            why="resuming needs the same kernels, byte for byte, and the same parameters",
            next_step="leave --resume out, or name another file",
        )
    found: dict[str, RowDocument] = {}
    for line in lines[1:]:
        with contextlib.suppress(ValueError):
            document: RowDocument = json.loads(line)
            found[document["key"]] = document
    return found


@contextlib.contextmanager
def _writer(stream: Path | None, job: Job, *, append: bool) -> Iterator[Callable[[RowDocument], None]]:
    if stream is None:
        yield lambda _document: None
        return
    try:
        file = stream.open("a" if append else "w", encoding="utf-8")
    except OSError as error:
        raise RefusalError(
            f"{stream} cannot be written: {error.strerror}", next_step="name another file: --results FILE"
        ) from error

    def write(value: object) -> None:
        file.write(json.dumps(value) + "\n")
        file.flush()

    with file:
        if append:
            file.write("\n")  # ends a line that was cut off
        else:
            write(_header(job))
        yield write
