"""The RECORD of an installed wheel: the rows of one file, kept truthful. Bytes in, bytes out.

A row is ``path,sha256=DIGEST,size``, the digest in urlsafe base64 without padding (the specification of recorded
installed projects, and PEP 376). Rows of other files stay as they are, byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

from nkifix.atomic import BACKUP_MARK


def digest(data: bytes) -> str:
    """Return the hash of a file as a RECORD spells it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def listed(record: bytes, entry: str) -> str | None:
    """Return the hash that ``record`` has for the file ``entry``; None if the row has none, or there is no row."""
    row = _row(entry).search(record)
    return row["hash"].decode() or None if row else None


def truthful(record: bytes, entry: str, data: bytes, backups: Mapping[str, bytes]) -> bytes:
    """Return ``record`` as it must be when the file ``entry`` holds ``data`` and these backups stand beside it.

    A backup is recorded behind its file, so that uninstalling the package removes it too. A file that was recorded
    without a hash stays so.
    """
    plain = _backup_rows(entry).sub(b"", record)
    row = _row(entry).search(plain)
    if row is None:
        return record
    folder = entry.rpartition("/")[0]
    rows = [_written(entry, data) if row["hash"] else row["row"]]
    rows += [_written(f"{folder}/{name}", content) for name, content in sorted(backups.items())]
    return plain[: row.start()] + (row["end"] or b"\n").join(rows) + row["end"] + plain[row.end() :]


def _written(entry: str, data: bytes) -> bytes:
    return f"{entry},{digest(data)},{len(data)}".encode()


def _row(entry: str) -> re.Pattern[bytes]:
    """Match the row of a file, with the end of its line."""
    name = re.escape(entry.encode())
    return re.compile(rb"^(?P<row>%s,(?P<hash>[^,\r\n]*),\d*)(?P<end>\r?\n|\Z)" % name, re.MULTILINE)


def _backup_rows(entry: str) -> re.Pattern[bytes]:
    """Match rows of backups, each with the end of the line before it."""
    mark = re.escape(f"{entry}{BACKUP_MARK}".encode())
    return re.compile(rb"\r?\n%s[0-9a-f]+,[^,\r\n]*,\d*(?=\r?\n|\Z)" % mark)
