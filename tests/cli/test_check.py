from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nkifix.cli import check_scan, check_view, main
from nkifix.cli.check_scan import Finding, Scan

ROOT = Path(__file__).parents[2]
SPECIMENS = ROOT / "tests" / "specimens"
MISSPELT = "def f(a):\n    if a:\n        mask = 1\n    else:\n        maks = 2\n    return mask\n"
MESSAGE = "this branch assigns maks, which nothing reads; the other branches bind mask, which line 6 reads"
RULE = "misspelled-branch-name"
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*args: str | Path) -> Result:
    result = CliRunner(**APART).invoke(main, ["check", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def tree(here: Path, **files: str) -> None:
    for name, content in files.items():
        path = here / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


# --------------------------------------------------------------------------------------------- paths


def test_finds_in_files_and_below_folders(here: Path) -> None:
    tree(here, a=MISSPELT, sub__deep__b=MISSPELT, sub__clean="x = 1\n")
    result = check("a.py", "sub")
    assert result.exit_code == 1
    assert result.stdout == f"a.py:5: {RULE}: {MESSAGE}\nsub/deep/b.py:5: {RULE}: {MESSAGE}\n"
    assert result.stderr == "3 files checked, 2 findings\n"


def test_clean_tree_is_exit_code_0_and_silence_on_stdout(here: Path) -> None:
    tree(here, a="x = 1\n")
    result = check(".")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 file checked, 0 findings\n")


def test_known_defect_is_found_in_a_kernel(here: Path) -> None:
    result = check(SPECIMENS / "typo_plain_branch.py")
    assert ":17: misspelled-causal-mask: UnboundLocalError" in result.stdout


def test_file_named_twice_is_checked_once(here: Path) -> None:
    tree(here, sub__a=MISSPELT)
    Path("link.py").symlink_to("sub/a.py")
    assert check("sub/a.py", "sub", "./sub/a.py", "link.py").stderr == "1 file checked, 1 finding\n"


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        pytest.param("sub/a.py", True, id="source"),
        pytest.param(".venv/a.py", False, id="hidden folder"),
        pytest.param("__pycache__/a.py", False, id="cache"),
        pytest.param("sub/a.txt", False, id="another suffix"),
        pytest.param("a.py/b.txt", False, id="folder with the suffix"),
    ],
)
def test_folder_stands_for_the_sources_below_it(here: Path, name: str, seen: bool) -> None:
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text(MISSPELT)
    assert check(".").exit_code == int(seen)


def test_file_named_by_itself_is_checked_whatever_its_name(here: Path) -> None:
    Path("a.txt").write_text(MISSPELT)
    assert check("a.txt").exit_code == 1


def test_files_that_do_not_parse_are_counted_and_named(here: Path) -> None:
    tree(here, good=MISSPELT, **{f"bad{number}": "else (\n" for number in range(7)})
    result = check(".")
    assert result.exit_code == 1
    assert "8 files checked, 1 finding\n7 files skipped" in result.stderr
    assert "  bad0.py: it does not parse" in result.stderr
    assert result.stderr.endswith("  and 2 more\n")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        pytest.param(["missing.py"], "No such file", id="missing"),
        pytest.param(["nul\0.py"], "null", id="nul"),
    ],
)
def test_refuses_what_cannot_be_read_but_checks_the_rest(here: Path, paths: list[str], words: str) -> None:
    tree(here, a=MISSPELT)
    findings, refusals = check_scan.files_of([Path("a.py"), *map(Path, paths)])
    assert refusals == []
    result = check_scan.scan(findings, progress=lambda _file: None)
    assert len(result.findings) == 1
    (refusal,) = result.refusals
    assert words in str(refusal)
    assert refusal.next_step


def test_missing_path_is_exit_code_2(here: Path) -> None:
    tree(here, a=MISSPELT)
    result = check("a.py", "missing.py")
    assert result.exit_code == 2
    assert result.stdout.startswith("a.py:5")
    assert "ERROR the file cannot be read\n  where: missing.py" in result.stderr


