"""The real kernel file, before and after the fix, on the emulator."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from nkifix.codemod import Fixed, apply, select
from nkifix.differential.kernels import loaded
from nkifix.emulator import Params, Target
from tests import upstream_clone
from tests.differential.calls import Kernels


@functools.cache
def stock_and_fixed(tag: str) -> tuple[bytes, bytes]:
    """The file of a tag, before and after the fix."""
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    stock = upstream_clone.read(repository, tag)
    outcome = apply(stock, select(only=("misspelled-causal-mask",)))
    assert isinstance(outcome, Fixed)
    return stock, outcome.data


@pytest.fixture(scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """``stock`` and ``fixed`` of the tag and for the target that the test is parametrized with."""
    tag: str
    target: Target
    tag, target = request.param
    stock, fixed = stock_and_fixed(tag)
    with loaded({"stock": stock, "fixed": fixed}, Params(target=target)) as both:
        yield both
