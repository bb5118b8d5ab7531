"""What is wrong with a file: the kernel's known defects, and the class of mistakes behind one of them anywhere."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nkifix.codemod import near_miss
from nkifix.codemod.unsure import UnsureError

_MARK = re.compile(rb"\bdef[\s\\]+flash_fwd\b")
"""No file without this is the kernel, so no other file pays for the exact tree, nor for importing its parser."""


@functools.cache
def rules() -> Mapping[str, str]:
    """Id of each rule -> what it finds, in one line."""
    from nkifix.codemod.registry import FIXES

    return MappingProxyType({**{fix.id: fix.title for fix in FIXES}, near_miss.RULE: near_miss.TITLE})


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake in one file; lines count from 1."""

    line: int
    rule: str
    message: str


def check(data: bytes) -> tuple[Finding, ...]:
    """Return what is wrong with the content of a Python file, in the file's order.

    The known defects are looked for only in a file recognised as the kernel; there, what a known defect names is not
    named again by the general rule.

    Raises
    ------
    UnsureError
        It is no Python that this interpreter can read.
    """
    try:
        general = near_miss.near_misses(data)
    except SyntaxError as error:
        raise UnsureError(f"it does not parse: {error.msg}", error.lineno) from error
    except (RecursionError, MemoryError) as error:
        raise UnsureError("it is nested too deeply to be read") from error
    except ValueError as error:
        raise UnsureError(f"it does not parse: {error}") from error
    known, named = _known_defects(data)
    others = [Finding(miss.line, near_miss.RULE, miss.message) for miss in general if miss.line not in named]
    return tuple(sorted([*known, *others]))


def _known_defects(data: bytes) -> tuple[list[Finding], set[int]]:
    """Return the findings, each at the first change that its fix names, and all the lines that fixes would change."""
    findings: list[Finding] = []
    lines: set[int] = set()
    if not _MARK.search(data):
        return findings, lines
    from nkifix.codemod.fixes.misspelled_causal_mask import MisspelledCausalMask
    from nkifix.codemod.registry import FIXES
    from nkifix.codemod.source import Source

    with contextlib.suppress(UnsureError):
        source = Source.parse(data)
        MisspelledCausalMask().find(source)  # knows the kernel by its shape, whether or not it has work to do
        for fix in FIXES:
            with contextlib.suppress(UnsureError):
                if edits := fix.find(source):
                    findings.append(Finding(source.lines_of(edits[:1])[0], fix.id, fix.title))
                    lines.update(source.lines_of(edits))
    return findings, lines
