from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nkifix.codemod import unified_diff

MANY = b"".join(b"line %d\n" % number for number in range(20))


def test_diff_of_equal_bytes_is_empty() -> None:
    assert unified_diff(MANY, MANY, b"name.py") == b""


def test_diff_names_both_sides_and_shows_three_lines_around() -> None:
    after = MANY.replace(b"line 10\n", b"line ten\n")
    assert unified_diff(MANY, after, b"dir/name.py") == (
        b"--- a/dir/name.py\n+++ b/dir/name.py\n@@ -8,7 +8,7 @@\n"
        b" line 7\n line 8\n line 9\n-line 10\n+line ten\n line 11\n line 12\n line 13\n"
    )


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param(b"a b.py", b"--- a/a b.py\t\n+++ b/a b.py\t\n", id="space"),
        pytest.param(b'q"\\.py', b'--- "a/q\\"\\\\.py"\n+++ "b/q\\"\\\\.py"\n', id="quote and backslash"),
        pytest.param(b"\x7f~.py", b'--- "a/\\177~.py"\n+++ "b/\\177~.py"\n', id="delete"),
        pytest.param(b'"a b~', b'--- "a/\\"a b~"\n+++ "b/\\"a b~"\n', id="quote and space"),
        pytest.param(b"\xc3\xbc\n\x7f.py", b'--- "a/\\303\\274\\012\\177.py"\n', id="unusual bytes"),
    ],
)
def test_diff_writes_unusual_names_as_git_does(name: bytes, header: bytes) -> None:
    assert unified_diff(b"a\n", b"b\n", name).startswith(header)


PROGRAMS = [
    pytest.param(["git", "apply"], id="git apply"),
    pytest.param(
        ["patch", "-p1", "--binary", "-i"],
        id="patch",
        marks=pytest.mark.skipif(not shutil.which("patch"), reason="patch is not installed"),
    ),
]


@pytest.mark.parametrize("command", PROGRAMS)
@pytest.mark.parametrize("name", ["plain.py", "with space.py", "sub/\u00fc.py"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(MANY, MANY.replace(b"9\n", b"nine\n"), id="LF"),
        pytest.param(MANY.replace(b"\n", b"\r\n"), MANY.replace(b"9\n", b"nine\n").replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(b"a\r\nb\nc\rd\ne", b"a\r\nx\nc\rd\ne", id="mixed"),
        pytest.param(b"a\nb", b"a\nc", id="no final newline"),
        pytest.param(b"a\nb", b"a\nb\n", id="final newline added"),
        pytest.param(b"\xff\xfe\n\x0c\n", b"\xff\xfd\n\x0c\n", id="no UTF-8"),
    ],
)
def test_diff_can_be_applied(tmp_path: Path, command: list[str], name: str, before: bytes, after: bytes) -> None:
    file = tmp_path / "tree" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(before)
    patch = tmp_path / "changes.patch"
    patch.write_bytes(unified_diff(before, after, name.encode()))
    subprocess.run([*command, str(patch)], cwd=tmp_path / "tree", check=True, capture_output=True)
    assert file.read_bytes() == after
