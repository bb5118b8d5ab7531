"""The other kernels of nki-samples, unmodified, at the shapes that their own tests and examples use.

Oracles are written here, from what each kernel is documented to compute. The tutorial on matrix multiplication
is written in the newer language (``import nki``) and is no legacy kernel.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator import Params, Target, serving
from nkifix.emulator.frontends.legacy import language as nl
from tests.upstream import checkout

pytestmark = pytest.mark.upstream

Array = npt.NDArray[Any]
BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3: Any = nl.float8_e4m3
F16, F32, I8 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.int8)

TUTORIALS = "src/nki_samples/tutorials"
REFERENCE = "src/nki_samples/reference"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One call of one kernel.

    Attributes
    ----------
    file, function:
        Where the kernel is.
    arguments:
        Makes the arguments from a seeded generator.
    oracle:
        Computes the answer from them, in float64.
    rtol, atol:
        Tolerances: what the kernel's own test uses, or stricter.
    grid:
        Launch grid; None for none.
    """

    file: str
    function: str
    arguments: Callable[[np.random.Generator], tuple[Any, ...]]
    oracle: Callable[..., Any]
    rtol: float = 1e-2
    atol: float = 1e-2
    grid: tuple[int, ...] | None = None
    keywords: dict[str, Any] = field(default_factory=dict)
    target: Target = "trn1"

    def __str__(self) -> str:
        return f"{self.function}{list(self.grid) if self.grid else ''}"


def uniform(*shape: int, low: float = 0.0, dtype: Any = F32) -> Callable[[np.random.Generator], Array]:
    return lambda rng: rng.uniform(low, 1.0, shape).astype(dtype)


def drawn(*makers: Any) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    """Arguments drawn in order; what is not callable is passed as it is."""
    return lambda rng: tuple(maker(rng) if callable(maker) else maker for maker in makers)


def wide(array: Array) -> Array:
    return np.asarray(array).astype(np.float64)


# -------------------------------------------------------------------------------------------- oracles


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def attention_dk(q: Array, k: Array, v: Array) -> Array:
    """Queries, keys and values as (head_dim, sequence)."""
    return softmax(wide(q).T @ wide(k)) @ wide(v).T


def matmul(a: Array, b: Array, *_: Any) -> Array:
    return wide(a).T @ wide(b)


def transposed(x: Array, shape: tuple[int, int]) -> Array:
    return x.reshape(len(x), *shape).swapaxes(1, 2).reshape(len(x), -1)


def average_pool(x: Array, size: int) -> Array:
    channels, height, width = x.shape
    tiles = wide(x).reshape(channels, height // size, size, width // size, size)
    return np.asarray(tiles.mean(axis=(2, 4)))


def max_pool(x: Array, size: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size))
    return np.asarray(windows.max(axis=(2, 3)))


def mamba(delta: Array, u: Array, a: Array, b: Array, c: Array) -> Array:
    delta, u, a, b, c = map(wide, (delta, u, a, b, c))
    batch, channels, length = delta.shape
    state = np.zeros((batch, channels, a.shape[1]))
    out = np.empty((batch, channels, length))
    for t in range(length):
        decay = np.exp(delta[:, :, t, None] * a)
        state = decay * state + (delta[:, :, t] * u[:, :, t])[:, :, None] * b[:, None, :, t]
        out[:, :, t] = (state * c[:, None, :, t]).sum(axis=-1)
    return out


def doubled(x: Array, axis: int) -> Array:
    """Twice as many samples along one axis, linearly, half-pixel centres, edges repeated."""
    before = np.concatenate([x.take([0], axis), x.take(range(x.shape[axis] - 1), axis)], axis)
    after = np.concatenate([x.take(range(1, x.shape[axis]), axis), x.take([-1], axis)], axis)
    pairs = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


def interpolated(x: Array) -> Array:
    result = wide(x)
    for axis in range(2, x.ndim):
        result = doubled(result, axis)
    return result


def nearest(x: Array, shape: tuple[int, int, int, int]) -> Array:
    rows = np.floor(np.arange(shape[1]) * (x.shape[1] / shape[1])).astype(int)
    columns = np.floor(np.arange(shape[2]) * (x.shape[2] / shape[2])).astype(int)
    return x[:, rows][:, :, columns]


