from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nkifix import atomic, codemod
from nkifix.errors import RefusalError
from nkifix.upstream import inplace, locate
from nkifix.upstream.inplace import State
from tests.upstream import site as sites
from tests.upstream.site import FIXED, STOCK, UNKNOWN

TYPO = codemod.select("typo")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> sites.Site:
    return sites.make(tmp_path / "site")


def kernel(site: sites.Site) -> locate.Kernel:
    return locate.at(site.root)


# ---------------------------------------------------------------------------------- apply and revert


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("with_hash", [True, False], ids=["hash", "no hash"])
def test_apply_fixes_the_kernel_and_revert_restores_every_byte(tmp_path: Path, newline: str, with_hash: bool) -> None:
    site = sites.make(tmp_path / "site", newline=newline, with_hash=with_hash)
    before = site.files()
    stock, fixed = inplace.apply(kernel(site), TYPO)
    assert (stock.state, fixed.state, fixed.settled) == (State.STOCK, State.FIXED_HERE, True)
    assert site.kernel.read_bytes() == FIXED
    assert site.untrue_rows() == []
    (backup,) = fixed.backups
    assert backup.read_bytes() == STOCK
    assert inplace.revert(kernel(site)) == (backup,)
    assert site.files() == before


def test_apply_twice_is_apply_once(site: sites.Site) -> None:
    inplace.apply(kernel(site), TYPO)
    once = site.files()
    before, after = inplace.apply(kernel(site), TYPO)
    assert (before.state, before.settled, after.state) == (State.FIXED_HERE, True, State.FIXED_HERE)
    assert site.files() == once


def test_revert_twice_is_revert_once(site: sites.Site) -> None:
    before = site.files()
    inplace.apply(kernel(site), TYPO)
    inplace.revert(kernel(site))
    assert inplace.revert(kernel(site)) == ()
    assert site.files() == before


def test_apply_leaves_what_upstream_fixed(tmp_path: Path) -> None:
    site = sites.make(tmp_path / "site", FIXED)
    before = site.files()
    status, _ = inplace.apply(kernel(site), TYPO)
    assert status.state is State.FIXED_UPSTREAM
    assert site.files() == before


def test_several_applications_are_reverted_together(site: sites.Site) -> None:
    before = site.files()
    inplace.apply(kernel(site), TYPO)
    again = site.kernel.read_bytes() + b"# more\n"
    atomic.write(site.kernel, again, expected=site.kernel.read_bytes())
    status, _ = inplace.apply(kernel(site), TYPO)
    assert len(status.backups) == 2
    assert not status.settled
    assert site.untrue_rows() == []
    assert len(inplace.revert(kernel(site))) == 2
    assert site.files() == before


def test_kernel_without_a_record_is_fixed_too(tmp_path: Path) -> None:
    file = tmp_path / "attention.py"
    file.write_bytes(STOCK)
    inplace.apply(locate.at(file), TYPO)
    assert file.read_bytes() == FIXED
    inplace.revert(locate.at(file))
    assert [path.name for path in tmp_path.iterdir()] == ["attention.py"]


def test_record_of_a_file_written_by_nkifix_fix_is_settled(site: sites.Site) -> None:
    atomic.write(site.kernel, FIXED, expected=STOCK)
    assert not inplace.inspect(kernel(site), TYPO).settled
    inplace.apply(kernel(site), TYPO)
    assert site.untrue_rows() == []


@pytest.mark.slow
def test_pip_finds_nothing_wrong(site: sites.Site) -> None:
    pytest.importorskip("pip", reason="pip is not installed in this environment")
    inplace.apply(kernel(site), TYPO)
    environment = {**os.environ, "PYTHONPATH": str(site.root), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    shown = subprocess.run(
        [sys.executable, "-m", "pip", "show", "-f", "neuronx-distributed-inference"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert str(locate.INSIDE_SITE) in shown.stdout
    assert atomic.BACKUP_MARK in shown.stdout
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], env=environment, capture_output=True, text=True)
    assert "neuronx-distributed-inference" not in checked.stdout + checked.stderr


# ---------------------------------------------------------------------------------------- refusals


def refused(site: sites.Site, action: Callable[[], object], words: str) -> RefusalError:
    before = site.files()
    with pytest.raises(RefusalError, match=words) as caught:
        action()
    assert site.files() == before
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(UNKNOWN, "misspelled-causal-mask does not recognise this file", id="another shape"),
        pytest.param(b"def (", "no Python file", id="no Python"),
    ],
)
def test_refuses_an_unknown_file(tmp_path: Path, data: bytes, words: str) -> None:
    site = sites.make(tmp_path / "site", data)
    refused(site, lambda: inplace.apply(kernel(site), TYPO), words)
    assert inplace.inspect(kernel(site), TYPO).state is State.UNKNOWN


def test_refuses_a_file_that_was_changed_by_hand(site: sites.Site) -> None:
    site.kernel.write_bytes(STOCK + b"# mine\n")
    refused(site, lambda: inplace.apply(kernel(site), TYPO), "changed after it was installed")


