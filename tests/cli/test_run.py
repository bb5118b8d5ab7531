"""``nkifix run``: a program in a process of its own, with neuronxcc served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

import nkifix
from nkifix.cli import child, main, run
from nkifix.emulator.rules import RULES

SOURCE = Path(nkifix.__file__).parent.parent

DOUBLE = """
import sys
import numpy as np
import neuronxcc.nki as nki, neuronxcc.nki.language as nl, neuronxcc.nki.isa as nisa

@nki.jit
def double(x):
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(o, nl.load(x) * 2.0)
    return o

if __name__ == "__main__":
    print(double(np.ones((1, 2), np.float32)).tolist(), nisa.get_nc_version().name, *sys.argv)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    (tmp_path / "double.py").write_text(DOUBLE, encoding="utf-8")
    return tmp_path


def nkifix_run(*args: str, options: tuple[str, ...] = (), **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "nkifix", "run", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **kwargs)


def script(text: str) -> str:
    Path("script.py").write_text(text, encoding="utf-8")
    return "script.py"


# ---------------------------------------------------------------------------------------- the command


UNORDERED = "err_unexpected_output_dependencies"
BLOCKS = "err_leading_dimension_of_tensor_must_be_partition"


class ReplacedError(Exception):
    """Stands for the end of this process."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    def execv(path: str, command: list[str]) -> NoReturn:
        assert path == command[0] == sys.executable
        commands.append(command)
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    return commands


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param(["x.py"], ["{}", "real", "script", "x.py"], id="script"),
        pytest.param(["--target", "trn2", "x.py"], ['{"target": "trn2"}', "real", "script", "x.py"], id="target"),
        pytest.param(
            ["--storage", "fp32", "--shuffle", "--seed", "7", "x.py"],
            ['{"storage": "fp32", "order": "shuffled", "seed": 7}', "real", "script", "x.py"],
            id="fidelity",
        ),
        pytest.param(
            ["--no-rule", UNORDERED, "--rule", BLOCKS, "--no-rule", "index-not-affine", "x.py"],
            [
                f'{{"rules_on": ["{BLOCKS}"], "rules_off": ["{UNORDERED}", "index-not-affine"]}}',
                *("real", "script", "x.py"),
            ],
            id="rules",
        ),
        pytest.param(["--workers", "2", "x.py"], ['{"workers": 2}', "real", "script", "x.py"], id="workers"),
        pytest.param(["--torch-xla-stub", "-m", "x"], ["{}", "stub", "module", "x"], id="module-and-stub"),
        pytest.param(
            ["-m", "pytest", "-x", "-k", "foo", "--target", "trn9", "-m", "slow"],
            ["{}", "real", "module", "pytest", "-x", "-k", "foo", "--target", "trn9", "-m", "slow"],
            id="options-of-the-program",
        ),
        pytest.param(["x.py", "--", "-h"], ["{}", "real", "script", "x.py", "--", "-h"], id="dashes"),
        pytest.param(["--", "-odd.py"], ["{}", "real", "script", "-odd.py"], id="script-with-a-dash"),
        pytest.param(["x.py", ""], ["{}", "real", "script", "x.py", ""], id="empty-argument"),
    ],
)
def test_starts_a_process_with_the_programs_arguments(
    started: list[list[str]], args: list[str], expected: list[str]
) -> None:
    result = CliRunner().invoke(main, ["run", *args])
    assert isinstance(result.exception, ReplacedError), result.output
    ((*_, file), arguments) = ([*started[0][: -len(expected)]], started[0][-len(expected) :])
    assert file == str(Path(child.__file__))
    assert arguments == expected


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param([], "Missing argument 'SCRIPT|MODULE'", id="nothing"),
        pytest.param(["-m"], "Missing argument 'SCRIPT|MODULE'", id="no-module"),
        pytest.param(["--target", "trn9", "x.py"], "'trn9' is not one of 'trn1', 'trn2'", id="target"),
        pytest.param(["--fast", "x.py"], "No such option", id="option"),
        pytest.param(["--rule", "err_unsuported_memory", "x.py"], "did you mean err_unsupported_memory?", id="rule"),
        pytest.param(["--no-rule", "err_unsupported_memory", "x.py"], "cannot be turned off", id="no-rule"),
    ],
)
def test_refuses_command_lines_without_a_program(started: list[list[str]], args: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["run", *args])
    assert result.exit_code == 2
    assert words in result.output
    assert not started


def test_lists_the_rules(started: list[list[str]]) -> None:
    result = CliRunner().invoke(main, ["run", "--list-rules"])
    assert result.exit_code == 0
    assert not started
    rows = [row.split() for row in result.stdout.splitlines() if row.count("│") == 5]
    words = {row[1]: row[3] for row in rows}
    assert words.keys() == RULES.keys()
    assert (words[UNORDERED], words[BLOCKS], words["err_unsupported_memory"]) == ("on", "off", "always")


def test_refuses_an_interpreter_that_does_not_know_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    result = CliRunner().invoke(main, ["run", "x.py"])
    assert result.exit_code == 2
    assert "ERROR the program cannot be started" in result.output


def test_help_says_what_is_not_emulated() -> None:
    output = CliRunner().invoke(main, ["run", "--help"]).output
    assert "pytest-xdist" in output
    assert run.command.help is not None


# --------------------------------------------------------------------------------- the child's own side


@pytest.mark.parametrize("torch_xla", [pytest.param(None, id="absent"), pytest.param("somewhere", id="installed")])
@pytest.mark.parametrize("kind", ["script", "module"])
def test_child_serves_then_becomes_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], torch_xla: str | None, kind: str
) -> None:
    from nkifix.emulator import Params, mainprogram, serve

    calls: list[Any] = []
    monkeypatch.setattr(serve, "installed", {"torch_xla": torch_xla}.get)
    monkeypatch.setattr(serve, "install", lambda params, **options: calls.append((params, options)))
    for name in ("script", "module"):
        monkeypatch.setattr(mainprogram, f"run_{name}", lambda *args, name=name: calls.append((name, *args)))
    child.main('{"target": "trn2"}', "stub", kind, "program", "-x")
    assert calls == [
        (Params(target="trn2"), {"beside_real": True, "torch_xla": torch_xla is None}),
        (kind, "program", ("-x",)),
    ]
    words = "tensors stay there" if torch_xla is None else "(somewhere): the stub is not used"
    assert words in capsys.readouterr().err


def test_child_asks_for_no_stub_by_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from nkifix.emulator import mainprogram, serve

    wanted: list[bool] = []
    monkeypatch.setattr(serve, "install", lambda params, *, beside_real, torch_xla: wanted.append(torch_xla))
    monkeypatch.setattr(mainprogram, "run_script", lambda program, args: None)
    child.main("{}", "real", "script", "program")
    assert wanted == [False]
    assert not capsys.readouterr().err


def test_child_loads_this_very_package(monkeypatch: pytest.MonkeyPatch) -> None:
    path = list(sys.path)
    monkeypatch.setitem(sys.modules, "nkifix", None)
    child._load_own_package()
    assert list(sys.modules["nkifix"].__path__) == list(nkifix.__path__)
    assert sys.modules["nkifix"].__version__ == nkifix.__version__
    assert sys.path == path


def test_refuses_the_stub_where_torch_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(sys.meta_path)
    monkeypatch.setattr("nkifix.emulator.serve.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        child.main("{}", "stub", "script", "program.py")
    assert caught.value.code == 2
    assert "pip install 'nkifix[torch]'" in capsys.readouterr().err
    assert sys.meta_path == before


# ------------------------------------------------------------------------------------------ end to end


@pytest.mark.parametrize(
    ("args", "printed"),
    [
        pytest.param(["double.py"], "gen2 double.py", id="script"),
        pytest.param(["--target", "trn2", "double.py", "--target"], "gen3 double.py --target", id="target"),
        pytest.param(["-m", "double", "-m"], "gen2 {folder}/double.py -m", id="module"),
    ],
)
def test_program_runs_on_the_emulator(folder: Path, args: list[str], printed: str) -> None:
    done = nkifix_run(*args)
    assert (done.stdout, done.stderr) == (f"[[2.0, 2.0]] {printed.format(folder=folder)}\n", "")
    assert done.returncode == 0


def test_tests_run_on_the_emulator(folder: Path) -> None:
    text = "from double import double\nimport numpy as np\n" + "".join(
        f"def test_{name}():\n    assert double(np.ones((1, 1), np.float32))[0, 0] == {value}\n"
        for name, value in (("good", 2), ("bad", 3), ("worse", 4))
    )
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    done = nkifix_run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "good or bad")
    assert "1 failed, 1 passed, 1 deselected" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("text", "status", "err"),
    [
        pytest.param("import sys; sys.exit(7)", 7, "", id="status"),
        pytest.param("import sys; sys.exit('words')", 1, "words\n", id="words"),
        pytest.param(
            "import neuronxcc.nki.language as nl\nnl.lod", 1, "nearest emulated name is load", id="name"
        ),
        pytest.param("import neuronxcc.nki.language as nl\nnl.load(1)", 1, "err_nki_api_outside", id="fault"),
        pytest.param("import nkifix.errors as e\nraise e.RefusalError('mine')", 1, "Traceback", id="refusal"),
    ],
)  # fmt: skip
def test_exit_status_is_the_programs(folder: Path, text: str, status: int, err: str) -> None:
    done = nkifix_run(script(text))
    assert done.returncode == status
    assert err in done.stderr
    assert "cli/child.py" not in done.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(["missing.py"], "No such file or directory", id="script"),
        pytest.param(["-m", "user_missing"], "no module named user_missing", id="module"),
    ],
)
def test_refuses_programs_that_are_not_there(folder: Path, args: list[str], why: str) -> None:
    done = nkifix_run(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR cannot run")
    assert why in done.stderr
    assert not done.stdout


def test_standard_input_is_the_programs(folder: Path) -> None:
    assert nkifix_run(script("print(input())"), input="words\n").stdout == "words\n"


def test_options_of_the_interpreter_are_kept(folder: Path) -> None:
    text = "import sys; print(sys.flags.dont_write_bytecode, sys.flags.optimize, sys.warnoptions)"
    assert nkifix_run(script(text), options=("-B", "-O", "-Werror")).stdout == "1 1 ['error']\n"


def test_signal_reaches_the_program(folder: Path) -> None:
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, "-m", "nkifix", "run", script(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 9


def test_process_that_is_forked_is_emulated_too(folder: Path) -> None:
    text = (
        "import multiprocessing\ndef work(n):\n"
        "    import double, numpy as np\n    return double.double(np.ones((1, n), np.float32)).tolist()\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n    print(pool.map(work, [1, 2]))"
    )
    assert nkifix_run(script(text)).stdout == "[[[2.0]], [[2.0, 2.0]]]\n"


def test_interpreter_that_is_started_anew_is_not_emulated(folder: Path) -> None:
    text = "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, 'double.py']).returncode)"
    done = nkifix_run(script(text))
    assert done.returncode == 1
    assert "No module named 'neuronxcc'" in done.stderr


def test_program_meets_no_module_of_the_command_line(folder: Path) -> None:
    text = "import sys\nprint([n for n in ('click', 'rich', 'nkifix.cli', 'runpy') if n in sys.modules])"
    assert nkifix_run(script(text)).stdout == "[]\n"


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="an interpreter without PYTHONSAFEPATH finds these files itself, before nkifix starts",
)
def test_files_beside_the_program_or_in_the_working_directory_do_not_disturb(folder: Path) -> None:
    for name in ("nkifix.py", "numpy.py", "click.py", "console.py"):
        (folder / name).write_text("raise SystemExit('wrong module')", encoding="utf-8")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "program.py").write_text(DOUBLE, encoding="utf-8")
    command = [sys.executable, "-c", "from nkifix.cli import main; main()", "run", "elsewhere/program.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONSAFEPATH": "1"})
    assert done.stdout == "[[2.0, 2.0]] gen2 elsewhere/program.py\n"


def test_torch_xla_is_served_as_the_cpu(folder: Path) -> None:
    pytest.importorskip("torch", reason="torch is an optional extra")
    text = "from torch_xla.core import xla_model as xm\nprint(xm.xla_device())"
    done = nkifix_run("--torch-xla-stub", script(text))
    assert done.stdout == "cpu\n"
    assert done.stderr == (
        "torch_xla is not installed: a stub serves xm.xla_device() as the CPU, and tensors stay there\n"
    )
    assert "No module named 'torch_xla'" in nkifix_run(script(text)).stderr


def test_real_torch_xla_is_used_where_there_is_one(folder: Path) -> None:
    (folder / "site" / "torch_xla").mkdir(parents=True)
    (folder / "site" / "torch_xla" / "__init__.py").write_text("name = 'real'", encoding="utf-8")
    path = os.pathsep.join([str(SOURCE), str(folder / "site")])
    text = "import torch_xla\nprint(torch_xla.name)"
    done = nkifix_run("--torch-xla-stub", script(text), env=os.environ | {"PYTHONPATH": path})
    assert done.stdout == "real\n"
    assert done.stderr == f"torch_xla is installed ({folder}/site/torch_xla/__init__.py): the stub is not used\n"


def test_real_compiler_is_shadowed_and_never_imported(folder: Path) -> None:
    (folder / "site" / "neuronxcc" / "nki").mkdir(parents=True)
    for path in ("neuronxcc/__init__.py", "neuronxcc/nki/__init__.py", "neuronxcc/driver.py"):
        (folder / "site" / path).write_text("open('imported', 'w').close()", encoding="utf-8")
    path = os.pathsep.join([str(SOURCE), str(folder / "site")])
    done = nkifix_run("double.py", env=os.environ | {"PYTHONPATH": path})
    assert done.stdout == "[[2.0, 2.0]] gen2 double.py\n"
    assert not Path("imported").exists()
    done = nkifix_run(script("import neuronxcc.driver"), env=os.environ | {"PYTHONPATH": path})
    assert "No module named 'neuronxcc.driver'" in done.stderr
    assert not Path("imported").exists()


def test_refuses_where_a_real_compiler_was_imported_at_start(folder: Path) -> None:
    (folder / "site" / "neuronxcc").mkdir(parents=True)
    (folder / "site" / "neuronxcc" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "site" / "sitecustomize.py").write_text("import neuronxcc", encoding="utf-8")
    path = os.pathsep.join([str(folder / "site"), str(SOURCE)])
    done = nkifix_run("double.py", env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 2
    assert "a real neuronxcc is installed here" in done.stderr


# -------------------------------------------------------------------------------------- an engineer's day

CLASH = """
import numpy as np
import neuronxcc.nki as nki, neuronxcc.nki.language as nl