def test_folder_that_cannot_be_listed_is_exit_code_2(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("closed").mkdir()
    listing = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = check("closed")
    assert result.exit_code == 2
    assert "the folder cannot be listed\n  where: closed\n  why: Permission denied" in result.stderr


# ----------------------------------------------------------------------------------------- processes


def test_several_processes_find_the_same_in_the_same_order(here: Path) -> None:
    tree(here, **{f"m{number:03}": MISSPELT if number % 40 == 0 else "x = 1\n" for number in range(100)})
    alone, together = check(".", "--jobs", "1"), check(".", "--jobs", "2")
    assert alone.stdout.count("\n") == 3
    assert together.stdout == alone.stdout
    assert together.stderr == alone.stderr == "100 files checked, 3 findings\n"


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        pytest.param(["--version"], {"rich", "libcst", "numpy"}, id="version"),
        pytest.param(["--help"], {"rich", "libcst", "numpy"}, id="help"),
        pytest.param(["check", "plain.py"], {"rich", "libcst", "numpy", "concurrent"}, id="no kernel"),
        pytest.param(["check", "kernel.py"], {"rich", "numpy", "concurrent"}, id="kernel"),
    ],
)
def test_what_is_slow_to_import_is_imported_where_it_is_needed(
    here: Path, arguments: list[str], unwanted: set[str]
) -> None:
    tree(here, plain=MISSPELT, kernel=(SPECIMENS / "typo_plain_branch.py").read_text())
    probe = (
        "import atexit, sys\n"
        "atexit.register(lambda: print({name.partition('.')[0] for name in sys.modules}))\n"
        f"sys.argv[1:] = {arguments}\n"
        "from nkifix.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for variable in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):  # coverage imports much
        environment.pop(variable, None)
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    assert done.returncode == int(arguments[0] == "check"), done.stderr
    imported: set[str] = ast.literal_eval(done.stdout.splitlines()[-1])
    assert "click" in imported
    assert imported & unwanted == set()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_left_as_it_was(here: Path, enabled: bool) -> None:
    tree(here, a=MISSPELT)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        check("a.py", "missing.py")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_check_neither_imports_nor_executes_what_it_reads(here: Path) -> None:
    tree(here, flash="raise SystemExit('executed')\n" + (SPECIMENS / "typo_plain_branch.py").read_text())
    probe = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event == 'exec' and 'flash' in args[0].co_filename: print('EXECUTED')\n"
        "    if event == 'import' and args[0] == 'flash': print('IMPORTED')\n"
        "from nkifix.cli import main\n"
        "sys.addaudithook(hook)\n"
        "main(['check', 'flash.py'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "misspelled-causal-mask" in done.stdout
    assert "EXECUTED" not in done.stdout
    assert "IMPORTED" not in done.stdout


# ------------------------------------------------------------------------------------------- formats

FINDINGS = [
    Finding("dir/a b.py", 3, RULE, "one"),
    Finding("/abs/ü%.py", 7, "misspelled-causal-mask", "two: a, b\nnext % line"),
]


def test_json_has_schema_and_findings(here: Path) -> None:
    tree(here, a=MISSPELT)
    result = check("a.py", "--format", "json")
    assert json.loads(result.stdout) == {
        "schema": "nkifix.check/1",
        "findings": [{"rule": RULE, "path": "a.py", "line": 5, "message": MESSAGE}],
    }
    assert result.exit_code == 1


@pytest.mark.parametrize("style", ["json", "sarif"])
def test_no_findings_are_a_document_too(here: Path, style: str) -> None:
    tree(here, a="x = 1\n")
    result = check("a.py", "--format", style)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document.get("findings", document.get("runs", [{}])[0].get("results")) == []


def test_github_format_escapes_what_the_runner_reads(here: Path) -> None:
    assert check_view.github(FINDINGS).splitlines() == [
        f"::warning file=dir/a b.py,line=3,title={RULE}::one",
        "::warning file=/abs/ü%25.py,line=7,title=misspelled-causal-mask::two: a, b%0Anext %25 line",
    ]
    strange = check_view.github([Finding("c:d,e\r.py", 1, RULE, "x")])
    assert "file=c%3Ad%2Ce%0D.py," in strange


def require(document: Any, rows: dict[str, Callable[[Any], bool]]) -> None:
    for name, holds in rows.items():
        assert holds(document.get(name)), (name, document.get(name))


def test_sarif_holds_what_the_standard_asks_for() -> None:
    """Required properties, their types and references, after the schema of SARIF 2.1.0 (OASIS)."""
    log = json.loads(check_view.sarif(FINDINGS))
    require(log, {"version": lambda v: v == "2.1.0", "$schema": lambda v: v.endswith("sarif-2.1.0.json")})
    (run,) = log["runs"]
    require(run, {"columnKind": lambda v: v in ("utf16CodeUnits", "unicodeCodePoints")})
    driver = run["tool"]["driver"]
    require(driver, {"name": lambda v: v == "nkifix", "version": lambda v: isinstance(v, str)})
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert len(run["results"]) == 2
    for result, finding in zip(run["results"], FINDINGS, strict=True):
        require(result, {"level": lambda v: v in ("none", "note", "warning", "error")})
        assert ids[result["ruleIndex"]] == result["ruleId"] == finding.rule
        assert result["message"] == {"text": finding.message}
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] == finding.line >= 1
    uris = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]]
    assert uris == ["dir/a%20b.py", "file:///abs/%C3%BC%25.py"]


def test_summary_counts_one_and_many() -> None:
    assert list(check_view.summary(Scan(files=1))) == ["1 file checked, 0 findings"]
    assert list(check_view.summary(Scan(files=2, skipped=[("a", "b")])))[1].startswith("1 file skipped")


# ---------------------------------------------------------------------------------------- pre-commit


def test_pre_commit_hook_runs_this_command() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "entry: nkifix check" in text
    assert "types: [python]" in text
