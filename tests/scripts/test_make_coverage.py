"""docs/coverage.md says what is served, and nothing documented is missing."""

from __future__ import annotations

import importlib

import pytest

from nkifix.emulator import serving
from nkifix.emulator.frontends.legacy.documented import DOCUMENTED, REFUSED
from scripts import make_coverage


def test_page_is_what_the_script_makes() -> None:
    assert make_coverage.PAGE.read_text(encoding="utf-8") == make_coverage.page(), "run scripts/make_coverage.py"


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_documented_name_is_served(module: str) -> None:
    with serving():
        served = importlib.import_module(module)
        assert [name for name in DOCUMENTED[module] if not hasattr(served, name)] == []


def test_refused_names_are_documented() -> None:
    assert all(name in DOCUMENTED[module] for module, name in REFUSED)


def test_page_that_is_stale_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("sys.argv", ["make_coverage.py", "--check"])
    assert make_coverage.main() == 0
    monkeypatch.setattr(make_coverage, "page", lambda: "something else")
    assert make_coverage.main() == 1
