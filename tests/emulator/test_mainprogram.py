"""Becoming the main program, compared with what the interpreter itself does."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from nkifix.emulator import mainprogram
from nkifix.errors import RefusalError

REPORT = """
import sys
print(__name__, __file__, __package__, __doc__, __spec__ and __spec__.name, type(__loader__).__name__)
print(sys.argv, sys.path[0], sys.modules["__main__"].__dict__ is globals(), __builtins__.__name__)
"""

STARTER = """
import sys
sys.path.insert(0, sys.argv[1])
from nkifix.emulator import mainprogram
del sys.path[0]
if sys.argv[3] == "-m":
    mainprogram.run_module(sys.argv[4], sys.argv[5:])
else:
    mainprogram.run_script(sys.argv[3], sys.argv[4:])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def by_interpreter(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True)


def by_us(*args: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    source = str(Path(mainprogram.__file__).parents[2])
    # A program started with -c finds the working directory first on its path; drop that, as a script's is added.
    starter = STARTER.replace("del sys.path[0]", "del sys.path[0:2]")
    command = [sys.executable, *options, "-c", starter, source, "", *args]
    return subprocess.run(command, capture_output=True, text=True)


def assert_same(*args: str) -> None:
    expected, actual = by_interpreter(*args), by_us(*args)
    assert (actual.stdout, actual.stderr, actual.returncode) == (
        expected.stdout,
        expected.stderr,
        expected.returncode,
    )


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(("script.py",), id="script"),
        pytest.param(("script.py", "-x", "--", "--target", "-m"), id="script-with-options"),
        pytest.param(("sub/../script.py",), id="script-by-a-detour"),
        pytest.param(("sub/link.py",), id="link"),
        pytest.param(("application", "a"), id="folder"),
        pytest.param(("archive.zip", "a"), id="archive"),
        pytest.param(("-m", "script", "-k", "x"), id="module"),
        pytest.param(("-m", "package"), id="package"),
        pytest.param(("-m", "package.inner"), id="module-of-a-package"),
    ],
)
def test_program_sees_what_it_would_see(folder: Path, args: tuple[str, ...]) -> None:
    add("script.py", REPORT)
    add("sub/other.py", "")
    Path("sub/link.py").symlink_to("../script.py")
    add("application/__main__.py", REPORT)
    add("package/__init__.py", "import sys; print('around', sys.argv, sys.path[0])")
    add("package/__main__.py", REPORT)
    add("package/inner.py", REPORT)
    with zipfile.ZipFile("archive.zip", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    assert_same(*args)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("import sys; sys.exit(3)", id="status"),
        pytest.param("import sys; sys.exit('words')", id="words"),
        pytest.param("raise SystemExit", id="nothing"),
        pytest.param("def f():\n    1 / 0\nf()", id="exception"),
        pytest.param("try:\n    1 / 0\nexcept ValueError:\n    pass", id="exception-in-try"),
        pytest.param("try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError from e", id="chain"),
        pytest.param("if True\n    pass", id="syntax"),
        pytest.param("class E(BaseException): ...\nraise E('x')", id="base-exception"),
        pytest.param("import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[2].tb_lineno)\n1 / 0", id="hook"),
        pytest.param("import atexit\natexit.register(lambda: print(__name__))", id="atexit"),
        pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", id="signal"),
    ],
)
def test_program_ends_as_it_would_end(folder: Path, text: str) -> None:
    add("script.py", text)
    assert_same("script.py")


def test_interrupt_ends_the_process_by_its_signal(folder: Path) -> None:
    add("script.py", "raise KeyboardInterrupt")
    expected, actual = by_interpreter("script.py"), by_us("script.py")
    assert actual.returncode == expected.returncode
    assert actual.stderr.endswith(expected.stderr.partition("\n")[2])


@pytest.mark.parametrize(
    ("init", "words"),
    [
        pytest.param("import user_missing", "No module named 'user_missing'", id="missing-import"),
        pytest.param("1 / 0", "ZeroDivisionError", id="exception"),
    ],
)
def test_error_in_a_package_around_the_module_is_the_programs(folder: Path, init: str, words: str) -> None:
    add("package/__init__.py", init)
    add("package/inner.py", "print('ran')")
    done = by_us("-m", "package.inner")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" in done.stderr
    assert "mainprogram" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("option", ["-I", *(["-P"] if sys.version_info >= (3, 11) else [])])
def test_safe_path_is_respected(folder: Path, option: str) -> None:
    add("script.py", "import sys; print(sys.path)")
    expected = by_interpreter(option, "script.py").stdout
    source = str(Path(mainprogram.__file__).parents[2])
    command = [sys.executable, option, "-c", STARTER, source, "", "script.py"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == expected


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param("missing.py", "No such file or directory", id="missing"),
        pytest.param("folder", "it is a directory without a __main__.py", id="folder"),
        pytest.param("folder/below.py/x", "Not a directory", id="below-a-file"),
    ],
)
def test_refuses_scripts_that_are_not_there(folder: Path, script: str, why: str) -> None:
    add("folder/below.py", "")
    with pytest.raises(RefusalError, match="cannot run this program") as caught:
        mainprogram.run_script(script, [])
    assert (caught.value.where, caught.value.why) == (script, why)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        pytest.param("user_missing", "no module named user_missing", id="missing"),
        pytest.param("user_missing.inner", "No module named 'user_missing'", id="missing-package"),
        pytest.param("package.missing", "no module named package.missing", id="missing-in-a-package"),
        pytest.param("package", "package is a package without a __main__ module", id="package"),
        pytest.param("namespace", "namespace is a package without a __main__ module", id="namespace"),
        pytest.param("script.py", "__path__ attribute not found on 'script'", id="file-name"),
        pytest.param(".relative", "no module named .relative", id="relative"),
        pytest.param("sys", "sys has no Python code", id="built-in"),
    ],
)
def test_refuses_modules_that_cannot_be_run(folder: Path, module: str, why: str) -> None:
    add("package/__init__.py", "")
    add("namespace/x.py", "")
    add("script.py", "")
    done = by_us("-m", module)
    assert done.returncode == 1
    assert f"RefusalError: cannot run the module {module!r}" in done.stderr
    assert f"why: {why}" in done.stderr
    assert f"where: {folder}" in done.stderr
