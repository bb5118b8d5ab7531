"""Documented limits, figure by figure."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from nkifix.emulator.hardware import TARGETS
from nkifix.emulator.params import Target


def test_every_target_has_limits() -> None:
    assert set(TARGETS) == set(get_args(Target))


@pytest.mark.parametrize(
    ("target", "nc_version", "sbuf_usable_bytes", "physical_cores_max"),
    [("trn1", 2, 180_224, 1), ("trn2", 3, 212_984, 2)],
)
def test_limits_of_a_core(target: Target, nc_version: int, sbuf_usable_bytes: int, physical_cores_max: int) -> None:
    assert dataclasses.asdict(TARGETS[target]) == {
        "nc_version": nc_version,
        "partition_max": 128,
        "matmul_stationary_free_max": 128,
        "matmul_moving_free_max": 512,
        "psum_free_max": 512,
        "bn_stats_free_max": 512,
        "pe_transpose_free_max": 128,
        "sbuf_usable_bytes": sbuf_usable_bytes,
        "sbuf_min_align_bytes": 4,
        "psum_min_align_bytes": 4,
        "physical_cores_max": physical_cores_max,
        "psum_banks": 8,
        "psum_bank_bytes": 2048,
    }


def test_limits_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TARGETS["trn1"].partition_max = 256  # type: ignore[misc]
