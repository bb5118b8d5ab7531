"""The words of a contribution: commit message, pull request and issue. Pure functions of a :class:`Proof`."""

from __future__ import annotations

import re
import textwrap

import nkifix
from nkifix.contribute import templates
from nkifix.contribute.base import KERNEL, SDK_OF_TAG, TESTS
from nkifix.contribute.patches import Patch
from nkifix.contribute.proof import Proof
from nkifix.contribute.repository import Identity
from nkifix.contribute.runs import MARK, TestOutcome
from nkifix.contribute.templates import Answer, IssueForm

_EMULATED = "none, emulated"
_COLUMNS = 72
_NOT_CALLED = (
    "Nothing in `src` on the default branch imports this kernel any more, so no model there changes. The fix is for "
    "those who import the file themselves and for the releases whose attention module calls it."
)
_NO_HARDWARE = "Nothing was compiled by neuronx-cc, and nothing ran on a NeuronCore."


def commit_message(patch: Patch, signer: Identity | None) -> str:
    """Return the commit's message, signed off by ``signer`` if there is one."""
    paragraphs = [patch.problem, patch.cause, patch.change, *([_tests_added(patch)] if patch.has_tests else [])]
    parts = [patch.title, *(textwrap.fill(" ".join(text.split()), _COLUMNS) for text in paragraphs)]
    if patch.related:
        parts.append("\n".join(_wrapped(patch.related)))
    if signer:
        parts.append(f"Signed-off-by: {signer}")
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _tests_added(patch: Patch) -> str:
    """Say which tests the patch adds."""
    methods = re.findall(r"^def (test_\w+)", patch.test_methods, re.MULTILINE)
    comments: dict[str, list[str]] = {}
    for row in patch.rows:
        comments.setdefault(row.test, []).append(row.comment)
    rows = [f"{_count(len(each), 'row')} to {test} ({'; '.join(each)})" for test, each in comments.items()]
    added = " and ".join([*rows, *methods])
    return f"Adds {added}, which {'fails' if len(patch.rows) + len(methods) == 1 else 'fail'} without the change."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def pull_request(proof: Proof, template: str | None) -> str:
    """Return the text of the pull request, in the form of ``template``."""
    body = templates.fill_pull_request(template, _pull_request_answers(proof))
    return f"<!-- Title: {proof.patch.title} -->\n\n{body}"


def issue(proof: Proof, form: IssueForm | None) -> str:
    """Return the text of an issue, in the form of ``form``."""
    return f"<!-- Title: {proof.patch.title} -->\n\n{templates.fill_issue(form, _issue_answers(proof))}"


def _pull_request_answers(proof: Proof) -> list[Answer]:
    patch = proof.patch
    story = [patch.problem, patch.cause, patch.change]
    if not proof.base.caller_has_it:
        story.append(_NOT_CALLED)
    answers = [
        Answer("Description", r"^description", "\n\n".join(story)),
        Answer("Testing", r"how did you test|^testing$", _how_tested(proof), "How"),
        Answer("Testing", r"test results", _results(proof), "Results"),
        *_compatibility(proof),
    ]
    if proof.follow_ups:
        known = "\n".join(f"- {line}" for line in proof.follow_ups)
        text = f"Seen in the same file and left alone here; each can follow on its own:\n\n{known}"
        answers.append(Answer("Additional Information", r"additional", text))
    answers.append(Answer("Related Issues", r"related", patch.related or "None known."))
    return answers


def _compatibility(proof: Proof) -> list[Answer]:
    evidence = proof.hardware
    if evidence is None:
        sdk = "none (emulated: NKI as documented for SDK 2.26)"
        instance, torch, python = _EMULATED, proof.environment["torch"], proof.environment["python"]
    else:
        sdk = ", ".join(f"{name} {version}" for name, version in evidence.packages.items() if "neuron" in name)
        instance, torch, python = evidence.instance_type, evidence.packages.get("torch", "unknown"), evidence.python
    return [
        Answer("Compatibility", r"neuron sdk", sdk, "Neuron SDK"),
        Answer("Compatibility", r"instance type", instance, "Instance type"),
        Answer("Compatibility", r"pytorch", torch, "PyTorch"),
        Answer("Compatibility", r"python version|^python", python, "Python"),
    ]


