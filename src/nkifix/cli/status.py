"""``nkifix status``: whether the installed kernel is fixed."""

from __future__ import annotations

from pathlib import Path

import click

from nkifix import codemod
from nkifix.cli import console, target
from nkifix.upstream import inplace
from nkifix.upstream.inplace import State, Status

_EPILOG = """\
Exit codes: 0 fixed; 1 one of the defects is in it, or a run was interrupted; 2 not found, or not recognised.

One line on stdout: the file's state and its path.
"""


@click.command(epilog=_EPILOG)
@target.path_option
@target.fixes_options
def command(path: Path | None, series: str | None, only: tuple[str, ...]) -> None:
    """Say whether the installed kernel is fixed; nothing is changed."""
    status = inplace.inspect(target.kernel(path), codemod.select(series, only))
    console.write_data(f"{status.state.value}: {status.kernel.path}\n")
    for line in _prose(status):
        console.note(line)
    raise SystemExit(_exit_code(status))


def _exit_code(status: Status) -> int:
    if status.state is State.UNKNOWN:
        return console.EXIT_REFUSED
    if status.state is State.STOCK or not status.settled:
        return console.EXIT_DIFFERS
    return console.EXIT_HOLDS


def _prose(status: Status) -> list[str]:
    lines = []
    if isinstance(status.outcome, codemod.Fixed):
        lines.append(f"defects: {', '.join(status.outcome.fixes)}; nkifix apply fixes them")
    elif isinstance(status.outcome, codemod.NotRecognised):
        lines.append(f"not recognised: {status.outcome.reason}")
    lines += [f"backup: {backup.name}" for backup in status.backups]
    if not status.settled:
        lines.append(
            f"{status.kernel.record} does not say what the file is: a run was interrupted, or the file was changed; "
            "nkifix apply or nkifix revert finishes it"
        )
    return lines
