"""The facts about one patch, from which all texts are written."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import nkifix
from nkifix.contribute.base import KERNEL, TESTS, Base
from nkifix.contribute.hardware import HardwareEvidence
from nkifix.contribute.patches import Patch
from nkifix.contribute.repository import git_version
from nkifix.contribute.runs import Lint, ScriptRun, TestOutcome, TestRun
from nkifix.errors import RefusalError

SCHEMA = "nkifix.pr-evidence/1"
"""Name and version of the form of evidence.json."""

_PACKAGES = ("numpy", "ml_dtypes", "torch", "pytest", "libcst")


@dataclass(frozen=True)
class Before:
    """What was found at the base, with the new tests but without the fix."""

    tests: TestRun
    script: ScriptRun
    known: tuple[str, ...]
    """Ids of the tests that upstream has already."""

    @property
    def new(self) -> tuple[str, ...]:
        """Ids of the tests that the patch adds."""
        return tuple(test.id for test in self.tests.outcomes if test.id not in self.known)


@dataclass(frozen=True)
class Proof:
    """A patch, what it changes and what was run to prove it."""

    patch: Patch
    base: Base
    kernel: bytes
    """The fixed kernel file."""
    tests: bytes
    """The test file with the new tests."""
    before: Before
    after: TestRun
    script_after: ScriptRun
    lint: Lint
    target: str
    """The chip that the emulator imitated."""
    environment: Mapping[str, str]
    """Name of a program or package -> its version."""
    follow_ups: tuple[str, ...]
    """What else is known of this kernel and left alone, a line each."""
    hardware: HardwareEvidence | None = None

    def check(self) -> None:
        """Check that the new tests fail without the fix and that everything passes with it.

        Raises
        ------
        RefusalError
            One of them does not: the patch proves nothing, or breaks something.
        """
        new = set(self.before.new)
        idle = [test for test in self.before.tests.outcomes if test.id in new and test.outcome != "failed"]
        broken = [test for test in self.after.outcomes if test.outcome != "passed"]
        if self.patch.has_tests and not new:
            raise self._refusal("the new tests were not run", (), "see whether the base marks its tests differently")
        if idle:
            raise self._refusal("a new test does not fail without the fix", idle, "name a base that has the defect")
        if broken:
            raise self._refusal("a test does not pass with the fix", broken, "name another base; nothing was written")
        if self.before.script.exit_code == 0 or self.script_after.exit_code != 0:
            shown = "does not show the defect" if self.before.script.exit_code == 0 else "still fails with the fix"
            raise self._refusal(f"the reproduction {shown}", (), "name a base that has the defect")
        if self.lint.added:
            raise self._refusal(f"the change adds a lint finding: {self.lint.added[0]}", (), "name another base")

    def _refusal(self, what: str, tests: Sequence[TestOutcome], next_step: str) -> RefusalError:
        why = "; ".join(f"{test.id.partition('::')[2]}: {test.outcome} {test.message}".strip() for test in tests[:3])
        where = f"{self.patch.id} at {self.base.name}"
        return RefusalError(what, where=where, why=why or self.script_after.error or None, next_step=next_step)

    def digests(self) -> dict[str, dict[str, str]]:
        """Return the sha256 of both files: path -> ``before`` and ``after`` -> digest."""
        both = {KERNEL: (self.base.kernel, self.kernel), TESTS: (self.base.tests, self.tests)}
        return {name: {"before": sha256(old), "after": sha256(new)} for name, (old, new) in both.items()}

    def as_evidence(self, mail_name: str, mail: bytes) -> dict[str, object]:
        """Return the content of evidence.json."""
        return {
            "schema": SCHEMA,
            "kind": "emulated",
            "defect": self.patch.id,
            "base": {"commit": self.base.commit, "name": self.base.name},
            "patch": {"file": mail_name, "sha256": sha256(mail)},
            "files": self.digests(),
            "environment": dict(self.environment),
            "backend": {"name": "emulator", "emulated": True, "target": self.target},
            "tests": {
                "command": self.after.command,
                "new": list(self.before.new),
                "left_out": list(self.after.left_out),
                "before": [vars(test) for test in self.before.tests.outcomes],
                "after": [vars(test) for test in self.after.outcomes],
            },
            "reproduction": {
                "script": self.patch.reproduction,
                "before": vars(self.before.script),
                "after": vars(self.script_after),
            },
            "lint": vars(self.lint),
            "hardware": self.hardware.raw if self.hardware else None,
        }


def environment() -> dict[str, str]:
    """Return the versions of what the runs used, without importing any of it."""
    return {
        "nkifix": nkifix.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "git": git_version(),
        **{name: _version_of(name) for name in _PACKAGES},
    }


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def sha256(data: bytes) -> str:
    """Return the digest of ``data`` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
