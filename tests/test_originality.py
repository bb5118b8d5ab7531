"""No line of NxDI's kernel or of its test stands in this repository."""

from __future__ import annotations

import pytest

from tests import upstream_clone
from tests.test_house import ROOT, text_files

NXDI_TEST = "test/unit/modules/sliding_window/test_attention.py"
LONG_CHARACTERS = 40
"""A shorter line says what any author would say: ``import numpy as np``."""


def folded(line: str) -> str:
    return " ".join(line.split())


def long_lines(text: str) -> set[str]:
    lines = {folded(line) for line in text.splitlines()}
    return {line for line in lines if len(line) >= LONG_CHARACTERS}


def shared(text: str, foreign: set[str]) -> set[str]:
    return long_lines(text) & foreign


@pytest.mark.upstream
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_no_long_line_is_shared_with_upstream(tag: str) -> None:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    foreign: set[str] = set()
    for path in (upstream_clone.KERNEL, NXDI_TEST):
        foreign |= long_lines(upstream_clone.read(repository, tag, path).decode())
    assert len(foreign) > 100
    found = {str(path.relative_to(ROOT)): lines for path, text in text_files() if (lines := shared(text, foreign))}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("  a line   that is long enough to be\ttaken for a copy\n", True, id="folded"),
        pytest.param("a line that is long enough to be taken for a copy, and goes on", False, id="another line"),
        pytest.param("short", False, id="short"),
    ],
)
def test_copied_lines_are_found_whatever_their_spaces(text: str, expected: bool) -> None:
    foreign = {"a line that is long enough to be taken for a copy", "short"}
    assert bool(shared(text, foreign)) is expected
