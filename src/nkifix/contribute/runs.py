"""What is run to prove a patch: upstream's tests, the reproduction and the linter, each in a child process.

Only here is upstream's code executed, and never in this process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nkifix
from nkifix.contribute import recorder
from nkifix.contribute.base import TESTS
from nkifix.errors import BackendError, MissingExtraError

Backend = Literal["emulator"]
MARK = "simulation"
"""The mark that upstream gives to tests of the answer; those without it hold a device's wall clock against a limit."""

LINT_OPTIONS = ("--line-length=120", "--ignore=F401,E203")
"""Upstream's settings for ruff, from its .pre-commit-config.yaml."""

_SECONDS_MAX = 3600
_MESSAGE_CHARS_MAX = 300
_SOURCE = Path(nkifix.__file__).parent.parent


@dataclass(frozen=True)
class TestOutcome:
    """What one test did: pytest's word for it, the first line of its message, and how long it took."""

    __test__ = False

    id: str
    outcome: str
    message: str
    seconds: float


@dataclass(frozen=True)
class TestRun:
    """One run of upstream's test file."""

    __test__ = False

    command: str
    """The command that a reader can repeat in a checkout."""
    outcomes: tuple[TestOutcome, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class ScriptRun:
    """One run of the reproduction."""

    exit_code: int
    error: str
    """What it raised, as a traceback begins to say it; without a traceback, its last line on stderr."""


@dataclass(frozen=True)
class Lint:
    """What the linter finds in the two files, before and after; without a linter, only why."""

    tool: str | None
    command: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def added(self) -> tuple[str, ...]:
        """Findings that the patch would add, wherever they moved to."""
        return tuple((Counter(self.after) - Counter(self.before)).elements())


def require_tools() -> None:
    """Check that this interpreter can run upstream's tests.

    Raises
    ------
    MissingExtraError
        pytest or torch is not installed.
    """
    for package, extra in (("pytest", "test"), ("torch", "torch")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra=extra, needed_for="running upstream's tests")


def run_tests(tree: Path, without: Sequence[str] = ()) -> TestRun:
    """Run upstream's test file as it is in ``tree``, on the emulator.

    Parameters
    ----------
    without:
        Ids of tests to leave aside, since they ran already.

    Raises
    ------
    BackendError
        pytest could not run it. A test that fails is an outcome, no error.
    """
    records, done = _pytest(tree, without)
    if done.returncode not in (0, 1):
        raise _did_not_run(done)
    outcomes = tuple(
        TestOutcome(record["id"], record["outcome"], _brief(record["message"], tree), round(record["seconds"], 1))
        for record in records
        if record["event"] == "ran"
    )
    left_out = tuple(record["id"] for record in records if record["event"] == "left out")
    return TestRun(f"nkifix run --torch-xla-stub -m pytest -m {MARK} {TESTS}", outcomes, left_out)


def run_script(tree: Path, text: str) -> ScriptRun:
    """Run a Python script against the kernel of ``tree``, on the emulator."""
    script = tree / "nkifix_reproduction.py"
    script.write_text(text, encoding="utf-8")
    done = _emulated(tree, [script.name])
    script.unlink()
    return ScriptRun(done.returncode, _brief(_raised(done.stderr), tree) if done.returncode else "")


def _raised(stderr: str) -> str:
    """Return the line of a traceback that names the exception, or the last line where there is no traceback."""
    lines = stderr.strip().splitlines() or [""]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    behind = lines[frames[-1] :] if frames else []
    return next((line for line in behind if not line.startswith(" ")), lines[-1])


def lint(tree: Path, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Lint:
    """Lint both versions of the files with upstream's settings, where ruff is installed.

    ``tree`` is a folder to put them into; their names stay, since findings name them.
    """
    command = " ".join(["ruff", "check", *LINT_OPTIONS, *before])
    ruff = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        return Lint(None, command)
    tool = subprocess.run([ruff, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Lint(tool, command, _findings(ruff, tree / "before", before), _findings(ruff, tree / "after", after))


def _findings(ruff: str, tree: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    for name, data in files.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    options = ("check", "--isolated", "--no-cache", "--output-format=json", *LINT_OPTIONS, *files)
    done = subprocess.run([ruff, *options], cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise BackendError("ruff did not run", why=done.stderr.strip(), next_step="install another version of ruff")
    found = json.loads(done.stdout)
    return tuple(f"{Path(one['filename']).name}: {one['code']} {one['message']}" for one in found)


def _pytest(tree: Path, without: Sequence[str]) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    records = tree / "nkifix-outcomes.jsonl"
    records.write_bytes(b"")
    plugin = ("-p", recorder.__name__, "-p", "no:cacheprovider", "--rootdir", str(tree))
    variables = {recorder.OUTCOMES: str(records), recorder.ASIDE: json.dumps(list(without))}
    done = _emulated(tree, ["-m", "pytest", "-q", *plugin, "-m", MARK, TESTS], variables)
    lines = records.read_text(encoding="utf-8").splitlines()
    records.unlink()
    return [json.loads(line) for line in lines], done


def _emulated(
    tree: Path, program: Sequence[str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in ``tree`` by ``nkifix run``, with nothing of the caller's settings for Python or pytest."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON", "NKIFIX")) or name in ("PYTHONHASHSEED", "PYTHONHOME")
    }
    settings = {
        "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(_SOURCE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "OPENBLAS_NUM_THREADS": "1",  # more gain nothing on tiles of 128 x 512
    }
    command = [sys.executable, "-m", "nkifix", "run", "--torch-xla-stub", *program]
    environment = {**kept, **settings, **(variables or {})}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, errors="replace", timeout=_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"upstream's tests did not end within {_SECONDS_MAX} seconds",
            next_step="run this on a machine that is less busy",
        ) from error


def _brief(message: str, tree: Path) -> str:
    """Return the first line of a message, without the folder that is gone when it is read."""
    line = message.strip().splitlines()[0] if message.strip() else ""
    return line.replace(f"{tree}{os.sep}", "")[:_MESSAGE_CHARS_MAX]


def _did_not_run(done: subprocess.CompletedProcess[str]) -> BackendError:
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E ", "ERROR"))]
    return BackendError(
        "upstream's tests do not run here",
        where=TESTS,
        why="; ".join(" ".join(line.split()) for line in said[:2]) or f"pytest ended with exit code {done.returncode}",
        next_step="pip install 'nkifix[test,torch]', and see whether that base needs other packages",
    )
