"""New folders, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nkifix import folders
from nkifix.errors import RefusalError

FILES = {"one.txt": b"1", "deep/two.txt": b"2\r\n"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("exists", [pytest.param(False, id="new"), pytest.param(True, id="empty")])
def test_folder_holds_the_files(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "kit"
    if exists:
        target.mkdir()
    folders.write_new(target, FILES)
    assert content(target) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_folder_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    folders.write_new(tmp_path / "kit", FILES)
    assert (tmp_path / "kit").stat().st_mode == (tmp_path / "usual").stat().st_mode


def a_file(target: Path) -> None:
    target.write_bytes(b"mine")


def a_full_folder(target: Path) -> None:
    target.mkdir()
    (target / "mine").write_bytes(b"mine")


def a_dangling_link(target: Path) -> None:
    target.symlink_to("nowhere")


def in_a_read_only_folder(target: Path) -> None:
    target.parent.chmod(0o555)


def an_empty_read_only_folder(target: Path) -> None:
    target.mkdir()
    target.chmod(0o555)


def without_parent(target: Path) -> None:
    target.parent.rmdir()


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        pytest.param(a_file, "no directory", id="file"),
        pytest.param(a_dangling_link, "no directory", id="dangling link"),
        pytest.param(a_full_folder, "not empty", id="not empty"),
        pytest.param(in_a_read_only_folder, "read-only", id="read-only"),
        pytest.param(an_empty_read_only_folder, "read-only", id="empty but read-only"),
        pytest.param(without_parent, "no directory above it", id="no parent"),
    ],
)
def test_refuses_a_place_that_is_not_free(tmp_path: Path, prepare: object, why: str) -> None:
    target = tmp_path / "parent" / "kit"
    target.parent.mkdir()
    assert callable(prepare)
    prepare(target)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusalError, match=why) as refusal:
        folders.write_new(target, FILES)
    assert refusal.value.next_step
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
def test_leaves_nothing_behind_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(RefusalError if isinstance(error, OSError) else KeyboardInterrupt):
        folders.write_new(tmp_path / "kit", FILES)
    assert list(tmp_path.iterdir()) == []
