"""Launching: grids, both output conventions, and what is refused when a kernel returns."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.emulator import KernelFault, launch
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy import typing as nt
from tests.emulator.kernels import refuses

HERE = __file__
NOT_WRITTEN = "err_tensor_output_not_written_to"
IMMUTABLE = "err_cannot_update_immutable_parameter"


def ones(*shape: int) -> npt.NDArray[np.float32]:
    return np.ones(shape, np.float32)


def line_of(function: Callable[..., Any], text: str) -> str:
    """The place of the one line of a function's file that holds a text."""
    code = function.__code__
    lines = Path(code.co_filename).read_text(encoding="utf-8").splitlines()[code.co_firstlineno - 1 :]
    number = next(number for number, line in enumerate(lines, code.co_firstlineno) if text in line)
    return f"{code.co_filename}:{number}"


# ---------------------------------------------------------------------------------------------- grid


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        pytest.param(3, (3,), id="number"),
        pytest.param((2,), (2,), id="one"),
        pytest.param((2, 3), (2, 3), id="two"),
        pytest.param((np.int64(2), 1, 3), (2, 1, 3), id="three-with-numpy"),
    ],
)
def test_every_program_runs_once_in_row_major_order(grid: Any, expected: tuple[int, ...]) -> None:
    seen: list[tuple[int, ...]] = []

    def kernel(x: Any) -> Any:
        assert nl.program_ndim() == len(expected)
        assert [nl.num_programs(axis) for axis in range(len(expected))] == list(expected)
        assert nl.num_programs() == np.prod(expected)
        position = tuple(nl.program_id(axis) for axis in range(len(expected)))
        seen.append(position)
        o = nl.ndarray((*expected, 1, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o[position], nl.load(x))
        return o

    assert nki.jit(kernel)[grid](ones(1, 4)).shape == (*expected, 1, 4)
    assert seen == list(itertools.product(*map(range, expected)))


def test_call_without_brackets_has_no_grid() -> None:
    def kernel(x: Any) -> Any:
        assert nl.program_ndim() == 0
        assert nl.num_programs() == 1
        o = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o, nl.load(x))
        return o

    assert nki.jit(kernel)(ones(1, 4)).tolist() == [[1.0] * 4]


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(0, id="zero"),
        pytest.param((2, -1), id="negative"),
        pytest.param(1.0, id="fraction"),
        pytest.param((2, "3"), id="text"),
        pytest.param([2, 2], id="list"),
        pytest.param(slice(2), id="slice"),
        pytest.param(None, id="none"),
    ],
)
def test_refuses_grids_that_are_no_positive_numbers(grid: Any) -> None:
    with refuses("", "a launch grid is made of positive whole numbers") as caught:
        nki.jit(lambda x: x)[grid]
    assert str(caught.value.where).startswith(f"{HERE}:")


def test_refuses_arguments_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        nki.jit(lambda x, y: x)(ones(1, 4))


# ------------------------------------------------------------------------------------ returned outputs


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_outputs_come_back_as_a_tuple(kind: Any) -> None:
    def kernel(x: Any) -> Any:
        first, second = (
            nl.ndarray((2, 4), np.float32, buffer=nl.shared_hbm),
            nl.ndarray((2, 1), np.float32, buffer=nl.shared_hbm),
        )
        tile = nl.load(x)
        nl.store(first, tile * 2)
        nl.store(second, nl.sum(tile, axis=1))
        return kind((second, first))

    second, first = nki.jit(kernel)(ones(2, 4))
    assert first.tolist() == [[2.0] * 4] * 2
    assert second.tolist() == [[4.0]] * 2


def test_outputs_are_matched_by_allocation_order_across_programs() -> None:
    def kernel(x: Any) -> Any:
        a, b = (
            nl.ndarray((2, 4), np.float32, buffer=nl.shared_hbm),
            nl.ndarray((2, 4), np.float32, buffer=nl.shared_hbm),
        )
        i = nl.program_id(0)
        tile = nl.load(x[i : i + 1, :])
        nl.store(a[i : i + 1, :], tile)
        nl.store(b[i : i + 1, :], tile * 10)
        return a, b

    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    a, b = nki.jit(kernel)[2](x)
    assert np.array_equal(a, x)
    assert np.array_equal(b, x * 10)


