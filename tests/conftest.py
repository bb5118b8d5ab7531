"""Fixtures for all tests."""

from __future__ import annotations

import os

import pytest

from nkifix.backends import BACKENDS, Backend, DeviceBackend, backend
from nkifix.errors import BackendError
from tests import upstream_clone

XLA_LANE = "NKIFIX_XLA_LANE"
"""Set by scripts/xla_lane.sh: the device backend runs on whatever device torch-xla has, the kernel is emulated."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--nki-backend``: where the tests of kernels run them."""
    parser.addoption(
        "--nki-backend", choices=list(BACKENDS), default="emulator", help="where tests of kernels run them"
    )


@pytest.fixture(scope="session")
def nki_backend(request: pytest.FixtureRequest) -> Backend:
    """The backend that ``--nki-backend`` names; tests of it are skipped, with the reason, where it cannot run."""
    name = request.config.getoption("--nki-backend")
    if name == DeviceBackend.name and os.environ.get(XLA_LANE):
        return DeviceBackend(emulated_kernel=True)
    try:
        return backend(name)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(params=upstream_clone.TAGS)
def upstream_file(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Tag and content of the real kernel file, once for each tag."""
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    return request.param, upstream_clone.read(repository, request.param)
