from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nkifix.cli import console
from nkifix.errors import NkifixError, RefusalError

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b["
HIDE_CURSOR, SHOW_CURSOR = f"{ESCAPE}?25l", f"{ESCAPE}?25h"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal_that_knows_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


# ----------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        pytest.param(
            RefusalError("it cannot be read", where="kernel.py:3", why="a rule", next_step="do this"),
            ["ERROR it cannot be read", "  where: kernel.py:3", "  why: a rule", "  next: do this"],
            id="all four parts",
        ),
        pytest.param(NkifixError("odd"), ["ERROR odd"], id="what alone"),
        pytest.param(RefusalError("[red]x[/red]", where="[0]"), ["ERROR [red]x[/red]", "  where: [0]"], id="markup"),
        pytest.param(RefusalError("long " * 60 + "end"), ["ERROR " + "long " * 60 + "end"], id="longer than a line"),
    ],
)
def test_refuse_prints_error_with_its_parts_and_exits(
    error: NkifixError, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        console.refuse(error)
    assert exit_.value.code == console.EXIT_REFUSED == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == lines


def test_complain_does_not_exit(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain(RefusalError("one of two"))
    assert capsys.readouterr().err == "ERROR one of two\n"


def test_note_goes_to_stderr_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("kernel[0]: [bold]as it is[/bold]")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "kernel[0]: [bold]as it is[/bold]\n")


@pytest.mark.parametrize("data", ["two\nlines", b"two\nlines\r\n"], ids=["str", "bytes"])
def test_data_goes_to_stdout_as_it_is(data: str | bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    console.write_data(data)
    captured = capfdbinary.readouterr()
    assert captured.out == (data if isinstance(data, bytes) else data.encode())
    assert captured.err == b""


# ----------------------------------------------------------------------------------------------- colour


def complaint(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    console.complain(RefusalError("odd"))
    return stream.getvalue()


def test_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "31m" in complaint(Terminal(), monkeypatch)


def test_no_colour_where_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in complaint(Terminal(), monkeypatch)


def test_no_escape_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(io.StringIO(), monkeypatch) == "ERROR odd\n"


def test_colour_is_decided_per_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console.err().is_terminal
    assert not console.out().is_terminal


# ----------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("width", ["20", "80", "200"])
def test_table_hides_nothing_in_a_narrow_terminal(
    width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    table = console.Table(box=None, pad_edge=False)
    for heading in ("a rather long heading", "claim"):
        table.add_column(heading, no_wrap=True)
    table.add_row("another long entry", "FAILS")
    console.print_table(console.out(), table)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["a rather long heading  claim", "another long entry     FAILS"]


# ----------------------------------------------------------------------------------------------- progress


def progress_on(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with console.progress("running", total=2) as begin:
        begin("first")
        begin("second")
    return stream.getvalue()


@pytest.mark.parametrize("variable", [None, "FORCE_COLOR", "TTY_COMPATIBLE"])
def test_progress_is_silent_where_it_is_no_terminal(variable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    assert progress_on(io.StringIO(), monkeypatch) == ""


def test_progress_counts_the_steps_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = progress_on(Terminal(), monkeypatch)
    assert "running: second" in shown
    assert "1/2" in shown
    assert "-1/2" not in shown


def test_progress_ends_where_a_step_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(KeyError), console.progress("running", total=2) as begin:
        begin({"first": ""}["second"])
    assert stream.getvalue().count(HIDE_CURSOR) == stream.getvalue().count(SHOW_CURSOR)


def test_command_prints_no_escape_into_a_pipe(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "nkifix", "fix", str(tmp_path / "absent.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR ")
    assert ESCAPE not in done.stdout + done.stderr


def test_counted_items_are_handed_on_silently_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(console.counted("comparing", iter("abc"), total=3)) == ["a", "b", "c"]
    assert stream.getvalue() == ""


def test_counted_items_show_how_many_came_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(console.counted("comparing", iter("abc"), total=4)) == ["a", "b", "c"]
    shown = stream.getvalue()
    assert "comparing" in shown
    assert "3/4" in shown
    assert "time left" in shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
