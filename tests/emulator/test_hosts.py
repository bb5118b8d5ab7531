"""The caller's arrays: in as bytes, out as the caller's kind and device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import hosts
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.errors import RefusalError

MASKED: Any = np.ma  # untyped in some versions of numpy

torch = pytest.importorskip("torch", reason="torch is an optional extra")


@nki.jit
def copied(*tensors: Any) -> Any:
    outputs = []
    for x in tensors:
        o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        nl.store(o, nl.load(x))
        outputs.append(o)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def doubled(x: Any) -> Any:
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(o, nl.load(x) * 2)
    return o


double = nki.jit(doubled)


def counted(rows: int, columns: int) -> Any:
    return torch.arange(1, rows * columns + 1, dtype=torch.float32).reshape(rows, columns)


class OnXla(torch.Tensor):  # type: ignore[misc, name-defined, unused-ignore]
    """A tensor that says that it is on an XLA device, on a machine that has none."""

    @property
    def device(self) -> Any:
        return torch.device("xla:0")

    def cpu(self) -> Any:
        return self.as_subclass(torch.Tensor)


@pytest.fixture
def xla(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Moves a tensor to the device that is none, as ``Tensor.to`` does then."""

    def move(self: Any, device: Any) -> Any:
        assert device.type == "xla"
        return self.as_subclass(OnXla)

    monkeypatch.setattr(torch.Tensor, "to", move)
    return lambda tensor: tensor.as_subclass(OnXla)


# -------------------------------------------------------------------------------------------- values

DTYPES = ["float32", "float16", "bfloat16", "int8", "int16", "int32", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_values_survive_both_ways(dtype: str) -> None:
    x = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    result = copied(x)
    assert type(result) is torch.Tensor
    assert result.dtype == x.dtype
    assert result.device == x.device
    assert torch.equal(result, x)


@pytest.mark.parametrize("dtype", [*DTYPES, "uint16", "uint32"])
def test_numpy_values_survive_both_ways(dtype: str) -> None:
    x = np.arange(24).reshape(4, 6).astype(getattr(ml_dtypes, dtype, dtype))
    result = copied(x)
    assert type(result) is np.ndarray
    assert result.dtype == x.dtype
    assert np.array_equal(result, x)


def test_bfloat16_bits_are_kept() -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).reshape(128, 512)
    values = hosts.to_numpy(bits.view(torch.bfloat16), "x")
    assert values.dtype == ml_dtypes.bfloat16
    assert np.array_equal(values.view(np.int16), bits.numpy())


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: counted(6, 4).T, id="torch-transposed"),
        pytest.param(lambda: counted(4, 12)[:, ::2], id="torch-strided"),
        pytest.param(lambda: counted(4, 12).to(torch.bfloat16)[:, 1::2], id="torch-bfloat16-strided"),
        pytest.param(lambda: counted(1, 6).expand(4, 6), id="torch-expanded"),
        pytest.param(lambda: counted(4, 6).requires_grad_(), id="torch-requires-grad"),
        pytest.param(lambda: torch.nn.Parameter(counted(4, 6)), id="torch-parameter"),
        pytest.param(lambda: (counted(4, 6) * 1j).conj().imag, id="torch-lazily-negated"),
        pytest.param(lambda: counted(6, 4).numpy().T, id="numpy-transposed"),
        pytest.param(lambda: counted(4, 12).numpy()[:, ::-2], id="numpy-reversed"),
        pytest.param(lambda: np.broadcast_to(np.float32(3), (4, 6)), id="numpy-broadcast"),
    ],
)
def test_any_memory_layout_is_read(make: Callable[[], Any]) -> None:
    x = make()
    result = copied(x)
    assert result.shape == x.shape
    assert np.array_equal(result, x) if isinstance(x, np.ndarray) else torch.equal(result, x)


def test_result_carries_no_gradient() -> None:
    assert not double(counted(4, 6).requires_grad_()).requires_grad


@pytest.mark.parametrize("shape", [(), (0, 4), (4, 0), (1,)], ids=str)
@pytest.mark.parametrize("kind", [np.zeros, torch.zeros], ids=["numpy", "torch"])
def test_odd_shapes_are_kept(kind: Any, shape: tuple[int, ...]) -> None:
    x = kind(shape, dtype=np.float32 if kind is np.zeros else torch.float32)
    assert hosts.to_numpy(x, "x").shape == shape


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(np.zeros(2), True, id="numpy"),
        pytest.param(torch.zeros(2), True, id="torch"),
        pytest.param(np.float32(2), False, id="numpy-scalar"),
        pytest.param([1.0], False, id="list"),
        pytest.param(None, False, id="none"),
    ],
)
def test_is_array(value: object, expected: bool) -> None:
    assert hosts.is_array(value) == expected


def test_numpy_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert double(np.ones((2, 2), np.float32)).tolist() == [[2.0, 2.0]] * 2


# ----------------------------------------------------------------------------------- kind and device


def test_xla_tensors_come_back_to_their_device(xla: Callable[[Any], Any]) -> None:
    x = counted(4, 6).bfloat16()
    result = double(xla(x))
    assert isinstance(result, OnXla)
    assert result.device == torch.device("xla:0")
    assert torch.equal(result.cpu(), x * 2)


def test_every_result_is_of_the_callers_kind() -> None:
    results = copied(torch.ones(2, 3), torch.zeros(4, 5))
    assert [type(one) for one in results] == [torch.Tensor] * 2


