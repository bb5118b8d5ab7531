"""The words: short, exact, and emulated where nothing else ran."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nkifix.contribute import hardware, texts
from nkifix.contribute.patches import Row
from nkifix.contribute.repository import Identity
from nkifix.contribute.runs import Lint, TestRun
from nkifix.contribute.templates import read_issue_form
from tests.contribute import fake_upstream
from tests.contribute.proofs import BASE, PATCH, PROOF, evidence, proof


def test_commit_message_is_wrapped_and_unsigned() -> None:
    long = dataclasses.replace(PATCH, problem="word " * 40, related="see https://example.org/" + "x" * 80)
    message = texts.commit_message(long, None)
    assert message.startswith("Mend it\n\nword word")
    assert all(len(line) <= 72 or "https://" in line for line in message.splitlines())
    assert "Adds 1 row to test_rows (two), which fails without the change." in message
    assert message.rstrip().endswith("x" * 80)
    assert "Signed-off-by" not in message


def test_commit_message_is_signed_on_request() -> None:
    signed = texts.commit_message(PATCH, Identity("A", "a@b.c"))
    assert signed == texts.commit_message(PATCH, None) + "\nSigned-off-by: A <a@b.c>\n"


def test_commit_message_names_rows_and_methods(tmp_path: Path) -> None:
    (tmp_path / "tests.py").write_text("@mark\ndef test_more(self):\n    def test_inner(): ...\n", encoding="utf-8")
    rows = (*PATCH.rows, Row("test_rows", {}, "three"))
    message = texts.commit_message(dataclasses.replace(PATCH, folder=tmp_path, rows=rows), None)
    assert "Adds 2 rows to test_rows (two; three) and test_more, which fail without" in message


def test_commit_message_without_tests_or_relations_says_nothing_of_them() -> None:
    message = texts.commit_message(dataclasses.replace(PATCH, rows=(), related=""), None)
    assert message == "Mend it\n\nIt `breaks`.\n\nA screw is loose.\n\nThe screw is tightened.\n"


def test_pull_request_says_emulated_and_ticks_nothing() -> None:
    text = texts.pull_request(PROOF, fake_upstream.PULL_REQUEST_FORM)
    assert text.startswith("<!-- Title: Mend it -->\n\n## Description\n\nIt `breaks`.\n\nA screw is loose.\n")
    assert "not on hardware: nothing was compiled by neuronx-cc, and nothing ran on a NeuronCore" in text
    assert "- **Instance Type(s):** none, emulated\n" in text
    assert "- **PyTorch Version:** 2.9\n" in text
    assert "- **Python Version:** 3.10.1\n" in text
    assert "ran with 1 new test, without and with the fix" in text
    assert "1 test without the mark `simulation` was left out: it times a device." in text
    assert "| `test_rows[1]` | passed | passed |\n| `test_rows[2]` (new) | failed: `E: it \\| broke` | passed |" in text
    assert "`ruff check` (ruff 1): nothing new." in text
    assert "[x]" not in text
    assert text.endswith("- [ ] I have read the guidelines\n")
    assert "Model Information" not in text


@pytest.mark.parametrize("calls", [True, False])
def test_pull_request_says_frankly_whether_the_kernel_is_called(calls: bool) -> None:
    made = proof(base=dataclasses.replace(BASE, caller_has_it=calls))
    frank = "on the default branch imports this kernel any more"
    for text in (texts.pull_request(made, None), texts.issue(made, None)):
        assert (frank in text) is not calls


def test_pull_request_names_follow_ups() -> None:
    assert "Additional" not in texts.pull_request(PROOF, None)
    text = texts.pull_request(proof(follow_ups=("`b`: also loose",)), None)
    assert "## Additional Information\n\nSeen in the same file and left alone here" in text
    assert "\n- `b`: also loose\n" in text


def test_pull_request_says_where_nothing_was_linted_left_out_or_added() -> None:
    after = TestRun(PROOF.after.command, PROOF.after.outcomes, ())
    before = dataclasses.replace(PROOF.before, known=tuple(test.id for test in after.outcomes))
    text = texts.pull_request(proof(lint=Lint(None, "ruff check"), after=after, before=before), None)
    assert "Not linted: ruff is not installed" in text
    assert "left out" not in text
    assert "ran with no new test" in text
    several = TestRun(after.command, after.outcomes, ("a", "b"))
    assert "2 tests without the mark `simulation` were left out: they time" in texts.pull_request(
        proof(after=several), None
    )


@pytest.mark.parametrize("lines", [2, 40])
def test_pull_request_quotes_hardware_evidence(tmp_path: Path, lines: int) -> None:
    raw = evidence()
    raw["runs"]["after"]["output"] = "".join(f"line {number}\n" for number in range(lines))
    file = tmp_path / "trn1.json"
    file.write_text(json.dumps(raw), encoding="utf-8")
    made = proof(hardware=hardware.read(file))
    text = texts.pull_request(made, fake_upstream.PULL_REQUEST_FORM)
    assert "- **Instance Type(s):** trn1.2xlarge\n" in text
    assert "- **Neuron SDK Version(s):** neuronx-cc 2.21, torch-neuronx 2.8\n" in text
    assert "- **Python Version:** 3.10.12\n" in text
    assert "On trn1.2xlarge (logs below), and on a CPU emulator" in text
    assert "On trn1.2xlarge, after (60 s): `python -m pytest`" in text
    assert ("line 0\n" in text) is (lines == 2)
    assert f"line {lines - 1}\n```" in text
    assert "not on hardware" not in text
    assert "trn1.2xlarge" in texts.issue(made, None)
    assert "NeuronCore" not in texts.issue(made, None)
    assert made.as_evidence("p", b"")["hardware"] == raw


def test_issue_fills_the_form() -> None:
    text = texts.issue(PROOF, read_issue_form(fake_upstream.ISSUE_FORM.encode()))
    assert "### Describe the bug\n\nIt `breaks`.\n\nA screw is loose.\n" in text
    assert "### Instance Type\n\nnone, emulated\n" in text
    assert "```python\nimport it\nit.run()\n```\n\nIt ends with `E: it broke` (emulated)." in text
    assert "- [ ] It worked before" in text
    assert "### Favourite colour\n\n_No response_" in text
    assert "v0.7.14366 at cccccccccccc (SDK 2.27); also v0.6.10598 (SDK 2.26)" in text


def test_issue_without_others_or_relations() -> None:
    patch = dataclasses.replace(PATCH, versions=("v0.7.14366",), related="")
    text = texts.issue(proof(patch=patch, base=dataclasses.replace(BASE, name="main")), None)
    assert "main at cccccccccccc; also v0.7.14366 (SDK 2.27)" in text
    assert "example.org" not in text
    alone = texts.issue(proof(patch=patch), None)
    assert "v0.7.14366 at cccccccccccc (SDK 2.27)\n" in alone
