"""Fixtures for the tests of differential testing."""

from __future__ import annotations

import pytest

from nkifix import specimens
from nkifix.codemod import Fixed, apply, select

DEFECT = "misspelled-causal-mask"


@pytest.fixture(scope="session")
def stock() -> bytes:
    """The specimen as it is."""
    return specimens.path(DEFECT).read_bytes()


@pytest.fixture(scope="session")
def fixed(stock: bytes) -> bytes:
    """The specimen after the fix."""
    outcome = apply(stock, select(only=(DEFECT,)))
    assert isinstance(outcome, Fixed)
    return outcome.data
