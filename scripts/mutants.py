"""Mutation run: change one expression at a time and see whether a test fails.

    python scripts/mutants.py                                        # every module that pyproject.toml lists
    python scripts/mutants.py --module src/nkifix/codemod/diff.py    # one module
    python scripts/mutants.py --diff-only --limit 50                 # 50 of the mutants on lines changed since HEAD

A mutant that no test notices has survived: write the test that kills it, or, where the change makes no difference
to anybody, explain it in the file that ``[tool.mutants]`` names. Exit 0: all killed or explained; 1: survivors
without an explanation, or an explanation whose line is gone; 2: the run itself could not be done.

Why not mutmut or cosmic-ray: mutmut leaves module-level tables alone, where the emulator keeps its rules, and wraps
each function, which moves the stack frames that our messages name; cosmic-ray starts a fresh interpreter and the whole
suite for each mutant. Here each mutant is a fork of a process that has numpy and torch loaded, in one of several
copies of the tree, and runs only the tests that reach the changed line, fastest first.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # found from any directory, installed or not
from scripts.mutation import Mutant, find_mutants

NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", ".coverage*")
KILLED_BY = {1: "test failed", 2: "collection failed", 3: "pytest broke", 4: "collection failed"}
"""Exit code of pytest -> how the mutant died. 0 is a survivor; anything else is a fault of the run."""

# ------------------------------------------------------------------------------------------------ configuration


@dataclasses.dataclass(frozen=True)
class Config:
    """``[tool.mutants]`` of pyproject.toml."""

    root: Path
    modules: dict[str, list[str]]
    """Module or folder -> the tests that hold it, run where coverage does not tell which ones do."""
    explained: Path
    preload: tuple[str, ...]

    def files(self) -> list[str]:
        """Every module listed, folders opened."""
        found: list[str] = []
        for name in self.modules:
            path = self.root / name
            found += [str(file.relative_to(self.root)) for file in ([path] if path.is_file() else path.rglob("*.py"))]
        return sorted(set(found))

    def tests(self, module: str) -> list[str]:
        """The tests of ``module``: those of the longest listed path that holds it."""
        holding = [name for name in self.modules if module == name or module.startswith(f"{name}/")]
        if not holding:
            stop(f"[tool.mutants.modules] of pyproject.toml names no tests for {module}")
        tests = self.modules[max(holding, key=len)]
        missing = [test for test in tests if not (self.root / test).exists()]
        if missing or not tests:
            stop(f"the tests of {module} do not exist: {', '.join(missing) or '(none listed)'}")
        return tests


def stop(what: str) -> NoReturn:
    """End a run that cannot be done."""
    print(f"ERROR {what}", file=sys.stderr)
    raise SystemExit(2)


def load_config(root: Path) -> Config:
    """Read pyproject.toml of the tree."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutants"]
    return Config(root, table["modules"], root / table["explained"], tuple(table.get("preload", ())))


def load_explained(path: Path) -> dict[tuple[str, str, str], str]:
    """Key of a mutant -> why its survival is right."""
    if not path.exists():
        return {}
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("explained", [])
    return {(row["module"], row["line"], row["change"]): row["reason"] for row in rows}


def changed_lines(root: Path, module: str, revision: str) -> set[int]:
    """The lines of ``module`` that are new since ``revision``."""
    command = ["git", "-C", str(root), "diff", "--unified=0", "--no-ext-diff", revision, "--", module]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        stop(f"git diff {revision}: {done.stderr.strip()}")
    lines: set[int] = set()
    for start, count in re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", done.stdout, re.MULTILINE):
        lines.update(range(int(start), int(start) + int(count or 1)))
    return lines


# ------------------------------------------------------------------------------------------------ running


class Durations:
    """A pytest plugin: how long each test took, setup and teardown included."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add one phase of one test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Hand the result to the process that waits."""
        self.target.write_text(json.dumps(self.seconds), encoding="utf-8")


def fork_pytest(tree: Path, arguments: list[str], log: Path, plugins: Sequence[object] = ()) -> int:
    """Start pytest in a fork of this process, in ``tree``; returns the process id.

    Nothing of the tree may have been imported here, so that the child imports the mutated copy.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        os.chdir(tree)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        # Children of the tests must see the copy too, before any editable install.
        os.environ["PYTHONPATH"] = os.pathsep.join((str(tree / "src"), str(tree)))
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(tree / "src"), str(tree)]
        import pytest

        code = int(pytest.main(["-p", "no:cacheprovider", "-q", *arguments], plugins=plugins))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What the tests do before any change."""

    seconds: dict[str, float]
    reaching: dict[str, dict[int, list[str]]]
    """Module -> line -> the tests that run it; an empty name stands for import time or a child process."""

    def select(self, mutant: Mutant, tests: list[str]) -> list[str]:
        """The tests that can notice ``mutant``, most promising first."""
        by_line = self.reaching.get(mutant.module, {})
        names = {name for line in range(mutant.lines[0], mutant.lines[1] + 1) for name in by_line.get(line, ())}
        near = sorted((name for name in names if name in self.seconds), key=self.seconds.__getitem__)
        if near and "" not in names:
            return near
        rest = (name for name in self.seconds if name.split("::")[0].startswith(tuple(tests)) and name not in names)
        return near + sorted(rest, key=self.seconds.__getitem__)


