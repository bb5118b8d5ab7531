"""``apply``, ``revert``, ``status``, ``doctor``, ``vendor`` and ``autofix`` as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nkifix.cli import autofix, autofix_child, main
from nkifix.emulator import mainprogram
from nkifix.errors import RefusalError
from nkifix.upstream import import_hook, versions
from nkifix.upstream.import_hook import MARK, SERIES_VARIABLE
from nkifix.upstream.locate import INSIDE_SITE, MODULE
from tests.upstream import site as sites
from tests.upstream.site import FIXED, STOCK, UNKNOWN
from tests.upstream.test_import_hook import EMPTY_PACKAGES, KERNEL

ROOT = Path(__file__).parents[2]
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


@pytest.fixture
def site(tmp_path: Path) -> sites.Site:
    return sites.make(tmp_path / "site")


def nkifix(*args: str | Path, **variables: str) -> Result:
    result = CliRunner(**APART).invoke(main, [*map(str, args)], env=variables)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def status(site: sites.Site) -> tuple[int, str]:
    result = nkifix("status", "--path", site.root)
    return result.exit_code, result.stdout


# --------------------------------------------------------------------------- apply, revert, status


def test_fix_is_applied_shown_and_reverted(site: sites.Site) -> None:
    before = site.files()
    assert status(site) == (1, f"stock: {site.kernel}\n")
    applied = nkifix("apply", "--path", site.root)
    assert (applied.exit_code, applied.stdout) == (0, "")
    assert "fixed misspelled-causal-mask" in applied.stderr
    assert "nkifix revert puts them back" in applied.stderr
    assert status(site) == (0, f"fixed here: {site.kernel}\n")
    again = nkifix("apply", "--path", site.kernel)
    assert (again.exit_code, "already fixed by nkifix, nothing to do" in again.stderr) == (0, True)
    reverted = nkifix("revert", "--path", site.root)
    assert (reverted.exit_code, "put back as it was installed" in reverted.stderr) == (0, True)
    assert site.files() == before
    nothing = nkifix("revert", "--path", site.root)
    assert (nothing.exit_code, "nkifix has not changed it" in nothing.stderr) == (0, True)


def test_installed_package_is_the_one_that_is_meant(site: sites.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site.root))
    assert nkifix("apply").exit_code == 0
    assert site.kernel.read_bytes() == FIXED


def test_kernel_fixed_upstream_is_good_news(tmp_path: Path) -> None:
    site = sites.make(tmp_path / "site", FIXED)
    result = nkifix("apply", "--path", site.root)
    assert (result.exit_code, "upstream has fixed this" in result.stderr) == (0, True)
    assert status(site) == (0, f"fixed upstream: {site.kernel}\n")


def test_interrupted_run_is_shown_and_finished(site: sites.Site) -> None:
    stock_record = site.record.read_bytes()
    nkifix("apply", "--path", site.root)
    site.record.write_bytes(stock_record)
    shown = nkifix("status", "--path", site.root)
    assert shown.exit_code == 1
    assert "a run was interrupted" in shown.stderr
    assert "its record is truthful again" in nkifix("apply", "--path", site.root).stderr
    assert site.untrue_rows() == []


def test_unknown_kernel_is_shown_and_refused(tmp_path: Path) -> None:
    site = sites.make(tmp_path / "site", UNKNOWN)
    shown = nkifix("status", "--path", site.root)
    assert (shown.exit_code, shown.stdout) == (2, f"unknown: {site.kernel}\n")
    assert "not recognised: " in shown.stderr
    result = nkifix("apply", "--path", site.root)
    assert result.exit_code == 2
    assert result.stderr.startswith("ERROR misspelled-causal-mask does not recognise this file\n  where: ")
    assert site.kernel.read_bytes() == UNKNOWN


@pytest.mark.parametrize("command", ["apply", "revert", "status"])
def test_refuses_where_nothing_is_installed(command: str) -> None:
    result = nkifix(command)
    assert result.exit_code == 2
    assert "is not installed in this environment" in result.stderr
    assert "next: " in result.stderr


# ------------------------------------------------------------------------------------------- doctor


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(versions.PACKAGES)
    monkeypatch.setattr(versions, "installed", lambda: found)
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    return found


def test_doctor_is_content_with_a_laptop(laptop: dict[str, str | None]) -> None:
    result = nkifix("doctor")
    assert result.exit_code == 0
    assert result.stdout.startswith("fine    No Neuron compiler is installed")
    assert "2.21.18209" in result.stdout


def test_doctor_marks_the_release_that_is_here(laptop: dict[str, str | None]) -> None:
    laptop.update({"neuronx-cc": "2.25.1", "nki": "0.4.0", "torch-xla": "2.9", "torch-neuronx": "2.9"})
    result = nkifix("doctor")
    assert result.exit_code == 2
    assert result.stdout.startswith("refused neuronx-cc 2.25.1 (SDK 2.30) does not compile")
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("here")]
    assert row.split()[1:4] == ["2.30", "2.25.3371", "0.4.0"]


def test_doctor_speaks_json(laptop: dict[str, str | None]) -> None:
    laptop["nki"] = "0.2.0"
    result = nkifix("doctor", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["schema"] == "nkifix.doctor/1"
    assert document["packages"]["nki"] == "0.2.0"
    assert [remark["level"] for remark in document["remarks"]] == ["heed"]
    assert document["releases"][2] == {
        "sdk": "2.26.0",
        "neuronx-cc": "2.21.18209",
        "nki": None,
        "instances": ["trn1", "inf2", "trn2"],
        "python": ["3.9", "3.11"],
        "legacy": "works",
    }


@pytest.mark.parametrize(
    ("kernel", "code", "words"),
    [
        pytest.param(STOCK, 1, "has the misspelled mask", id="stock"),
        pytest.param(FIXED, 0, "fixed upstream.", id="fixed"),
        pytest.param(UNKNOWN, 1, "is not recognised.", id="unknown"),
        pytest.param(None, 1, "cannot be read", id="missing"),
    ],
)
def test_doctor_looks_at_the_installed_kernel(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    laptop: dict[str, str | None],
    kernel: bytes | None,
    code: int,
    words: str,
) -> None:
    site = sites.make(tmp_path / "site", kernel or STOCK)
    if kernel is None:
        site.kernel.unlink()
    laptop["neuronx-distributed-inference"] = "0.6.10598"
    monkeypatch.syspath_prepend(str(site.root))
    result = nkifix("doctor")
    assert result.exit_code == code
    assert words in result.stdout


def test_doctor_sees_an_interrupted_run(
    site: sites.Site, monkeypatch: pytest.MonkeyPatch, laptop: dict[str, str | None]
) -> None:
    stock_record = site.record.read_bytes()
    nkifix("apply", "--path", site.root)
    site.record.write_bytes(stock_record)
    monkeypatch.syspath_prepend(str(site.root))
    result = nkifix("doctor")
    assert result.exit_code == 1
    assert "does not say what" in result.stdout


# ------------------------------------------------------------------------------------------- vendor


def test_package_is_made_and_proven(site: sites.Site, tmp_path: Path) -> None:
    output = tmp_path / "out"
    made = nkifix("vendor", "--upstream", site.kernel, "--output", output, "--package", "my_flash")
    assert (made.exit_code, made.stdout) == (0, "")
    assert "NKIFIX_KERNEL=my_flash" in made.stderr
    assert (output / "src/my_flash/attention.py").read_bytes().endswith(FIXED)
    proven = nkifix("vendor", "--check", "--upstream", site.kernel, "--output", output)
    assert (proven.exit_code, "proven, every byte follows" in proven.stderr) == (0, True)
    digests = nkifix("vendor", "--check", "--output", output)
    assert (digests.exit_code, "as its manifest says" in digests.stderr) == (0, True)
    (output / "README.md").write_bytes(b"mine")
    differs = nkifix("vendor", "--check", "--output", output)
    assert (differs.exit_code, differs.stdout) == (1, "README.md was changed\n")


def test_vendor_needs_an_upstream_to_write_from(tmp_path: Path) -> None:
    result = nkifix("vendor", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "--upstream is missing" in result.stderr


def test_vendor_takes_the_licence_by_name(site: sites.Site, tmp_path: Path) -> None:
    alone = tmp_path / "kernel.py"
    alone.write_bytes(STOCK)
    refused = nkifix("vendor", "--upstream", alone, "--output", tmp_path / "out")
    assert (refused.exit_code, "licence of this file is not found" in refused.stderr) == (2, True)
    options = ("--license", site.info / "LICENSE")
    assert nkifix("vendor", "--upstream", alone, "--output", tmp_path / "out", *options).exit_code == 0


# ------------------------------------------------------------------------------------------ autofix

PROGRAM = f"import sys\nfrom {MODULE} import fails, flash_fwd\nprint(flash_fwd(), sys.argv[1:], __name__)\n"


@pytest.fixture
def running(tmp_path: Path) -> sites.Site:
    """A site whose packages can be imported, and a program beside it."""
    made = sites.make(tmp_path / "site", KERNEL)
    for folder in EMPTY_PACKAGES:
        (made.root / folder / "__init__.py").write_bytes(b"")
    (tmp_path / "program.py").write_text(PROGRAM)
    return made


def run(site: sites.Site, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site.root), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-m", "nkifix", "autofix", *args],
        env={**os.environ, "PYTHONPATH": paths, **variables},
        cwd=site.root.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("program", [["program.py"], ["-m", "program"]], ids=["script", "module"])
def test_program_runs_with_the_kernel_fixed_in_memory(running: sites.Site, program: list[str]) -> None:
    before = running.files()
    done = run(running, *program, "--series", "x")
    assert done.stdout == "True ['--series', 'x'] __main__\n", done.stderr
    assert done.returncode == 0
    assert running.files() == before


def test_program_without_autofix_crashes(running: sites.Site) -> None:
    done = subprocess.run(
        [sys.executable, "program.py"],
        env={**os.environ, "PYTHONPATH": str(running.root)},
        cwd=running.root.parent,
        capture_output=True,
        text=True,
    )
    assert "UnboundLocalError" in done.stderr


def test_traceback_of_the_program_is_its_own(running: sites.Site) -> None:
    (running.root.parent / "program.py").write_text(PROGRAM + "fails()\n")
    done = run(running, "program.py")
    assert done.returncode == 1
    assert f'attention.py{MARK}", line 17, in fails' in done.stderr
    assert "autofix_child" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        pytest.param(["missing.py"], {}, "ERROR cannot run this program", id="no program"),
        pytest.param(["program.py"], {"NKIFIX_SERIES": "nonsense"}, "nonsense", id="no series"),
    ],
)
def test_refuses_what_cannot_be_started(
    running: sites.Site, arguments: list[str], variables: dict[str, str], words: str
) -> None:
    done = run(running, *arguments, **variables)
    assert done.returncode == 2
    assert words in done.stderr


def test_refuses_an_unknown_kernel_at_import(running: sites.Site) -> None:
    running.kernel.write_bytes(b"def flash_fwd():\n    pass\n")
    done = run(running, "program.py")
    assert done.returncode == 1
    assert "cannot be fixed at import" in done.stderr


def test_program_takes_the_place_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _file, arguments: started.append(arguments))
    monkeypatch.setenv(SERIES_VARIABLE, "typo")
    nkifix("autofix", "--series", "full", "-m", "program", "--flag", "-m")
    (arguments,) = started
    child = arguments.index(str(ROOT / "src/nkifix/cli/autofix_child.py"))
    assert arguments[0] == sys.executable
    assert arguments[child + 1 :] == ["full", "module", "program", "--flag", "-m"]


@pytest.mark.parametrize("kind", ["script", "module"])
def test_child_installs_the_hook_and_becomes_the_program(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(import_hook, "install", calls.append)
    monkeypatch.setattr(mainprogram, f"run_{kind}", lambda *what: calls.append(what))
    autofix_child.main("full", kind, "program", "one", "two")
    assert calls == ["full", ("program", ("one", "two"))]


def test_child_refuses_a_series_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        autofix_child.main("nonsense", "script", "program")
    assert ended.value.code == 2
    assert "ERROR there is no series 'nonsense'" in capsys.readouterr().err


def test_refuses_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RefusalError, match="does not know its own executable"):
        autofix.become(["typo", "script", "x"])


# ------------------------------------------------------------------------------------------ the law

HOOK = f"""\
import sys
def hook(event, args):
    if event == 'exec' and {INSIDE_SITE.parts[0]!r} in args[0].co_filename: print('EXECUTED', args[0].co_filename)
    if event == 'import' and args[0].startswith({INSIDE_SITE.parts[0]!r}): print('IMPORTED', args[0])
from nkifix.cli import main
sys.addaudithook(hook)
main(sys.argv[1:])
"""


def test_upstream_is_neither_imported_nor_executed(site: sites.Site, tmp_path: Path) -> None:
    """The packages around the site's kernel also end the program that imports them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site.root), str(ROOT / "src")])}
    output = str(tmp_path / "out")
    for arguments in (
        ["check", str(site.root)],
        ["fix", str(site.kernel)],
        ["doctor"],
        ["status"],
        ["apply"],
        ["revert"],
        ["vendor", "--upstream", "installed", "--output", output],
        ["vendor", "--upstream", "installed", "--output", output, "--check"],
    ):
        done = subprocess.run([sys.executable, "-c", HOOK, *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert "EXECUTED" not in done.stdout, arguments
        assert "IMPORTED" not in done.stdout, arguments