@nki.jit
def clash(x):
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    for i in nl.affine_range(2):
        print("iteration", i, f"{i:2d}")
        STOP
        nl.store(o[0:2, 0:2], nl.load(x))
    return o

print(clash(np.ones((2, 2), np.float32)).sum())
"""


def test_traceback_ends_in_the_kernel(folder: Path) -> None:
    done = nkifix_run(script(CLASH.replace("STOP", "pass")))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(", ", 1)[1] for line in lines if line.startswith("  File")] == [
        "line 14, in <module>",
        "line 11, in clash",
    ]
    assert f"[{UNORDERED}] two iterations of an affine_range write the same elements" in done.stderr
    assert f"  where: {folder / 'script.py'}:11" in lines
    assert any(line.startswith("  next: ") for line in lines)


def test_rule_that_is_off_lets_the_program_run(folder: Path) -> None:
    done = nkifix_run("--no-rule", UNORDERED, script(CLASH.replace("STOP", "pass")))
    assert done.stdout.splitlines() == ["iteration 0  0", "iteration 1  1", "4.0"]


def test_debugger_stops_inside_a_kernel(folder: Path) -> None:
    name = script(CLASH.replace("STOP", "breakpoint()"))
    done = nkifix_run("--no-rule", UNORDERED, name, input="p i, o.shape\nc\np i + 1\nc\n")
    assert "(0, (2, 2))" in done.stdout
    assert "(Pdb) 2" in done.stdout
    assert done.stdout.endswith("4.0\n")


def test_other_errors_keep_their_traceback(folder: Path) -> None:
    done = nkifix_run(script(CLASH.replace("STOP", "nl.load(1, 2, 3)")))
    assert "in clash" in done.stderr
    assert "TypeError" in done.stderr
