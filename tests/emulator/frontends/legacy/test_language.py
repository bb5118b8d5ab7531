"""Names of ``nl``: indices, loops, program ids, constants, and one call of each function."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator import serving
from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.faults import KernelFault
from nkifix.emulator.frontends.legacy import isa, language
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy.documented import DOCUMENTED
from tests.emulator.kernels import hbm, holes, refuses, running, same_bytes, tile, values


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


# ------------------------------------------------------------------------------------------ constants


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float32", np.float32),
        ("float16", np.float16),
        ("bfloat16", ml_dtypes.bfloat16),
        ("int8", np.int8),
        ("int16", np.int16),
        ("int32", np.int32),
        ("uint8", np.uint8),
        ("uint16", np.uint16),
        ("uint32", np.uint32),
        ("bool_", np.bool_),
        ("tfloat32", "V4"),
        ("float8_e5m2", ml_dtypes.float8_e5m2),
    ],
)
def test_dtype_is_usable_as_numpys(name: str, dtype: Any) -> None:
    assert np.dtype(getattr(nl, name)) == np.dtype(dtype)


def test_lowest_numbers_by_their_documented_bits() -> None:
    assert np.array([nl.fp32.min], dtype=np.float32).view(np.uint32).tolist() == [0xFF7FFFFF]
    assert np.array([nl.bfp16.min], dtype=nl.bfloat16).view(np.uint16).tolist() == [0xFF80]


@pytest.mark.parametrize(
    ("dtype", "largest", "eps", "bits"),
    [
        pytest.param(np.float32, 3.4028234663852886e38, 2.0**-23, 32, id="float32"),
        pytest.param(np.float16, 65504, 2.0**-10, 16, id="float16"),
        pytest.param(nl.bfloat16, 255 * 2.0**120, 2.0**-7, 16, id="bfloat16"),
        pytest.param(nl.tfloat32, 2047 * 2.0**117, 2.0**-10, 32, id="tfloat32"),
        pytest.param(nl.float8_e5m2, 57344, 2.0**-2, 8, id="float8_e5m2"),
    ],
)
def test_limits_of_a_float(dtype: Any, largest: float, eps: float, bits: int) -> None:
    limits = nl.finfo(dtype)
    assert (float(limits.max), float(limits.min), float(limits.eps), limits.bits) == (largest, -largest, eps, bits)
    assert values(nl.full((1, 1), limits.min, np.float32)).tolist() == [[-largest]]


@pytest.mark.skipif(not isinstance(nl.float8_e4m3, np.dtype), reason="ml_dtypes before 0.5 has no float8_e4m3")
def test_float8_e4m3_has_240_and_infinity() -> None:
    assert float(nl.finfo(nl.float8_e4m3).max) == 240
    stored = nl.ndarray((1, 2), nl.float8_e4m3)
    stored[...] = tile([[240.0, 300.0]])
    assert values(nl.copy(stored, dtype=np.float32)).tolist() == [[240.0, np.inf]]


TILE_SIZES = {
    "pmax": 128,
    "gemm_stationary_fmax": 128,
    "gemm_moving_fmax": 512,
    "psum_fmax": 512,
    "bn_stats_fmax": 512,
    "psum_min_align": 4,
    "sbuf_min_align": 4,
}


@pytest.mark.parametrize(("target", "sbuf_bytes"), [("trn1", 180_224), ("trn2", 212_984)])
def test_tile_sizes_of_a_target(target: Any, sbuf_bytes: int) -> None:
    with running(target):
        assert {name: getattr(nl.tile_size, name) for name in TILE_SIZES} == TILE_SIZES
        assert nl.tile_size.total_available_sbuf_size == sbuf_bytes


def test_grids_of_a_matmul() -> None:
    for grid, shape in ((nl.gemm_grid(), (128, 512)), (nl.gemm_stationary_grid(), (128, 128))):
        i, j = grid
        assert (i.shape, j.shape) == ((shape[0], 1), (1, shape[1]))


def test_every_documented_name_exists() -> None:
    assert set(DOCUMENTED["neuronxcc.nki.language"]) <= set(language.__all__)


def test_every_listed_name_exists() -> None:
    for module in (language, isa):
        assert sorted(module.__all__, key=str.casefold) == sorted(set(module.__all__), key=str.casefold)
        assert all(hasattr(module, name) for name in module.__all__)


# -------------------------------------------------------------------------------------------- indices


@pytest.mark.parametrize(
    ("args", "expected"),
    [((3,), [0, 1, 2]), ((2, 5), [2, 3, 4]), ((-1, 1), [-1, 0]), ((np.int64(2),), [0, 1])],
    ids=str,
)
def test_arange(args: tuple[int, ...], expected: list[int]) -> None:
    index = nl.arange(*args)
    assert isinstance(index, AffineIndex)
    assert index.values().tolist() == expected


@pytest.mark.parametrize("args", [(), (1, 2, 3), (1.5,), (0, "2"), (True,)], ids=str)
def test_refuses_arange_of(args: tuple[Any, ...]) -> None:
    with refuses("", "nl.arange takes stop, or start and stop"):
        nl.arange(*args)


def test_mgrid_varies_along_one_dimension_each() -> None:
    grid = nl.mgrid[0:2, 3:6]
    i, j = grid
    ours = [np.broadcast_to(index.values(), (2, 3)) for index in (i, j)]
    np.testing.assert_array_equal(ours, np.mgrid[0:2, 3:6])
    assert (i.shape, j.shape) == ((2, 1), (1, 3))


def test_mgrid_has_names_for_its_dimensions() -> None:
    grid = nl.mgrid[0:2, 0:3, 0:4, 0:5, 0:6]
    assert [grid.p, grid.x, grid.y, grid.z, grid.w] == [*grid] or all(
        a is b for a, b in zip((grid.p, grid.x, grid.y, grid.z, grid.w), grid, strict=True)
    )


def test_mgrid_of_one_slice_starts_at_zero() -> None:
    (index,) = nl.mgrid[:3]
    assert index.values().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(3, id="integer"),
        pytest.param((slice(0, 2), 3), id="slice and integer"),
        pytest.param(slice(0, 4, 2), id="step"),
        pytest.param(slice(0, None), id="open"),
        pytest.param(slice(0, 2.0), id="stop of a float"),
        pytest.param(slice(0.0, 2), id="start of a float"),
    ],
)
def test_refuses_mgrid_of(key: Any) -> None:
    with refuses("", "nl.mgrid takes slices"):
        nl.mgrid[key]


def test_dynamic_slice_is_a_slice_of_an_index() -> None:
    assert values(hbm(np.arange(6.0, dtype=np.float32))[nl.ds(2, 3)]).tolist() == [2, 3, 4]


# ---------------------------------------------------------------------------------------------- loops

LOOPS = [nl.affine_range, nl.sequential_range, nl.static_range]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("args", [(3,), (1, 4), (1, 6, 2), (5, 0, -2), (0,), (np.int64(2),)], ids=str)
def test_loop_runs_like_range(loop: Callable[..., Any], args: tuple[int, ...]) -> None:
    assert list(loop(*args)) == list(range(*args))


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("args", [(), (1, 2, 3, 4), (1.0,), (True,), ("3",)], ids=str)
def test_refuses_loop_over(loop: Callable[..., Any], args: tuple[Any, ...]) -> None:
    with refuses("", f"nl.{loop.__name__} takes one to three whole numbers"):
        loop(*args)


# ------------------------------------------------------------------------------------------- programs


def test_program_knows_its_place_in_the_grid() -> None:
    with running(grid=(2, 3, 5), position=(1, 0, 4)):
        assert [nl.program_id(axis) for axis in range(3)] == [1, 0, 4]
        numpy_axis: Any = np.int64(2)
        assert nl.program_id(numpy_axis) == 4
        assert nl.program_ndim() == 3
        assert nl.num_programs() == 30
        assert nl.num_programs(0) == 2
        assert nl.num_programs((1, 2)) == 15
        assert nl.num_programs([2]) == 5


def test_call_without_brackets_has_no_dimension() -> None:
    assert nl.program_ndim() == 0
    assert nl.num_programs() == 1


@pytest.mark.parametrize("axis", [2, -1, None, 0.0, True], ids=str)
def test_refuses_dimension_that_the_grid_has_not(axis: Any) -> None:
    with running(grid=(2, 3), position=(0, 0)):
        with refuses("", r"has 2 dimension\(s\)"):
            nl.program_id(axis)
        if axis is not None:
            with refuses("", r"has 2 dimension\(s\)"):
                nl.num_programs(axis)


def test_refuses_program_id_without_a_grid() -> None:
    with refuses("", "kernel\\[grid\\]"):
        nl.program_id(0)


# ------------------------------------------------------------------------------------------ functions


def test_load_and_store_pass_their_arguments_on() -> None:
    out = hbm(np.zeros((2, 2), dtype=np.float32))
    i, j = nl.mgrid[0:2, 0:2]
    loaded = nl.load(hbm([[1.5, 2.5], [3.5, 4.5]], dtype=np.float32)[i, j], mask=j < 1, dtype=np.int8)
    assert loaded.dtype == np.dtype(np.int8)
    assert holes(loaded).tolist() == [[False, True]] * 2
    nl.store(out[i, j], value=loaded, mask=j < 1)
    assert values(out).tolist() == [[2, 0], [4, 0]]


def test_load_transpose2d_passes_its_arguments_on() -> None:
    i = nl.arange(2)[:, None]
    result = nl.load_transpose2d(hbm([[1.5, 2.5]], dtype=np.float32), mask=i < 1, dtype=np.int8)
    assert result.dtype == np.dtype(np.int8)
    assert holes(result).tolist() == [[False], [True]]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda **k: nl.add(tile(np.ones((2, 2))), 1, **k), id="add"),
        pytest.param(lambda **k: nl.subtract(tile(np.ones((2, 2))), 1, **k), id="subtract"),
        pytest.param(lambda **k: nl.multiply(tile(np.ones((2, 2))), 1, **k), id="multiply"),
        pytest.param(lambda **k: nl.divide(tile(np.ones((2, 2))), 1, **k), id="divide"),
        pytest.param(lambda **k: nl.maximum(tile(np.ones((2, 2))), 1, **k), id="maximum"),
        pytest.param(lambda **k: nl.minimum(tile(np.ones((2, 2))), 1, **k), id="minimum"),
        pytest.param(lambda **k: nl.exp(tile(np.ones((2, 2))), **k), id="exp"),
        pytest.param(lambda **k: nl.log(tile(np.ones((2, 2))), **k), id="log"),
        pytest.param(lambda **k: nl.sqrt(tile(np.ones((2, 2))), **k), id="sqrt"),
        pytest.param(lambda **k: nl.rsqrt(tile(np.ones((2, 2))), **k), id="rsqrt"),
        pytest.param(lambda **k: nl.square(tile(np.ones((2, 2))), **k), id="square"),
        pytest.param(lambda **k: nl.reciprocal(tile(np.ones((2, 2))), **k), id="reciprocal"),
        pytest.param(lambda **k: nl.copy(tile(np.ones((2, 2))), **k), id="copy"),
        pytest.param(lambda **k: nl.dropout(tile(np.ones((2, 2))), 0.0, **k), id="dropout"),
        pytest.param(lambda **k: isa.tensor_copy(tile(np.ones((2, 2))), **k), id="nisa.tensor_copy"),
        pytest.param(lambda **k: isa.activation(np.exp, tile(np.ones((2, 2))), **k), id="nisa.activation"),
        pytest.param(lambda **k: isa.nc_transpose(tile(np.ones((2, 2))), **k), id="nisa.nc_transpose"),
        pytest.param(lambda **k: isa.dma_transpose(tile(np.ones((2, 2))), **k), id="nisa.dma_transpose"),
        pytest.param(
            lambda **k: isa.affine_select(nl.mgrid[0:2, 0:2].p >= nl.mgrid[0:2, 0:2].x, tile(np.ones((2, 2))), 0, **k),
            id="nisa.affine_select",
        ),
    ],
)
def test_function_takes_dtype_and_mask(call: Callable[..., Any]) -> None:
    assert call().dtype == np.dtype(np.float32)
    i, j = nl.mgrid[0:2, 0:2]
    result = call(dtype=nl.bfloat16, mask=(j < 1) & (i < 2))
    assert result.dtype == np.dtype(nl.bfloat16)
    assert holes(result).tolist() == [[False, True]] * 2


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda **k: nl.sum(tile(np.ones((2, 2))), 1, **k), id="sum"),
        pytest.param(lambda **k: nl.max(tile(np.ones((2, 2))), axis=1, **k), id="max"),
        pytest.param(lambda **k: nl.min(tile(np.ones((2, 2))), axis=[1], **k), id="min"),
        pytest.param(lambda **k: isa.tensor_reduce(np.max, tile(np.ones((2, 2))), 1, **k), id="nisa.tensor_reduce"),
    ],
)
def test_reduction_takes_dtype_and_mask(call: Callable[..., Any]) -> None:
    assert call().dtype == np.dtype(np.float32)
    result = call(dtype=nl.bfloat16, mask=False)
    assert result.dtype == np.dtype(nl.bfloat16)
    assert holes(result).all()


@pytest.mark.parametrize("dtype", [np.int8, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name)
def test_static_cast_of_an_array(dtype: Any) -> None:
    array = np.array([[1.5, -300.0]], dtype=np.float32)
    expected = np.array([[2, -128]]) if dtype is np.int8 else array
    assert same_bytes(nl.static_cast(array, dtype), expected.astype(dtype))


def test_static_cast_of_a_number() -> None:
    number = nl.static_cast(2.6, np.int8)
    assert (type(number), number) == (np.int8, 3)


def test_static_cast_of_a_tile() -> None:
    assert values(nl.static_cast(tile([[1.5]]), np.int8)).tolist() == [[2]]


def test_refuses_static_cast_to_a_dtype_of_the_host() -> None:
    with refuses("", "no dtype"):
        nl.static_cast(np.zeros(1, dtype=np.float32), np.float64)


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        pytest.param(lambda: nl.sum(None, 1), "sum: data", id="sum"),
        pytest.param(lambda: nl.max(None, 1), "max: data", id="max"),
        pytest.param(lambda: nl.min(None, 1), "min: data", id="min"),
        pytest.param(lambda: nl.copy(None), "copy: src", id="copy"),
        pytest.param(lambda: nl.log(None), "log: data", id="log"),
        pytest.param(lambda: nl.load_transpose2d(None), "load_transpose2d: src", id="load_transpose2d"),
        pytest.param(lambda: isa.tensor_copy(None), "tensor_copy: src", id="nisa.tensor_copy"),
        pytest.param(lambda: isa.tensor_reduce(np.max, None, 1), "tensor_reduce: data", id="nisa.tensor_reduce"),
        pytest.param(lambda: isa.activation(np.exp, None), "activation: data", id="nisa.activation"),
        pytest.param(lambda: isa.dma_transpose(None), "dma_transpose: src", id="nisa.dma_transpose"),
        pytest.param(
            lambda: isa.activation_reduce(
                np.exp, tile([[1.0]]), reduce_op=np.add, reduce_res=hbm(np.ones((1, 1), np.float32))
            ),
            "activation_reduce: reduce_res",
            id="nisa.activation_reduce",
        ),
    ],
)
def test_refusal_names_the_function_that_the_kernel_called(call: Callable[[], Any], operation: str) -> None:
    with pytest.raises(KernelFault, match=rf"{operation} must be "):
        call()


# -------------------------------------------------------------------------------------------- options

X: dict[str, Callable[[], Any]] = {
    "x": lambda: tile(np.ones((2, 2))),
    "y": lambda: tile(np.ones((2, 2))),
    "w": lambda: tile(np.ones((2, 2))),
    "a": lambda: tile(np.ones((2, 2))),
    "src": lambda: tile(np.ones((2, 2))),
    "data": lambda: tile(np.ones((2, 2))),
    "condition": lambda: tile(np.ones((2, 2))),
}
WITH_OPTIONS = [
    name
    for name in language.__all__
    if inspect.isfunction(getattr(nl, name))
    and getattr(nl, name).__module__.startswith("nkifix.emulator.frontends.legacy.language.")
    and not getattr(nl, name).__module__.endswith((".loops", ".grid"))
    and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(getattr(nl, name)).parameters.values())
]


def arguments_of(function: Callable[..., Any]) -> dict[str, Any]:
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    return {name: X.get(name, lambda: None)() for name in required if name != "kwargs"}


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_refuses_unknown_option(name: str) -> None:
    function = getattr(nl, name)
    with refuses("", f"nl.{name} has no option 'engin'"):
        function(**arguments_of(function), engin=3)


def test_refusal_of_an_option_names_the_nearest() -> None:
    with refuses("", "did you mean dtype?"):
        nl.exp(tile([[1.0]]), dtyp=np.int8)
    with refuses("", "did you mean keepdims?"):
        nl.sum(tile([[1.0]]), 1, keepdim=True)


def test_options_of_shipped_kernels_are_let_through() -> None:
    assert values(nl.exp(tile([[0.0]]), name="exp6")).tolist() == [[1.0]]
    assert values(nl.zeros((1, 1), np.float32, lazy_initialization=True)).tolist() == [[0.0]]


# -------------------------------------------------------------------------------------- shapes, casts


def test_transpose_of_a_tile() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert same_bytes(values(nl.transpose(tile(x))), x.T)
    assert nl.transpose(tile(x), dtype=nl.bfloat16).dtype == np.dtype(nl.bfloat16)
    with refuses("err_exceed_max_supported_dimension", "takes a tile of rank 2"):
        nl.transpose(tile(np.ones((2, 3, 4))))


def test_broadcast_to_copies_unless_the_shape_is_the_same() -> None:
    source = tile([[1.0, 2.0]])
    assert nl.broadcast_to(source, shape=(1, 2)) is source
    result = nl.broadcast_to(source, shape=(3, 2))
    source[...] = 0
    assert values(result).tolist() == [[1.0, 2.0]] * 3
    with refuses("", "cannot be broadcast"):
        nl.broadcast_to(source, shape=(3, 4))


def test_expand_dims_adds_dimensions_at_the_end() -> None:
    x = tile(np.ones((2, 3)))
    assert nl.expand_dims(x, 2).shape == (2, 3, 1)
    assert nl.expand_dims(x, [2, 3]).shape == (2, 3, 1, 1)
    assert nl.expand_dims(x, -1).shape == (2, 3, 1)
    for early in (0, 1, -2, (1, 2)):
        with refuses("", "after the last one"):
            nl.expand_dims(x, early)
    for other in (3, "2", (2, 2)):
        with refuses("", "expand_dims: axis"):
            nl.expand_dims(x, other)


# --------------------------------------------------------------------------------------- unknown names


@pytest.mark.parametrize(
    ("module", "name", "nearest"),
    [
        pytest.param("language", "affine_rang", "affine_range", id="nl, misspelled"),
        pytest.param("language", "mgri", "mgrid", id="nl, cut"),
        pytest.param("isa", "activation_reduced", "activation_reduce", id="nisa, misspelled"),
        pytest.param("isa", "nc_matmull", "nc_matmul", id="nisa, doubled"),
    ],
)
def test_refuses_unknown_name_and_names_the_nearest(module: str, name: str, nearest: str) -> None:
    full = f"neuronxcc.nki.{module}"
    with serving(), pytest.raises(AttributeError, match=rf"{re.escape(full)}\.{name} is not emulated.*{nearest}$"):
        getattr(importlib.import_module(full), name)


def test_refuses_unknown_name_without_a_neighbour() -> None:
    with serving(), pytest.raises(AttributeError, match=r"nl?.*\.zzzzqqqq is not emulated$"):
        importlib.import_module("neuronxcc.nki.language").zzzzqqqq  # noqa: B018  the access is the test
