"""``nkifix fix``: print a fix as a diff, write it, or undo it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from nkifix import atomic, codemod
from nkifix.cli import console
from nkifix.errors import RefusalError

_T = TypeVar("_T")

_EPILOG = """\
Exit codes: 0 nothing to do, or written; 1 would change (without --write); 2 refused, and nothing was changed.

The diff can be applied with `git apply` or `patch -p1` in the present directory. --write keeps the old bytes beside
the file; --undo puts them back.
"""


@dataclass(frozen=True)
class _Plan:
    """What is to happen to one file."""

    path: Path
    before: bytes
    outcome: codemod.Fixed | codemod.AlreadyFixed


@click.command(epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--series",
    type=click.Choice(list(codemod.SERIES)),
    help="Which fixes: typo (the default) is the two-line change alone, full is every fix.",
)
@click.option("--only", multiple=True, metavar="ID", help="Only this fix, of the series if one is named; repeatable.")
@click.option("--write", is_flag=True, help="Write the files instead of printing the diff.")
@click.option("--undo", is_flag=True, help="Take back the last --write to the files.")
def command(files: tuple[Path, ...], series: str | None, only: tuple[str, ...], write: bool, undo: bool) -> None:
    """Print the fix for kernel files as a unified diff; --write applies it.

    Several files are fixed together or, if one of them is refused, not at all.
    """
    if undo and (write or only):
        raise click.UsageError("--undo takes files only")
    paths = _distinct(files)
    if undo:
        _undo(paths)
        return
    plans = _for_all(functools.partial(_plan, fixes=codemod.select(series, only)), paths)
    if write:
        _write(plans)
    else:
        raise SystemExit(_print_diff(plans))


def _distinct(files: Sequence[Path]) -> list[Path]:
    """Drop files named twice, under whatever name."""
    return list({os.path.realpath(path): path for path in reversed(files)}.values())[::-1]


def _for_all(work: Callable[[Path], _T], paths: Sequence[Path]) -> list[_T]:
    """Return what ``work`` gives for every path; if it refuses any, print each refusal and exit."""
    results = [_attempt(work, path) for path in paths]
    refusals = [result for result in results if isinstance(result, RefusalError)]
    if refusals:
        for error in refusals[:-1]:
            console.complain(error)
        console.refuse(refusals[-1])
    return [result for result in results if not isinstance(result, RefusalError)]


def _attempt(work: Callable[[Path], _T], path: Path) -> _T | RefusalError:
    try:
        return work(path)
    except RefusalError as error:
        return error


def _plan(path: Path, fixes: Sequence[codemod.Fix]) -> _Plan:
    before = atomic.read(path)
    outcome = codemod.apply(before, fixes)
    if isinstance(outcome, codemod.NotRecognised):
        raise RefusalError(
            f"{outcome.fix} does not recognise this file" if outcome.fix else "this is no Python file that can be read",
            where=f"{path}:{outcome.line}" if outcome.line else str(path),
            why=outcome.reason,
            next_step="name the file that defines flash_fwd; if this is that file, change it by hand",
        )
    return _Plan(path, before, outcome)


def _print_diff(plans: Sequence[_Plan]) -> int:
    """Print what would change on stdout and return the exit code."""
    code = console.EXIT_HOLDS
    for plan in plans:
        if isinstance(plan.outcome, codemod.Fixed):
            console.write_data(codemod.unified_diff(plan.before, plan.outcome.data, _diff_name(plan.path)))
            console.note(f"{plan.path}: would change {_lines(plan.outcome)}; --write does it")
            code = console.EXIT_DIFFERS
        else:
            console.note(_nothing_to_do(plan))
    return code


def _write(plans: Sequence[_Plan]) -> None:
    changes = [
        atomic.Change(plan.path, plan.before, plan.outcome.data)
        for plan in plans
        if isinstance(plan.outcome, codemod.Fixed)
    ]
    backups = dict(zip((change.path for change in changes), atomic.write_all(changes), strict=True))
    for plan in plans:
        if isinstance(plan.outcome, codemod.Fixed):
            console.note(
                f"{plan.path}: fixed {', '.join(plan.outcome.fixes)} ({_lines(plan.outcome)}); "
                f"the old bytes are in {backups[plan.path].name}, --undo puts them back"
            )
        else:
            console.note(_nothing_to_do(plan))


def _undo(paths: Sequence[Path]) -> None:
    _for_all(atomic.find_backup, paths)
    for path in paths:
        atomic.undo(path)
        console.note(f"{path}: restored")


def _nothing_to_do(plan: _Plan) -> str:
    return f"{plan.path}: already fixed, nothing to do"


def _lines(outcome: codemod.Fixed) -> str:
    word = "line" if len(outcome.lines) == 1 else "lines"
    return f"{word} {', '.join(str(line) for line in outcome.lines)}"


def _diff_name(path: Path) -> bytes:
    """Name the file that changes, from the present directory if it is below it, else from the root."""
    target = Path(os.path.realpath(path))
    here = Path(os.path.realpath(os.curdir))
    name = target.relative_to(here) if target.is_relative_to(here) else target.relative_to(target.anchor)
    return os.fsencode(name.as_posix())