def test_refuses_to_revert_what_was_edited_since(site: sites.Site) -> None:
    inplace.apply(kernel(site), TYPO)
    site.kernel.write_bytes(FIXED + b"# mine\n")
    refused(site, lambda: inplace.revert(kernel(site)), "no longer holds what was written")


@pytest.mark.parametrize("name", ["kernel", "record"])
def test_refuses_a_read_only_file_before_anything_changes(site: sites.Site, name: str) -> None:
    getattr(site, name).chmod(0o444)
    refused(site, lambda: inplace.apply(kernel(site), TYPO), "read-only")


def test_refuses_to_revert_a_read_only_kernel_before_the_record_changes(site: sites.Site) -> None:
    inplace.apply(kernel(site), TYPO)
    site.kernel.chmod(0o444)
    refused(site, lambda: inplace.revert(kernel(site)), "read-only")


@pytest.mark.parametrize(("flags", "is_refused"), [(0b00, False), (0b01, True), (0b11, False)])
def test_refuses_byte_code_that_never_looks_at_its_source(site: sites.Site, flags: int, is_refused: bool) -> None:
    cached = Path(importlib.util.cache_from_source(str(site.kernel)))
    cached.parent.mkdir()
    cached.write_bytes(importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + bytes(8))
    if is_refused:
        refused(site, lambda: inplace.apply(kernel(site), TYPO), "Python would not notice")
    else:
        inplace.apply(kernel(site), TYPO)


# -------------------------------------------------------------------------------- two runs at once


def test_second_run_waits_for_the_first(site: sites.Site) -> None:
    descriptor = os.open(site.kernel.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    timer = threading.Timer(0.2, os.close, [descriptor])
    timer.start()
    inplace.apply(kernel(site), TYPO)
    timer.join()
    assert site.kernel.read_bytes() == FIXED


def test_refuses_when_the_first_run_does_not_end(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inplace, "LOCK_WAIT_SECONDS", 0.1)
    descriptor = os.open(site.kernel.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        refused(site, lambda: inplace.apply(kernel(site), TYPO), "another nkifix is at work")
    finally:
        os.close(descriptor)


def test_refuses_where_folders_cannot_be_locked(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", flock)
    refused(site, lambda: inplace.apply(kernel(site), TYPO), "cannot be locked")


def test_refuses_a_folder_that_cannot_be_opened(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def no_folders(path: str | Path, flags: int, *args: int, **kwargs: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", no_folders)
    refused(site, lambda: inplace.apply(kernel(site), TYPO), "cannot be locked")


@pytest.mark.slow
def test_runs_at_once_leave_one_whole_fix(site: sites.Site) -> None:
    before = site.files()
    program = (
        "import sys; from pathlib import Path; from nkifix import codemod\n"
        "from nkifix.upstream import inplace, locate\n"
        "kernel = locate.at(Path(sys.argv[1]))\n"
        "inplace.revert(kernel) if sys.argv[2] == 'revert' else inplace.apply(kernel, codemod.select('typo'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for actions in (["apply"] * 4, ["apply", "revert"] * 2):
        running = [
            subprocess.Popen([sys.executable, "-c", program, str(site.root), action], env=environment)
            for action in actions
        ]
        assert [process.wait() for process in running] == [0] * len(actions)
        assert site.kernel.read_bytes() in (STOCK, FIXED)
        assert site.untrue_rows() == []
    inplace.revert(kernel(site))
    assert site.files() == before


# -------------------------------------------------------------------------------- killed at any moment

_CHANGES = {"open", "os.rename", "os.remove", "os.chmod", "os.chown", "os.utime", "tempfile.mkstemp", "os.setxattr"}


def killed(action: Callable[[], object], step: int) -> bool:
    """Do ``action`` in a child that dies, without any clean-up, before its ``step``-th use of a file."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, _args: tuple[object, ...]) -> None:
            nonlocal seen
            if event in _CHANGES:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), 9)

        sys.addaudithook(hook)
        action()
        os.kill(os.getpid(), 15)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) == 9


@pytest.mark.slow
@pytest.mark.parametrize("then", ["apply", "revert"])
@pytest.mark.parametrize("first", ["apply", "revert"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_run_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path, first: str, then: str) -> None:
    actions: dict[str, Callable[[locate.Kernel], object]] = {
        "apply": lambda found: inplace.apply(found, TYPO),
        "revert": inplace.revert,
    }
    whole = sites.make(tmp_path / "whole")
    stock = whole.files()
    actions["apply"](kernel(whole))
    fixed = whole.files()
    for step in range(1, 1000):
        site = sites.make(tmp_path / str(step))
        if first == "revert":
            actions["apply"](kernel(site))
        found = kernel(site)
        was_killed = killed(lambda found=found: actions[first](found), step)  # type: ignore[misc]
        assert site.kernel.read_bytes() in (STOCK, FIXED), step
        assert {row for row in site.untrue_rows() if atomic.BACKUP_MARK not in row} <= {str(locate.INSIDE_SITE)}, step
        actions[then](kernel(site))
        assert site.files() == (fixed if then == "apply" else stock), step
        if not was_killed:
            break
    assert step > 10
