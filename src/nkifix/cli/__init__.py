"""The command line: one module per command, imported only when that command runs."""

from __future__ import annotations

import importlib
from typing import Any

import click

from nkifix import __version__
from nkifix.cli import console
from nkifix.errors import NkifixError

COMMANDS = {
    "demo": "Show the crash, the fix and the proof, on your file or on a specimen.",
    "doctor": "Say which Neuron packages are here, and whether they fit one another.",
    "check": "Look for the kernel's defects, and for branches that misspell a name.",
    "fix": "Print the fix for a kernel file as a diff; --write applies it.",
    "apply": "Fix the installed kernel in place.",
    "revert": "Put the installed kernel back as it was.",
    "status": "Say whether the installed kernel is fixed.",
    "autofix": "Run a script or module with the installed kernel fixed in memory.",
    "vendor": "Make a package of your own from your upstream file and the fixes.",
    "pr": "Write a pull request for upstream: patch, texts and evidence.",
    "compare": "Say whether one kernel version may replace another, case by case.",
    "profile": "Estimate what a kernel costs: cycles per engine and line, DMA, memory, latency.",
    "schedule": "Draw which tiles of the mask a kernel skips, cuts and computes, as executed.",
    "run": "Run any script or module with neuronxcc served by the emulator.",
}
"""Command name -> one-line help. The module ``nkifix.cli.<name>`` holds a click command ``command``."""


class LazyGroup(click.Group):
    """Imports a command's module only when it is asked for, so that ``nkifix fix`` starts without numpy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nkifix.cli.{cmd_name}").command
        command.name = cmd_name  # click before 8.2 says it in the usage, and every function is called command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NkifixError as error:
            console.refuse(error)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nkifix")
def main() -> None:
    """Run, fix and prove the flash-attention kernel of neuronx-distributed-inference, with no hardware."""
