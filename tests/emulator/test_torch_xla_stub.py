"""The stub of torch_xla: one device, the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nkifix.emulator import serving
from nkifix.errors import RefusalError
from tests.emulator.project import load

torch = pytest.importorskip("torch", reason="torch is an optional extra")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def served() -> Iterator[None]:
    with serving(torch_xla=True):
        yield


@pytest.fixture
def xm() -> Any:
    return load("torch_xla.core.xla_model")


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        pytest.param("xla_device", (), CPU, id="device"),
        pytest.param("xla_device", (0, "CPU"), CPU, id="device-by-number-and-kind"),
        pytest.param("mark_step", (), None, id="mark-step"),
        pytest.param("mark_step", (True,), None, id="mark-step-and-wait"),
        pytest.param("wait_device_ops", (), None, id="wait"),
        pytest.param("wait_device_ops", (["cpu"],), None, id="wait-for-devices"),
        pytest.param("get_xla_supported_devices", (), ["cpu"], id="supported"),
        pytest.param("get_xla_supported_devices", ("CPU", 3), ["cpu"], id="supported-of-kind"),
        pytest.param("get_xla_supported_devices", (None, 0), None, id="supported-none-wanted"),
        pytest.param("get_xla_supported_devices", ("NEURON",), None, id="supported-of-other-kind"),
        pytest.param("xla_real_devices", (), ["CPU:0"], id="real"),
        pytest.param("xla_real_devices", (["cpu", CPU],), ["CPU:0"] * 2, id="real-of-several"),
        pytest.param("xla_device_hw", (CPU,), "CPU", id="hardware"),
        pytest.param("get_ordinal", (), 0, id="rank"),
        pytest.param("get_local_ordinal", (), 0, id="local-rank"),
        pytest.param("is_master_ordinal", (), True, id="master"),
        pytest.param("xrt_world_size", (), 1, id="world-size"),
    ],
)
def test_xla_model_answers(xm: Any, name: str, args: tuple[Any, ...], expected: object) -> None:
    assert getattr(xm, name)(*args) == expected


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        pytest.param("device", (), CPU, id="device"),
        pytest.param("device", (0,), CPU, id="device-by-number"),
        pytest.param("devices", (), [CPU], id="devices"),
        pytest.param("device_count", (), 1, id="count"),
        pytest.param("sync", (), None, id="sync"),
        pytest.param("sync", (True,), None, id="sync-and-wait"),
    ],
)
def test_top_level_answers(name: str, args: tuple[Any, ...], expected: object) -> None:
    assert getattr(load("torch_xla"), name)(*args) == expected


def test_tensors_stay_on_the_cpu(xm: Any) -> None:
    assert torch.ones(2).to(xm.xla_device()).device == CPU


@pytest.mark.parametrize(
    ("args", "what"),
    [pytest.param((1,), "no device number 1", id="number"), pytest.param((None, "TPU"), "kind 'TPU'", id="kind")],
)
def test_refuses_devices_that_it_does_not_have(xm: Any, args: tuple[Any, ...], what: str) -> None:
    with pytest.raises(RefusalError, match=what):
        xm.xla_device(*args)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param("torch_xla.core.xla_model", "all_reduce", id="collective"),
        pytest.param("torch_xla", "__version__", id="version"),
    ],
)
def test_refuses_other_names(module: str, name: str) -> None:
    with pytest.raises(AttributeError, match=rf"{module}\.{name} is not emulated"):
        getattr(load(module), name)


def test_refuses_other_modules() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"torch_xla\.distributed"):
        load("torch_xla.distributed")