def test_output_can_be_a_part_of_an_allocation() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((2, 2, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o[0], nl.load(x))
        nl.store(o[1], nl.load(x) * 2)
        return o[1]

    assert nki.jit(kernel)(ones(2, 4)).tolist() == [[2.0] * 4] * 2


def test_tensors_in_a_tuple_are_tensors() -> None:
    def kernel(pair: Any, *more: Any) -> Any:
        o = nl.ndarray((2, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o, nl.load(pair[0]) + nl.load(pair[1]) + nl.load(more[0]))
        return o

    assert nki.jit(kernel)((ones(2, 4), ones(2, 4)), ones(2, 4)).tolist() == [[3.0] * 4] * 2


def test_other_arguments_arrive_as_they_are() -> None:
    seen: list[Any] = []

    def kernel(x: Any, config: Any = None, *, flag: bool = False) -> Any:
        seen.extend([config, flag])
        o = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o, nl.load(x))
        return o

    marker = object()
    nki.jit(kernel)(ones(1, 4), (marker, [1]), flag=True)
    assert seen == [(marker, [1]), True]


def test_refuses_outputs_that_were_not_written_completely() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((4, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o[1:3, :], nl.load(x))
        return o

    with refuses(NOT_WRITTEN, r"8 of 16 elements .* the first at \(0, 0\)") as caught:
        nki.jit(kernel)(ones(2, 4))
    assert caught.value.where == f"tensor 'o' of {line_of(kernel, 'nl.ndarray')}"


def test_refuses_outputs_of_which_a_program_is_missing() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((3, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o[nl.program_id(0) : nl.program_id(0) + 1, :], nl.load(x))
        return o

    assert nki.jit(kernel)[3](ones(1, 4)).shape == (3, 4)
    with refuses(NOT_WRITTEN, r"4 of 12 elements .* the first at \(2, 0\)"):
        nki.jit(kernel)[2](ones(1, 4))


def test_refuses_programs_that_allocate_differently() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((1, 4 + nl.program_id(0)), np.float32, buffer=nl.shared_hbm)
        nl.store(o[:, 0:4], nl.load(x))
        return o

    with refuses("", r"program \(1,\) allocates shared_hbm tensor 0 as \(1, 5\) float32"):
        nki.jit(kernel)[2](ones(1, 4))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        pytest.param(lambda x: 3, "a kernel returns tensors, got int", id="number"),
        pytest.param(lambda x: (x, None), "a kernel returns tensors, got NoneType", id="none-in-tuple"),
        pytest.param(lambda x: {"o": x}, "a kernel returns tensors, got dict", id="dict"),
    ],
)
def test_refuses_to_return_what_is_no_tensor(value: Callable[[Any], Any], what: str) -> None:
    with refuses("", what):
        nki.jit(lambda x: value(x))(ones(1, 4))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param(lambda x: nl.load(x), "lives in sbuf", id="tile"),
        pytest.param(lambda x: nl.ndarray((2, 2), np.float32, buffer=nl.psum), "lives in psum", id="psum"),
        pytest.param(lambda x: nl.ndarray((2, 2), np.float32, buffer=nl.hbm), "lives in hbm", id="hbm"),
        pytest.param(lambda x: nl.ndarray((2, 2), np.float32, buffer=nl.private_hbm), "private_hbm", id="private"),
    ],
)
def test_refuses_to_return_what_does_not_outlive_the_launch(value: Callable[[Any], Any], where: str) -> None:
    with refuses("err_unsupported_memory", where):
        nki.jit(lambda x: value(x))(ones(1, 4))


# --------------------------------------------------------------------------------- mutable parameters


def annotated(function: Callable[..., Any], **annotations: Any) -> Callable[..., Any]:
    """A copy of a function with these annotations."""
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__annotations__ = annotations
    return copy


def updating(x: Any, y: Any) -> Any:
    nl.store(y, nl.load(x) * 2)
    return y


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(nt.mutable_tensor, id="class"),
        pytest.param(nt.mutable_tensor.__class_getitem__((2, 4)), id="class-with-shape"),
        pytest.param("nt.mutable_tensor", id="text"),
        pytest.param("mutable_tensor", id="text-of-name"),
    ],
)
def test_mutable_parameter_comes_back_as_a_result(annotation: Any) -> None:
    y = ones(2, 4)
    result = nki.jit(annotated(updating, y=annotation))(ones(2, 4), y)
    assert result.tolist() == [[2.0] * 4] * 2


def test_parameter_that_is_only_returned_needs_no_annotation() -> None:
    assert nki.jit(lambda x: x)(ones(2, 4)).tolist() == [[1.0] * 4] * 2


@pytest.mark.parametrize(
    "annotation",
    [pytest.param(nt.tensor, id="tensor"), pytest.param("nt.tensor", id="text"), pytest.param(Any, id="any")],
)
def test_refuses_stores_into_immutable_parameters(annotation: Any) -> None:
    with refuses(IMMUTABLE, "parameter 'y'") as caught:
        nki.jit(annotated(updating, y=annotation))(ones(2, 4), ones(2, 4))
    assert caught.value.where == line_of(updating, "nl.store")


