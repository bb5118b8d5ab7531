"""Matrix multiplication and transposition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from tests.emulator.kernels import holes, refuses, running, same_bytes, tile, values

BF16 = ml_dtypes.bfloat16
TOO_LARGE = "err_size_of_dimension_exceed_arch_limit"


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running():
        yield


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --------------------------------------------------------------------------------------------- matmul


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BF16], ids=["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("k", "m", "n"), [(1, 1, 1), (3, 2, 5), (128, 128, 512), (128, 1, 64), (64, 128, 1)])
def test_matmul_contracts_the_partitions(k: int, m: int, n: int, dtype: Any) -> None:
    a, b = random(k, m).astype(dtype), random(k, n, seed=1).astype(dtype)
    product = nisa.nc_matmul(tile(a, dtype), tile(b, dtype))
    assert (product.shape, product.space, product.dtype) == ((m, n), Space.PSUM, np.dtype(np.float32))
    exact = a.astype(np.float64).T @ b.astype(np.float64)
    np.testing.assert_allclose(values(product), exact, rtol=1e-5, atol=1e-4)


def test_matmul_of_a_moving_tile_with_two_free_dimensions() -> None:
    a, b = random(4, 3), random(4, 2, 5, seed=1)
    product = nisa.nc_matmul(tile(a), tile(b))
    assert product.shape == (3, 2, 5)
    assert same_bytes(values(product).reshape(3, 10), values(nisa.nc_matmul(tile(a), tile(b.reshape(4, 10)))))


def layouts(array: Any) -> dict[str, Any]:
    """Tiles with the same elements and different strides."""
    k, m = array.shape
    wide = tile(np.repeat(array, 3, axis=1))
    tall = tile(np.concatenate([np.zeros((64, m)), array]))
    deep = tile(np.ascontiguousarray(array.reshape(k, 1, m)).transpose(0, 2, 1))
    backwards = tile(array[:, ::-1])
    i, j = AffineIndex.arange(0, k)[:, None], AffineIndex.arange(0, m)[None, :]
    return {
        "strided": wide[i, 3 * j],
        "lower half": tall[64 : 64 + k],
        "last dimension dropped": deep[:, :, 0],
        "backwards": backwards[i, (m - 1) - j],
    }


@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["strided", "lower half", "last dimension dropped", "backwards"])
@pytest.mark.parametrize(("k", "m", "n"), [(64, 128, 512), (33, 17, 100), (7, 1, 3), (64, 5, 1)])
def test_matmul_gives_the_same_bytes_for_every_layout(k: int, m: int, n: int, layout: str, dtype: Any) -> None:
    a, b = random(k, m), random(k, n, seed=1)
    plain = values(nisa.nc_matmul(nl.copy(tile(a), dtype=dtype), nl.copy(tile(b), dtype=dtype)))
    other_a, other_b = layouts(a)[layout], layouts(b)[layout]
    np.testing.assert_array_equal(values(other_a), a)
    if dtype is BF16:
        other_a, other_b = nl.copy(other_a, dtype=BF16), nl.copy(other_b, dtype=BF16)
    assert same_bytes(values(nisa.nc_matmul(other_a, other_b)), plain)


@pytest.mark.parametrize("size", [8, 31, 128])
def test_matmul_of_a_tile_with_itself_gives_the_bytes_of_a_copy(size: int) -> None:
    a = tile(random(size, size))
    assert same_bytes(values(nisa.nc_matmul(a, a)), values(nisa.nc_matmul(a, nl.copy(a))))


def test_matmul_masks_its_result() -> None:
    i, j = nl.mgrid[0:2, 0:3]
    product = nisa.nc_matmul(tile(np.ones((4, 2))), tile(np.ones((4, 3))), mask=(j < 2) & (i < 2))
    assert holes(product).tolist() == [[False, False, True]] * 2
    nothing = nisa.nc_matmul(tile(np.ones((4, 2))), tile(np.ones((4, 3))), mask=False)
    assert holes(nothing).all()
    assert (nothing.space, nothing.dtype) == (Space.PSUM, np.dtype(np.float32))


def test_refuses_matmul_of_different_depths() -> None:
    with refuses("err_num_partition_mismatch", "stationary has 4 partitions, moving 1"):
        nisa.nc_matmul(tile(np.ones((4, 2))), tile(np.ones((1, 2))))


def test_refuses_stationary_of_rank_three() -> None:
    with refuses("err_exceed_max_supported_dimension", r"stationary has 3 dimensions, the limit is 2"):
        nisa.nc_matmul(tile(np.ones((4, 2, 1))), tile(np.ones((4, 2))))


def test_refuses_operand_out_of_bounds() -> None:
    j = nl.arange(3)[None, :]
    view = tile(np.ones((4, 2)))[nl.arange(4)[:, None], j]
    with refuses("err_tensor_access_out_of_bound"):
        nisa.nc_matmul(view, tile(np.ones((4, 2))))


# ------------------------------------------------------------------------------------ undefined elements


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        pytest.param([[0, 1], [0, 1]], [[0], [0]], [[0], [1]], id="wholly undefined column of stationary"),
        pytest.param([[0], [0]], [[0, 1], [0, 1]], [[0, 1]], id="wholly undefined column of moving"),
        pytest.param([[0, 1], [0, 1]], [[0, 1], [0, 1]], [[0, 1], [1, 1]], id="both"),
        pytest.param([[1, 1], [1, 1]], [[0], [0]], [[1], [1]], id="nothing defined"),
        pytest.param([[1], [0]], [[0], [1]], [[1]], id="no product of two defined elements"),
        pytest.param([[0], [0]], [[0], [0]], [[0]], id="all defined"),
    ],
)
def test_wholly_undefined_contraction_is_undefined(left: Any, right: Any, result: Any) -> None:
    a, b = tile(np.ones(np.shape(left)), holes=left), tile(np.full(np.shape(right), 2.0), holes=right)
    product = nisa.nc_matmul(a, b)
    np.testing.assert_array_equal(holes(product), np.array(result, dtype=bool))
    assert (values(product)[~holes(product)] == 4.0).all()


@pytest.mark.parametrize(
    ("left", "right", "culprit"),
    [
        pytest.param([[0], [1]], [[0], [0]], "stationary", id="stationary"),
        pytest.param([[0], [0]], [[1], [0]], "moving", id="moving"),
        pytest.param([[1, 0], [1, 0]], [[1], [0]], "moving", id="not the column that is wholly undefined"),
        pytest.param([[0, 0], [0, 1]], [[1, 0], [1, 0]], "stationary", id="not the other one"),
    ],
)
def test_refuses_contraction_that_mixes_defined_and_undefined(left: Any, right: Any, culprit: str) -> None:
    a = tile(np.ones(np.shape(left)), holes=left, name="stationary")
    b = tile(np.ones(np.shape(right)), holes=right, name="moving")
    with pytest.raises(UndefinedReadFault, match=f"nc_matmul contracts .*\n.*\n.*tensor '{culprit}'"):
        nisa.nc_matmul(a, b)


def test_refusal_names_the_first_mixing_element() -> None:
    a = tile(np.ones((2, 3)), holes=[[1, 0, 0], [1, 0, 1]])
    with pytest.raises(UndefinedReadFault, match=r"1 of 6 elements, the first at \(1, 2\)"):
        nisa.nc_matmul(a, tile(np.ones((2, 2))))


def test_mixing_is_legal_where_masked() -> None:
    a = tile(np.ones((2, 2)), holes=[[0, 1], [0, 0]])
    i, _ = nl.mgrid[0:2, 0:2]
    b = tile(np.ones((2, 2)))
    assert holes(nisa.nc_matmul(a, b, mask=i < 1)).tolist() == [[False, False], [True, True]]
    with pytest.raises(UndefinedReadFault):
        nisa.nc_matmul(a, b, mask=i > 0)


def test_undefined_product_names_the_tensor_it_came_from() -> None:
    a = tile(np.ones((2, 2)), holes=[[0, 1], [0, 1]], name="stationary")
    b = tile(np.ones((2, 2)), holes=[[1, 0], [1, 0]], name="moving")
    _, undefined = nisa.nc_matmul(a, b).read()
    assert undefined is not None
    named = {
        position: undefined.origins[undefined.ids[position] - 1].describe().split("'")[1]
        for position in zip(*np.nonzero(undefined.ids), strict=True)
    }
    assert named == {(0, 0): "moving", (1, 0): "stationary", (1, 1): "stationary"}


def test_undefined_product_of_a_moving_tile_with_two_free_dimensions() -> None:
    b = tile(np.ones((2, 2, 2)), holes=[[[0, 1], [0, 0]]] * 2)
    product = nisa.nc_matmul(tile(np.ones((2, 3))), b)
    assert holes(product).tolist() == [[[False, True], [False, False]]] * 3
    with pytest.raises(UndefinedReadFault, match=r"first at \(1, 0, 1\)"):
        nisa.nc_matmul(tile(np.ones((2, 3))), tile(np.ones((2, 2, 2)), holes=[[[0, 0], [0, 0]], [[0, 1], [0, 0]]]))


# ------------------------------------------------------------------------------------------ nl.matmul


def test_matmul_of_the_language_transposes_its_first_operand() -> None:
    a, b = random(5, 4), random(4, 3, seed=1)
    product = nl.matmul(tile(a), tile(b))
    assert (product.shape, product.space) == ((5, 3), Space.PSUM)
    assert same_bytes(values(product), values(nisa.nc_matmul(tile(a.T), tile(b))))
    assert same_bytes(values(product), values(nl.matmul(tile(a.T), tile(b), transpose_x=True)))


def test_matmul_of_the_language_keeps_undefinedness_through_the_transpose() -> None:
    product = nl.matmul(tile(np.ones((2, 3)), holes=[[0, 0, 0], [1, 1, 1]]), tile(np.ones((3, 2))))
    assert holes(product).tolist() == [[False, False], [True, True]]
    assert holes(nl.matmul(tile(np.ones((2, 3))), tile(np.ones((3, 2))), mask=False)).all()
    masked = nl.matmul(tile(np.ones((2, 3))), tile(np.ones((2, 2))), transpose_x=True, mask=False)
    assert masked.shape == (3, 2)
    assert holes(masked).all()


# ------------------------------------------------------------------------------------------ transpose


@pytest.mark.parametrize("dtype", [np.float32, BF16, np.int32, np.int8], ids=lambda d: np.dtype(d).name)
def test_transpose_is_exact_and_lands_in_psum(dtype: Any) -> None:
    array = (1000 * random(3, 5)).astype(dtype)
    flipped = nisa.nc_transpose(tile(array, dtype))
    assert (flipped.shape, flipped.space, flipped.dtype) == ((5, 3), Space.PSUM, np.dtype(dtype))
    assert same_bytes(values(flipped), np.ascontiguousarray(array.T))


def test_transpose_casts_where_asked() -> None:
    assert values(nisa.nc_transpose(tile([[1.5, 2.5]]), dtype=np.int8)).tolist() == [[2], [2]]


def test_transpose_takes_several_free_dimensions_as_one() -> None:
    array = random(3, 2, 4)
    flipped = nisa.nc_transpose(tile(array, holes=array > 1))
    assert flipped.shape == (8, 3)
    np.testing.assert_array_equal(holes(flipped), (array > 1).reshape(3, 8).T)
    known = ~holes(flipped)
    np.testing.assert_array_equal(values(flipped)[known], array.reshape(3, 8).T[known])


def test_transpose_masks_its_result() -> None:
    i, j = nl.mgrid[0:3, 0:2]
    flipped = nisa.nc_transpose(tile(np.ones((2, 3))), mask=(i < 2) & (j < 2))
    assert holes(flipped).tolist() == [[False, False], [False, False], [True, True]]
    assert holes(nisa.nc_transpose(tile(np.ones((2, 3))), mask=False)).all()


def test_transpose_out_of_bounds_is_legal_where_masked() -> None:
    view = tile([[1.0, 2.0], [3.0, 4.0]])[nl.arange(2)[:, None], nl.arange(3)[None, :]]
    i, _ = nl.mgrid[0:3, 0:2]
    flipped = nisa.nc_transpose(view, mask=i < 2)
    assert values(flipped)[:2].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with refuses("err_tensor_access_out_of_bound"):
        nisa.nc_transpose(view)


UNDEFINED_USES: list[Any] = [
    pytest.param(lambda t: nisa.nc_transpose(t), id="nc_transpose"),
    pytest.param(lambda t: nl.matmul(t, tile(np.ones((2, 2)))), id="matmul"),
]


@pytest.mark.parametrize("use", UNDEFINED_USES)
def test_first_reader_is_remembered(use: Callable[[Any], Any]) -> None:
    t = tile(np.ones((2, 2)), holes=[[0, 0], [1, 1]])
    use(t)
    _, undefined = t.read()
    assert undefined is not None
    assert str(undefined.origins[0].first_read).startswith("nc_transpose at ")


# ----------------------------------------------------------------------- engines of a transposition


@pytest.mark.parametrize(
    ("space", "engine", "expected"),
    [
        pytest.param(Space.SBUF, nisa.unknown_engine, Space.PSUM, id="SBUF"),
        pytest.param(Space.SBUF, nisa.tensor_engine, Space.PSUM, id="SBUF on Tensor"),
        pytest.param(Space.SBUF, nisa.vector_engine, Space.SBUF, id="SBUF on Vector"),
        pytest.param(Space.PSUM, nisa.vector_engine, Space.SBUF, id="PSUM on Vector"),
        pytest.param(Space.PSUM, nisa.unknown_engine, Space.SBUF, id="PSUM"),
        pytest.param(Space.PSUM, nisa.tensor_engine, None, id="PSUM on Tensor"),
    ],
)
def test_transpose_runs_where_the_data_can_be_read(space: Space, engine: Any, expected: Space | None) -> None:
    source = random(32, 32)
    if expected is None:
        with refuses("err_unsupported_memory"):
            nisa.nc_transpose(tile(source, space=space), engine=engine)
        return
    made = nisa.nc_transpose(tile(source, space=space), engine=engine)
    np.testing.assert_array_equal(values(made), source.T)
    assert made.space is expected


@pytest.mark.parametrize("shape", [(33, 2), (2, 33)], ids=str)
def test_vector_engine_transposes_32_by_32(shape: tuple[int, int]) -> None:
    with refuses(TOO_LARGE, "the limit is 32"):
        nisa.nc_transpose(tile(random(*shape)), engine=nisa.vector_engine)
    with refuses("err_unsupported_memory"):
        nisa.nc_transpose(tile(random(*shape), space=Space.PSUM))
    nisa.nc_transpose(tile(random(*shape)))


def test_refuses_transpose_on_the_scalar_engine() -> None:
    with refuses("engine-operation"):
        nisa.nc_transpose(tile(random(2, 2)), engine=nisa.scalar_engine)


def test_masked_transpose_on_vector() -> None:
    i, j = nl.arange(3)[:, None], nl.arange(2)[None, :]
    made = nisa.nc_transpose(tile(random(2, 3)), engine=nisa.vector_engine, mask=i + 0 * j < 2)
    assert holes(made).any(axis=1).tolist() == [False, False, True]
    assert nisa.nc_transpose(tile(random(2, 3)), engine=nisa.vector_engine, mask=False).space is Space.SBUF


# ------------------------------------------------------------------ parts of the processing array


def part(position: Any, size: Any, *, rows: int = 32, columns: int = 32) -> Any:
    return nisa.nc_matmul(
        tile(np.ones((rows, columns))), tile(np.ones((rows, 4))), tile_position=position, tile_size=size
    )


@pytest.mark.parametrize(
    ("position", "size"), [((0, 0), (128, 128)), ((64, 64), (64, 64)), ([96, 0], [32, 64]), ((), ())], ids=str
)
def test_part_of_the_array_does_not_change_the_product(position: Any, size: Any) -> None:
    assert (values(part(position, size)) == 32).all()


@pytest.mark.parametrize(
    ("position", "size", "code"),
    [
        pytest.param((0, 0), (), "", id="position only"),
        pytest.param((), (64, 64), "", id="size only"),
        pytest.param((0, 16), (64, 64), "", id="position no multiple of 32"),
        pytest.param((0, 0), (48, 64), "", id="size no multiple of 32"),
        pytest.param((0, -32), (64, 64), "", id="negative"),
        pytest.param((0, 0.0), (64, 64), "", id="float"),
        pytest.param((0, 0, 0), (64, 64), "", id="three numbers"),
        pytest.param(64, (64, 64), "", id="no pair"),
        pytest.param((96, 0), (64, 64), TOO_LARGE, id="leaves the array"),
        pytest.param((0, 0), (32, 32), "nc-version", id="32 x 32 on gen2"),
    ],
)
def test_refuses_part_of_the_array(position: Any, size: Any, code: str) -> None:
    with refuses(code):
        part(position, size)


@pytest.mark.parametrize(("rows", "columns"), [(65, 32), (32, 65)], ids=str)
def test_refuses_part_smaller_than_the_stationary_tile(rows: int, columns: int) -> None:
    with refuses("", "tile_size is"):
        part((0, 0), (64, 64), rows=rows, columns=columns)


def test_smallest_part_exists_from_gen3_on() -> None:
    with running("trn2"):
        part((32, 96), (32, 32))


def test_hints_do_not_change_the_product() -> None:
    a = tile(random(4, 3))
    hinted = nisa.nc_matmul(a, a, is_stationary_onezero=True, is_moving_onezero=True, is_transpose=True)
    assert same_bytes(values(hinted), values(nisa.nc_matmul(a, a)))


# ------------------------------------------------------------------------------- two rows at once

E5M2 = nl.float8_e5m2


def double(left: Any, right: Any, **more: Any) -> Any:
    with running("trn2"):
        return nisa.nc_matmul(left, right, perf_mode="double_row_gen3", **more)


def test_double_rows_are_summed() -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.integers(-3, 4, size=shape).astype(np.float32) for shape in ((5, 2, 4), (5, 2, 6)))
    made = double(tile(a, E5M2), tile(b, E5M2))
    np.testing.assert_array_equal(values(made), np.einsum("kri,krj->ij", a, b))
    assert (made.space, made.dtype) == (Space.PSUM, np.dtype(np.float32))


def test_double_rows_mask_their_result() -> None:
    a = tile(np.ones((4, 2, 3)), E5M2)
    j = nl.arange(3)[None, :]
    assert holes(double(a, a, mask=j + 0 * nl.arange(3)[:, None] < 2)).tolist() == [[False, False, True]] * 3
    assert holes(double(a, a, mask=False)).all()


@pytest.mark.parametrize(
    ("left", "right", "dtype", "code"),
    [
        pytest.param((4, 3), (4, 2, 3), E5M2, "", id="stationary of one row"),
        pytest.param((4, 2, 3), (4, 1, 3), E5M2, "", id="moving of one row"),
        pytest.param((4, 2, 1, 3), (4, 2, 3), E5M2, "err_exceed_max_supported_dimension", id="rank"),
        pytest.param((4, 2, 129), (4, 2, 3), E5M2, TOO_LARGE, id="stationary size"),
        pytest.param((4, 2, 3), (4, 2, 513), E5M2, TOO_LARGE, id="moving size"),
        pytest.param((4, 2, 3), (3, 2, 3), E5M2, "err_num_partition_mismatch", id="partitions"),
        pytest.param((4, 2, 3), (4, 2, 3), np.float32, "", id="dtype"),
    ],
)
def test_refuses_double_rows(left: Any, right: Any, dtype: Any, code: str) -> None:
    with refuses(code):
        double(tile(np.ones(left), dtype), tile(np.ones(right), dtype))


@pytest.mark.parametrize("hole", ["left", "right"])
def test_refuses_double_rows_with_undefined_elements(hole: str) -> None:
    pair = [tile(np.ones((4, 2, 3)), E5M2, holes=side == hole) for side in ("left", "right")]
    with pytest.raises(UndefinedReadFault):
        double(*pair)


def test_refuses_double_rows_before_gen3_and_other_modes() -> None:
    a = tile(np.ones((4, 2, 3)), E5M2)
    with refuses("nc-version"):
        nisa.nc_matmul(a, a, perf_mode="double_row_gen3")
    with refuses("", "perf_mode='fast'"):
        nisa.nc_matmul(a, a, perf_mode="fast")


# ------------------------------------------------------------------------------------- masked operands


def test_masked_operand_gives_no_result_for_columns_that_drop_out() -> None:
    left, right = random(8, 4), random(8, 6, seed=1)
    p, m, n = nl.arange(8)[:, None], nl.arange(4)[None, :], nl.arange(6)[None, :]
    result = nisa.nc_matmul(tile(left)[p, m][m < 3], tile(right)[p, n][n < 5])
    assert holes(result).tolist() == (~np.multiply.outer(np.arange(4) < 3, np.arange(6) < 5)).tolist()
    np.testing.assert_allclose(values(result)[:3, :5], (left.T @ right)[:3, :5], rtol=1e-5)


def test_masked_operand_contracts_the_partitions_that_it_keeps() -> None:
    left, right = random(8, 4), random(8, 6, seed=1)
    p, m, n = nl.arange(8)[:, None], nl.arange(4)[None, :], nl.arange(6)[None, :]
    undefined = tile(left, holes=np.arange(8)[:, None] >= 5)
    result = nisa.nc_matmul(undefined[p, m][p < 5], tile(right)[p, n][p < 5])
    assert not holes(result).any()
    np.testing.assert_allclose(values(result), left[:5].T @ right[:5], rtol=1e-5)


def test_masked_operand_may_reach_out_of_bounds_where_it_drops() -> None:
    right = random(8, 6)
    p, n = nl.arange(8)[:, None], nl.arange(9)[None, :]
    result = nisa.nc_matmul(tile(np.eye(8)), tile(right)[p, n][n < 6])
    np.testing.assert_array_equal(values(result)[:, :6], right)


@pytest.mark.parametrize("keeps", [True, False], ids=["all", "nothing"])
def test_mask_of_an_operand_that_is_the_same_everywhere(keeps: bool) -> None:
    p, n = nl.arange(8)[:, None], nl.arange(6)[None, :]
    result = nisa.nc_matmul(tile(np.eye(8)), tile(random(8, 6))[p, n][n < (6 if keeps else 0)])
    assert bool(holes(result).all()) is not keeps


def test_refuses_mask_that_does_not_fit_its_operand() -> None:
    with refuses("", "does not fit an operand of shape"):
        tile(random(8, 6))[nl.arange(5)[None, :] < 3]


def test_refuses_masked_operand_elsewhere() -> None:
    with refuses("", "must be a tensor"):
        nl.exp(tile(random(8, 6))[nl.arange(6)[None, :] < 3])


def test_result_that_no_buffer_took_is_placed_where_the_next_engine_reads() -> None:
    x = random(8, 4)
    turned = nisa.nc_transpose(tile(x))
    np.testing.assert_allclose(values(nisa.nc_matmul(turned, turned)), x @ x.T, rtol=1e-5)
    declared = nl.ndarray((4, 8), np.float32, buffer=nl.psum)
    declared[...] = nisa.nc_transpose(tile(x))
    with refuses("err_unsupported_memory", "must be in sbuf"):
        nisa.nc_matmul(declared, declared)
