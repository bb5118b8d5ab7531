"""A proof made by hand, for tests of what is written about one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nkifix.contribute.base import KERNEL, TESTS, Base
from nkifix.contribute.patches import Patch, Row
from nkifix.contribute.proof import Before, Proof, sha256
from nkifix.contribute.repository import Repository
from nkifix.contribute.runs import Lint, ScriptRun, TestOutcome, TestRun

NEW = f"{TESTS}::TestIt::test_rows[2]"
OLD = f"{TESTS}::TestIt::test_rows[1]"

PATCH = Patch(
    folder=Path("patches/0001-it"),
    id="it",
    title="Mend it",
    kind="crash",
    versions=("v0.6.10598", "v0.7.14366"),
    problem="It `breaks`.",
    cause="A screw is loose.",
    change="The screw is tightened.",
    reproduction="import it\nit.run()\n",
    related="https://example.org/1",
    follow_ups=(),
    rows=(Row("test_rows", {"a": "2"}, "two"),),
)

BASE = Base(
    repository=Repository(Path("clone"), Path("clone/.git/objects"), False),
    commit="c" * 40,
    name="v0.7.14366",
    kernel=b"broken",
    tests=b"old",
    newest="d" * 40,
    caller_has_it=True,
)


def run(**outcomes: str) -> TestRun:
    """``old`` and ``new``: an outcome each."""
    ids = {"old": OLD, "new": NEW}
    found = (
        TestOutcome(ids[name], outcome, "" if outcome == "passed" else "E: it | broke", 1.0)
        for name, outcome in outcomes.items()
    )
    return TestRun("nkifix run -m pytest", tuple(found), (f"{TESTS}::test_speed",))


PROOF = Proof(
    patch=PATCH,
    base=BASE,
    kernel=b"mended",
    tests=b"old and new",
    before=Before(run(old="passed", new="failed"), ScriptRun(1, "E: it broke"), (OLD,)),
    after=run(old="passed", new="passed"),
    script_after=ScriptRun(0, ""),
    lint=Lint("ruff 1", "ruff check", ("a",), ("a",)),
    target="trn1",
    environment={"torch": "2.9", "python": "3.10.1"},
    follow_ups=(),
)


def proof(**changes: Any) -> Proof:
    return dataclasses.replace(PROOF, **changes)


def evidence(**changes: Any) -> dict[str, Any]:
    """What neuron_evidence.sh would have recorded for :data:`PROOF`."""
    raw = {
        "schema": "nkifix.neuron-evidence/1",
        "recorded": "2026-01-02T03:04:05Z",
        "environment": {
            "instance_type": "trn1.2xlarge",
            "neuron_ls": "1 device",
            "python": "3.10.12",
            "packages": {"neuronx-cc": "2.21", "torch": "2.8", "torch-neuronx": "2.8"},
        },
        "base_commit": BASE.commit,
        "files": {
            KERNEL: {"before": sha256(b"broken"), "after": sha256(b"mended")},
            TESTS: {"before": sha256(b"old"), "after": sha256(b"old and new")},
        },
        "runs": {
            "before": {
                "command": "python -m pytest",
                "seconds": 61.2,
                "output": "1 failed, 1 passed\n",
                "tests": {OLD: "passed", NEW: "failed"},
            },
            "after": {
                "command": "python -m pytest",
                "seconds": 59.8,
                "output": "2 passed\n",
                "tests": {OLD: "passed", NEW: "passed"},
            },
        },
    }
    return {**raw, **changes}
