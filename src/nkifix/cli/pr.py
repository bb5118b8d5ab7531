"""``nkifix pr``: everything for a pull request to NxDI, made from a clone that is only read."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import get_args

import click

from nkifix import codemod, folders
from nkifix.cli import console
from nkifix.contribute import kit
from nkifix.contribute.repository import Identity
from nkifix.contribute.runs import Backend
from nkifix.errors import RefusalError

_EPILOG = """\
Exit codes: 0 the kit was written; 2 refused, and nothing was written.

DIR receives the patch (git am), PULL_REQUEST.md, ISSUE.md and evidence.json; several fixes get a folder each, and each
applies to the base by itself. Nothing is sent anywhere: read it, then open the pull request yourself.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--repo", required=True, type=click.Path(path_type=Path), help="A clone of neuronx-distributed-inference."
)
@click.option("--base", metavar="REV", help="The revision to start from. Default: the head of its default branch.")
@click.option(
    "--series", default="typo", show_default=True, metavar="typo|full|ID,ID", help="Which fixes: each gets its own kit."
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new or an empty directory."
)
@click.option("--author", metavar="'NAME <MAIL>'", help="Author of the commit. Default: whom git is configured with.")
@click.option(
    "--signoff", is_flag=True, help="Add a Signed-off-by line: you certify the Developer Certificate of Origin."
)
@click.option(
    "--evidence",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What scripts/neuron_evidence.sh recorded on a Neuron host; may be repeated.",
)
@click.option(
    "--backend",
    type=click.Choice(get_args(Backend)),
    default="emulator",
    show_default=True,
    help="What upstream's tests run on.",
)
def command(
    repo: Path,
    base: str | None,
    series: str,
    output: Path,
    author: str | None,
    signoff: bool,
    evidence: tuple[Path, ...],
    backend: Backend,
) -> None:
    """Write patch, texts and evidence for a pull request that fixes the kernel upstream."""
    ids = _ids(series)
    _require_outside(output, repo)
    folders.check_new(output)
    request = kit.Request(
        repository=repo,
        base=base,
        ids=ids,
        author=Identity.parse(author) if author else None,
        signoff=signoff,
        evidence=evidence,
        backend=backend,
        seconds=int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()),
    )
    with _ending_tidily(), console.progress("proving", total=len(ids)) as begin:
        result = kit.make(request, begin)
    folders.write_new(output, result.as_folder())
    _report(result, output)


def _ids(series: str) -> tuple[str, ...]:
    """Return the defects that a series or a list of ids names."""
    if series in codemod.SERIES:
        return tuple(codemod.SERIES[series])
    return tuple(fix.id for fix in codemod.select(only=tuple(filter(None, series.split(",")))))


def _require_outside(output: Path, repository: Path) -> None:
    """Keep the kit out of the clone: files there would be in the way of a commit."""
    target, clone = (Path(os.path.realpath(path)) for path in (output, repository))
    if target == clone or target.is_relative_to(clone):
        raise RefusalError(
            "the output lies in the clone",
            where=str(output),
            why="the clone is only read",
            next_step="name a directory outside it",
        )


@contextlib.contextmanager
def _ending_tidily() -> Iterator[None]:
    """Have a termination signal unwind the stack, so that child processes end and temporary folders go."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _report(result: kit.Result, output: Path) -> None:
    for made in result.kits:
        folder = output if len(result.kits) == 1 else output / made.patch.folder.name
        mail = next(name for name in made.files if name.endswith(".patch"))
        console.note(f"{made.patch.id}: {folder} (git am {folder / mail}, on {result.base.name})")
        if b"\r" in made.files[mail]:
            console.note(f"{made.patch.id}: the files have CRLF line endings, so git am needs --keep-cr")
    for name in result.absent:
        console.note(f"{name}: {result.base.name} does not have it")
    console.note("Read the texts before you send them. The tests ran on an emulator, and the texts say so.")
