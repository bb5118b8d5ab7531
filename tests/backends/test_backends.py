"""One protocol: what each backend needs, and that it launches alike."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.backends import BACKENDS, Backend, DeviceBackend, EmulatorBackend, Latency, SimulatorBackend, backend
from nkifix.backends import device as device_module
from nkifix.backends import simulator as simulator_module
from nkifix.emulator import Params
from nkifix.errors import BackendError, RefusalError

KERNEL = """
from neuronxcc import nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl

@nki.jit
def scaled(x, factor=1.0):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    row = nl.program_id(0) if nl.program_ndim() else 0
    nl.store(out[row], value=nl.multiply(nl.load(x[row]), factor))
    return out

def generation():
    return int(nisa.get_nc_version())
"""


@contextmanager
def kernel_module(made: Backend, tmp_path: Path) -> Iterator[Any]:
    """The kernel above, imported inside the backend's session."""
    file = tmp_path / "scaled_kernel.py"
    file.write_text(KERNEL)
    sys.path.insert(0, str(tmp_path))
    try:
        with made.session():
            yield importlib.import_module("scaled_kernel")
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("scaled_kernel", None)


def values(dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).standard_normal((2, 4, 8)).astype(dtype)


# ------------------------------------------------------------------------------------------- choosing


def test_default_backend_is_the_emulator_and_runs_everywhere() -> None:
    assert next(iter(BACKENDS)) == "emulator"
    assert isinstance(backend(), EmulatorBackend)
    assert not backend().is_hardware


def test_refuses_a_backend_that_does_not_exist() -> None:
    with pytest.raises(RefusalError, match="'gpu' is no backend") as caught:
        backend("gpu")
    assert "emulator, simulator, device" in str(caught.value)


def test_refuses_a_backend_whose_needs_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_module, "real_compiler", lambda: None)
    with pytest.raises(BackendError, match="'simulator' cannot run here: neuronxcc is not installed") as caught:
        backend("simulator")
    assert "--backend emulator" in str(caught.value)


@pytest.mark.parametrize(
    ("absent", "compiler", "devices", "what"),
    [
        pytest.param("torch", "x", ["neuron0"], "torch is not installed", id="torch"),
        pytest.param("torch_xla", "x", ["neuron0"], "torch_xla is not installed", id="torch-xla"),
        pytest.param("", None, ["neuron0"], "neuronxcc is not installed", id="compiler"),
        pytest.param("", "x", ["neuron_log"], "this machine has no NeuronCores", id="NeuronCores"),
        pytest.param("", "x", ["neuron0"], None, id="nothing"),
    ],
)
def test_device_says_what_is_missing(
    absent: str, compiler: str | None, devices: list[str], what: str | None, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(device_module, "find_spec", lambda name: None if name == absent else object())
    monkeypatch.setattr(device_module, "real_compiler", lambda: compiler)
    monkeypatch.setattr(DeviceBackend, "device_files", tmp_path)
    for name in devices:
        (tmp_path / name).touch()
    missing = DeviceBackend().missing()
    assert (missing.what if missing else None) == what
    assert missing is None or (missing.why and "emulator" in missing.next_step)


def test_device_with_an_emulated_kernel_needs_torch_xla_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "find_spec", lambda name: object())
    monkeypatch.setattr(device_module, "real_compiler", lambda: None)
    assert DeviceBackend(emulated_kernel=True).missing() is None


def test_simulator_can_run_where_the_compiler_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_module, "real_compiler", lambda: "somewhere")
    assert SimulatorBackend().missing() is None


# ------------------------------------------------------------------------------------------ launching


@pytest.mark.parametrize("grid", [(2,), ()], ids=["grid", "no grid"])
def test_emulator_launches(tmp_path: Path, grid: tuple[int, ...]) -> None:
    made, x = EmulatorBackend(), values()[: 2 if grid else 1]
    with kernel_module(made, tmp_path) as module:
        result = made.launch(module.scaled, grid, (x,), {"factor": 2.0})
        assert made.latency(module.scaled, grid, (x,), {}) is None
    assert result.tobytes() == (2 * x).tobytes()


