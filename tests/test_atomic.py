from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nkifix import atomic
from nkifix.errors import RefusalError

OLD = b"old\r\n\xff\x00"
NEW = b"new\n" * 1000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "dir"
    directory.mkdir()
    file = directory / "kernel.py"
    file.write_bytes(OLD)
    return file


def listing(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(action: Callable[[], Any], what: str) -> RefusalError:
    with pytest.raises(RefusalError, match=what) as caught:
        action()
    assert caught.value.where
    assert caught.value.next_step
    return caught.value


# ------------------------------------------------------------------------------------------------- writing


def test_write_replaces_the_bytes_and_keeps_the_old_ones_beside(target: Path) -> None:
    backup = atomic.write(target, NEW, expected=OLD)
    assert listing(target.parent) == {"kernel.py": NEW, backup.name: OLD}
    assert backup.name.startswith("kernel.py.nkifix-orig-")


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755, 0o664])
def test_write_keeps_the_mode(target: Path, bits: int) -> None:
    target.chmod(bits)
    backup = atomic.write(target, NEW, expected=OLD)
    assert (mode(target), mode(backup)) == (bits, bits)
    atomic.undo(target)
    assert mode(target) == bits


def test_write_keeps_extended_attributes(target: Path) -> None:
    try:
        os.setxattr(target, "user.note", b"kept")
    except (AttributeError, OSError):
        pytest.skip("no extended attributes here")
    atomic.write(target, NEW, expected=OLD)
    assert os.getxattr(target, "user.note") == b"kept"


def test_write_sets_a_new_time(target: Path) -> None:
    os.utime(target, (1, 1))
    atomic.write(target, NEW, expected=OLD)
    assert target.stat().st_mtime > 1


def test_write_asks_for_the_same_owner(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, user, group: asked.append((user, group)))
    atomic.write(target, NEW, expected=OLD)
    status = target.stat()
    assert set(asked) == {(status.st_uid, status.st_gid)}


