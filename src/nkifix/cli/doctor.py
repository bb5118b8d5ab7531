"""``nkifix doctor``: which Neuron packages are here, whether they fit, and what the kernel file is."""

from __future__ import annotations

import json
import platform
from typing import Any

import click

from nkifix import codemod
from nkifix.cli import console
from nkifix.errors import RefusalError
from nkifix.upstream import inplace, locate, versions
from nkifix.upstream.inplace import State
from nkifix.upstream.versions import Level, Remark

SCHEMA = "nkifix.doctor/1"
_EPILOG = """\
Exit codes: 0 all is well; 1 there is something to heed, such as an unfixed kernel; 2 something cannot work so.

Nothing is imported and nothing is changed.
"""
_EXIT_CODES = {
    Level.FINE: console.EXIT_HOLDS,
    Level.HEED: console.EXIT_DIFFERS,
    Level.REFUSED: console.EXIT_REFUSED,
}
_STYLES = {Level.FINE: "green", Level.HEED: "yellow", Level.REFUSED: "red"}


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(as_json: bool) -> None:
    """Say which Neuron packages are here, whether they fit one another, and whether the kernel is fixed."""
    found = versions.installed()
    remarks = [*versions.remarks(found), *_kernel(found)]
    if as_json:
        console.write_data(json.dumps(_document(found, remarks), indent=2) + "\n")
    else:
        _print(found, remarks)
    raise SystemExit(max(_EXIT_CODES[remark.level] for remark in remarks))


def _kernel(found: versions.Versions) -> list[Remark]:
    """What there is to say about the installed kernel file; nothing where no package is installed."""
    try:
        status = inplace.inspect(locate.installed(), codemod.select())
    except RefusalError as error:
        if found["neuronx-distributed-inference"] is None:
            return []
        return [Remark(Level.HEED, f"The installed kernel file cannot be read: {error.what}.", error.next_step or "")]
    path = status.kernel.path
    if status.state is State.STOCK:
        return [Remark(Level.HEED, f"{path} has the misspelled mask: the default call crashes.", "nkifix apply")]
    if status.state is State.UNKNOWN:
        return [Remark(Level.HEED, f"{path} is not recognised.", f"nkifix check {path}")]
    if not status.settled:
        return [Remark(Level.HEED, f"{status.kernel.record} does not say what {path} is.", "nkifix apply, or revert")]
    return [Remark(Level.FINE, f"{path}: {status.state.value}.")]


def _document(found: versions.Versions, remarks: list[Remark]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "packages": found,
        "remarks": [{"level": one.level.value, "what": one.what, "next": one.next_step} for one in remarks],
        "releases": [
            {
                "sdk": one.sdk,
                "neuronx-cc": one.compiler,
                "nki": one.nki,
                "instances": list(one.instances),
                "python": [".".join(map(str, bound)) for bound in one.python],
                "legacy": one.legacy.value,
            }
            for one in versions.RELEASES
        ],
    }


def _print(found: versions.Versions, remarks: list[Remark]) -> None:
    out = console.out()
    for remark in remarks:
        out.print(console.Text.assemble((f"{remark.level.value:8}", _STYLES[remark.level]), remark.what))
        if remark.next_step:
            out.print(console.Text(f"{'':8}  next: {remark.next_step}"))
    out.print()
    console.print_table(out, _packages(found))
    out.print()
    console.print_table(out, _releases(found))


def _packages(found: versions.Versions) -> console.Table:
    table = console.Table("package", "version", box=None, pad_edge=False)
    table.add_row("python", platform.python_version())
    for name, version in found.items():
        table.add_row(name, version or "-")
    return table


def _releases(found: versions.Versions) -> console.Table:
    table = console.Table("", "SDK", "neuronx-cc", "nki", "Python", "legacy kernels", box=None, pad_edge=False)
    compiler = found["neuronx-cc"]
    here = versions.release_of(compiler) if compiler else None
    for one in versions.RELEASES:
        low, high = (".".join(map(str, bound)) for bound in one.python)
        table.add_row(
            "here" if one is here else "", one.sdk, one.compiler, one.nki or "-", f"{low}-{high}", one.legacy.value
        )
    return table
