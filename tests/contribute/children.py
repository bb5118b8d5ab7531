"""What the child processes of a kit would answer, without starting them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nkifix.contribute import runs
from nkifix.contribute.base import KERNEL, TESTS
from nkifix.contribute.runs import Lint, ScriptRun, TestOutcome, TestRun
from tests.contribute import fake_upstream
from tests.contribute.fake_upstream import STOCK

OLD, NEW = "t::test_it[1]", "t::test_it[2]"


class Children:
    """Answers as upstream's tests would: the new one fails while the kernel is the clone's own."""

    def __init__(self, stock: bytes = STOCK) -> None:
        self.stock = stock
        self.trees: set[Path] = set()

    def broken(self, tree: Path) -> bool:
        self.trees.add(tree)
        return (tree / KERNEL).read_bytes() == self.stock

    def run_tests(self, tree: Path, without: Sequence[str] = ()) -> TestRun:
        broken = self.broken(tree)
        found = [TestOutcome(OLD, "passed", "", 0.1)]
        if (tree / TESTS).read_bytes() != fake_upstream.FILES[TESTS]:
            found.append(TestOutcome(NEW, "failed" if broken else "passed", "E" if broken else "", 0.1))
        return TestRun("pytest", tuple(test for test in found if test.id not in without), ())

    def run_script(self, tree: Path, text: str) -> ScriptRun:
        return ScriptRun(1, "E") if self.broken(tree) else ScriptRun(0, "")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer in place of :mod:`nkifix.contribute.runs`."""
        for name in ("run_tests", "run_script", "lint"):
            monkeypatch.setattr(runs, name, getattr(self, name))
        monkeypatch.setattr(runs, "require_tools", lambda: None)

    def lint(self, tree: Path, before: Any, after: Any) -> Lint:
        return Lint(None, "ruff")
