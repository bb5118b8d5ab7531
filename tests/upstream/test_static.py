"""The static rules on everything that AWS ships for the legacy language: no finding, so no false alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from nkifix.emulator.static import check_source
from tests import upstream_clone
from tests.upstream import checkout

pytestmark = pytest.mark.upstream


def alarms(tree: Path) -> list[str]:
    """``file:line rule`` of each finding in a tree."""
    files = sorted(tree.rglob("*.py"))
    assert len(files) > 10
    sources = {file: file.read_text(encoding="utf-8") for file in files}
    assert any("neuronxcc.nki" in text for text in sources.values())
    return [
        f"{file.relative_to(tree)}:{one.line} {one.rule}"
        for file, text in sources.items()
        for one in check_source(text, str(file))
    ]


def test_samples_have_no_findings(tmp_path: Path) -> None:
    repository = checkout.samples_clone()
    if repository is None:
        pytest.skip(checkout.WITHOUT_SAMPLES)
    assert alarms(checkout.extract(repository, checkout.SAMPLES_REVISION, tmp_path, "src", "contributed", "test")) == []


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_inference_library_has_no_findings(tag: str, tmp_path: Path) -> None:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    assert alarms(checkout.extract(repository, tag, tmp_path, "src", "test")) == []
