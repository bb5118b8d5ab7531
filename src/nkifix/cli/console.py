"""The only place that prints: data on stdout, prose and progress on stderr.

Views take the names of rich that they need from here; it is imported when something is drawn.

Colour is decided per stream by rich, which also honours ``NO_COLOR``.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from nkifix.errors import NkifixError

if TYPE_CHECKING:
    from rich.console import Console as Console
    from rich.table import Table as Table
    from rich.text import Text as Text

_Item = TypeVar("_Item")

EXIT_HOLDS = 0
"""It holds, there is nothing to do, or the file was written."""
EXIT_DIFFERS = 1
"""It differs, there are findings, or a file would change."""
EXIT_REFUSED = 2
"""It cannot be done; the reason is on stderr and nothing was changed."""


def __getattr__(name: str) -> Any:
    if name in ("Console", "Table", "Text"):
        return getattr(importlib.import_module(f"rich.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def out() -> Console:
    """Console on the current stdout, for data and tables."""
    from rich.console import Console

    return Console(file=sys.stdout, soft_wrap=True, highlight=False)


def err() -> Console:
    """Console on the current stderr, for prose and progress."""
    from rich.console import Console

    return Console(file=sys.stderr, soft_wrap=True, highlight=False)


def write_data(data: str | bytes) -> None:
    """Write ``data`` to stdout as it is, with no markup and no added newline."""
    click.echo(data, nl=False)


def print_table(console: Console, table: Table) -> None:
    """Print ``table`` in its full width: a narrow terminal wraps it, rather than hide an outcome behind an ellipsis."""
    from rich.measure import Measurement

    table.width = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum
    console.print(table)


_ANY_WIDTH = 1000


def note(text: str) -> None:
    """One line of prose on stderr."""
    click.echo(text, err=True)


def complain(error: NkifixError) -> None:
    """Print ``ERROR`` and the error's four parts on stderr."""
    console = err()
    console.print("ERROR", style="bold red", end=" ")
    console.print(str(error), markup=False)


def refuse(error: NkifixError) -> NoReturn:
    """Print ``ERROR`` and the error's four parts on stderr, then exit with code 2."""
    complain(error)
    raise SystemExit(EXIT_REFUSED)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, silent when stderr is no terminal; call the result as each step begins."""
    # not the console's own is_terminal, which FORCE_COLOR makes true in the log of a CI job
    if not sys.stderr.isatty():
        yield lambda _step: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err(),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        done = itertools.count()

        def begin(step: str) -> None:
            bar.update(task, completed=next(done), description=f"{what}: {step}")

        yield begin


def counted(what: str, items: Iterator[_Item], total: int) -> Iterator[_Item]:
    """Hand ``items`` on, with a progress bar and the time left on stderr; silent when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
        console=err(),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            bar.advance(task)
            yield item
