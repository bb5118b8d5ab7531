"""``nkifix pr``: on small repositories of our own, once with all that it starts and otherwise without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import nkifix
from nkifix.cli import main
from nkifix.contribute import kit, runs
from nkifix.contribute.base import KERNEL, TESTS
from tests.contribute import fake_upstream
from tests.contribute.children import Children
from tests.contribute.fake_upstream import AUTHOR, FIXED, STOCK, git
from tests.processes import heed_signals

SOURCE = Path(nkifix.__file__).parent.parent

AUDIT = """\
import sys
with open({log!r}, "a") as file:
    pass
def hook(event, arguments):
    if event == "import" and arguments[0].split(".")[0] in ("neuronxcc", "neuronx_distributed_inference", "torch"):
        seen = arguments[0]
    elif event == "exec" and "sliding_window" in getattr(arguments[0], "co_filename", ""):
        seen = arguments[0].co_filename
    else:
        return
    with open({log!r}, "a") as file:
        file.write(event + " " + seen + "\\n")
sys.addaudithook(hook)
"""


def start(folder: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    """The command in a process of its own, whose temporary files go to a folder of their own."""
    (folder / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "temporary"), "PYTHONPATH": str(SOURCE)} | variables
    command = [sys.executable, "-m", "nkifix", "pr", "--author", AUTHOR, *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        preexec_fn=heed_signals,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_kit_is_made_and_proven_and_nothing_of_upstream_runs_here(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the test file needs torch, an optional extra")
    clone = fake_upstream.make(tmp_path / "clone")
    before = fake_upstream.snapshot(clone)
    (tmp_path / "site").mkdir()
    log = tmp_path / "audit"
    (tmp_path / "site" / "sitecustomize.py").write_text(AUDIT.format(log=str(log)), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), str(SOURCE)])
    process = start(tmp_path, "--repo", "clone", "--output", "kit", "--signoff", PYTHONPATH=path)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert stdout == ""
    assert "git am kit/0001-" in stderr
    assert log.read_text(encoding="utf-8") == ""
    assert list((tmp_path / "temporary").iterdir()) == []
    assert fake_upstream.snapshot(clone) == before

    names = sorted(path.name for path in (tmp_path / "kit").iterdir())
    assert names[1:] == ["ISSUE.md", "PULL_REQUEST.md", "evidence.json"]
    evidence = json.loads((tmp_path / "kit" / "evidence.json").read_bytes())
    outcomes = [[test["outcome"] for test in evidence["tests"][stage]] for stage in ("before", "after")]
    assert outcomes == [["passed", "failed", "failed"], ["passed"] * 3]
    assert len(evidence["tests"]["left_out"]) == 1
    assert "causal_mask" in evidence["reproduction"]["before"]["error"]
    assert str(tmp_path) not in json.dumps(evidence)

    git(clone, "am", "--quiet", str(tmp_path / "kit" / names[0]))
    assert (clone / KERNEL).read_bytes() == FIXED
    assert git(clone, "log", "-1", "--format=%an <%ae>|%(trailers:key=Signed-off-by,valueonly)") == f"{AUTHOR}|{AUTHOR}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("torch", reason="the command asks for torch, an optional extra, before it begins")
    slow = b"import time\ntime.sleep(600)\n" + fake_upstream.FILES[TESTS]
    clone = fake_upstream.make(tmp_path / "clone", test_attention=slow)
    before = fake_upstream.snapshot(clone)
    process = start(tmp_path, "--repo", "clone", "--output", "kit")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "temporary").glob("nkifix-tree-*/tree/nkifix-outcomes.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "kit").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".nkifix")] == []
    assert fake_upstream.snapshot(clone) == before


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Children().install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fake_upstream.make(tmp_path / "clone")
    return tmp_path


def pr(*options: str) -> Result:
    defaults = {"--repo": "clone", "--output": "kit", "--author": AUTHOR}
    given = [word for name, value in defaults.items() if name not in options for word in (name, value)]
    return CliRunner().invoke(main, ["pr", *given, *options])


def test_commit_takes_the_time_it_is_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert pr().exit_code == 0
    (mail,) = (here / "kit").glob("0001-*.patch")
    assert b"\nDate: Tue, 14 Nov 2023 22:13:20 +0000\n" in mail.read_bytes()


def test_crlf_and_absent_defects_are_mentioned(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kit.make

    def with_crlf(request: kit.Request, progress: Callable[[str], None]) -> kit.Result:
        result = made(request, progress)
        files = {name: data.replace(b"\n", b"\r\n") for name, data in result.kits[0].files.items()}
        return kit.Result(result.base, (kit.Kit(result.kits[0].patch, files),), ("scale-zero",))

    monkeypatch.setattr(kit, "make", with_crlf)
    done = pr()
    assert done.exit_code == 0
    assert "git am needs --keep-cr" in done.stderr
    assert "scale-zero: main does not have it" in done.stderr


@pytest.mark.parametrize(
    ("series", "ids"),
    [
        ("typo", ("misspelled-causal-mask",)),
        ("scale-zero", ("scale-zero",)),
        ("stale-docs,scale-zero,", ("scale-zero", "stale-docs")),
    ],
)
def test_series_is_a_name_or_a_list(
    here: Path, monkeypatch: pytest.MonkeyPatch, series: str, ids: tuple[str, ...]
) -> None:
    asked = asked_for(monkeypatch)
    pr("--series", series)
    assert asked[0].ids == ids


def test_series_full_is_every_fix(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_for(monkeypatch)
    pr("--series", "full")
    assert len(asked[0].ids) == 13


def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[kit.Request]:
    """What the command asks for, which it then does not get."""
    asked: list[kit.Request] = []

    def make(request: kit.Request, _progress: object) -> kit.Result:
        asked.append(request)
        raise nkifix.errors.RefusalError("not today")

    monkeypatch.setattr(kit, "make", make)
    return asked


def dirty(here: Path) -> None:
    (here / "clone" / KERNEL).write_bytes(b"changed")


def no_clone(here: Path) -> None:
    (here / "clone" / ".git").rename(here / "git")


def no_git(here: Path) -> None:
    os.environ["PATH"] = str(here)


def wrong_repository(here: Path) -> None:
    git(here / "clone", "rm", "--quiet", "-r", "src")
    git(here / "clone", "commit", "--quiet", "--message", "Gone")


def no_kernel(here: Path) -> None:
    git(here / "clone", "rm", "--quiet", KERNEL)
    git(here / "clone", "commit", "--quiet", "--message", "Gone")


def fixed(here: Path) -> None:
    (here / "clone" / KERNEL).write_bytes(FIXED)
    fake_upstream.commit(here / "clone", "Fixed")


def output_not_empty(here: Path) -> None:
    (here / "kit").mkdir()
    (here / "kit" / "mine").write_bytes(b"")


def output_read_only(here: Path) -> None:
    (here / "kit").mkdir()
    (here / "kit").chmod(0o555)


def nothing(_here: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "options", "what"),
    [
        pytest.param(dirty, (), "uncommitted changes", id="dirty clone"),
        pytest.param(no_clone, (), "no git repository", id="no clone"),
        pytest.param(no_git, (), "git cannot be started", id="no git"),
        pytest.param(wrong_repository, (), "no clone of neuronx", id="wrong repository"),
        pytest.param(no_kernel, (), "is not there at main", id="file absent"),
        pytest.param(nothing, ("--base", "v9"), "no revision v9", id="no such base"),
        pytest.param(fixed, (), "already fixed", id="already fixed"),
        pytest.param(output_not_empty, (), "not empty", id="output not empty"),
        pytest.param(output_read_only, (), "read-only", id="no write permission"),
        pytest.param(nothing, ("--output", "clone/kit"), "lies in the clone", id="output in the clone"),
        pytest.param(nothing, ("--output", "clone"), "lies in the clone", id="output is the clone"),
        pytest.param(nothing, ("--series", "nonsense"), "no fix 'nonsense'", id="no such series"),
        pytest.param(nothing, ("--author", "me"), "no author", id="no author"),
        pytest.param(nothing, ("--evidence", "missing.json"), "no such file", id="no evidence"),
    ],
)
def test_refuses_and_explains(
    here: Path, monkeypatch: pytest.MonkeyPatch, prepare: Any, options: tuple[str, ...], what: str
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # put back afterwards
    prepare(here)
    before = fake_upstream.snapshot(here)
    done = pr(*options)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ERROR ")
    assert what in done.stderr
    assert "  next: " in done.stderr
    assert fake_upstream.snapshot(here) == before


def test_nothing_is_written_when_the_output_fills_up_meanwhile(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lint = runs.lint

    def meanwhile(*arguments: Any) -> runs.Lint:
        output_not_empty(here)
        return lint(*arguments)

    monkeypatch.setattr(runs, "lint", meanwhile)
    done = pr()
    assert (done.exit_code, [path.name for path in (here / "kit").iterdir()]) == (2, ["mine"])


def test_specimen_is_the_one_that_the_fix_knows() -> None:
    assert FIXED != STOCK
    assert FIXED.count(b"casual") == 0
