"""What ``patches/`` says of each defect: its story, its reproduction and the regression tests for upstream's suite."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nkifix
from nkifix.errors import RefusalError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "patch.toml"
TESTS = "tests.py"
"""Test methods of our own, for what no row of upstream's tests can say."""


@dataclass(frozen=True)
class Row:
    """One row of parameters for a test that upstream has.

    Attributes
    ----------
    test:
        Name of the test function.
    values:
        Parameter name -> its value as Python writes it.
    comment:
        What the row is there for, in a few words.
    """

    test: str
    values: Mapping[str, str]
    comment: str


@dataclass(frozen=True)
class Patch:
    """One folder of ``patches/``; docs/contributing-upstream.md explains the keys."""

    folder: Path
    id: str
    title: str
    kind: str
    versions: tuple[str, ...]
    problem: str
    cause: str
    change: str
    reproduction: str
    related: str
    follow_ups: tuple[str, ...]
    rows: tuple[Row, ...]

    @cached_property
    def test_methods(self) -> str:
        """Test methods, indented as at the margin; empty if the patch adds rows alone."""
        file = self.folder / TESTS
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @property
    def has_tests(self) -> bool:
        """Whether it adds anything to upstream's test file."""
        return bool(self.rows or self.test_methods)


def folder() -> Path:
    """Return the folder that holds the patches: in an installed package or in a checkout of this project."""
    package = Path(nkifix.__file__).parent
    places = (package / "patches", package.parent.parent / "patches")
    return next((place for place in places if place.is_dir()), places[0])


def load(ids: Sequence[str], root: Path | None = None) -> list[Patch]:
    """Return the patches of these defects, in the order of their numbers.

    Raises
    ------
    RefusalError
        There is no patch for one of them, or its file cannot be understood.
    """
    root = root or folder()
    found = {file.parent.name.partition("-")[2]: file for file in sorted(root.glob(f"[0-9]*-*/{FILE}"))}
    missing = [name for name in ids if name not in found]
    if missing:
        raise RefusalError(
            f"there is no patch for {missing[0]}",
            where=str(root),
            next_step=f"choose among: {', '.join(found) or 'none is installed'}",
        )
    return [_read(file) for name, file in found.items() if name in ids]


def _read(file: Path) -> Patch:
    try:
        raw: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        story = raw["story"]
        return Patch(
            folder=file.parent,
            id=raw["id"],
            title=raw["title"],
            kind=raw["kind"],
            versions=tuple(raw["versions"]),
            problem=story["problem"].strip(),
            cause=story["cause"].strip(),
            change=story["change"].strip(),
            reproduction=raw["reproduction"].strip() + "\n",
            related=raw.get("related", "").strip(),
            follow_ups=tuple(raw.get("follow_ups", ())),
            rows=tuple(Row(row["test"], dict(row["values"]), row["comment"]) for row in raw.get("rows", ())),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RefusalError(
            f"this patch cannot be understood: {type(error).__name__}: {error}",
            where=str(file),
            next_step="install nkifix again, or mend the file",
        ) from error
