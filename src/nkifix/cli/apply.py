"""``nkifix apply``: fix the installed kernel in place."""

from __future__ import annotations

from pathlib import Path

import click

from nkifix import codemod
from nkifix.cli import console, target
from nkifix.upstream import inplace
from nkifix.upstream.inplace import State

_EPILOG = """\
Exit codes: 0 fixed, or nothing to do; 2 refused, and nothing was changed.

The package is found without importing it. The old file stays beside the new one, and `nkifix revert` puts it back; the
wheel's RECORD is kept truthful. A run that was killed is finished by the next one.
"""


@click.command(epilog=_EPILOG)
@target.path_option
@target.fixes_options
def command(path: Path | None, series: str | None, only: tuple[str, ...]) -> None:
    """Fix the installed kernel in place."""
    kernel = target.kernel(path)
    before, after = inplace.apply(kernel, codemod.select(series, only))
    if isinstance(before.outcome, codemod.Fixed):
        console.note(f"{kernel.path}: fixed {', '.join(before.outcome.fixes)}")
        console.note(f"the old bytes are in {after.backups[0].name}; nkifix revert puts them back")
        console.note("programs that run already keep the old code until they are started again")
    elif before.state is State.FIXED_HERE:
        done = "nothing to do" if before.settled else "its record is truthful again"
        console.note(f"{kernel.path}: already fixed by nkifix, {done}")
    else:
        console.note(f"{kernel.path}: upstream has fixed this, nothing to do")