def measure_baseline(tree: Path, tests: list[str], modules: list[str]) -> Baseline:
    """Run the tests once, unchanged, with coverage that remembers which test ran which line."""
    from coverage import CoverageData

    data_file, times, log = tree / ".coverage.mutants", tree / "durations.json", tree / "baseline.log"
    os.environ["COVERAGE_FILE"] = str(data_file)
    measured = [f"--cov={module}" for module in sorted({str(Path(module).parent) for module in modules})]
    options = ["--cov-context=test", "--cov-report=", "--cov-fail-under=0", *measured]
    _, status = os.waitpid(fork_pytest(tree, ["-x", *options, *tests], log, [Durations(times)]), 0)
    del os.environ["COVERAGE_FILE"]
    if os.waitstatus_to_exitcode(status):
        stop(f"the tests fail before any change:\n{log.read_text(encoding='utf-8')[-3000:]}")
    data = CoverageData(str(data_file))
    data.read()
    reaching: dict[str, dict[int, list[str]]] = {}
    for module in modules:
        contexts = data.contexts_by_lineno(str(tree / module))
        reaching[module] = {line: [name.split("|")[0] for name in names] for line, names in contexts.items()}
    return Baseline(json.loads(times.read_text(encoding="utf-8")), reaching)


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    mutant: Mutant
    status: Literal["killed", "survived"]
    how: str
    seconds: float


@dataclasses.dataclass
class Running:
    """One mutant at work in one tree."""

    mutant: Mutant
    tree: Path
    tests: int
    started: float
    limit_seconds: float