def _how_tested(proof: Proof) -> str:
    where = f"a CPU emulator of NKI (nkifix {nkifix.__version__}, {proof.target})"
    if proof.hardware:
        parts = [f"On {proof.hardware.instance_type} (logs below), and on {where}."]
    else:
        parts = [f"On {where}, not on hardware: n{_NO_HARDWARE[1:]}"]
    new = _count(len(proof.before.new), "new test") if proof.before.new else "no new test"
    parts.append(f"`{TESTS}` ran with {new}, without and with the fix: `{proof.after.command}`.")
    if proof.after.left_out:
        left_out = _count(len(proof.after.left_out), "test")
        why = "was left out: it times" if len(proof.after.left_out) == 1 else "were left out: they time"
        parts.append(f"{left_out} without the mark `{MARK}` {why} a device.")
    return " ".join(parts)


def _results(proof: Proof) -> str:
    rows = ["| test (emulated) | without the fix | with the fix |", "|---|---|---|"]
    after = {test.id: test for test in proof.after.outcomes}
    for test in proof.before.tests.outcomes:
        mark = " (new)" if test.id in proof.before.new else ""
        rows.append(f"| `{test.id.rpartition('::')[2]}`{mark} | {_cell(test)} | {_cell(after[test.id])} |")
    parts = ["\n".join(rows), _lint(proof)]
    if proof.hardware:
        for stage, run in (("before", proof.hardware.before), ("after", proof.hardware.after)):
            head = f"On {proof.hardware.instance_type}, {stage} ({run.seconds:.0f} s): `{run.command}`"
            parts.append(f"{head}\n\n```\n{_tail(run.output)}\n```")
    return "\n\n".join(parts)


_TAIL_LINES = 20


def _tail(output: str) -> str:
    """Return the end of a log, and say so if that is not all."""
    lines = output.rstrip().splitlines()
    return "\n".join(lines if len(lines) <= _TAIL_LINES else ["…", *lines[-_TAIL_LINES:]])


def _cell(test: TestOutcome) -> str:
    message = test.message.replace("|", "\\|").replace("`", "'")
    return f"{test.outcome}: `{message}`" if message and test.outcome != "passed" else test.outcome


def _lint(proof: Proof) -> str:
    lint = proof.lint
    if lint.tool is None:
        return f"Not linted: ruff is not installed where this was made (`{lint.command}`)."
    return f"`{lint.command}` ({lint.tool}): nothing new."


def _issue_answers(proof: Proof) -> list[Answer]:
    patch, base = proof.patch, proof.base
    others = [f"{tag} (SDK {SDK_OF_TAG.get(tag, '?')})" for tag in patch.versions if tag != base.name]
    release = f"{_release(proof)}{'; also ' if others else ''}{', '.join(others)}"
    seen = proof.before.script.error
    script = f"```python\n{patch.reproduction}```"
    instance = proof.hardware.instance_type if proof.hardware else _EMULATED
    return [
        Answer("Describe the bug", r"describe the bug|what happened", f"{patch.problem}\n\n{patch.cause}"),
        Answer("Model Name", r"model", f"None: `flash_fwd` of `{KERNEL}` is called directly."),
        Answer("Instance Type", r"instance", instance),
        Answer("Release version", r"release|version", release),
        Answer("Reproduction Steps", r"reproduc", f"{script}\n\nIt ends with `{seen}` (emulated)."),
        Answer("Possible Solution", r"solution|fix", f"{patch.change} A pull request with regression tests is ready."),
        Answer("Additional Information", r"logs|context|additional", _issue_context(proof)),
    ]


def _release(proof: Proof) -> str:
    sdk = SDK_OF_TAG.get(proof.base.name)
    return f"{proof.base.name} at {proof.base.commit[:12]}{f' (SDK {sdk})' if sdk else ''}"


def _issue_context(proof: Proof) -> str:
    parts = [f"Emulated with nkifix {nkifix.__version__}. {'' if proof.hardware else _NO_HARDWARE}".rstrip()]
    if not proof.base.caller_has_it:
        parts.append(_NOT_CALLED)
    if proof.patch.related:
        parts.append(proof.patch.related)
    return "\n\n".join(parts)
