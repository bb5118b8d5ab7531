"""Make a virtual environment that is exactly what this tree asks for, or leave it alone if it already is.

    python3 scripts/setup_venv.py demo|test|oldest

The Makefile calls it before every target. It needs Python's standard library only, and it ends in one of two
states: an environment that works, marked by a stamp, or an error that says what to do. The stamp is written last
and holds a digest of everything the environment depends on, so an interrupted, broken, moved or outdated
environment is never mistaken for a good one: it is removed and built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)

# profile -> (folder, constraints, what to install beside torch, whether torch is wanted, what must import)
CORE = ("click", "libcst", "ml_dtypes", "numpy", "rich", "vendored_kernel", "nkifix")
PROFILES: dict[str, tuple[str, str, str, bool, tuple[str, ...]]] = {
    "demo": (".venv", "constraints.txt", ".", False, CORE),
    "test": (".venv", "constraints.txt", ".[dev]", True, (*CORE, "torch", "pytest", "mypy", "xdist")),
    "oldest": (".venv-oldest", "constraints-oldest.txt", ".[test,torch]", True, (*CORE, "torch", "pytest", "xdist")),
}
INCLUDES = {"test": ("demo",)}
"""A profile serves the ones it includes: after `make test`, `make demo` installs nothing."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INSTALL_TABLES = ("build-system", "project", "tool.hatch")
"""The tables of pyproject.toml that decide what is installed; editing a lint rule rebuilds nothing."""


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def stop(what: str, next_step: str) -> NoReturn:
    """Say what went wrong and what to do, and end with the code of a refusal."""
    print(f"ERROR {what}\n  next: {next_step}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def base_interpreter() -> str:
    """The interpreter to build from: never that of an environment, which may be the very one we remove."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable) or sys.executable)


def install_tables(text: str) -> str:
    """The part of pyproject.toml that decides what is installed, comments and blank lines left out."""
    kept: list[str] = []
    keep = False
    for line in text.splitlines():
        table = re.match(r"\[+\s*([^]\s]+)\s*\]", line)
        if table:
            name = table.group(1)
            keep = any(name == prefix or name.startswith(f"{prefix}.") for prefix in INSTALL_TABLES)
        if keep and line.strip() and not line.lstrip().startswith("#"):
            kept.append(line.strip())
    return "\n".join(kept)


def digest(profile: str, root: Path = ROOT) -> str:
    """One value for everything that the environment of ``profile`` depends on."""
    constraints = PROFILES[profile][1]
    parts = (
        profile,
        str(root),  # scripts and the editable install hold absolute paths
        base_interpreter(),
        sys.version,
        install_tables((root / "pyproject.toml").read_text(encoding="utf-8")),
        (root / constraints).read_text(encoding="utf-8"),
        Path(__file__).read_text(encoding="utf-8"),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def read_stamps(venv: Path) -> dict[str, str]:
    """Profile -> digest of what is installed; empty for anything that is no finished environment of ours."""
    try:
        stamps = json.loads((venv / "nkifix-setup.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def write_stamps(venv: Path, stamps: dict[str, str]) -> None:
    """Written last and in one step, so that a stamp never stands on a half-built environment."""
    target = venv / "nkifix-setup.json"
    part = target.with_suffix(".part")
    part.write_text(json.dumps(stamps), encoding="utf-8")
    part.replace(target)


def works(venv: Path, modules: tuple[str, ...], root: Path = ROOT) -> bool:
    """Whether the environment's interpreter runs, holds ``modules``, and finds nkifix in this tree."""
    code = (
        "import importlib.util as u, sys\n"
        f"missing = [m for m in {modules!r} if u.find_spec(m) is None]\n"
        "import nkifix\n"
        f"sys.exit(bool(missing) or not nkifix.__file__.startswith({str(root / 'src')!r}))"
    )
    try:
        return subprocess.run([venv / "bin" / "python", "-I", "-c", code], capture_output=True, cwd="/").returncode == 0
    except OSError:
        return False


def up_to_date(profile: str, root: Path = ROOT) -> bool:
    """Whether the environment of ``profile`` needs nothing."""
    venv = root / PROFILES[profile][0]
    return read_stamps(venv).get(profile) == digest(profile, root) and works(venv, PROFILES[profile][4], root)


def remove(path: Path) -> None:
    """Remove an environment of any shape; a link is removed, not what it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def create(venv: Path) -> None:
    """An empty environment with pip in it."""
    remove(venv)
    made = subprocess.run([base_interpreter(), "-m", "venv", venv], capture_output=True, text=True)
    if made.returncode:
        remove(venv)
        stop(
            f"{base_interpreter()} cannot make a virtual environment:\n{(made.stdout + made.stderr).strip()}",
            "install Python's venv module (Debian, Ubuntu: apt-get install python3-venv), or choose another"
            " interpreter: make PYTHON=/path/to/python3 …",
        )


def pip(venv: Path, constraints: str, *arguments: str) -> bool:
    """One pip install under the constraints; True if it went well."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    environment = {**os.environ, "PIP_NO_INPUT": "1"}
    # -I is not for pip: it would drop the settings of this machine. A stray PYTHONPATH must not hide packages.
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([*command, "-c", constraints, *arguments], cwd=ROOT, env=environment)
    return done.returncode == 0


def install_torch(venv: Path, constraints: str) -> None:
    """Install the CPU build of torch; on Linux any other build would pull gigabytes of CUDA packages."""
    match = re.search(r"^torch==(\S+)", (ROOT / constraints).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        stop(f"{constraints} does not pin torch", "add a line torch==VERSION")
    wanted = f"torch=={match.group(1)}"
    if sys.platform == "linux":
        wanted += "+cpu"
    say(f"installing {wanted}")
    if pip(venv, constraints, "--only-binary", "torch", wanted):
        return
    say(f"not in the configured index; asking {TORCH_CPU_INDEX}")
    elsewhere = ("--retries", "1", "--extra-index-url", TORCH_CPU_INDEX)
    if pip(venv, constraints, *elsewhere, "--only-binary", "torch", wanted):
        return
    version = ".".join(map(str, sys.version_info[:2]))
    stop(
        f"{wanted} is not to be had for Python {version} here (pip's own words are above)",
        f"choose an interpreter that it has a wheel for, for example: make PYTHON=python3.11 …;"
        f" or point pip at an index that serves {wanted}. `make demo` needs no torch.",
    )


def build(profile: str) -> None:
    """Bring the environment of ``profile`` to what the tree asks for."""
    folder, constraints, target, with_torch, modules = PROFILES[profile]
    venv = ROOT / folder
    stamps = {name: value for name, value in read_stamps(venv).items() if name in PROFILES}
    included = INCLUDES.get(profile, ())
    extends = any(up_to_date(name) for name in included)
    if extends:
        say(f"{folder}: adding what {profile} needs")
        # From here until the end the environment is neither; an interruption must not leave the old stamp.
        write_stamps(venv, {})
    else:
        say(f"{folder}: building for {profile} with Python {sys.version.split()[0]}")
        create(venv)
        stamps = {}
    if with_torch:
        install_torch(venv, constraints)
    say(f"installing {target} under {constraints}")
    if not pip(venv, constraints, "--editable", target):
        stop(f"pip could not install {target}", "read pip's message above; then run the same make target again")
    if not works(venv, modules):
        stop(f"{folder} was built but does not import {', '.join(modules)}", f"remove {folder} and try again")
    stamps.update({name: digest(name) for name in (profile, *included)})
    write_stamps(venv, stamps)
    say(f"{folder}: ready")


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Two make targets at once (make -j) must not build into one folder; the lock is this very file."""
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> None:
    """Check the interpreter, then set up the profile that is asked for."""
    if len(arguments) != 1 or arguments[0] not in PROFILES:
        stop(f"unknown profile: {' '.join(arguments) or '(none)'}", f"one of {', '.join(PROFILES)}")
    if sys.version_info < OLDEST_PYTHON:
        stop(
            f"Python {sys.version.split()[0]} is too old; nkifix needs {'.'.join(map(str, OLDEST_PYTHON))} or newer",
            "choose another interpreter: make PYTHON=python3.11 …",
        )
    with only_one_at_a_time():
        if not up_to_date(arguments[0]):
            build(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
