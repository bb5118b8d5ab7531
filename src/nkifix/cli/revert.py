"""``nkifix revert``: put the installed kernel back as it was."""

from __future__ import annotations

from pathlib import Path

import click

from nkifix.cli import console, target
from nkifix.upstream import inplace

_EPILOG = """\
Exit codes: 0 put back, or nothing to do; 2 refused, and nothing was changed.
"""


@click.command(epilog=_EPILOG)
@target.path_option
def command(path: Path | None) -> None:
    """Put the installed kernel and its wheel's RECORD back as they were installed."""
    kernel = target.kernel(path)
    if inplace.revert(kernel):
        console.note(f"{kernel.path}: put back as it was installed")
    else:
        console.note(f"{kernel.path}: nkifix has not changed it, nothing to do")
