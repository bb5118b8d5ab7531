from __future__ import annotations

import pytest

from nkifix.upstream.record import digest, listed, truthful

ENTRY = "a/b.py"
BACKUP = "b.py.nkifix-orig-0123456789abcdef"


def row(data: bytes, entry: str = ENTRY) -> bytes:
    return f"{entry},{digest(data)},{len(data)}".encode()


def test_digest_is_spelt_as_in_a_record() -> None:
    """The example of PEP 427: urlsafe base64 of SHA-256 without padding; here of no bytes at all."""
    assert digest(b"") == "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["last line", "more lines"])
def test_row_is_made_true_and_no_other_byte_changes(end: bytes, last: bool) -> None:
    before = end.join([b"a/b.pyc,,", b"z,sha256=x,1", row(b"old")]) + end
    after = b"" if last else b"aa/b.py,sha256=y,2" + end
    new = truthful(before + after, ENTRY, b"newer", {})
    assert new == end.join([b"a/b.pyc,,", b"z,sha256=x,1", row(b"newer")]) + end + after


def test_backups_stand_behind_their_file_and_go_again() -> None:
    record = row(b"old") + b"\nz,,\n"
    with_backup = truthful(record, ENTRY, b"new", {BACKUP: b"old"})
    assert with_backup == row(b"new") + b"\n" + row(b"old", f"a/{BACKUP}") + b"\nz,,\n"
    assert truthful(with_backup, ENTRY, b"new", {BACKUP: b"old"}) == with_backup
    assert truthful(with_backup, ENTRY, b"old", {}) == record


def test_record_without_a_last_newline_keeps_its_end() -> None:
    record = b"z,,\n" + row(b"old")
    with_backup = truthful(record, ENTRY, b"new", {BACKUP: b"old"})
    assert with_backup == b"z,,\n" + row(b"new") + b"\n" + row(b"old", f"a/{BACKUP}")
    assert truthful(with_backup, ENTRY, b"old", {}) == record


def test_row_without_hash_stays_so() -> None:
    assert truthful(b"a/b.py,,\n", ENTRY, b"new", {}) == b"a/b.py,,\n"


def test_record_without_the_file_stays_as_it_is() -> None:
    assert truthful(b"z,,\n", ENTRY, b"new", {BACKUP: b"old"}) == b"z,,\n"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(b"z,,\n" + row(b"x") + b"\n", digest(b"x"), id="hash"),
        pytest.param(b"a/b.py,,\n", None, id="no hash"),
        pytest.param(b"xa/b.py,sha256=y,1\na/bxpy,sha256=y,1\n", None, id="other files"),
    ],
)
def test_listed_hash_is_the_one_of_the_row(record: bytes, expected: str | None) -> None:
    assert listed(record, ENTRY) == expected
