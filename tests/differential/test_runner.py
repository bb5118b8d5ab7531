from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nkifix.differential.cases import Case
from nkifix.differential.comparison import Row
from nkifix.differential.matrix import REFUSED
from nkifix.differential.references import resolve
from nkifix.differential.report.document import RowDocument
from nkifix.differential.runner import Job, row_key, run
from nkifix.emulator import Params
from nkifix.errors import MissingExtraError, RefusalError
from nkifix.profiling.mask import MaskTracker

JOB = Job(resolve("vendored"), resolve("vendored"), Params(), MaskTracker)
SMALL = Case(name="small", head_dim=4, seq_q=8, seq_k=8)
ROWS: list[Row] = [*(replace(SMALL, seed=seed) for seed in range(5)), REFUSED[0]]


def timeless(documents: list[RowDocument]) -> list[RowDocument]:
    return [{**one, "seconds": 0} for one in documents]


def interrupting(after: int) -> Any:
    """A progress that is interrupted once so many results came."""

    def hand_on(results: Iterator[RowDocument], total: int) -> Iterator[RowDocument]:
        for number, one in enumerate(results, 1):
            yield one
            if number == after:
                raise KeyboardInterrupt

    return hand_on


@pytest.fixture(scope="module")
def expected() -> list[RowDocument]:
    documents, complete = run(JOB, ROWS, workers=1)
    assert complete
    return documents


def test_results_come_in_the_order_of_the_rows(expected: list[RowDocument]) -> None:
    assert [one["key"] for one in expected] == [row_key(row) for row in ROWS]
    assert [one["status"] for one in expected] == ["IDENTICAL"] * 5 + ["REFUSED"]


def test_local_workers_give_the_same_results(expected: list[RowDocument], tmp_path: Path) -> None:
    stream = tmp_path / "results.jsonl"
    documents, complete = run(JOB, ROWS, workers=2, stream=stream)
    assert complete
    assert timeless(documents) == timeless(expected)
    assert len(stream.read_text().splitlines()) == 1 + len(ROWS)


def test_progress_is_told_how_many_are_left(tmp_path: Path) -> None:
    stream, totals = tmp_path / "results.jsonl", []

    def count(results: Iterator[RowDocument], total: int) -> Iterator[RowDocument]:
        totals.append(total)
        return results

    run(JOB, ROWS[:2], workers=1, stream=stream, progress=count)
    run(JOB, ROWS[:3], workers=1, stream=stream, resume=True, progress=count)
    assert totals == [2, 1]


def test_interrupted_run_keeps_what_it_has_and_is_resumed(expected: list[RowDocument], tmp_path: Path) -> None:
    stream = tmp_path / "results.jsonl"
    documents, complete = run(JOB, ROWS, workers=1, stream=stream, progress=interrupting(2))
    assert not complete
    assert timeless(documents) == timeless(expected[:2])
    with stream.open("a") as file:
        file.write('{"key": "cut o')  # as a kill in mid-line leaves it
    documents, complete = run(JOB, ROWS, workers=1, stream=stream, resume=True)
    assert complete
    assert timeless(documents) == timeless(expected)
    keys = [json.loads(line)["key"] for line in stream.read_text().splitlines()[1:] if line.endswith("}")]
    assert sorted(keys) == sorted(map(row_key, ROWS))


@pytest.mark.parametrize("left", [None, ""], ids=["no file", "empty file"])
def test_resuming_from_nothing_runs_everything(left: str | None, tmp_path: Path) -> None:
    stream = tmp_path / "results.jsonl"
    if left is not None:
        stream.write_text(left)
    documents, complete = run(JOB, ROWS[:1], workers=1, stream=stream, resume=True)
    assert complete
    assert len(documents) == 1
    assert json.loads(stream.read_text().splitlines()[0])["baseline"][0] == "vendored"


def test_without_resume_a_stream_begins_anew(tmp_path: Path) -> None:
    stream = tmp_path / "results.jsonl"
    for _ in range(2):
        run(JOB, ROWS[:1], workers=1, stream=stream)
    assert len(stream.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(JOB, comparison=replace(JOB.comparison, source=b"other")), id="bytes"),
        pytest.param(replace(JOB, params=Params(target="trn2")), id="target"),
        pytest.param(None, id="no stream of ours"),
    ],
)
def test_refuses_to_resume_another_comparison(other: Job | None, tmp_path: Path) -> None:
    stream = tmp_path / "results.jsonl"
    if other is None:
        stream.write_text("something else\n")
    run(JOB, ROWS[:1], workers=1, stream=stream) if other else None
    with pytest.raises(RefusalError, match="holds results of another comparison"):
        run(other or JOB, ROWS[:1], workers=1, stream=stream, resume=True)


def test_refuses_to_resume_from_no_file() -> None:
    with pytest.raises(RefusalError, match="nothing to resume"):
        run(JOB, ROWS[:1], resume=True)


def test_refuses_a_stream_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="cannot be written"):
        run(JOB, ROWS[:1], stream=tmp_path / "missing" / "results.jsonl")


def test_refuses_a_cluster_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"nkifix\[cluster\]"):
        run(JOB, ROWS, cluster="tcp://127.0.0.1:1")


def test_refuses_a_cluster_that_does_not_answer() -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster: pip install 'nkifix[cluster]'")
    dask = pytest.importorskip("dask", reason="needs the extra cluster: pip install 'nkifix[cluster]'")
    quickly = dask.config.set({"distributed.comm.timeouts.connect": "500ms"})
    with quickly, pytest.raises(RefusalError, match="no dask scheduler answers at"):
        run(JOB, ROWS, cluster="tcp://127.0.0.1:1")


def test_killed_worker_of_a_cluster_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """A real scheduler and two worker processes on loopback; one is killed when three results have come."""
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster: pip install 'nkifix[cluster]'")
    rows: list[Row] = [replace(SMALL, seed=seed, seq_q=512, seq_k=512, head_dim=32) for seed in range(16)]
    stream, killed = tmp_path / "results.jsonl", []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:

        def kill_one(results: Iterator[RowDocument], total: int) -> Iterator[RowDocument]:
            for number, one in enumerate(results, 1):
                yield one
                if number == 3:
                    with distributed.Client(cluster.scheduler_address) as client:
                        _, process = sorted(client.run(os.getpid).items())[0]
                    os.kill(process, signal.SIGKILL)
                    killed.append(number)

        documents, complete = run(JOB, rows, cluster=cluster.scheduler_address, stream=stream, progress=kill_one)
    assert killed == [3]
    assert complete
    assert [one["key"] for one in documents] == [row_key(row) for row in rows]
    keys = [json.loads(line)["key"] for line in stream.read_text().splitlines()[1:]]
    assert sorted(keys) == sorted(map(row_key, rows))
