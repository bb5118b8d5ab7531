"""How ``nkifix check`` answers: text, JSON, SARIF and GitHub's workflow commands. Pure functions of the findings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from nkifix import __version__
from nkifix.cli.check_scan import Finding, Scan
from nkifix.codemod import detect

SCHEMA = "nkifix.check/1"
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NAMED_FILES = 5


def text(findings: Sequence[Finding]) -> str:
    """``path:line: rule: message``, a line each."""
    return "".join(f"{one.path}:{one.line}: {one.rule}: {one.message}\n" for one in findings)


def as_json(findings: Sequence[Finding]) -> str:
    """``{schema, findings: [{rule, path, line, message}]}``."""
    rows = [{"rule": one.rule, "path": one.path, "line": one.line, "message": one.message} for one in findings]
    return _dump({"schema": SCHEMA, "findings": rows})


def sarif(findings: Sequence[Finding]) -> str:
    """One run of SARIF 2.1.0."""
    titles = detect.rules()
    ids = list(titles)
    rules = [{"id": rule, "shortDescription": {"text": title}} for rule, title in titles.items()]
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": ids.index(one.rule),
            "level": "warning",
            "message": {"text": one.message},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": _uri(one.path)}, "region": {"startLine": one.line}}}
            ],
        }
        for one in findings
    ]
    driver = {"name": "nkifix", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return _dump({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]})


def github(findings: Sequence[Finding]) -> str:
    """Workflow commands, which GitHub shows as annotations of the files."""
    return "".join(
        f"::warning file={_property(one.path)},line={one.line},title={_property(one.rule)}::{_data(one.message)}\n"
        for one in findings
    )


RENDERERS: MappingProxyType[str, Callable[[Sequence[Finding]], str]] = MappingProxyType(
    {"text": text, "json": as_json, "sarif": sarif, "github": github}
)
"""Name of a format -> findings to text."""


def summary(scan: Scan) -> Iterator[str]:
    """Lines of prose about the whole scan."""
    yield f"{_count(scan.files, 'file')} checked, {_count(len(scan.findings), 'finding')}"
    if scan.skipped:
        yield f"{_count(len(scan.skipped), 'file')} skipped, for not being Python that this interpreter reads:"
        for path, reason in sorted(scan.skipped)[:_NAMED_FILES]:
            yield f"  {path}: {reason}"
        if len(scan.skipped) > _NAMED_FILES:
            yield f"  and {len(scan.skipped) - _NAMED_FILES} more"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _uri(path: str) -> str:
    """Return a path as a URI reference: relative as it was given, or a file URI."""
    posix = PurePath(path).as_posix()
    escaped = quote(os.fsencode(posix))
    return f"file://{escaped}" if posix.startswith("/") else escaped


def _data(value: str) -> str:
    """Escape the text of a workflow command."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    """Escape a property of a workflow command."""
    return _data(value).replace(":", "%3A").replace(",", "%2C")
