"""``nkifix autofix``: any program, unmodified, with the installed kernel fixed in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from nkifix import codemod
from nkifix.errors import RefusalError
from nkifix.upstream.import_hook import SERIES_VARIABLE

_CHILD = str(Path(__file__).with_name("autofix_child.py"))

_EPILOG = """\
Exit code: the program's own; 2 also where the program cannot be started.

Options of nkifix stand before the program; everything after its name goes to it untouched. No file is changed. New
interpreters that the program starts need `import nkifix.autofix` of their own; they inherit NKIFIX_SERIES.
"""


@click.command(epilog=_EPILOG, context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS]")
@click.option(
    "--series",
    type=click.Choice(list(codemod.SERIES)),
    default="typo",
    show_default=True,
    envvar=SERIES_VARIABLE,
    show_envvar=True,
    help="Which fixes: typo is the two-line change alone.",
)
@click.option("-m", "module", is_flag=True, help="PROGRAM is a module, as in python -m.")
@click.argument("program", metavar="SCRIPT|MODULE")
@click.argument("args", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
def command(series: str, module: bool, program: str, args: tuple[str, ...]) -> None:
    """Run a script (or with -m a module) with the installed kernel fixed as it is imported."""
    become([series, "module" if module else "script", program, *args])


def become(arguments: list[str]) -> None:
    """Replace this process by one that runs a program with the hook; see :mod:`nkifix.cli.autofix_child`."""
    if not sys.executable:
        raise RefusalError(
            "the program cannot be started: this interpreter does not know its own executable",
            why="the program runs in a new process of the same interpreter",
            next_step="put `import nkifix.autofix` at the program's head instead",
        )
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.environ[SERIES_VARIABLE] = arguments[0]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *flags, _CHILD, *arguments])  # noqa: S606  no shell is wanted
