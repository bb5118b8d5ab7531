"""Fixtures for tests of the emulator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nkifix.emulator.actions import Actions
from tests.emulator.project import KERNEL, Project


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[Actions]:
    """The actions that were done again."""
    found: list[Actions] = []
    repeat = Actions.repeat

    def noted(self: Actions, *args: Any) -> None:
        found.append(self)
        repeat(self, *args)

    monkeypatch.setattr(Actions, "repeat", noted)
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A folder on the path, with a kernel in ``user_kernel.py``; what was imported from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    made = Project(tmp_path)
    made.add("user_kernel.py", KERNEL)
    yield made
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
