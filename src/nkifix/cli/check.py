"""``nkifix check``: the kernel's known defects, and branches that misspell a name, in files and trees."""

from __future__ import annotations

from pathlib import Path

import click

from nkifix.cli import check_scan, check_view, console

_EPILOG = """\
Exit codes: 0 no findings; 1 findings; 2 a path cannot be read (what was found elsewhere is printed all the same).

A folder stands for the *.py files below it, less hidden folders and __pycache__. Files that do not parse are counted on
stderr and skipped. No file is imported or executed.
"""


@click.command(epilog=_EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "style",
    type=click.Choice(list(check_view.RENDERERS)),
    default="text",
    show_default=True,
    help="text for people; json; sarif 2.1.0; github for annotations in a workflow's log.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=None, help="Processes; as many as there are CPUs.")
def command(paths: tuple[Path, ...], style: str, jobs: int | None) -> None:
    """Look for the kernel's known defects, and for branches that misspell a name."""
    files, refusals = check_scan.files_of(paths)
    with console.progress("checking", total=len(files)) as advance:
        scan = check_scan.scan(files, jobs=jobs, progress=advance)
    console.write_data(check_view.RENDERERS[style](scan.findings))
    for line in check_view.summary(scan):
        console.note(line)
    refusals += scan.refusals
    for refusal in refusals:
        console.complain(refusal)
    if refusals:
        raise SystemExit(console.EXIT_REFUSED)
    raise SystemExit(console.EXIT_DIFFERS if scan.findings else console.EXIT_HOLDS)
