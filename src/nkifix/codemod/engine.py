"""Apply fixes to bytes: all that were asked for, or none."""

from __future__ import annotations

from collections.abc import Sequence

from nkifix.codemod.fix import Fix
from nkifix.codemod.outcome import AlreadyFixed, Fixed, NotRecognised, Outcome
from nkifix.codemod.source import Edit, Source, UnsureError


def apply(data: bytes, fixes: Sequence[Fix]) -> Outcome:
    """Apply ``fixes`` to the content of a Python file.

    Every fix looks at the unchanged input and names the characters to replace; the replacements are then made on the
    bytes, so everything else (line endings, tabs, byte-order mark, encoding) stays as it is. The result is looked at
    once more: a fix that would not call its own work fixed makes the whole answer :class:`NotRecognised`.

    Never raises for any content of ``data``, and never imports or executes it.
    """
    asked = tuple(fix.id for fix in fixes)
    try:
        source = Source.parse(data)
    except UnsureError as error:
        return NotRecognised(error.reason, error.line)

    edits: list[Edit] = []
    changing: list[str] = []
    for fix in fixes:
        try:
            found = fix.find(source)
        except UnsureError as error:
            return NotRecognised(error.reason, error.line, fix.id)
        if found:
            edits += found
            changing.append(fix.id)
    if not edits:
        return AlreadyFixed(asked)

    try:
        result = source.splice(edits)
    except UnsureError as error:
        return NotRecognised(error.reason, error.line)
    return _checked(Fixed(result, source.lines_of(edits), tuple(changing)), fixes)


def _checked(outcome: Fixed, fixes: Sequence[Fix]) -> Fixed | NotRecognised:
    """Return ``outcome`` if every fix calls its bytes fixed."""
    try:
        source = Source.parse(outcome.data)
    except UnsureError as error:
        return NotRecognised(f"the changed file would not be readable: {error.reason}", error.line)
    for fix in fixes:
        try:
            left = fix.find(source)
        except UnsureError as error:
            return NotRecognised(f"the changed file would not be recognised: {error.reason}", error.line, fix.id)
        if left:
            return NotRecognised("the changed file would need the same fix again", source.lines_of(left)[0], fix.id)
    return outcome
