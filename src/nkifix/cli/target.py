"""What ``apply``, ``revert`` and ``status`` share: the kernel they work on, and the fixes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nkifix import codemod
from nkifix.upstream import locate


def path_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--path``."""
    return click.option(
        "--path",
        type=click.Path(path_type=Path),
        default=None,
        help="The kernel file, or a package, site-packages or checkout that holds it; else the installed one.",
    )(command)


def fixes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--series`` and ``--only``."""
    series = click.option(
        "--series",
        type=click.Choice(list(codemod.SERIES)),
        default=None,
        help="Which fixes; typo, the two-line change alone, if nothing is said.",
    )
    only = click.option("--only", multiple=True, metavar="ID", help="Only this fix; may be repeated.")
    return series(only(command))


def kernel(path: Path | None) -> locate.Kernel:
    """Return the kernel that the command is about."""
    return locate.installed() if path is None else locate.at(path)
