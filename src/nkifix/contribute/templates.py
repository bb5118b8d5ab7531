"""Filling the forms that a clone carries: its pull-request template and its bug form. Pure: text in, text out.

Only what a fix has something to say about is kept. A box is never ticked: that is for the person who signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

PULL_REQUEST_FORMS = (
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/pull_request_template.md",
    "docs/PULL_REQUEST_TEMPLATE.md",
    "docs/pull_request_template.md",
    "PULL_REQUEST_TEMPLATE.md",
    "pull_request_template.md",
)
"""Where GitHub looks for the form of a pull request."""
ISSUE_FORMS = ".github/ISSUE_TEMPLATE"

_HEADING = re.compile(r"^(#{1,2})\s+(.*?)\s*$")
_LABEL = re.compile(r"^\s*(?:[-*]\s+)?\*\*(?P<label>[^*]+?):?\*\*:?(?P<prompt>.*)$")
_CONFIRMATION = re.compile(r"by submitting|i confirm|licen[cs]e", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What is to be said, under which heading, and what a form may call it.

    Attributes
    ----------
    heading:
        Heading where the form has none for it.
    asked:
        Regular expression that finds the form's question, without regard to case.
    text:
        The answer, in Markdown.
    label:
        What it is called under ``heading``, where that holds several answers.
    """

    heading: str
    asked: str
    text: str
    label: str = ""

    def answers(self, question: str) -> bool:
        """Whether ``question`` asks for this."""
        return re.search(self.asked, question, re.IGNORECASE) is not None


@dataclass
class _Filling:
    """A form being filled: which answers were given."""

    answers: Sequence[Answer]
    given: list[Answer] = field(default_factory=list)

    def find(self, question: str) -> Answer | None:
        return next((one for one in self.answers if one.answers(question)), None)

    def give(self, answer: Answer) -> str:
        self.given.append(answer)
        return answer.text

    def left(self, level: str) -> list[str]:
        """Return what was not asked for, under headings of its own."""
        grouped: dict[str, list[Answer]] = {}
        for answer in self.answers:
            if answer not in self.given:
                grouped.setdefault(answer.heading, []).append(answer)
        return [f"{level} {heading}\n\n" + "\n\n".join(map(_labelled, group)) for heading, group in grouped.items()]


def _labelled(answer: Answer) -> str:
    return f"**{answer.label}:** {answer.text}" if answer.label else answer.text


def fill_pull_request(template: str | None, answers: Sequence[Answer]) -> str:
    """Return the template's relevant sections, filled; an answer that it has no place for gets its own heading.

    A section is relevant if one of ``answers`` answers its heading or one of its bold labels; the part in which
    the author confirms something stays as it is, boxes and all.
    """
    filling = _Filling(answers)
    kept = [text for section in _sections(template or "") if (text := _fill_section(section, filling))]
    confirmations = [text for text in kept if not text.startswith("#")]
    sections = [text for text in kept if text.startswith("#")]
    return "\n\n".join([*sections, *filling.left("##"), *(f"---\n\n{text}" for text in confirmations)]) + "\n"


def _sections(template: str) -> list[list[str]]:
    """Cut a template at its headings and rulers; text in a code block is no heading."""
    sections: list[list[str]] = [[]]
    in_code = False
    for line in template.splitlines():
        in_code ^= line.lstrip().startswith("```")
        if not in_code and re.fullmatch(r"\s*(-{3,}|\*{3,}|_{3,})\s*", line):
            sections.append([])
        elif not in_code and _HEADING.match(line):
            sections.append([line])
        else:
            sections[-1].append(line)
    return sections


def _fill_section(lines: Sequence[str], filling: _Filling) -> str | None:
    """Return a section with its answers in, or None if it is not for a fix."""
    heading = _HEADING.match(lines[0]) if lines else None
    if heading is None:
        text = "\n".join(lines).strip()
        return text if "[ ]" in text and _CONFIRMATION.search(text) else None
    labels = [found["label"] for line in lines[1:] if (found := _LABEL.match(line))]
    topic = filling.find(heading[2])
    if any(filling.find(label) for label in labels):
        body = _fill_labels(lines[1:], filling)
    elif topic is not None:
        body = [filling.give(topic)]
    else:
        return None
    return "\n".join([lines[0], "", *body])


def _fill_labels(lines: Sequence[str], filling: _Filling) -> list[str]:
    """Return a section's labels, each with its answer beside it or, where it is long, below it."""
    filled: list[str] = []
    for line in lines:
        found = _LABEL.match(line)
        answer = filling.find(found["label"]) if found else None
        if found is None:
            continue
        label = line[: found.start("prompt")].rstrip()
        if answer is None:
            filled += [] if found["prompt"].strip() else [label]  # with a prompt, it asks for something
            continue
        text = filling.give(answer)
        if line.lstrip().startswith(("- ", "* ")):
            filled.append(f"{label} {' '.join(text.split())}")
        else:
            filled += ["", label, "", text] if filled else [label, "", text]
    return filled


@dataclass(frozen=True)
class IssueForm:
    """A bug form: its questions in order, and the boxes that some of them offer instead of an answer."""

    questions: tuple[str, ...]
    boxes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_issue_form(data: bytes) -> IssueForm | None:
    """Return the questions of a GitHub issue form, or None if it is none that can be read."""
    try:
        raw: Any = yaml.safe_load(data)
        fields = [part for part in raw["body"] if part["type"] != "markdown"]
        questions = tuple(str(part["attributes"]["label"]).strip() for part in fields)
        boxes = {
            question: tuple(str(option["label"]) for option in part["attributes"]["options"])
            for question, part in zip(questions, fields, strict=True)
            if part["type"] == "checkboxes"
        }
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        return None
    return IssueForm(questions, boxes)


def is_bug_form(name: str) -> bool:
    """Whether a file of the issue templates is the form for bugs, by its name."""
    return name.rpartition("/")[2].lower().startswith("bug") and name.endswith((".yml", ".yaml"))


def fill_issue(form: IssueForm | None, answers: Sequence[Answer]) -> str:
    """Return the issue as GitHub writes a filled form: every question as a heading, boxes unticked.

    Without a form, and for an answer that it does not ask for, the answer's own heading is used.
    """
    filling = _Filling(answers)
    parts = []
    for question in form.questions if form else ():
        boxes = form.boxes.get(question) if form else None
        if boxes is not None:
            parts.append(f"### {question}\n\n" + "\n".join(f"- [ ] {box}" for box in boxes))
            continue
        answer = filling.find(question)
        parts.append(f"### {question}\n\n{filling.give(answer) if answer else '_No response_'}")
    return "\n\n".join([*parts, *filling.left("###")]) + "\n"
