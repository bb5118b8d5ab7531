"""``nkifix vendor``: a package of the user's own, from their upstream file and the fixes."""

from __future__ import annotations

from pathlib import Path

import click

from nkifix import codemod
from nkifix.cli import console, target
from nkifix.upstream import reference, vendor

_EPILOG = f"""\
REF is {reference.FORMS}.

Exit codes: 0 written, or proven; 1 with --check, something differs; 2 refused, and nothing was changed.

An output folder that nkifix made is replaced, unless it was edited. --check writes nothing: with --upstream it makes
everything once more and compares all bytes, without it compares the files with the manifest's digests.
"""


@click.command(epilog=_EPILOG)
@click.option("--upstream", "ref", metavar="REF", default=None, help="Your upstream file.")
@click.option("--output", required=True, metavar="DIR", type=click.Path(path_type=Path), help="The package's folder.")
@click.option(
    "--package", metavar="NAME", default=vendor.DEFAULT_PACKAGE, show_default=True, help="The name to import it by."
)
@click.option(
    "--license",
    "licence_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=None,
    help="Upstream's licence text, where none is beside the file.",
)
@target.fixes_options
@click.option("--check", is_flag=True, help="Prove an earlier output instead of writing one.")
def command(
    ref: str | None,
    output: Path,
    package: str,
    licence_file: Path | None,
    series: str | None,
    only: tuple[str, ...],
    check: bool,
) -> None:
    """Make a package that holds your upstream's flash_fwd and FlashConfig with the fixes."""
    if ref is None and not check:
        raise click.UsageError(f"--upstream is missing: {reference.FORMS}")
    fixes = codemod.select(series, only)
    upstream = reference.read(ref, licence_file=licence_file) if ref is not None else None
    if check or upstream is None:
        raise SystemExit(_check(output, upstream))
    tree = vendor.render(upstream, fixes, package=package)
    vendor.write(tree, output)
    console.note(f"{output}: {len(tree)} files; pip install {output}")
    console.note(f"from {package} import flash_fwd, FlashConfig; or set NKIFIX_KERNEL={package} for vendored_kernel")


def _check(output: Path, upstream: reference.Upstream | None) -> int:
    found = vendor.differences(output, upstream)
    for line in found:
        console.write_data(f"{line}\n")
    if found:
        console.note(f"{output}: {len(found)} differences")
        return console.EXIT_DIFFERS
    if upstream is None:
        console.note(f"{output}: every file is as its manifest says; --upstream REF would also prove where it is from")
    else:
        console.note(f"{output}: proven, every byte follows from {upstream.where} and the fixes")
    return console.EXIT_HOLDS
