"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests import upstream_clone


@pytest.fixture(params=upstream_clone.TAGS)
def upstream_file(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Tag and content of the real kernel file, once for each tag."""
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    return request.param, upstream_clone.read(repository, request.param)
