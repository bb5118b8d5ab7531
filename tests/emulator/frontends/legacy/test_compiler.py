"""``nki.compiler``: its decorators and directives. Allocation itself: tests/emulator/test_placement.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nkifix.emulator.frontends.legacy import compiler
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.compiler import sbuf
from nkifix.errors import RefusalError
from tests.emulator.kernels import refuses


def misplaced(x: Any) -> Any:
    """A copy through a tensor that a compiler would refuse where it is."""
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    t = nl.ndarray(x.shape, x.dtype, buffer=sbuf.mod_alloc(base_addr=1_000_000))
    t[...] = nl.load(x)
    nl.store(o, t)
    return o


X = np.ones((2, 4), np.float32)

GUIDING = [
    pytest.param(compiler.skip_middle_end_transformations, id="skip"),
    pytest.param(compiler.skip_middle_end_transformations(), id="skip-called"),
    pytest.param(compiler.enable_stack_allocator, id="stack"),
    pytest.param(compiler.enable_stack_allocator(log_level=logging.INFO), id="stack-with-level"),
    pytest.param(lambda f: compiler.enable_stack_allocator(f, log_level=10), id="stack-of-a-function"),
]


@pytest.mark.parametrize("decorate", GUIDING)
@pytest.mark.parametrize("kernel", [misplaced, nki.jit(misplaced), nki.jit(misplaced)[2]])
def test_what_guides_the_compiler_changes_nothing(decorate: Callable[[Any], Any], kernel: Any) -> None:
    assert decorate(kernel) is kernel


@pytest.mark.parametrize(
    "decorate", [*GUIDING, compiler.force_auto_alloc, compiler.force_auto_alloc()], ids=lambda _: ""
)
def test_refuses_to_decorate_what_is_no_kernel(decorate: Callable[[Any], Any]) -> None:
    with pytest.raises(RefusalError, match="got int"):
        decorate(3)


FORCED = [
    pytest.param(lambda: compiler.force_auto_alloc(nki.jit(misplaced)), id="around-jit"),
    pytest.param(lambda: compiler.force_auto_alloc()(nki.jit(misplaced)), id="called"),
    pytest.param(lambda: nki.jit(compiler.force_auto_alloc(misplaced)), id="inside-jit"),
    pytest.param(lambda: nki.jit(compiler.force_auto_alloc(nki.jit(misplaced)[1])), id="with-a-grid"),
    pytest.param(lambda: compiler.force_auto_alloc(nki.benchmark(misplaced)), id="benchmark"),
    pytest.param(lambda: lambda x: nki.simulate_kernel(compiler.force_auto_alloc(misplaced), x), id="simulated"),
]


@pytest.mark.parametrize("make", FORCED)
def test_forced_automatic_allocation_survives_wrapping(make: Callable[[], Any]) -> None:
    assert make()(X).tolist() == X.tolist()
    with refuses("on-chip-capacity"):
        nki.jit(misplaced)(X)


def test_directives_are_taken_by_loops() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray((4, *x.shape), x.dtype, buffer=nl.shared_hbm)
        with compiler.allocation_scope():
            for i in nl.affine_range(2, directives=compiler.multi_buffer(2)):
                nl.store(o[i], nl.load(x))
            for i in nl.sequential_range(2, directives=compiler.no_reorder()):
                nl.store(o[i + 2], nl.load(x))
        return o

    assert kernel(X).shape == (4, 2, 4)
    assert compiler.multi_buffer().factor == 2
    assert compiler.multi_buffer(3) == compiler.multi_buffer(factor=3)
    assert compiler.no_reorder() == compiler.no_reorder()


@pytest.mark.parametrize("factor", [0, -1, 1.5, None])
def test_refuses_buffers_that_count_nothing(factor: Any) -> None:
    with refuses("", "multi_buffer takes a positive whole number"):
        compiler.multi_buffer(factor)