def test_kernel_without_arrays_gives_numpy() -> None:
    @nki.jit
    def constant(value: float) -> Any:
        o = nl.ndarray((2, 3), np.float32, buffer=nl.shared_hbm)
        nl.store(o, nl.full((2, 3), value, np.float32))
        return o

    assert constant(3.0).tolist() == [[3.0] * 3] * 2


def test_inputs_are_not_modified_and_not_aliased() -> None:
    for x in (torch.ones(2, 3), np.ones((2, 3), np.float32)):
        result = double(x)
        result[...] = 7
        assert x.sum() == 6


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: torch.ones(2, 3), id="torch"),
        pytest.param(lambda: torch.ones(2, 3).bfloat16(), id="torch-bfloat16"),
        pytest.param(lambda: np.ones((2, 3), np.float32), id="numpy"),
    ],
)
def test_returned_parameter_is_not_aliased(make: Callable[[], Any]) -> None:
    x = make()
    result = nki.jit(lambda x: x)(x)
    result[...] = 7
    assert x.sum() == 6


# ------------------------------------------------------------------------------------------ refusals


def fake() -> Any:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return torch.ones(2, 3)


@pytest.mark.parametrize(
    ("make", "what", "advice"),
    [
        pytest.param(lambda: torch.ones(2, device="meta"), "on meta", "that has data", id="torch-meta"),
        pytest.param(fake, "a FakeTensor, cannot be read", "outside of tracing", id="torch-fake"),
        pytest.param(lambda: torch.eye(2).to_sparse(), "torch.sparse_coo", "x.to_dense()", id="torch-sparse"),
        pytest.param(lambda: torch.ones(2, dtype=torch.float64), "dtype torch.float64", "float32", id="torch-float64"),
        pytest.param(lambda: torch.ones(2, dtype=torch.int64), "dtype torch.int64", "32 bits", id="torch-int64"),
        pytest.param(lambda: torch.ones(2, dtype=torch.complex64), "torch.complex64", "cast it", id="torch-complex"),
        pytest.param(lambda: np.ones(2), "dtype float64", "float32", id="numpy-float64"),
        pytest.param(lambda: np.ones(2, np.int64), "dtype int64", "32 bits", id="numpy-int64"),
        pytest.param(lambda: np.ones(2, ">f4"), "dtype >f4", "float32", id="numpy-big-endian"),
        pytest.param(lambda: np.array([None]), "dtype object", "cast it", id="numpy-object"),
        pytest.param(lambda: np.array(["a"]), "dtype <U1", "cast it", id="numpy-text"),
        pytest.param(lambda: MASKED.masked_array([1.0], [True]), "masked array", "x.filled", id="numpy-masked"),
    ],
)
def test_refuses_what_the_device_cannot_take(make: Callable[[], Any], what: str, advice: str) -> None:
    with pytest.raises(RefusalError) as caught:
        double(make())
    assert "'x'" in caught.value.what
    assert what in caught.value.what
    assert advice in str(caught.value.next_step)


def test_refuses_tensors_on_other_devices() -> None:
    class OnGpu(torch.Tensor):  # type: ignore[misc, name-defined, unused-ignore]
        device = torch.device("cuda:1")

    with pytest.raises(RefusalError, match="on cuda:1") as caught:
        double(torch.ones(2, 3).as_subclass(OnGpu))
    assert caught.value.next_step == "pass x.cpu()"


def test_refuses_mixed_kinds() -> None:
    with pytest.raises(RefusalError, match="mixed tensors: numpy, torch on cpu"):
        copied(torch.ones(2, 3), np.ones((2, 3), np.float32))


def test_refuses_mixed_devices(xla: Callable[[Any], Any]) -> None:
    with pytest.raises(RefusalError, match="mixed tensors: torch on cpu, torch on xla:0"):
        copied(torch.ones(2, 3), xla(torch.ones(2, 3)))


# ------------------------------------------------------------------------------------------------ jax


class JaxArray:
    """What this package uses of a JAX array."""

    def __init__(self, values: Any, *, traced: bool = False) -> None:
        self.values, self.traced = np.asarray(values), traced

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.traced:
            raise ValueError("the array is traced\nand has no value")
        return self.values


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in of the module, as far as it is used."""
    module = ModuleType("jax")
    module.Array = JaxArray  # type: ignore[attr-defined]
    module.numpy = SimpleNamespace(asarray=JaxArray)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jax", module)
    return module


@pytest.mark.usefixtures("jax")
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_jax_arrays_come_back_as_jax_arrays(dtype: Any) -> None:
    x = JaxArray(np.arange(8).reshape(2, 4).astype(dtype))
    assert hosts.is_array(x)
    assert hosts.is_framework_array(x)
    result = hosts.host_of([x]).give_back(hosts.to_numpy(x, "x"))
    assert isinstance(result, JaxArray)
    assert result.values.dtype == dtype
    assert result.values.tolist() == x.values.tolist()


@pytest.mark.usefixtures("jax")
def test_refuses_jax_arrays_without_data() -> None:
    with pytest.raises(RefusalError, match="the elements of argument 'x', a JaxArray") as caught:
        hosts.to_numpy(JaxArray([1.0], traced=True), "x")
    assert caught.value.why == "the array is traced"


@pytest.mark.usefixtures("jax")
def test_refuses_jax_beside_numpy() -> None:
    with pytest.raises(RefusalError, match="jax, numpy"):
        hosts.host_of([JaxArray([1.0]), np.ones(1)])
