"""Measure what users wait for before anything happens: process start, import of the kernel, `nkifix check`.

    python scripts/bench_startup.py [--rounds N] [--json FILE]

Each command runs once in each round, in an order that rotates, after a first round that does not count. Bytecode is
kept in a folder of our own, so modules are compiled in that first round, as after an installation. Medians, in
milliseconds and as ratios to a Python that does nothing; processor time beside wall-clock, for busy machines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # found from any directory, installed or not
from scripts.benching import Spread, Times, digits, machine, ratio, rotated, table, without

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "nkifix.bench-startup/1"
BASE = "python"
PACKAGES = ("click", "libcst", "ml_dtypes", "nkifix", "numpy", "rich")
_KERNEL = "src/nkifix/specimens/misspelled_causal_mask.py"
_CHECK = ("-m", "nkifix", "check")


@dataclass(frozen=True)
class Command:
    """Arguments of a Python, the exit code to expect, and what it may take."""

    arguments: tuple[str, ...]
    code: int = 0
    target_s: float | None = None


COMMANDS = {
    BASE: Command(("-c", "pass")),
    "import numpy": Command(("-c", "import numpy, ml_dtypes")),
    "import vendored_kernel": Command(
        ("-W", "ignore", "-c", "import vendored_kernel; vendored_kernel.flash_fwd"), target_s=0.4
    ),
    "nkifix --version": Command(("-m", "nkifix", "--version")),
    "nkifix --help": Command(("-m", "nkifix", "--help")),
    "nkifix check, no kernel": Command((*_CHECK, "src/nkifix/errors.py"), target_s=0.5),
    "nkifix check, a kernel": Command((*_CHECK, _KERNEL), code=1, target_s=0.5),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure all commands, print a table and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds is at least 1")
    made = document(measured(given.rounds))
    print(text(made), end="")
    if given.json:
        given.json.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return 0


def measured(rounds: int) -> dict[str, list[Times]]:
    """Command -> its times, one for each round."""
    times: dict[str, list[Times]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="nkifix-bench-") as folder:
        for turn in range(rounds + 1):
            for name in rotated(list(COMMANDS), turn):
                taken = run(COMMANDS[name], Path(folder))
                if turn:
                    times[name].append(taken)
    return times


def run(command: Command, bytecode: Path) -> Times:
    """One process, from its start to its end."""
    environment = without(os.environ, "PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(bytecode)}
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command.arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != command.code:
        raise SystemExit(f"python {' '.join(command.arguments)} ended with {child.returncode}, not {command.code}")
    return Times(wall, used.ru_utime + used.ru_stime)


def document(times: dict[str, list[Times]]) -> dict[str, Any]:
    """All as data."""
    base = Spread.of([one.wall_s for one in times[BASE]]).median
    return {
        "schema": SCHEMA,
        "machine": machine(PACKAGES),
        "rounds": len(times[BASE]),
        "rows": [_row(name, taken, base) for name, taken in times.items()],
    }


def _row(name: str, times: list[Times], base: float) -> dict[str, Any]:
    wall, cpu = Spread.of([one.wall_s for one in times]), Spread.of([one.cpu_s for one in times])
    target = COMMANDS[name].target_s
    return {
        "command": name,
        "wall_s": wall.to_json(),
        "cpu_s": cpu.to_json(),
        "ratio": ratio(wall.median, base),
        "target_s": target,
        "met": None if target is None else digits(wall.median) < target,
    }


def text(made: dict[str, Any]) -> str:
    """The document as a table."""
    rows = [
        (
            row["command"],
            *(f"{row[kind]['median'] * 1e3:.0f}" for kind in ("wall_s", "cpu_s")),
            f"{row['wall_s']['min'] * 1e3:.0f}–{row['wall_s']['max'] * 1e3:.0f}",
            f"{row['ratio']:.1f}",
            "" if row["target_s"] is None else f"< {row['target_s'] * 1e3:.0f}",
            {None: "", True: "met", False: "MISSED"}[row["met"]],
        )
        for row in made["rows"]
    ]
    facts = made["machine"]
    heads = ("command", "wall ms", "CPU ms", "range ms", f"ratio to {BASE}", "target", "")
    cores = f"{facts['cores']} cores, Python {facts['python']}, medians of {made['rounds']} rounds"
    return f"{facts['cpu']}, {cores}\n\n{table(heads, rows)}"


if __name__ == "__main__":
    sys.exit(main())