def test_write_drops_special_bits_if_the_owner_cannot_be_kept(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.chmod(0o6755)

    def forbid(path: Path, user: int, group: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", forbid)
    atomic.write(target, NEW, expected=OLD)
    assert mode(target) == 0o755


def test_write_keeps_symbolic_links(target: Path, tmp_path: Path) -> None:
    near = tmp_path / "near.py"
    near.symlink_to("dir/kernel.py")
    far = tmp_path / "far.py"
    far.symlink_to(near)
    atomic.write(far, NEW, expected=OLD)
    assert str(near.readlink()) == "dir/kernel.py"
    assert far.readlink() == near
    assert not target.is_symlink()
    assert target.read_bytes() == NEW
    assert {path.name for path in tmp_path.iterdir()} == {"dir", "near.py", "far.py"}
    atomic.undo(far)
    assert listing(target.parent) == {"kernel.py": OLD}


def test_write_uses_the_backup_that_is_there_already(target: Path) -> None:
    backup = atomic.write(target, NEW, expected=OLD)
    target.write_bytes(OLD)
    assert atomic.write(target, NEW, expected=OLD) == backup
    assert listing(target.parent) == {"kernel.py": NEW, backup.name: OLD}


def test_write_all_writes_every_file(target: Path) -> None:
    other = target.with_name("other.py")
    other.write_bytes(b"1")
    backups = atomic.write_all([atomic.Change(target, OLD, NEW), atomic.Change(other, b"1", b"2")])
    assert [backup.read_bytes() for backup in backups] == [OLD, b"1"]
    assert (target.read_bytes(), other.read_bytes()) == (NEW, b"2")


# ----------------------------------------------------------------------------------------------- refusing


def test_refuses_missing_file(tmp_path: Path) -> None:
    error = refused(lambda: atomic.read(tmp_path / "none.py"), "no such file")
    assert error.why == "No such file or directory"


def test_refuses_dangling_and_circular_links(tmp_path: Path) -> None:
    dangling, circle = tmp_path / "dangling", tmp_path / "circle"
    dangling.symlink_to("none")
    circle.symlink_to(circle)
    for link in (dangling, circle):
        refused(lambda link=link: atomic.write(link, NEW, expected=OLD), "no such file")  # type: ignore[misc]


def test_refuses_path_with_a_nul() -> None:
    refused(lambda: atomic.read(Path("a\0b")), "no such file")


def test_refuses_directory(tmp_path: Path) -> None:
    refused(lambda: atomic.read(tmp_path), "this is a directory")


def test_refuses_pipe_without_reading_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(lambda: atomic.read(pipe), "this is no regular file")


def test_refuses_file_that_cannot_be_read(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbid)
    assert refused(lambda: atomic.read(target), "cannot be read").why == "Permission denied"


@pytest.mark.parametrize("action", ["write", "undo"])
def test_refuses_read_only_file(target: Path, action: str) -> None:
    atomic.write(target, NEW, expected=OLD)
    before = listing(target.parent)
    target.chmod(0o444)
    actions = {"write": lambda: atomic.write(target, OLD, expected=NEW), "undo": lambda: atomic.undo(target)}
    assert "0444" in str(refused(actions[action], "the file is read-only").why)
    assert listing(target.parent) == before


def test_refuses_read_only_directory(target: Path) -> None:
    target.parent.chmod(0o555)
    refused(lambda: atomic.write(target, NEW, expected=OLD), "the directory is read-only")
    target.parent.chmod(0o755)
    assert listing(target.parent) == {"kernel.py": OLD}


@pytest.mark.parametrize("which", ["file", "directory"])
def test_refuses_what_the_system_says_is_not_writable(
    target: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    forbidden = {"file": target, "directory": target.parent}[which]
    monkeypatch.setattr(os, "access", lambda path, access: path != forbidden)
    refused(lambda: atomic.write(target, NEW, expected=OLD), f"the {which} is read-only")
    assert listing(target.parent) == {"kernel.py": OLD}


def test_directory_must_be_searchable_and_writable(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[Path, int] = {}
    monkeypatch.setattr(os, "access", lambda path, access: asked.setdefault(path, access) >= 0)
    atomic.check_writable(target)
    assert asked == {target: os.W_OK, target.parent: os.W_OK | os.X_OK}


def test_refuses_file_with_several_hard_links(target: Path) -> None:
    (target.parent / "cache.py").hardlink_to(target)
    refused(lambda: atomic.write(target, NEW, expected=OLD), "the file has 2 hard links")
    assert listing(target.parent) == {"kernel.py": OLD, "cache.py": OLD}


def test_refuses_file_that_changed_since_it_was_read(target: Path) -> None:
    refused(lambda: atomic.write(target, NEW, expected=b"older"), "changed while it was being worked on")
    assert listing(target.parent) == {"kernel.py": OLD}


def test_refuses_file_that_changes_at_the_last_moment(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = tempfile.mkstemp
    calls: list[int] = []

    def meddle(**options: Any) -> tuple[int, str]:
        calls.append(1)
        if len(calls) == 2:  # the backup stands, the new file is being made
            target.write_bytes(b"theirs")
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", meddle)
    refused(lambda: atomic.write(target, NEW, expected=OLD), "changed while it was being worked on")
    files = listing(target.parent)
    assert files.pop("kernel.py") == b"theirs"
    assert list(files.values()) == [OLD]  # no reason to throw away the only copy of what was read


def test_refuses_backup_with_other_content_in_the_way(target: Path) -> None:
    backup = atomic.write(target, NEW, expected=OLD)
    target.write_bytes(b"other")
    refused(lambda: atomic.write(target, NEW, expected=b"other"), "an older backup with other content")
    assert listing(target.parent) == {"kernel.py": b"other", backup.name: OLD}


def test_refuses_all_files_if_one_cannot_be_written(target: Path) -> None:
    other = target.with_name("other.py")
    other.write_bytes(b"1")
    other.chmod(0o444)
    changes = [atomic.Change(target, OLD, NEW), atomic.Change(other, b"1", b"2")]
    refused(lambda: atomic.write_all(changes), "read-only")
    assert listing(target.parent) == {"kernel.py": OLD, "other.py": b"1"}


def test_refuses_all_files_if_one_fails_halfway(target: Path) -> None:
    other = target.with_name("other.py")
    other.write_bytes(b"changed")
    changes = [atomic.Change(target, OLD, NEW), atomic.Change(other, b"1", b"2")]
    refused(lambda: atomic.write_all(changes), "changed while")
    assert listing(target.parent) == {"kernel.py": OLD, "other.py": b"changed"}


# ------------------------------------------------------------------------------------------------ undoing


def test_undo_restores_the_bytes_and_leaves_nothing_behind(target: Path) -> None:
    atomic.write(target, NEW, expected=OLD)
    atomic.undo(target)
    assert listing(target.parent) == {"kernel.py": OLD}


def test_undo_takes_back_one_write_after_the_other(target: Path) -> None:
    atomic.write(target, b"1", expected=OLD)
    atomic.write(target, b"2", expected=b"1")
    atomic.undo(target)
    assert target.read_bytes() == b"1"
    atomic.undo(target)
    assert listing(target.parent) == {"kernel.py": OLD}


def test_find_backup_changes_nothing(target: Path) -> None:
    backup = atomic.write(target, NEW, expected=OLD)
    assert atomic.find_backup(target) == backup
    assert listing(target.parent) == {"kernel.py": NEW, backup.name: OLD}


def test_undo_restores_even_if_the_backup_cannot_be_removed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = atomic.write(target, NEW, expected=OLD)

    def forbid(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", forbid)
    atomic.undo(target)
    assert listing(target.parent) == {"kernel.py": OLD, backup.name: OLD}


@pytest.mark.parametrize("action", [atomic.undo, atomic.find_backup], ids=["undo", "find_backup"])
def test_refuses_to_undo_what_was_never_written(target: Path, action: Callable[[Path], object]) -> None:
    refused(lambda: action(target), "nothing to undo")


@pytest.mark.parametrize("action", [atomic.undo, atomic.find_backup], ids=["undo", "find_backup"])
def test_refuses_to_undo_file_edited_since(target: Path, action: Callable[[Path], object]) -> None:
    backup = atomic.write(target, NEW, expected=OLD)
    target.write_bytes(NEW + b"mine")
    error = refused(lambda: action(target), "no longer holds what was written")
    assert backup.name in str(error.next_step)
    assert listing(target.parent) == {"kernel.py": NEW + b"mine", backup.name: OLD}


# ------------------------------------------------------------------------------------ faults at every step

STEPS: list[tuple[Any, str]] = [
    (tempfile, "mkstemp"),
    (os, "fdopen"),
    (os, "fsync"),
    (os, "chown"),
    (shutil, "copystat"),
    (os, "utime"),
    (Path, "replace"),
]


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[str]:
    """Have call ``number`` of all steps raise; returns the steps called, as they come."""
    called: list[str] = []

    def wrap(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            if len(called) == number:
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)

    for owner, name in STEPS:
        wrap(owner, name)
    return called


CALLS = 17
"""Calls of the steps in one write: eight each for backup and file (copystat calls utime), and the directory's fsync."""


def test_steps_are_those_of_a_write(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        called = fail_at(patch, 0, OSError())
        atomic.write(target, NEW, expected=OLD)
    assert len(called) == CALLS
    assert set(called) == {name for _, name in STEPS}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_fault_at_any_step_leaves_nothing_behind(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    expected = RefusalError if isinstance(error, OSError) else KeyboardInterrupt
    with monkeypatch.context() as patch:
        fail_at(patch, number, error)
        try:
            atomic.write(target, NEW, expected=OLD)
            written = True
        except expected:
            written = False
    if written or target.read_bytes() == NEW:  # only behind the rename, when the directory is flushed
        assert number == CALLS
        atomic.undo(target)
    assert listing(target.parent) == {"kernel.py": OLD}


def test_interrupt_right_after_the_rename_takes_several_files_back(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = target.with_name("other.py")
    other.write_bytes(b"1")
    changes = [atomic.Change(target, OLD, NEW), atomic.Change(other, b"1", b"2")]
    with monkeypatch.context() as patch:
        fail_at(patch, 2 * CALLS, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            atomic.write_all(changes)
    assert listing(target.parent) == {"kernel.py": OLD, "other.py": b"1"}


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from nkifix import atomic
from tests.test_atomic import NEW, OLD, STEPS
number, calls = int(sys.argv[2]), 0
def wrap(owner, name):
    original = getattr(owner, name)
    def step(*args, **kwargs):
        global calls
        calls += 1
        mine = calls
        if mine == number and sys.argv[3] == "before":
            os._exit(9)
        result = original(*args, **kwargs)
        if mine == number:
            os._exit(9)
        return result
    setattr(owner, name, step)
for owner, name in STEPS:
    wrap(owner, name)
atomic.write(Path(sys.argv[1]), NEW, expected=OLD)
"""


@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_kill_at_any_step_leaves_a_whole_file(target: Path, number: int) -> None:
    for when in ("before", "after"):
        file = target.with_name(f"{when}.py")
        file.write_bytes(OLD)
        program = KILLED.format(path=sys.path)
        done = subprocess.run([sys.executable, "-c", program, str(file), str(number), when], check=False)
        assert done.returncode == 9
        whole = file.read_bytes()
        assert whole == (NEW if (number, when) in {(CALLS - 1, "after"), (CALLS, "before"), (CALLS, "after")} else OLD)
        if whole == NEW:
            atomic.undo(file)
            assert file.read_bytes() == OLD
        else:
            atomic.write(file, NEW, expected=OLD)  # what was left behind is in nobody's way


# ----------------------------------------------------------------------------------- without a backup


def test_replace_leaves_no_backup(target: Path) -> None:
    atomic.replace(target, NEW, expected=OLD)
    assert listing(target.parent) == {"kernel.py": NEW}


def test_replace_refuses_a_file_that_changed_meanwhile(target: Path) -> None:
    refused(lambda: atomic.replace(target, NEW, expected=b"other"), "the file changed while")
    assert listing(target.parent) == {"kernel.py": OLD}


# -------------------------------------------------------------------------------------------- history


def test_history_lists_the_backups_that_undo_would_use(target: Path) -> None:
    assert atomic.history(target) == []
    first = atomic.write(target, NEW, expected=OLD)
    second = atomic.write(target, b"newest", expected=NEW)
    assert atomic.history(target) == [second, first]
    atomic.undo(target)
    assert atomic.history(target) == [first]


def test_history_of_a_file_written_to_and_fro_ends(target: Path) -> None:
    there = atomic.write(target, NEW, expected=OLD)
    back = atomic.write(target, OLD, expected=NEW)
    assert atomic.history(target) == [back, there]


def test_history_refuses_a_missing_file(target: Path) -> None:
    refused(lambda: atomic.history(target.with_name("missing")), "no such file")


@pytest.mark.parametrize("before", [None, b"old"], ids=["new file", "old file"])
def test_put_writes_a_report_without_a_backup(before: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    if before is not None:
        file.write_bytes(before)
    atomic.put(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_refuses_to_put_a_report_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="cannot be written"):
        atomic.put(tmp_path / "nowhere" / "report.json", b"new")
