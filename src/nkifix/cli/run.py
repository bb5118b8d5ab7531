"""``nkifix run``: any program, unmodified, with ``neuronxcc`` served by the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click

from nkifix.emulator.params import Target
from nkifix.errors import BackendError

_CHILD = str(Path(__file__).with_name("child.py"))

_EPILOG = """\
Exit code: the program's own; 2 also where the program cannot be started.

Options of nkifix stand before the program; everything after its name goes to it untouched. It runs as `python
SCRIPT` or `python -m MODULE` would run it, in a process of its own, so that it never meets a real neuronxcc that is
installed on this machine.

The emulator is served to this program and to processes that it forks, not to new interpreters that it starts
(subprocess, multiprocessing with spawn, pytest-xdist).
"""


@click.command(
    epilog=_EPILOG,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option(
    "--target",
    type=click.Choice(get_args(Target)),
    default="trn1",
    show_default=True,
    help="The chip to imitate: trn1 also stands for Inf2.",
)
@click.option("--torch-xla-stub", is_flag=True, help="Where torch_xla is not installed, serve one that uses the CPU.")
@click.option("-m", "module", is_flag=True, help="PROGRAM is a module, as in python -m.")
@click.argument("program", metavar="SCRIPT|MODULE")
@click.argument("args", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
def command(target: Target, torch_xla_stub: bool, module: bool, program: str, args: tuple[str, ...]) -> None:
    """Run a script (or with -m a module) with `import neuronxcc...` served by the emulator."""
    stub = "stub" if torch_xla_stub else "real"
    become([target, stub, "module" if module else "script", program, *args])


def become(arguments: list[str]) -> None:
    """Replace this process by one that runs a program on the emulator; see :mod:`nkifix.cli.child`."""
    if not sys.executable:
        raise BackendError(
            "the program cannot be started: this interpreter does not know its own executable",
            why="the program runs in a new process of the same interpreter",
            next_step="start nkifix with an ordinary python",
        )
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *flags, _CHILD, *arguments])  # noqa: S606  no shell is wanted
