"""Forms filled: what is relevant stays, what is not goes, and no box is ticked."""

from __future__ import annotations

import pytest

from nkifix.contribute.templates import (
    Answer,
    IssueForm,
    fill_issue,
    fill_pull_request,
    is_bug_form,
    read_issue_form,
)
from tests.contribute.fake_upstream import ISSUE_FORM, PULL_REQUEST_FORM

ANSWERS = [
    Answer("Description", r"^description", "It mends.\n\nTwice."),
    Answer("Testing", r"how did you test|^testing$", "By hand.", "How"),
    Answer("Testing", r"test results", "| a |\n|---|", "Results"),
    Answer("Compatibility", r"neuron sdk", "2.26", "SDK"),
    Answer("Compatibility", r"instance type", "none,\nemulated", "Instance"),
]


def test_template_is_filled() -> None:
    assert fill_pull_request(PULL_REQUEST_FORM, ANSWERS) == (
        "## Description\n\nIt mends.\n\nTwice.\n\n"
        "## Testing\n\n**How did you test this change?**\n\nBy hand.\n\n**Test Results:**\n\n| a |\n|---|\n\n"
        "## Compatibility\n\n**Tested with:**\n"
        "- **Neuron SDK Version(s):** 2.26\n- **Instance Type(s):** none, emulated\n\n"
        "---\n\n**By submitting this, I confirm that:**\n- [ ] I have read the guidelines\n"
    )


@pytest.mark.parametrize("template", [None, "", "Thanks for your help!\n", "## Motivation\n\n*Why?*\n"])
def test_answers_get_their_own_headings_where_the_template_has_none(template: str | None) -> None:
    assert fill_pull_request(template, ANSWERS) == (
        "## Description\n\nIt mends.\n\nTwice.\n\n"
        "## Testing\n\n**How:** By hand.\n\n**Results:** | a |\n|---|\n\n"
        "## Compatibility\n\n**SDK:** 2.26\n\n**Instance:** none,\nemulated\n"
    )


def test_section_without_labels_takes_its_answer() -> None:
    text = fill_pull_request("# Testing\n\nTell us how.\n\n- [ ] I ran it\n", ANSWERS[1:2])
    assert text == "# Testing\n\nBy hand.\n"


@pytest.mark.parametrize(
    ("template", "kept"),
    [
        pytest.param("---\n\nI confirm:\n- [ ] it is mine\n", True, id="confirmation"),
        pytest.param("---\n\n- [ ] under the licence\n", True, id="licence"),
        pytest.param("---\n\nI confirm that this is mine.\n", False, id="no box"),
        pytest.param("---\n\n- [ ] it is for vLLM\n", False, id="another box"),
        pytest.param("```\n---\nI confirm\n- [ ] box\n```\n## vLLM\n", True, id="a ruler in a code block is none"),
        pytest.param("## vLLM\n\n```\n## Description\n```\n- [ ] for vLLM\n", False, id="nor is a heading"),
    ],
)
def test_confirmations_stay_as_they_are(template: str, kept: bool) -> None:
    assert ("- [ ]" in fill_pull_request(template, ANSWERS)) is kept


def test_unanswered_labels_with_a_prompt_go() -> None:
    template = "## Compatibility\n- **Neuron SDK:** *2.24*\n- **Phase of the moon:** *full*\nText of theirs.\n"
    assert fill_pull_request(template, ANSWERS[3:4]) == "## Compatibility\n\n- **Neuron SDK:** 2.26\n"


def test_issue_form_is_read() -> None:
    form = read_issue_form(ISSUE_FORM.encode())
    assert form is not None
    assert form.questions[:2] == ("Describe the bug", "Model Name")
    assert form.boxes == {"Regression Issue": ("It worked before",)}


@pytest.mark.parametrize(
    "data",
    [b"", b"body: 1", b"body: [1]", b"body:\n- type: input\n", b"a: [", b"\xff\xfe\xff", b"[]", b"body:\n  - {type: x"],
)
def test_unreadable_issue_form_is_none(data: bytes) -> None:
    assert read_issue_form(data) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".github/ISSUE_TEMPLATE/bug-report.yml", True),
        (".github/ISSUE_TEMPLATE/Bug.yaml", True),
        (".github/ISSUE_TEMPLATE/config.yml", False),
        (".github/ISSUE_TEMPLATE/bug.md", False),
    ],
)
def test_bug_form_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_bug_form(name) is expected


def test_issue_is_filled_as_github_writes_it() -> None:
    form = IssueForm(("What happened", "Regression", "Colour"), {"Regression": ("Yes", "No")})
    answers = [Answer("Bug", "what happened", "It fell."), Answer("More", "more", "A log.")]
    assert fill_issue(form, answers) == (
        "### What happened\n\nIt fell.\n\n### Regression\n\n- [ ] Yes\n- [ ] No\n\n"
        "### Colour\n\n_No response_\n\n### More\n\nA log.\n"
    )


def test_issue_without_a_form_has_its_own_headings() -> None:
    assert fill_issue(None, [Answer("Bug", "what happened", "It fell.")]) == "### Bug\n\nIt fell.\n"