def test_refuses_stores_into_immutable_parameters_inside_a_tuple() -> None:
    def kernel(pair: Any) -> Any:
        nl.store(pair[1], nl.load(pair[0]))
        return pair[1]

    with refuses(IMMUTABLE, r"parameter 'pair\[1\]'"):
        nki.jit(kernel)((ones(2, 4), ones(2, 4)))


def test_refuses_mutable_parameters_that_are_not_returned() -> None:
    def kernel(x: Any, y: Any) -> Any:
        o = nl.ndarray((2, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(y, nl.load(x))
        nl.store(o, nl.load(x))
        return o

    with refuses("err_mutable_parameter_not_returned", "'y'") as caught:
        nki.jit(annotated(kernel, y=nt.mutable_tensor))(ones(2, 4), ones(2, 4))
    assert caught.value.where == line_of(kernel, "nl.store(y")


# ------------------------------------------------------------------------------ the older convention


def storing(x: Any, y: Any) -> None:
    nl.store(y, nl.load(x) * 2)


def test_older_convention_writes_numpy_arrays_in_place() -> None:
    x, y = ones(2, 4), np.zeros((2, 8), np.float32)[:, ::2]
    assert nki.jit(storing)(x, y) is None
    assert y.tolist() == [[2.0] * 4] * 2
    assert x.tolist() == [[1.0] * 4] * 2


def test_older_convention_keeps_elements_that_are_not_written() -> None:
    def kernel(x: Any, y: Any) -> None:
        nl.store(y[nl.program_id(0) : nl.program_id(0) + 1, :], nl.load(x))

    y = np.zeros((3, 4), np.float32)
    nki.jit(kernel)[2](ones(1, 4), y)
    assert y.tolist() == [[1.0] * 4, [1.0] * 4, [0.0] * 4]


def test_refuses_the_older_convention_for_framework_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional extra")
    y = torch.zeros(2, 4)
    with refuses(IMMUTABLE, "stores into its parameter 'y' and returns nothing") as caught:
        nki.jit(storing)(torch.ones(2, 4), y)
    assert caught.value.where == line_of(storing, "nl.store")
    assert not y.any()


def test_refuses_the_older_convention_for_read_only_arrays() -> None:
    y = ones(2, 4)
    y.flags.writeable = False
    with refuses(IMMUTABLE, "'y', and that array is read-only") as caught:
        nki.jit(storing)(ones(2, 4), y)
    assert caught.value.where == line_of(storing, "nl.store")
    assert y.tolist() == [[1.0] * 4] * 2


class Callable_:
    """A kernel that is no function."""

    def __call__(self, x: Any) -> None: ...

    def __repr__(self) -> str:
        return "Callable_()"


def nothing(x: Any) -> None: ...


@functools.wraps(nothing)
def wrapped(x: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "name", "place"),
    [
        pytest.param(nothing, "nothing", line_of(nothing, "def nothing"), id="function"),
        pytest.param(wrapped, "nothing", line_of(nothing, "def nothing"), id="decorated"),
        pytest.param(Callable_(), "Callable_()", "Callable_()", id="object"),
        pytest.param(functools.partial(nothing), "functools.partial", "functools.partial", id="partial"),
    ],
)
def test_refuses_kernels_that_neither_return_nor_store(function: Any, name: str, place: str) -> None:
    with refuses(NOT_WRITTEN, "returned nothing and stored nothing") as caught:
        nki.jit(function)(ones(1, 4))
    assert name in caught.value.what
    assert str(caught.value.where).startswith(place)


# ------------------------------------------------------------------------------------------- exceptions


def test_exceptions_of_the_kernel_pass_and_end_the_launch() -> None:
    def kernel(x: Any) -> Any:
        raise ZeroDivisionError("mine")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="mine"):
            nki.jit(kernel)[2](ones(1, 4))
    with refuses("err_nki_api_outside_of_nki_kernel"):
        nl.load(ones(1, 4))


def test_warnings_of_numpy_settings_are_the_callers() -> None:
    def kernel(x: Any) -> Any:
        o = nl.ndarray((1, 4), np.float32, buffer=nl.shared_hbm)
        nl.store(o, nl.log(nl.load(x)))
        return o

    with np.errstate(all="raise"):
        assert np.isneginf(nki.jit(kernel)(np.zeros((1, 4), np.float32))).all()
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))


def test_check_grid_returns_plain_numbers() -> None:
    (size,) = launch.check_grid(np.int32(4))
    assert type(size) is int


def test_fault_is_an_error_of_nkifix() -> None:
    assert KernelFault("", "x").code == ""
