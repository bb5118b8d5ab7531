"""A pytest plugin that writes what each test did to the file that ``NKIFIX_OUTCOMES`` names, one JSON object a line.

It runs in a child process, next to the tests of a clone, and needs nothing but pytest and the standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VARIABLE = "NKIFIX_OUTCOMES"


def _write(**fields: Any) -> None:
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")


def pytest_collection_finish(session: Any) -> None:
    """Record the tests that are to run."""
    for item in session.items:
        _write(event="collected", id=item.nodeid)


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