def adaptive_pool(x: Array, size: int | tuple[int, int]) -> Array:
    rows, columns = (size, size) if isinstance(size, int) else size
    out = np.empty((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * x.shape[2] // rows, -(-(i + 1) * x.shape[2] // rows)
            left, right = j * x.shape[3] // columns, -(-(j + 1) * x.shape[3] // columns)
            out[:, :, i, j] = wide(x[:, :, top:bottom, left:right]).mean(axis=(2, 3))
    return out


def select_and_scatter(operand: Array, source: Array) -> Array:
    """Windows of 3 x 3, stride 2, padding 1: each source value is added where its window is largest."""
    x = np.pad(wide(operand), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros_like(x)
    windows: Array = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, ::2, ::2]
    n, c, h, w, _, _ = windows.shape
    place = windows.reshape(n, c, h, w, 9).argmax(axis=-1)
    where = np.indices((n, c, h, w))
    rows, columns = 2 * where[2] + place // 3, 2 * where[3] + place % 3
    np.add.at(out, (where[0], where[1], rows, columns), wide(source))
    return out[:, :, 1:-1, 1:-1]


def fused_attention(q: Array, k: Array, v: Array, *, keys_first: bool) -> Array:
    """Stable-diffusion attention: q (batch, head_dim, seq), v (batch, seq, head_dim), scale 1/8."""
    keys = wide(k).swapaxes(1, 2) if keys_first else wide(k)
    return softmax(0.125 * wide(q).swapaxes(1, 2) @ keys) @ wide(v)


def rms_norm_qkv(hidden: Array, weights: Array) -> Array:
    x = wide(hidden)
    return np.asarray((x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True))) @ wide(weights))


def rotated(q: Array, k: Array, cos: Array, sin: Array) -> tuple[Array, Array]:
    def turned(x: Array) -> Array:
        half = x.shape[-1] // 2
        swapped = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
        return np.asarray(x * cos[:, None] + swapped * sin[:, None])

    return turned(wide(q)), turned(wide(k))


# -------------------------------------------------------------------------------------------- samples

ATTENTION = f"{TUTORIALS}/attention_fwd_performance/attention_kernels.py"
MAMBA = f"{TUTORIALS}/fused_mamba/mamba_nki_kernels.py"
VISION = f"{REFERENCE}/vision.py"


def attentions() -> Iterator[Sample]:
    for version in ("v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v8a", "v9", "v10", "v11"):
        length = 128 if version in ("v1", "v2") else 4096
        qkv = uniform(128, length, low=-1.0)
        yield Sample(
            file=ATTENTION,
            function=f"attn_fwd_{version}",
            arguments=drawn(qkv, qkv, qkv),
            oracle=attention_dk,
            target="trn2" if version == "v11" else "trn1",
        )


def matmuls() -> Iterator[Sample]:
    yield Sample(
        file="contributed/matmul.py",
        function="matmul",
        arguments=drawn(uniform(1024, 4096, dtype=F16), uniform(1024, 2048, dtype=F16)),
        oracle=matmul,
    )


def mambas() -> Iterator[Sample]:
    for version in ("v1", "v2", "v3"):
        long = uniform(1, 256, 2048, low=0.1)
        yield Sample(
            file=MAMBA,
            function=f"mamba_{version}",
            arguments=drawn(
                long,
                uniform(1, 256, 2048, low=-1.0),
                lambda rng: -rng.uniform(0.1, 1, (256, 16)).astype(F32),
                uniform(1, 16, 2048),
                uniform(1, 16, 2048),
            ),
            oracle=mamba,
            rtol=1e-4,
            atol=1e-4,
        )