class Runner:
    """Runs mutants, one in each copy of the tree at a time."""

    def __init__(self, config: Config, baseline: Baseline, trees: list[Path]) -> None:
        self.config = config
        self.baseline = baseline
        self.free = list(trees)
        self.running: dict[int, Running] = {}

    def run(self, mutants: list[Mutant]) -> Iterator[Result]:
        """Results in the order in which they are known."""
        waiting = list(reversed(mutants))
        try:
            while waiting or self.running:
                while waiting and self.free:
                    self.start(waiting.pop())
                yield from self.collect()
        finally:
            for process in self.running:
                self.kill(process)

    def start(self, mutant: Mutant) -> None:
        """Change one copy and let its tests run."""
        tests = self.baseline.select(mutant, self.config.tests(mutant.module))
        tree = self.free.pop()
        (tree / mutant.module).write_bytes(mutant.apply((self.config.root / mutant.module).read_bytes()))
        limit_seconds = 10 + 5 * sum(self.baseline.seconds[name] for name in tests)
        process = fork_pytest(tree, ["-x", "--no-cov", *tests], tree / "mutant.log")
        self.running[process] = Running(mutant, tree, len(tests), time.monotonic(), limit_seconds)

    def collect(self) -> Iterator[Result]:
        """Results of processes that have ended or have run too long."""
        time.sleep(0.01)
        for process, job in list(self.running.items()):
            seconds = time.monotonic() - job.started
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended and seconds < job.limit_seconds:
                continue
            del self.running[process]
            if not ended:
                self.kill(process)
            yield self.judge(job, os.waitstatus_to_exitcode(status) if ended else None, seconds)
            shutil.copyfile(self.config.root / job.mutant.module, job.tree / job.mutant.module)
            self.free.append(job.tree)

    def judge(self, job: Running, code: int | None, seconds: float) -> Result:
        """Read pytest's exit code; a code that pytest does not have is a fault of this run, not a kill."""
        if code is None:
            return Result(job.mutant, "killed", f"no end after {job.limit_seconds:.0f} s", seconds)
        if code == 0:
            return Result(job.mutant, "survived", f"{job.tests} tests passed", seconds)
        if code < 0:
            return Result(job.mutant, "killed", f"signal {-code}", seconds)
        if code not in KILLED_BY:
            log = (job.tree / "mutant.log").read_text(encoding="utf-8", errors="replace")
            stop(f"pytest ended with {code} on {job.mutant.change!r}:\n{log[-2000:]}")
        return Result(job.mutant, "killed", KILLED_BY[code], seconds)

    @staticmethod
    def kill(process: int) -> None:
        """End one process and its own children, by the group that it made for itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)


# ------------------------------------------------------------------------------------------------ report


def table(rows: list[tuple[str, str, str, str]]) -> str:
    """Rows as Markdown."""
    head = "| module | line | change | why |\n|---|---|---|---|"
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join([head, *(f"| {a} | `{b}` | `{c}` | {d} |" for a, b, c, d in cells)])


def stale_explanations(root: Path, explained: dict[tuple[str, str, str], str]) -> list[tuple[str, str, str]]:
    """Explanations whose mutant no longer exists."""
    existing: set[tuple[str, str, str]] = set()
    for module in {key[0] for key in explained}:
        if (root / module).exists():
            existing.update(mutant.key for mutant in find_mutants(module, (root / module).read_bytes()))
    return sorted(set(explained) - existing)


def choose(config: Config, options: argparse.Namespace) -> list[Mutant]:
    """The mutants that the options ask for."""
    modules = options.module or config.files()
    missing = [module for module in modules if not (config.root / module).is_file()]
    if missing:
        stop(f"no such module: {', '.join(missing)}")
    mutants: list[Mutant] = []
    for module in modules:
        found = find_mutants(module, (config.root / module).read_bytes())
        if options.diff_only is not None:
            changed = changed_lines(config.root, module, options.diff_only)
            found = [one for one in found if changed.intersection(range(one.lines[0], one.lines[1] + 1))]
        mutants += found
    if options.limit is not None and options.limit < len(mutants):
        chosen = random.Random(options.seed).sample(range(len(mutants)), options.limit)  # noqa: S311 - no secret
        mutants = [mutants[place] for place in sorted(chosen)]
    return mutants


def run_all(config: Config, mutants: list[Mutant], jobs: int) -> list[Result]:
    """Measure the baseline, then run every mutant, with progress on stderr."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive a fork
    for name in config.preload:
        with contextlib.suppress(ImportError):
            __import__(name)
    modules = sorted({mutant.module for mutant in mutants})
    tests = sorted({test for module in modules for test in config.tests(module)})
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Path(folder).resolve() / f"tree{number}" for number in range(jobs)]
        for tree in trees:
            shutil.copytree(config.root, tree, ignore=NOT_COPIED, symlinks=True)
        print(f"{len(mutants)} mutants in {len(modules)} modules; baseline …", file=sys.stderr)
        baseline = measure_baseline(trees[0], tests, modules)
        print(f"{len(baseline.seconds)} tests in {sum(baseline.seconds.values()):.0f} s", file=sys.stderr)
        for result in Runner(config, baseline, trees).run(mutants):
            results.append(result)
            if result.status == "survived" or len(results) % 25 == 0 or len(results) == len(mutants):
                note = f"{result.mutant.module}: {result.mutant.change}" if result.status == "survived" else ""
                print(f"{len(results)}/{len(mutants)} {result.status} {note}".rstrip(), file=sys.stderr, flush=True)
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mutation run over the modules that pyproject.toml lists.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the tree")
    parser.add_argument("--module", action="append", help="only this module (may be repeated)")
    parser.add_argument("--limit", type=int, help="a random sample of this many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of that sample (default 0)")
    parser.add_argument("--diff-only", nargs="?", const="HEAD", metavar="REV", help="only lines changed since REV")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at work at once (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result there")
    parser.add_argument("--list", action="store_true", help="print the mutants and run none")
    parser.add_argument("--explained", action="store_true", help="print the table of explained survivors")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, report, and return the exit code."""
    options = parse(arguments)
    config = load_config(options.root.resolve())
    explained = load_explained(config.explained)
    if options.explained:
        print(table([(*key, reason) for key, reason in sorted(explained.items())]))
        return 0
    mutants = choose(config, options)
    if options.list:
        print(table([(*mutant.key, "") for mutant in mutants]))
        return 0
    if not mutants:
        print("no mutants: nothing to do")
        return 0
    results = run_all(config, mutants, options.jobs)
    survivors = [result for result in results if result.status == "survived"]
    open_ones = [result for result in survivors if result.mutant.key not in explained]
    stale = stale_explanations(config.root, explained)
    killed = len(results) - len(survivors)
    print(f"{killed} of {len(results)} killed, {len(survivors)} survived, {len(open_ones)} of them unexplained\n")
    if survivors:
        print(table([(*one.mutant.key, explained.get(one.mutant.key, f"OPEN: {one.how}")) for one in survivors]))
    for key in stale:
        print(f"explanation without a mutant, remove it: {key}")
    if options.json:
        rows = [dataclasses.asdict(one) | {"explained": explained.get(one.mutant.key)} for one in results]
        options.json.write_text(json.dumps({"version": 1, "results": rows}, indent=1), encoding="utf-8")
    return 1 if open_ones or stale else 0


if __name__ == "__main__":
    sys.exit(main())
