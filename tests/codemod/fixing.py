"""What the tests of single fixes share: a specimen, what becomes of it, and what is refused."""

from __future__ import annotations

from pathlib import Path

from nkifix import codemod
from nkifix.codemod import AlreadyFixed, Fixed, NotRecognised

SPECIMENS = Path(__file__).parent.parent / "specimens"


def specimen(defect: str) -> bytes:
    """The small kernel that holds what the fix of this defect matches."""
    return (SPECIMENS / f"{defect.replace('-', '_')}.py").read_bytes()


def swapped(data: bytes, *replacements: tuple[bytes, bytes]) -> bytes:
    """``data`` with each replacement made where its first part stands, which must be one place."""
    for old, new in replacements:
        assert data.count(old) == 1, (old, data.count(old))
        data = data.replace(old, new)
    return data


def tabbed(data: bytes) -> bytes:
    """``data`` with tabs and CRLF."""
    return data.replace(b"    ", b"\t").replace(b"\n", b"\r\n")


def check_fixed(defect: str, before: bytes, *replacements: tuple[bytes, bytes]) -> bytes:
    """``before`` becomes what the replacements make of it and nothing else, and is then left alone."""
    after = swapped(before, *replacements)
    outcome = codemod.apply(before, codemod.select(only=[defect]))
    assert isinstance(outcome, Fixed), outcome
    assert outcome.data == after
    assert outcome.fixes == (defect,)
    check_left(defect, after)
    return after


def check_left(defect: str, data: bytes) -> None:
    """The fix finds nothing to do."""
    assert codemod.apply(data, codemod.select(only=[defect])) == AlreadyFixed((defect,))


def check_refused(defect: str, data: bytes, reason: str, at: bytes) -> None:
    """The fix does not know the code, for a reason, on the only line that holds ``at``."""
    outcome = codemod.apply(data, codemod.select(only=[defect]))
    assert isinstance(outcome, NotRecognised), outcome
    assert reason in outcome.reason
    assert outcome.fix == defect
    lines = [number for number, line in enumerate(data.splitlines(), 1) if at in line]
    assert [outcome.line] == lines