def visions() -> Iterator[Sample]:
    for dtype in (F32, BF16):
        yield Sample(
            file=VISION,
            function="select_and_scatter_kernel",
            arguments=drawn(uniform(8, 64, 112, 112, dtype=dtype), uniform(8, 64, 56, 56, dtype=dtype)),
            oracle=select_and_scatter,
        )
    for batch, dtype in ((10, F32), (1, F16), (1, BF16)):
        yield Sample(
            file=VISION,
            function="resize_nearest_fixed_dma_kernel",
            arguments=drawn(uniform(batch, 30, 20, 1280, dtype=dtype), (batch, 59, 38, 1280)),
            oracle=nearest,
            grid=(batch,),
            rtol=0,
            atol=0,
        )
    for shape, size, dtype in (
        ((1, 64, 56, 56), 7, F32),
        ((1, 256, 14, 14), 7, BF16),
        ((2, 128, 28, 28), (14, 14), F32),
        ((1, 512, 7, 7), 1, F32),
        ((2, 192, 16, 16), (4, 2), F32),
        ((1, 1, 1, 1), 1, F32),
        ((1, 256, 13, 13), 6, F32),
    ):
        yield Sample(
            file=VISION,
            function="adaptive_avg_pool2d_kernel",
            arguments=drawn(uniform(*shape, low=-1.0, dtype=dtype), size),
            oracle=adaptive_pool,
        )


def others() -> Iterator[Sample]:
    yield Sample(
        file=f"{REFERENCE}/attention.py",
        function="fused_self_attn_for_SD_small_head_size",
        arguments=drawn(*[uniform(*s, dtype=BF16) for s in ((1, 128, 4096), (1, 4096, 128), (1, 4096, 128))]),
        oracle=lambda q, k, v: fused_attention(q, k, v, keys_first=True),
        grid=(1,),
    )
    yield Sample(
        file=f"{REFERENCE}/allocated_attention.py",
        function="allocated_fused_self_attn_for_SD_small_head_size",
        arguments=drawn(*[uniform(*s, dtype=BF16) for s in ((1, 128, 4096), (1, 128, 4096), (1, 4096, 128))]),
        oracle=lambda q, k, v: fused_attention(q, k, v, keys_first=False).swapaxes(1, 2),
        grid=(1,),
    )
    for length, width, heads, dtype in ((128, 512, 512, F16), (512, 1024, 384, BF16), (128, 1024, 512, BF16)):
        yield Sample(
            file=f"{REFERENCE}/allocated_fused_linear.py",
            function="allocated_fused_rms_norm_qkv",
            arguments=drawn(uniform(1, length, width, dtype=dtype), uniform(width, heads, dtype=dtype)),
            oracle=rms_norm_qkv,
            rtol=2e-2,
            atol=2e-2,
        )
    yield Sample(
        file=f"{REFERENCE}/tutorial.py",
        function="add_kernel_nx8x128x512",
        arguments=drawn(uniform(2, 8, 128, 512), uniform(2, 8, 128, 512), 2 * 8 * 128 * 512),
        oracle=lambda a, b, n: a + b,
        grid=(2,),
        rtol=0,
        atol=0,
    )
    yield Sample(
        file=f"{TUTORIALS}/transpose2d/transpose2d_nki_kernels.py",
        function="tensor_transpose2D_kernel_",
        arguments=drawn(np.arange(60, dtype=I8).reshape(5, 12), (3, 4)),
        oracle=transposed,
        rtol=0,
        atol=0,
    )
    yield Sample(
        file=f"{TUTORIALS}/average_pool2d/average_pool2d_nki_kernels.py",
        function="tensor_avgpool_kernel",
        arguments=drawn(np.arange(72).reshape(2, 6, 6).astype(BF16), 2),
        oracle=average_pool,
    )
    yield Sample(
        file=f"{TUTORIALS}/softmax/softmax_nki_kernels.py",
        function="nki_softmax_kernel",
        arguments=drawn(uniform(1000, 512, low=-1.0)),
        oracle=softmax,
        atol=1e-6,
    )
    addition = f"{TUTORIALS}/tensor_addition"
    yield Sample(
        file=f"{addition}/spmd_tensor_addition_nki_kernels.py",
        function="nki_tensor_add",
        arguments=drawn(uniform(256, 1024, dtype=F16), uniform(256, 1024, dtype=F16)),
        oracle=lambda a, b: wide(a) + wide(b),
    )
    yield Sample(
        file=f"{addition}/spmd_multiple_nc_tensor_addition_nki_kernels.py",
        function="nki_tensor_add_nc2",
        arguments=drawn(uniform(512, 2048, dtype=F16), uniform(512, 2048, dtype=F16)),
        oracle=lambda a, b: wide(a) + wide(b),
        target="trn2",
    )
    yield Sample(
        file="contributed/maxpooling.py",
        function="max_pooling_2d_stride_1",
        arguments=drawn(uniform(448, 448), 3),
        oracle=max_pool,
        rtol=0,
        atol=0,
    )
    yield Sample(
        file="contributed/interpolate_bilinear_fwd.py",
        function="interpolate_bilinear_2x_fwd",
        arguments=drawn(uniform(2, 64, 128, 128)),
        oracle=interpolated,
        rtol=1e-5,
        atol=1e-5,
    )
    yield Sample(
        file="contributed/interpolate_trilinear_fwd.py",
        function="interpolate_trilinear_2x_fwd",
        arguments=drawn(uniform(2, 64, 23, 23, 23)),
        oracle=interpolated,
        rtol=1e-5,
        atol=1e-5,
    )


