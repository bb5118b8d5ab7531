"""What ``nisa`` adds to the machine's operations; these are tested with ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nkifix.emulator import machine
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.params import Params, Target
from tests.emulator.kernels import running, tile, values


@pytest.mark.parametrize(("target", "generation"), [("trn1", 2), ("trn2", 3)])
def test_generation_is_the_targets(target: Target, generation: int) -> None:
    with machine.using(Params(target=target)):
        assert nisa.get_nc_version() == generation
    with running(target):
        assert isinstance(nisa.get_nc_version(), nisa.nc_version)


def test_generations_compare() -> None:
    assert nisa.nc_version.gen2 < nisa.nc_version.gen3
    assert (int(nisa.nc_version.gen2), int(nisa.nc_version.gen3)) == (2, 3)


@pytest.mark.parametrize("keyword", [False, True], ids=["by position", "by name"])
def test_operands_by_position_and_by_name(keyword: bool) -> None:
    x, sums = np.ones((2, 2), dtype=np.float32), tile(np.zeros((2, 1)))
    with running():
        t: Any = tile(x)
        if keyword:
            results = [
                nisa.nc_matmul(stationary=t, moving=t),
                nisa.nc_transpose(data=t),
                nisa.activation(op=np.copy, data=t),
                nisa.activation_reduce(op=np.copy, data=t, reduce_op=np.add, reduce_res=sums),
                nisa.tensor_reduce(op=np.add, data=t, axis=1),
                nisa.tensor_copy(src=t),
                nisa.dma_transpose(src=t),
            ]
        else:
            results = [
                nisa.nc_matmul(t, t),
                nisa.nc_transpose(t),
                nisa.activation(np.copy, t),
                nisa.activation_reduce(np.copy, t, reduce_op=np.add, reduce_res=sums),
                nisa.tensor_reduce(np.add, t, 1),
                nisa.tensor_copy(t),
                nisa.dma_transpose(t),
            ]
        found = [values(result).tolist() for result in results]
    one, two = [[1.0, 1.0]] * 2, [[2.0, 2.0]] * 2
    assert found == [two, one, one, one, [[2.0]] * 2, one, one]
    assert values(sums).tolist() == [[2.0]] * 2
