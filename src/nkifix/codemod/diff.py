"""Unified diffs of bytes, in the form that ``git apply`` and ``patch -p1`` take."""

from __future__ import annotations

import difflib

_NO_NEWLINE = b"\n\\ No newline at end of file\n"


def unified_diff(before: bytes, after: bytes, name: bytes) -> bytes:
    """Return the difference between two versions of the file ``name``; empty if there is none.

    Lines end at a line feed only, so a carriage return stays where it was.
    """
    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _lines(before),
        _lines(after),
        fromfile=_header_name(b"a/" + name),
        tofile=_header_name(b"b/" + name),
        lineterm=b"\n",
    )
    return b"".join(line if line.endswith(b"\n") else line + _NO_NEWLINE for line in lines)


def _lines(data: bytes) -> list[bytes]:
    pieces = data.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    return [*lines, pieces[-1]] if pieces[-1] else lines


def _header_name(name: bytes) -> bytes:
    """Write a file name as git does: quoted if it has unusual bytes, with a tab behind it if it has a space."""
    if any(byte < 0x20 or byte >= 0x7F or byte in b'"\\' for byte in name):
        quoted = bytearray(b'"')
        for byte in name:
            if byte in b'"\\':
                quoted += b"\\" + bytes([byte])
            elif byte < 0x20 or byte >= 0x7F:
                quoted += b"\\%03o" % byte
            else:
                quoted.append(byte)
        return bytes(quoted + b'"')
    return name + b"\t" if b" " in name else name