def scaled_to_fp8(weights: Array) -> tuple[Array, Array]:
    """Weights and their column scales, at most 240 before they are rounded to float8."""
    scale = np.abs(weights).max(axis=0, keepdims=True) / 240
    return weights / scale, scale


def paired_rows(weights: Array) -> Array:
    """Two tiles of 128 rows side by side, 512 columns each, as the double-row matmul takes them."""
    k, n = weights.shape
    return weights.reshape(k // 256, 2, 128, n // 512, 512).transpose(0, 2, 3, 1, 4).reshape(k // 2, 2 * n)


def double_row(rng: np.random.Generator, *tiles: int) -> tuple[Any, ...]:
    left, weights = rng.random((512, 16384)), rng.random((16384, 1024))
    quantized, scale = scaled_to_fp8(weights)
    columns = np.broadcast_to(scale, (128, 1024)).astype(BF16)
    return left.astype(BF16), paired_rows(quantized).astype(np.float32).astype(E4M3), columns, *tiles


def double_row_product(left: Array, paired: Array, scale: Array, *_: int) -> Array:
    k, n = 2 * paired.shape[0], paired.shape[1] // 2
    tiles = wide(paired).reshape(k // 256, 128, n // 512, 2, 512).transpose(0, 3, 1, 2, 4)
    return wide(left) @ tiles.reshape(k, n) * wide(scale[0])


def double_rows() -> Iterator[Sample]:
    for tiles in ((2, 2, 16), (4, 1, 32), (4, 2, 128)):
        yield Sample(
            file=f"{REFERENCE}/double_row_matmul.py",
            function="quantized_double_row_matmul",
            arguments=lambda rng, tiles=tiles: double_row(rng, *tiles),  # type: ignore[misc]
            oracle=double_row_product,
            rtol=2e-2,
            target="trn2",
        )


@dataclass(frozen=True)
class Attention:
    """Scores, probabilities and log-sum-exp of causal attention; everything (batch, heads, head_dim, sequence)."""

    p: Array
    lse: Array

    @classmethod
    def of(cls, q: Array, k: Array, window: int, sinks: Array | None) -> Attention:
        scores = wide(q).swapaxes(2, 3) @ wide(k) / np.sqrt(q.shape[2])
        rows, columns = np.indices(scores.shape[2:])
        seen = (columns <= rows) & ((columns > rows - window) | (window <= 0))
        scores = np.where(seen, scores, -np.inf)
        extra = (
            np.full(scores.shape[:3], -np.inf)
            if sinks is None
            else np.broadcast_to(wide(sinks)[:, :, None], scores.shape[:3])
        )
        lse = np.logaddexp(np.logaddexp.reduce(scores, axis=-1), extra)
        return cls(np.exp(scores - lse[..., None]), lse)


def backward(rng: np.random.Generator, kv_heads: int, window: int, with_sinks: bool) -> tuple[Any, ...]:
    """Arguments of a backward call: 4 heads of 128, sequence 2048."""
    shape = (1, 4, 128, 2048)
    q, dy = (rng.uniform(-1, 1, shape).astype(F32) for _ in range(2))
    k, v = (rng.uniform(-1, 1, (1, kv_heads, 128, 2048)).astype(F32) for _ in range(2))
    sinks = rng.standard_normal((1, 4)).astype(F32) if with_sinks else None
    keys, values = (np.repeat(x, 4 // kv_heads, axis=1) for x in (k, v))
    forward = Attention.of(q, keys, window, sinks)
    output = (forward.p @ wide(values).swapaxes(2, 3)).swapaxes(2, 3).astype(F32)
    lse = forward.lse.reshape(1, 4, 16, 128).swapaxes(2, 3).astype(F32)
    return q, k, v, output, dy, np.ascontiguousarray(lse), None, window, sinks


def gradients(q: Array, k: Array, v: Array, out: Array, dy: Array, *rest: Any) -> tuple[Array, ...]:
    """Of the sum of ``dy * output``: for queries, keys, values and, where there are any, sinks."""
    _, _, window, sinks = rest
    group = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(wide(x), group, axis=1) for x in (k, v))
    forward = Attention.of(q, keys, window, sinks)
    dp = wide(dy).swapaxes(2, 3) @ values
    inner = (wide(dy) * wide(out)).sum(axis=2)
    ds = forward.p * (dp - inner[..., None])
    scale = 1 / np.sqrt(q.shape[2])

    def grouped(x: Array) -> Array:
        return np.asarray(x.reshape(x.shape[0], -1, group, *x.shape[2:]).sum(axis=2))

    dq = keys @ ds.swapaxes(2, 3) * scale
    dk, dv = grouped(wide(q) @ ds * scale), grouped(wide(dy) @ forward.p)
    if sinks is None:
        return dq, dk, dv
    at_sink = np.exp(wide(sinks)[:, :, None] - forward.lse)
    return dq, dk, dv, -(at_sink * inner).sum(axis=-1)


SAMPLES = [*attentions(), *matmuls(), *mambas(), *visions(), *others(), *double_rows()]


# -------------------------------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = checkout.samples_clone()
    if repository is None:
        pytest.skip(checkout.WITHOUT_SAMPLES)
    return checkout.extract(
        repository, checkout.SAMPLES_REVISION, tmp_path_factory.mktemp("kernels"), "src", "contributed"
    )


@contextmanager
def definitions(tree: Path, file: str, target: Target) -> Iterator[dict[str, Any]]:
    """What a file defines, under the emulator; statements that would launch something at import are left out."""
    path = tree / file
    module = ast.parse(path.read_text(), str(path))
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    launches = [n for n, node in enumerate(module.body) if isinstance(node, ast.FunctionDef)][-1]
    kept = [node for n, node in enumerate(module.body) if isinstance(node, kinds) and n <= launches]
    module.body = kept  # type: ignore[assignment]
    # Its name in its package, where it imports relatively; else that of the file.
    inside = file.startswith("src/") and any(isinstance(node, ast.ImportFrom) and node.level for node in kept)
    name = file[len("src/") : -len(".py")].replace("/", ".") if inside else path.stem
    made = module_from_spec(ModuleSpec(name, None, origin=str(path)))
    before, folders = set(sys.modules), [str(tree / "src"), str(path.parent)]
    sys.path[:0] = folders
    try:
        with serving(Params(target=target), torch_xla=True):
            sys.modules[name] = made
            exec(compile(module, str(path), "exec"), made.__dict__)
            yield made.__dict__
    finally:
        del sys.path[: len(folders)]
        for name in set(sys.modules) - before:
            if name == made.__name__ or str(tree) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def answer(tree: Path, sample: Sample) -> tuple[Any, Any]:
    """What the kernel gives, and what it should."""
    arguments = sample.arguments(np.random.default_rng(7))
    with definitions(tree, sample.file, sample.target) as names:
        kernel = names[sample.function]
        if not hasattr(kernel, "func") and sample.file.startswith("contributed"):
            kernel = importlib.import_module("neuronxcc.nki").baremetal(kernel)
        launched = kernel if sample.grid is None else kernel[sample.grid]
        result = launched(*arguments, **sample.keywords)
    return result, sample.oracle(*arguments)


@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_kernel_runs_unmodified_and_is_right(tree: Path, sample: Sample) -> None:
    result, expected = answer(tree, sample)
    assert result.shape == expected.shape
    np.testing.assert_allclose(wide(result), wide(expected), rtol=sample.rtol, atol=sample.atol)


@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
@pytest.mark.parametrize("with_sinks", [False, True], ids=["plain", "sinks"])
@pytest.mark.parametrize("window", [-1, 128], ids=["causal", "window"])
@pytest.mark.parametrize("kv_heads", [4, 1])
def test_backward_kernel_runs_unmodified_and_is_right(tree: Path, kv_heads: int, window: int, with_sinks: bool) -> None:
    arguments = backward(np.random.default_rng(3), kv_heads, window, with_sinks)
    *tensors, seed, _, sinks = arguments
    with definitions(tree, f"{REFERENCE}/attention.py", "trn1") as names:
        results = names["flash_attn_bwd"][1, kv_heads](
            *tensors, seed, use_causal_mask=True, mixed_precision=True, sliding_window=window, sinks=sinks
        )
    for result, expected in zip(results, gradients(*arguments), strict=True):
        np.testing.assert_allclose(wide(result).reshape(expected.shape), expected, atol=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
def test_pipelined_attention_runs_unmodified_and_is_right(tree: Path) -> None:
    """The kernel is written for 16,384 keys and no other length."""
    rng = np.random.default_rng(5)
    q, k, v = (rng.random(shape).astype(BF16) for shape in ((1, 128, 16384), (1, 128, 16384), (1, 16384, 128)))
    with definitions(tree, "contributed/pipelined_attention.py", "trn1") as names:
        result = names["flash_fwd"][1](q, k, v, softmax_scale=0.125, use_causal_mask=False, mixed_precision=True)
    rows = slice(0, 16384, 61)
    expected = softmax(0.125 * wide(q[0, :, rows]).T @ wide(k[0])) @ wide(v[0])
    np.testing.assert_allclose(wide(result)[0, rows], expected, atol=1e-2)


@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
@pytest.mark.parametrize("shape", [(1, 128, 512), (2, 100, 1024)], ids=str)
def test_norm_and_quantization_runs_unmodified_and_is_right(tree: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    hidden, weights = rng.standard_normal(shape).astype(BF16), rng.random((1, shape[-1])).astype(BF16)
    with definitions(tree, f"{REFERENCE}/rmsnorm_quant/rmsnorm_quant.py", "trn2") as names:
        how = names["RmsNormQuantKernelArgs"](lower_bound=0.0)
        result = names["rmsnorm_quant_kernel"](hidden, weights, how)
    scale = np.ascontiguousarray(result[..., -4:]).view(np.float32)
    x = wide(hidden)
    expected = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + 1e-6) * wide(weights[0])
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(wide(result[..., :-4]) * scale, expected, atol=float(largest.max()) * 2**-4)
    np.testing.assert_allclose(scale * 240, largest, rtol=2e-2)


@pytest.mark.parametrize("length", [64, 128, 256])
def test_rotary_kernel_runs_unmodified_and_is_right(tree: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file imports packages for its benchmark: stand-ins for those, which the kernel does not touch."""
    llama = "transformers.models.llama.modeling_llama"
    parts = ["torch_neuronx", "loguru", *(llama.rsplit(".", n)[0] for n in (3, 2, 1)), llama]
    for name in parts:
        stand_in = ModuleType(name)
        stand_in.__dict__.update(logger=None, apply_rotary_pos_emb=None)
        monkeypatch.setitem(sys.modules, name, stand_in)
    pytest.importorskip("torch", reason="the file imports torch, an optional extra")
    rng = np.random.default_rng(13)
    q, k = (rng.standard_normal((2, 32, length, 128)).astype(F32) for _ in range(2))
    angles = np.tile(rng.uniform(0, 6, (2, length, 64)), 2)
    cos, sin = np.cos(angles).astype(F32), np.sin(angles).astype(F32)
    with definitions(tree, f"{TUTORIALS}/rotary/rotary_nki_kernels.py", "trn1") as names:
        result = names["nki_apply_rotary_embedding"][2, 32](q, k, cos, sin)
    for ours, expected in zip(result, rotated(q, k, cos, sin), strict=True):
        np.testing.assert_allclose(wide(ours), expected, rtol=1e-5, atol=1e-5)
