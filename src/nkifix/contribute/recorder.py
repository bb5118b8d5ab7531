"""A pytest plugin that writes what each test did to a file, one JSON object a line.

It runs in a child process, next to the tests of a clone, and needs nothing but pytest and the standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUTCOMES = "NKIFIX_OUTCOMES"
"""Environment variable that names the file."""
ASIDE = "NKIFIX_ASIDE"
"""Environment variable that holds the ids of tests that are not to run, as a JSON list."""


def _write(**fields: Any) -> None:
    with Path(os.environ[OUTCOMES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Lay aside what is not to run."""
    aside = json.loads(os.environ[ASIDE])
    items[:] = [item for item in items if item.nodeid not in aside]


def pytest_deselected(items: Sequence[Any]) -> None:
    """Record the tests that are left out."""
    for item in items:
        _write(event="left out", id=item.nodeid)


def pytest_runtest_logreport(report: Any) -> None:
    """Record a test's call, or a set-up or tear-down that went wrong."""
    if report.when == "call" or report.outcome != "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash is not None else str(report.longrepr or "")
        _write(event="ran", id=report.nodeid, outcome=report.outcome, message=message, seconds=report.duration)
