"""``nkifix run``: any program, unmodified, with ``neuronxcc`` served by the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click

from nkifix.cli import console
from nkifix.emulator.params import Params, Precision, Target
from nkifix.emulator.rules import RULES
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


def _list_rules(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print every rule and end, whatever else was given."""
    if not wanted or context.resilient_parsing:
        return
    table = console.Table("rule", "default", "what a kernel must keep", "source")
    for name, rule in RULES.items():
        default = "on" if rule.default else "off"
        table.add_row(name, default if rule.optional else "always", rule.summary, rule.source)
    console.print_table(console.out(), table)
    context.exit()


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
@click.option(
    "--storage",
    type=click.Choice(get_args(Precision)),
    default="precise",
    show_default=True,
    help="Round elements to their dtype, or keep float32: tells an algorithm's error from rounding.",
)
@click.option("--rule", "on", multiple=True, metavar="NAME", help="Enforce a rule that is off by default; repeatable.")
@click.option("--no-rule", "off", multiple=True, metavar="NAME", help="Do not enforce a rule; repeatable.")
@click.option("--shuffle", is_flag=True, help="Run grid programs and affine_range iterations in a random order.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of that order.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that share the programs of a grid.  [default: NKIFIX_WORKERS, else as many as pay]",
)
@click.option("--torch-xla-stub", is_flag=True, help="Where torch_xla is not installed, serve one that uses the CPU.")
@click.option("-m", "module", is_flag=True, help="PROGRAM is a module, as in python -m.")
@click.option(
    "--list-rules", is_flag=True, is_eager=True, expose_value=False, callback=_list_rules, help="Print all rules."
)
@click.argument("program", metavar="SCRIPT|MODULE")
@click.argument("args", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
def command(
    *,
    target: Target,
    storage: Precision,
    on: tuple[str, ...],
    off: tuple[str, ...],
    shuffle: bool,
    seed: int,
    workers: int | None,
    torch_xla_stub: bool,
    module: bool,
    program: str,
    args: tuple[str, ...],
) -> None:
    """Run a script (or with -m a module) with `import neuronxcc...` served by the emulator."""
    params = Params(
        target=target,
        storage=storage,
        rules_on=frozenset(on),
        rules_off=frozenset(off),
        order="shuffled" if shuffle else "program",
        seed=seed,
        workers=workers,
    )
    stub = "stub" if torch_xla_stub else "real"
    become([params.to_text(), stub, "module" if module else "script", program, *args])


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
