"""How much of SBUF and PSUM a launch holds over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator.footprint import Footprint, measuring
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.compiler import psum, sbuf
from nkifix.errors import NkifixError

F32 = np.float32


def measured(body: Any, *, grid: Any = None) -> Footprint:
    """The footprint of a kernel with this body."""

    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        if not nl.program_ndim() or nl.program_id(0) == 0:
            nl.store(o, 0.0)
        body(x)
        return o

    launched = nki.jit(kernel) if grid is None else nki.jit(kernel)[grid]
    with measuring() as footprints:
        launched(np.ones((128, 64), F32))
    assert len(footprints) == 1
    return footprints[0]


def peaks(footprint: Footprint) -> tuple[int, int]:
    return footprint.peak_sbuf_bytes_per_partition, footprint.peak_psum_bytes_per_partition


def declares_two(_x: Any) -> None:
    first = nl.ndarray((128, 64), F32, buffer=nl.sbuf)
    second = nl.ndarray((3, nl.par_dim(128), 32), nl.bfloat16, buffer=nl.sbuf)
    del first, second


def rebinds(_x: Any) -> None:
    for _ in nl.affine_range(4):
        t = nl.ndarray((128, 64), F32, buffer=nl.sbuf)
    del t


def assigns_results(x: Any) -> None:
    t = nl.ndarray((128, 64), F32, buffer=nl.sbuf)
    t[...] = nl.load(x)
    t[...] = nl.add(t, 1.0)


def reads_results(x: Any) -> None:
    t = nl.load(x)
    nl.add(t, nl.copy(t))


def uses_psum(x: Any) -> None:
    t = nl.load(x)
    held = nl.ndarray((64, 64), F32, buffer=nl.psum)
    held[...] = nl.matmul(t, t, transpose_x=True)
    nl.copy(nl.matmul(t, t, transpose_x=True))


def allocates_directly(_x: Any) -> None:
    for _ in nl.affine_range(2):
        t = nl.ndarray((4, nl.par_dim(128), 64), F32, buffer=sbuf.mod_alloc(base_addr=0, num_free_tiles=(2,)))
        u = nl.ndarray((2, nl.par_dim(128), 64), F32, buffer=sbuf.mod_alloc(base_addr=0))
        p = nl.ndarray((4, nl.par_dim(128), 64), F32, buffer=psum.mod_alloc(base_bank=1, num_bank_tiles=(2,)))
    del t, u, p


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(lambda x: None, (0, 0), id="nothing"),
        pytest.param(declares_two, (256 + 3 * 64, 0), id="two tensors, blocks included"),
        pytest.param(rebinds, (512, 0), id="the old and the new tensor of a name"),
        pytest.param(assigns_results, (256, 0), id="results that are assigned have no memory of their own"),
        pytest.param(reads_results, (512, 0), id="results that are read have"),
        pytest.param(uses_psum, (256, 512), id="psum"),
        pytest.param(allocates_directly, (512, 512), id="direct allocations count by place"),
        pytest.param(lambda x: nl.ndarray((128, 64), F32, buffer=nl.private_hbm), (0, 0), id="hbm"),
    ],
)
def test_peak_of_a_kernel(body: Any, expected: tuple[int, int]) -> None:
    footprint = measured(body)
    assert peaks(footprint) == expected
    assert footprint.spill is None
    if footprint.timeline:
        assert footprint.timeline[-1][2:] == (0, 0)


def test_timeline_names_the_lines() -> None:
    footprint = measured(declares_two)
    first = declares_two.__code__.co_firstlineno
    assert [(sample.line - first, sample.sbuf_bytes) for sample in footprint.timeline] == [
        (1, 256),
        (2, 448),
        (3, 192),
        (3, 0),
    ]
    assert {sample.file for sample in footprint.timeline} == {__file__}


def test_spill_is_where_the_sum_first_exceeds_sbuf() -> None:
    def fills(_x: Any) -> None:
        held = [nl.ndarray((128, 4096), F32, buffer=nl.sbuf) for _ in range(10)]
        more = nl.ndarray((128, 4096), F32, buffer=nl.sbuf)
        again = nl.ndarray((128, 4096), F32, buffer=nl.sbuf)
        exactly = nl.ndarray((128, 64), F32, buffer=nl.sbuf)
        del held, more, again, exactly

    footprint = measured(fills)
    # Ten tensors and the eleventh of 16 KiB are 180,224 bytes, all that there is.
    assert footprint.spill == f"{__file__}:{fills.__code__.co_firstlineno + 3}"
    assert footprint.peak_sbuf_bytes_per_partition == 12 * 16384 + 256


def test_programs_do_not_add_up() -> None:
    assert peaks(measured(declares_two, grid=3)) == peaks(measured(declares_two))


def test_launches_are_measured_one_by_one_and_only_inside() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        nl.store(o, nl.copy(nl.load(x)))
        return o

    with measuring() as footprints:
        for columns in (8, 16):
            kernel(np.ones((2, columns), F32))
    kernel(np.ones((2, 4), F32))
    assert [peaks(one) for one in footprints] == [(32, 0), (64, 0)]


def test_refused_launch_leaves_its_footprint() -> None:
    @nki.jit
    def kernel(x: Any) -> Any:
        t = nl.copy(nl.load(x))
        return nl.copy(t)

    with measuring() as footprints, pytest.raises(NkifixError):
        kernel(np.ones((2, 8), F32))
    assert peaks(footprints[0]) == (32, 0)