def test_emulator_session_has_its_params(tmp_path: Path) -> None:
    with kernel_module(EmulatorBackend(Params(target="trn2")), tmp_path) as module:
        assert module.generation() == 3


def test_simulator_hands_the_kernel_to_simulate_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def simulate_kernel(*args: Any, **keywords: Any) -> str:
        called.append((args, keywords))
        return "answer"

    class Kernel:
        def __getitem__(self, grid: Any) -> Any:
            return ("on grid", grid)

    nki: Any = types.SimpleNamespace(simulate_kernel=simulate_kernel)
    monkeypatch.setitem(sys.modules, "neuronxcc", types.ModuleType("neuronxcc"))
    monkeypatch.setitem(sys.modules, "neuronxcc.nki", nki)
    made, kernel = SimulatorBackend(), Kernel()
    with made.session():
        assert made.launch(kernel, (2, 3), (1,), {"a": 2}) == "answer"
        made.launch(kernel, (), (1,), {})
    assert called == [((("on grid", (2, 3)), 1), {"a": 2}), ((kernel, 1), {})]


# --------------------------------------------------------------------------------------------- device


@pytest.fixture
def xla(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A torch_xla whose device is the CPU; the list notes what it was asked."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    asked: list[str] = []
    model = types.ModuleType("torch_xla.core.xla_model")
    model.xla_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    model.mark_step = lambda: asked.append("mark_step")  # type: ignore[attr-defined]
    model.wait_device_ops = lambda: asked.append("wait_device_ops")  # type: ignore[attr-defined]
    for name in ("torch_xla", "torch_xla.core"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torch_xla.core.xla_model", model)
    return asked


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16], ids=["float32", "bfloat16", "float16"])
def test_device_moves_tensors_there_and_back(dtype: Any, xla: list[str], tmp_path: Path) -> None:
    made, x = DeviceBackend(emulated_kernel=True), values(dtype)
    with kernel_module(made, tmp_path) as module:
        result = made.launch(module.scaled, (2,), (x,), {"factor": 2.0})
        assert made.latency(module.scaled, (2,), (x,), {}) is None
    assert (result.dtype, result.tobytes()) == (x.dtype, (x * x.dtype.type(2)).tobytes())
    assert xla[-2:] == ["mark_step", "wait_device_ops"]


def test_device_gives_every_output_of_a_tuple(xla: list[str]) -> None:
    x = values()
    result = DeviceBackend(emulated_kernel=True).launch(lambda t, n: (t, t + n), (), (x, 1), {})
    assert [one.tobytes() for one in result] == [x.tobytes(), (x + 1).tobytes()]


def test_device_times_the_repeats_after_the_warm_up(xla: list[str]) -> None:
    calls: list[int] = []
    measured = DeviceBackend().latency(lambda t: calls.append(1), (), (values(),), {}, warmup=2, repeats=5)
    assert measured is not None
    assert (len(calls), len(measured.microseconds)) == (7, 5)
    assert all(time > 0 for time in measured.microseconds)


def test_device_session_leaves_imports_alone() -> None:
    before = list(sys.meta_path)
    with DeviceBackend().session():
        assert sys.meta_path == before


@pytest.mark.parametrize(("percent", "time"), [(0, 1.0), (50, 3.0), (100, 5.0), (25, 2.0)])
def test_percentiles_of_latency(percent: float, time: float) -> None:
    assert Latency((5.0, 1.0, 3.0, 2.0, 4.0)).percentile(percent) == time


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param([0.0, 0.0], "every element is zero", id="zeros"),
        pytest.param([1.0, float("nan")], "1 of 2 elements are NaN", id="NaN"),
        pytest.param([0.0, 1.0], "", id="numbers"),
        pytest.param([], "", id="empty"),
    ],
)
def test_answer_that_cannot_be_one_is_flagged(answer: list[float], words: str) -> None:
    assert EmulatorBackend().suspicion(np.array(answer, dtype=np.float32)) == words
