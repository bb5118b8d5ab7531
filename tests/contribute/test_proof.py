"""What a proof must show, and the evidence it leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nkifix.contribute import proof as proofs
from nkifix.contribute.base import KERNEL
from nkifix.contribute.proof import Before
from nkifix.contribute.runs import Lint, ScriptRun
from nkifix.errors import RefusalError
from tests.contribute.proofs import NEW, OLD, PATCH, PROOF, proof, run

SCRIPT = ScriptRun(1, "E: it broke")


def test_sound_proof_is_taken() -> None:
    PROOF.check()
    assert PROOF.before.new == (NEW,)


def test_documentation_needs_no_test() -> None:
    import dataclasses

    words = dataclasses.replace(PATCH, rows=(), kind="doc")
    proof(patch=words, before=Before(run(old="passed"), SCRIPT, (OLD,)), after=run(old="passed")).check()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        pytest.param(
            {"before": Before(run(old="passed", new="passed"), SCRIPT, (OLD,))}, "does not fail without", id="idle"
        ),
        pytest.param(
            {"before": Before(run(old="passed", new="skipped"), SCRIPT, (OLD,))}, "does not fail without", id="skipped"
        ),
        pytest.param({"before": Before(run(old="passed"), SCRIPT, (OLD,))}, "were not run", id="not run"),
        pytest.param({"after": run(old="passed", new="failed")}, "does not pass with the fix", id="not fixed"),
        pytest.param({"after": run(old="failed", new="passed")}, "does not pass with the fix", id="broken"),
        pytest.param({"after": run(old="skipped", new="passed")}, "does not pass with the fix", id="skipped now"),
        pytest.param({"script_after": ScriptRun(1, "E")}, "reproduction still fails", id="script not fixed"),
        pytest.param(
            {"before": Before(run(old="passed", new="failed"), ScriptRun(0, ""), (OLD,))},
            "reproduction does not show",
            id="script idle",
        ),
        pytest.param({"lint": Lint("ruff", "ruff", ("a",), ("a", "b"))}, "adds a lint finding: b", id="lint"),
        pytest.param({"lint": Lint("ruff", "ruff", ("a",), ("a", "a"))}, "adds a lint finding: a", id="lint again"),
    ],
)
def test_refuses_a_proof_that_shows_nothing(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(RefusalError, match=what) as refusal:
        proof(**changes).check()
    assert refusal.value.next_step
    assert refusal.value.where == "it at v0.7.14366"


def test_lint_findings_may_move_and_go() -> None:
    assert Lint("ruff", "ruff", ("a", "a", "b"), ("b", "a")).added == ()


def test_evidence_is_plain_json_and_says_emulated() -> None:
    written = json.loads(json.dumps(PROOF.as_evidence("0001-it.patch", b"mail")))
    assert written["schema"] == "nkifix.pr-evidence/1"
    assert written["kind"] == "emulated"
    assert written["backend"] == {"name": "emulator", "emulated": True, "target": "trn1"}
    assert written["files"][KERNEL] == {"before": proofs.sha256(b"broken"), "after": proofs.sha256(b"mended")}
    assert written["patch"]["sha256"] == proofs.sha256(b"mail")
    assert [(test["id"], test["outcome"]) for test in written["tests"]["before"]] == [(OLD, "passed"), (NEW, "failed")]
    assert written["tests"]["new"] == [NEW]
    assert written["hardware"] is None


def test_environment_names_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "_PACKAGES", ("pytest", "no-such-package"))
    found = proofs.environment()
    assert found["pytest"] == pytest.__version__
    assert found["no-such-package"] == "not installed"
    assert {"nkifix", "python", "platform", "git"} <= set(found)
