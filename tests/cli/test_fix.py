from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nkifix import codemod
from nkifix.cli import main
from nkifix.cli.console import EXIT_DIFFERS, EXIT_HOLDS, EXIT_REFUSED

SPECIMENS = Path(__file__).parent.parent / "specimens"
PLAIN = (SPECIMENS / "typo_plain_branch.py").read_bytes()
FIXED = PLAIN.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True").replace(b"# casual", b"# causal")
OTHER_SHAPE = (SPECIMENS / "other_shape.py").read_bytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty present directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Before click 8.2 a runner keeps stderr apart only when it is asked to.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


def fix(*args: str | Path) -> Result:
    result = CliRunner(**APART).invoke(main, ["fix", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def prose(result: Result) -> str:
    return " ".join(result.stderr.split())


# ---------------------------------------------------------------------------------------------- the diff


def test_prints_diff_and_writes_nothing(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    result = fix("kernel.py")
    assert result.exit_code == EXIT_DIFFERS
    assert result.stdout.startswith("--- a/kernel.py\n+++ b/kernel.py\n@@ -")
    assert [line for line in result.stdout.splitlines()[2:] if line[0] in "+-"] == [
        "-            casual_mask = True  # noqa: F841",
        "+            causal_mask = True",
        "-            pred_causal = row >= column  # casual mask",
        "+            pred_causal = row >= column  # causal mask",
    ]
    assert prose(result) == "kernel.py: would change lines 17, 19; --write does it"
    assert content(here) == {"kernel.py": PLAIN}


def test_counts_a_single_line(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN.replace(b"  # casual mask", b""))
    assert "would change line 17;" in prose(fix("kernel.py"))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", ["kernel.py", "my kernels/k\u00e9rnel.py"])
def test_diff_can_be_applied_where_it_was_printed(here: Path, name: str, ending: bytes) -> None:
    file = Path(name)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(PLAIN.replace(b"\n", ending))
    Path("fix.patch").write_bytes(fix(name).stdout_bytes)
    subprocess.run(["git", "apply", "fix.patch"], check=True)
    assert file.read_bytes() == FIXED.replace(b"\n", ending)


def test_diff_names_file_elsewhere_from_the_root(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "kernel.py"
    elsewhere.write_bytes(PLAIN)
    name = elsewhere.resolve().as_posix()
    assert fix(elsewhere).stdout.startswith(f"--- a{name}\n+++ b{name}\n")


def test_diff_names_the_file_behind_a_link(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    Path("link.py").symlink_to("kernel.py")
    assert fix("link.py").stdout.startswith("--- a/kernel.py\n")


def test_diff_keeps_bytes_that_are_no_utf_8(here: Path) -> None:
    Path("kernel.py").write_bytes(b"# coding: latin-1\n" + PLAIN.replace(b"mask = True", b"mask = True; '\xfc'"))
    assert b"; '\xfc'" in fix("kernel.py").stdout_bytes


def test_leaves_fixed_file(here: Path) -> None:
    Path("kernel.py").write_bytes(FIXED)
    for arguments in (["kernel.py"], ["--write", "kernel.py"]):
        result = fix(*arguments)
        assert (result.exit_code, result.stdout) == (EXIT_HOLDS, "")
        assert prose(result) == "kernel.py: already fixed, nothing to do"
    assert content(here) == {"kernel.py": FIXED}


def test_prints_each_file_once_in_the_order_given(here: Path) -> None:
    for name in ("b.py", "a.py"):
        Path(name).write_bytes(PLAIN)
    Path("done.py").write_bytes(FIXED)
    Path("link.py").symlink_to("b.py")
    result = fix("b.py", "done.py", "a.py", "link.py", here / "a.py")
    assert result.exit_code == EXIT_DIFFERS
    assert [line for line in result.stdout.splitlines() if line.startswith("---")] == ["--- a/b.py", "--- a/a.py"]


@pytest.mark.parametrize(
    "options",
    [
        ["--series", "typo"],
        ["--only", "misspelled-causal-mask"],
        ["--series", "full", "--only", "misspelled-causal-mask"],
        ["--only", "misspelled-causal-mask", "--only", "misspelled-causal-mask"],
    ],
    ids=" ".join,
)
def test_takes_series_and_single_fix(here: Path, options: Sequence[str]) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    assert fix(*options, "kernel.py").stdout == fix("kernel.py").stdout


def test_takes_several_fixes_without_a_series(here: Path) -> None:
    data = (SPECIMENS / "keyless_rows.py").read_bytes()
    Path("kernel.py").write_bytes(data.replace(b", dtype=q.dtype)", b", dtype=kernel_dtype)"))
    result = fix("--write", "--only", "fp32-output-rounding", "--only", "keyless-rows", "kernel.py")
    assert result.exit_code == EXIT_HOLDS
    assert "fixed keyless-rows, fp32-output-rounding (line 18)" in prose(result)


def test_refuses_full_series_where_a_part_of_the_kernel_is_unknown(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    result = fix("--series", "full", "kernel.py")
    assert result.exit_code == EXIT_REFUSED
    assert "default-window-tile-skip does not recognise this file where: kernel.py:8 why: expected" in prose(result)
    assert content(here) == {"kernel.py": PLAIN}


@pytest.mark.upstream
def test_full_series_is_every_fix_of_the_real_file(here: Path, upstream_file: tuple[str, bytes]) -> None:
    file = Path("attention.py")
    file.write_bytes(upstream_file[1])
    result = fix("--series", "full", "--write", file)
    assert result.exit_code == EXIT_HOLDS
    assert all(known.id in prose(result) for known in codemod.FIXES if known.id != "wcte-window-alignment")
    assert "already fixed" in prose(fix("--series", "full", file))


# ------------------------------------------------------------------------------------------ --write, --undo


def test_write_fixes_file_and_undo_restores_it(here: Path) -> None:
    file = Path("kernel.py")
    file.write_bytes(PLAIN)
    result = fix("--write", "kernel.py")
    assert (result.exit_code, result.stdout) == (EXIT_HOLDS, "")
    (backup,) = set(content(here)) - {"kernel.py"}
    assert prose(result) == (
        f"kernel.py: fixed misspelled-causal-mask (lines 17, 19); the old bytes are in {backup}, --undo puts them back"
    )
    assert content(here) == {"kernel.py": FIXED, backup: PLAIN}

    result = fix("--undo", "kernel.py")
    assert (result.exit_code, result.stdout, prose(result)) == (EXIT_HOLDS, "", "kernel.py: restored")
    assert content(here) == {"kernel.py": PLAIN}


def test_write_is_idempotent(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    fix("--write", "kernel.py")
    once = content(here)
    assert fix("--write", "kernel.py").exit_code == EXIT_HOLDS
    assert content(here) == once


def test_write_keeps_mode_and_links(here: Path) -> None:
    Path("kernel.py").write_bytes(PLAIN)
    Path("kernel.py").chmod(0o750)
    Path("link.py").symlink_to("kernel.py")
    assert fix("--write", "link.py").exit_code == EXIT_HOLDS
    assert Path("link.py").readlink() == Path("kernel.py")
    assert Path("kernel.py").stat().st_mode & 0o7777 == 0o750
    assert Path("kernel.py").read_bytes() == FIXED


def test_write_takes_several_files(here: Path) -> None:
    Path("a.py").write_bytes(PLAIN)
    Path("b.py").write_bytes(FIXED)
    result = fix("--write", "a.py", "b.py")
    assert result.exit_code == EXIT_HOLDS
    assert "a.py: fixed" in prose(result)
    assert "b.py: already fixed" in prose(result)


@pytest.mark.upstream
def test_write_changes_two_lines_of_the_real_file(here: Path, upstream_file: tuple[str, bytes]) -> None:
    file = Path("attention.py")
    file.write_bytes(upstream_file[1])
    assert fix("--write", file).exit_code == EXIT_HOLDS
    pairs = zip(upstream_file[1].split(b"\n"), file.read_bytes().split(b"\n"), strict=True)
    assert sum(before != after for before, after in pairs) == 2


# ----------------------------------------------------------------------------------------------- refusing


def broken(name: str, data: bytes | None) -> Path:
    path = Path(name)
    if data is None:
        path.mkdir()
    elif data:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "there is no such file where: bad.py", id="missing"),
        pytest.param(None, "this is a directory where: bad.py", id="directory"),
        pytest.param(b"\n\0", "no Python file that can be read where: bad.py:2 why: a binary file", id="binary"),
        pytest.param(b"a = (\n", "where: bad.py:1 why: it does not parse: '(' was never closed", id="no Python"),
        pytest.param(b"\xff\n", "where: bad.py:1 why: no usable encoding", id="no text"),
        pytest.param(
            b"a = 1\n", "does not recognise this file where: bad.py why: expected a function flash_fwd", id="no kernel"
        ),
        pytest.param(
            OTHER_SHAPE,
            "misspelled-causal-mask does not recognise this file where: bad.py:11 why: expected no assignment",
            id="other shape",
        ),
    ],
)
@pytest.mark.parametrize("options", [[], ["--write"]], ids=["diff", "write"])
def test_refuses_with_a_reason_and_changes_nothing(
    here: Path, options: Sequence[str], data: bytes | None, said: str
) -> None:
    Path("good.py").write_bytes(PLAIN)
    broken("bad.py", data)
    before = content(here)
    result = fix(*options, "good.py", "bad.py")
    assert (result.exit_code, result.stdout) == (EXIT_REFUSED, "")
    assert result.stderr.startswith("ERROR ")
    assert said in prose(result)
    assert " next: " in prose(result)
    assert content(here) == before


def test_refuses_unwritable_target(here: Path) -> None:
    Path("good.py").write_bytes(PLAIN)
    Path("bad.py").write_bytes(PLAIN)
    Path("bad.py").chmod(0o444)
    result = fix("--write", "good.py", "bad.py")
    assert result.exit_code == EXIT_REFUSED
    assert "the file is read-only" in prose(result)
    assert content(here) == {"good.py": PLAIN, "bad.py": PLAIN}


def test_refuses_every_bad_file_by_name(here: Path) -> None:
    result = fix("one.py", "two.py")
    assert result.exit_code == EXIT_REFUSED
    assert prose(result).count("ERROR") == 2
    assert "one.py" in prose(result)
    assert "two.py" in prose(result)


def test_refuses_to_undo_any_file_if_one_was_not_written(here: Path) -> None:
    Path("a.py").write_bytes(PLAIN)
    Path("b.py").write_bytes(PLAIN)
    fix("--write", "a.py")
    before = content(here)
    result = fix("--undo", "a.py", "b.py")
    assert result.exit_code == EXIT_REFUSED
    assert "there is nothing to undo where: b.py" in prose(result)
    assert content(here) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "Missing argument", id="no file"),
        pytest.param(["--series", "none", "a.py"], "Invalid value for '--series'", id="unknown series"),
        pytest.param(["--only", "none", "a.py"], "the series 'full' has no fix 'none'", id="unknown fix"),
        pytest.param(
            ["--series", "typo", "--only", "stale-docs", "a.py"],
            "the series 'typo' has no fix 'stale-docs'",
            id="fix of another series",
        ),
        pytest.param(["--undo", "--write", "a.py"], "--undo takes files only", id="undo and write"),
        pytest.param(["--undo", "--only", "x", "a.py"], "--undo takes files only", id="undo and only"),
    ],
)
def test_refuses_arguments_that_make_no_sense(here: Path, arguments: Sequence[str], said: str) -> None:
    result = fix(*arguments)
    assert result.exit_code == EXIT_REFUSED
    assert said in prose(result)


# --------------------------------------------------------------------------------- the file is never executed

WATCHED = """
import json, sys
from pathlib import Path

seen = []
def watch(event, args):
    if event == "exec":
        seen.append(["exec", args[0].co_filename])
    elif event == "import":
        seen.append(["import", args[0]])
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        seen.append([event, ""])

from nkifix.cli import main
sys.addaudithook(watch)
try:
    main(["fix", *sys.argv[2:]])
except SystemExit as done:
    Path(sys.argv[1]).write_text(json.dumps([done.code, seen]))
"""

SPY = b"""import marker_module
from neuronxcc import nki
open("executed", "w").close()
"""


FIXES = [
    pytest.param("typo_plain_branch" if fix_.id == "misspelled-causal-mask" else fix_.id.replace("-", "_"), id=fix_.id)
    for fix_ in codemod.FIXES
]


@pytest.mark.parametrize(("options", "code"), [([], EXIT_DIFFERS), (["--write"], EXIT_HOLDS)], ids=["diff", "write"])
def test_file_is_neither_imported_nor_executed(here: Path, options: Sequence[str], code: int) -> None:
    Path("kernel.py").write_bytes(SPY + PLAIN)
    check_nothing_of_the_file_runs(options, code)


@pytest.mark.parametrize("name", FIXES)
def test_no_fix_imports_or_executes_the_file(here: Path, name: str, request: pytest.FixtureRequest) -> None:
    defect = request.node.callspec.id
    Path("kernel.py").write_bytes(SPY + (SPECIMENS / f"{name}.py").read_bytes())
    check_nothing_of_the_file_runs(["--only", defect], EXIT_DIFFERS)


@pytest.mark.upstream
def test_full_series_does_not_execute_the_real_file(here: Path, upstream_file: tuple[str, bytes]) -> None:
    Path("kernel.py").write_bytes(SPY + upstream_file[1])
    check_nothing_of_the_file_runs(["--series", "full", "--write"], EXIT_HOLDS)


def check_nothing_of_the_file_runs(options: Sequence[str], code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCHED, "seen.json", *options, "kernel.py"]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    exit_code, seen = json.loads(Path("seen.json").read_text())
    assert exit_code == code
    assert not Path("executed").exists()
    assert seen, "the audit hook saw nothing, so it proves nothing"
    imported = {name.partition(".")[0] for event, name in seen if event == "import"}
    assert "libcst" in imported
    assert not imported & {"kernel", "marker_module", "neuronxcc", "numpy"}
    executed = {name for event, name in seen if event == "exec"}
    assert not any(name.endswith("kernel.py") for name in executed)
    foreign = {name for name in executed if name.startswith("<") and not name.startswith("<frozen")}
    assert foreign <= {"<string>"}  # dataclasses and named tuples of the program itself
    assert {event for event, _ in seen} <= {"import", "exec"}
