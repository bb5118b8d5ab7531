from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import nkifix
from nkifix import specimens
from nkifix.cli import COMMANDS, main
from nkifix.errors import BackendError, RefusalError

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "ml_dtypes", "torch", "joblib", "jinja2", "nkifix.emulator", "nkifix.differential")


def nkifix_main(*arguments: str) -> int:
    """Exit code of ``nkifix`` with these arguments."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments), prog_name="nkifix")
    code = exit_.value.code
    assert isinstance(code, int) or code is None
    return code or 0


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


# ----------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_lists_every_command_with_a_line_each(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main(*arguments) == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, text in COMMANDS.items():
        assert f"{name} {text}" in words


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: nkifix {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_module_of_its_name(name: str) -> None:
    assert isinstance(importlib.import_module(f"nkifix.cli.{name}").command, click.Command)


def test_shell_completion_offers_the_commands() -> None:
    context = click.Context(main, info_name="nkifix")
    assert {item.value for item in main.shell_complete(context, "")} == set(COMMANDS)


def test_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main("--version") == 0
    assert capsys.readouterr().out.rstrip().endswith(f"version {nkifix.__version__}")


# ----------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["no-such-command"], "No such command 'no-such-command'", id="command"),
        pytest.param(["--no-such-option"], "o such option", id="option"),
        pytest.param(["fix"], "Missing argument", id="argument"),
    ],
)
def test_refuses_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nkifix_main(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("error", [RefusalError("no", why="a rule"), BackendError("no", why="a rule")])
def test_error_of_ours_is_a_message_and_exit_code_2(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("nkifix.cli.demo"), "command", command)
    assert nkifix_main("demo") == 2
    assert capsys.readouterr().err == "ERROR no\n  why: a rule\n"


def test_error_of_nobodys_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(importlib.import_module("nkifix.cli.demo"), "command", command)
    with pytest.raises(LookupError, match="a bug"):
        main(["demo"], prog_name="nkifix")


# --------------------------------------------------------------------------------------- as a program


def test_runs_as_a_module_from_any_directory(tmp_path: Path) -> None:
    done = python("-m", "nkifix", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")
    assert "prove the flash-attention kernel" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["--version"], id="version"),
        pytest.param(["fix", "--help"], id="fix, help"),
        pytest.param(["fix", str(specimens.path("misspelled-causal-mask"))], id="fix"),
        pytest.param(["no-such-command"], id="unknown command"),
    ],
)
def test_starts_without_what_it_does_not_need(arguments: list[str], tmp_path: Path) -> None:
    probe = (
        "import sys\n"
        "from nkifix.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:], prog_name='nkifix')\n"
        "finally:\n"
        f"    sys.stderr.write('imported: ' + ' '.join(name for name in {HEAVY} if name in sys.modules))\n"
    )
    done = python("-c", probe, *arguments, cwd=tmp_path)
    assert done.stderr.endswith("imported: "), done.stderr
    assert "Traceback" not in done.stderr
