"""Selecting by a tile of flags and by a range of positions; affine_select is tested with the element-wise ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import observe
from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.memory import Space
from nkifix.emulator.numeric import BF16
from tests.emulator.kernels import holes, refuses, running, tile, values

MEMORY = "err_unsupported_memory"
MISMATCH = "err_num_partition_mismatch"
MIN = float(np.finfo(np.float32).min)
X = np.array([[1, 9, 3, 4], [5, 6, 7, 8]], dtype=np.float32)
P = np.array([[1, 0, 2, 0], [0, 0, 0, 1]])
command = nisa.reduce_cmd


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    with running("trn2"):
        yield


def blank(*shape: int, dtype: Any = np.float32) -> Any:
    return tile(np.zeros(shape), dtype, holes=True)


def columns(size: int) -> Any:
    return nl.arange(size)[None, :]


# ------------------------------------------------------------------------------------- select_reduce


def select(**more: Any) -> Any:
    """``select_reduce`` with usual arguments; what it wrote."""
    given = {"dst": blank(2, 4), "predicate": tile(P, np.uint8), "on_true": tile(X), "on_false": -1.0} | more
    nisa.select_reduce(**given)
    return given["dst"]


@pytest.mark.parametrize("reverse", [False, True], ids=["as is", "reversed"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.bool_], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("other", [-1.0, np.array([[-1.0], [-2.0]])], ids=["number", "column"])
def test_select_takes_one_or_the_other(other: Any, dtype: Any, reverse: bool) -> None:
    on_false = other if isinstance(other, float) else tile(other)
    made = select(predicate=tile(P, dtype), on_false=on_false, reverse_pred=reverse)
    np.testing.assert_array_equal(values(made), np.where((P != 0) ^ reverse, X, other))


def test_select_reduces_to_the_maximum() -> None:
    largest = blank(2, 1)
    select(reduce_res=largest, reduce_cmd=command.reset_reduce, reduce_op=np.max)
    assert values(largest).tolist() == [[3.0], [8.0]]


def test_maximum_goes_on_across_instructions() -> None:
    largest = blank(2, 1)
    select(reduce_cmd=command.reset_reduce)
    select(on_false=100.0, reduce_cmd=command.reduce)
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert values(largest).tolist() == [[100.0], [100.0]]
    select(reduce_cmd=command.reset)
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert values(largest).tolist() == [[3.0], [8.0]]


@pytest.mark.parametrize("between", [lambda: select(), lambda: None], ids=["idle", "first use"])
def test_registers_hold_nothing_before_a_reset(between: Callable[[], Any]) -> None:
    largest = blank(2, 1)
    if between() is not None:
        select(reduce_cmd=command.reset_reduce)
        between()
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert holes(largest).all()


def test_idle_loses_the_registers_of_its_partitions_only() -> None:
    largest = blank(2, 1)
    select(reduce_cmd=command.reset_reduce)
    select(dst=blank(1, 4), predicate=tile(P[:1], np.uint8), on_true=tile(X[:1]))
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert holes(largest).tolist() == [[True], [False]]


def test_masked_elements_take_no_part_in_the_maximum() -> None:
    largest = tile([[50.0], [50.0]])
    i = nl.arange(2)[:, None]
    made = select(
        predicate=tile(np.ones((2, 4)), np.uint8),
        reduce_cmd=command.reset_reduce,
        reduce_res=largest,
        mask=(i + 0 * columns(4) < 1) & (columns(4) + 0 * i < 1),
    )
    assert values(largest).tolist() == [[1.0], [50.0]]
    assert holes(made).sum() == 7
    assert holes(select(mask=False)).all()


def test_masked_partitions_keep_their_register() -> None:
    largest = blank(2, 1)
    i = nl.arange(2)[:, None]
    select(on_false=100.0, reduce_cmd=command.reset_reduce)
    select(on_false=200.0, reduce_cmd=command.reduce, reduce_res=largest, mask=i + 0 * columns(4) < 1)
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert values(largest).tolist() == [[200.0], [100.0]]


def test_undefined_elements_count_where_they_are_chosen() -> None:
    largest = blank(2, 1)
    made = select(
        on_true=tile(X, holes=[[True, True, False, False], [False] * 4]),
        on_false=tile([[0.0], [0.0]], holes=[[False], [True]]),
        reduce_cmd=command.reset_reduce,
        reduce_res=largest,
    )
    assert holes(made).tolist() == [[True, False, False, False], [True, True, True, False]]
    assert holes(largest).all()


def test_select_rounds_to_its_destination() -> None:
    assert select(dst=blank(2, 4, dtype=BF16)).dtype == BF16
    made = select(on_true=tile(X + 2.0**-10), dtype=BF16)
    assert values(made)[0, 0] == 1.0


def test_refuses_selecting_by_undefined_flags() -> None:
    unknown = tile(P, np.uint8, holes=[[False, True, False, False], [False] * 4])
    with pytest.raises(UndefinedReadFault, match="selects by undefined"):
        select(predicate=unknown)
    select(predicate=unknown, mask=columns(4) < 1)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"dst": blank(2, 3)}, "", id="shape"),
        pytest.param(lambda: {"dst": blank(1, 4)}, MISMATCH, id="partitions"),
        pytest.param(lambda: {"predicate": tile(P, np.uint32)}, "", id="wide flags"),
        pytest.param(lambda: {"predicate": tile(P)}, "", id="floating flags"),
        pytest.param(lambda: {"on_true": tile(X, np.int32)}, "", id="wide integers"),
        pytest.param(lambda: {"on_true": nl.copy(tile(X), dtype=nl.tfloat32)}, "", id="tfloat32"),
        pytest.param(lambda: {"on_false": tile(X)}, "", id="on_false no column"),
        pytest.param(lambda: {"reduce_op": np.add}, "", id="sum"),
        pytest.param(lambda: {"reduce_cmd": 9}, "", id="no such command"),
        pytest.param(lambda: {"reduce_res": blank(2, 1)}, "", id="result of nothing"),
        pytest.param(
            lambda: {"reduce_res": blank(2, 2), "reduce_cmd": command.reset_reduce}, "", id="reduce_res no column"
        ),
        pytest.param(
            lambda: {"reduce_res": blank(2, 1, dtype=np.int32), "reduce_cmd": command.reset_reduce}, "", id="integer"
        ),
        pytest.param(
            lambda: {"on_true": tile(X, space=Space.PSUM), "predicate": tile(P, np.uint8, space=Space.PSUM)},
            MEMORY,
            id="both in PSUM",
        ),
    ],
)
def test_refuses_select_reduce(more: Any, code: str) -> None:
    with refuses(code):
        select(**more())


def test_select_reads_one_operand_from_psum() -> None:
    select(on_true=tile(X, space=Space.PSUM))
    select(predicate=tile(P, np.uint8, space=Space.PSUM))


def test_select_exists_on_gen2() -> None:
    with running("trn1"):
        select()


# -------------------------------------------------------------------------------------- range_select


def in_range(**more: Any) -> Any:
    given = {
        "on_true_tile": tile(X),
        "comp_op0": np.greater_equal,
        "comp_op1": np.less,
        "bound0": tile([[1.0], [0.0]]),
        "bound1": tile([[3.0], [2.0]]),
    } | more
    return nisa.range_select(**given)


OPERATORS = [np.equal, np.less, np.less_equal, np.greater, np.greater_equal]


@pytest.mark.parametrize("second", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("first", OPERATORS, ids=lambda op: op.__name__)
def test_range_select_is_the_documented_one(first: Any, second: Any) -> None:
    b0, b1 = np.array([[11.0], [12.0]]), np.array([[12.0], [13.0]])
    position = np.broadcast_to(10 + np.arange(4), (2, 4))
    expected = np.where(first(position, b0) & second(position, b1), X, np.float32(MIN))
    largest = blank(2, 1)
    made = in_range(
        comp_op0=first,
        comp_op1=second,
        bound0=tile(b0),
        bound1=tile(b1),
        range_start=10,
        reduce_cmd=command.reset_reduce,
        reduce_res=largest,
    )
    np.testing.assert_array_equal(values(made), expected)
    np.testing.assert_array_equal(values(largest), expected.max(axis=1, keepdims=True))


def test_range_counts_through_all_free_dimensions() -> None:
    made = in_range(on_true_tile=tile(X.reshape(2, 2, 2)))
    np.testing.assert_array_equal(values(made).reshape(2, 4), values(in_range()))


def test_range_has_the_tiles_dtype_or_what_is_asked() -> None:
    assert in_range(on_true_tile=tile(X, BF16)).dtype == BF16
    assert np.isneginf(values(in_range(dtype=np.float16)).astype(np.float32)[0, 0])


def test_range_shares_registers_with_select() -> None:
    largest = blank(2, 1)
    in_range(reduce_cmd=command.reset_reduce)
    select(reduce_cmd=command.reduce, reduce_res=largest)
    assert values(largest).tolist() == [[9.0], [8.0]]


def test_range_masks_and_spoils() -> None:
    made = in_range(on_true_tile=tile(X, holes=[[True] + [False] * 3, [False] * 4]), mask=columns(4) < 2)
    assert holes(made).tolist() == [[True, False, True, True], [False, False, True, True]]
    assert holes(in_range(bound0=tile([[1.0], [0.0]], holes=[[True], [False]]))).all(axis=1).tolist() == [True, False]
    assert holes(in_range(mask=False)).all()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"comp_op0": np.not_equal}, "", id="another comparison"),
        pytest.param(lambda: {"comp_op1": np.add}, "", id="no comparison"),
        pytest.param(lambda: {"bound0": tile([[1.0], [0.0]], BF16)}, "", id="bound0 dtype"),
        pytest.param(lambda: {"bound1": tile([[1.0], [0.0]], np.int32)}, "", id="bound1 dtype"),
        pytest.param(lambda: {"bound0": 1.0}, "", id="bound is a number"),
        pytest.param(lambda: {"bound0": tile([[1.0, 0.0]] * 2)}, "", id="bound no column"),
        pytest.param(lambda: {"bound0": tile([[1.0]])}, MISMATCH, id="bound partitions"),
        pytest.param(lambda: {"on_true_tile": tile(X, np.int16)}, "", id="integers"),
        pytest.param(lambda: {"on_false_value": 0.0}, "", id="another fill"),
        pytest.param(lambda: {"reduce_op": np.add}, "", id="sum"),
        pytest.param(lambda: {"range_start": 0.5}, "", id="start of a float"),
        pytest.param(lambda: {"range_start": 2**24 - 2}, "", id="beyond 2**24"),
        pytest.param(lambda: {"range_start": -(2**24) - 1}, "", id="below -2**24"),
        pytest.param(lambda: {"reduce_res": blank(2, 1)}, "", id="result of nothing"),
    ],
)
def test_refuses_range_select(more: Any, code: str) -> None:
    with refuses(code):
        in_range(**more())


def test_range_at_its_limits() -> None:
    in_range(range_start=2**24 - 3)
    in_range(range_start=-(2**24), on_false_value=nl.fp32.min)


def test_refuses_range_select_before_gen3() -> None:
    with running("trn1"), refuses("nc-version", "NeuronCore-v2"):
        in_range()


# ---------------------------------------------------------------------------- tensor_copy_predicated


def copied(**more: Any) -> Any:
    given = {"src": tile(X), "dst": tile(np.zeros((2, 4))), "predicate": tile(P, np.uint8)} | more
    nisa.tensor_copy_predicated(**given)
    return given["dst"]


@pytest.mark.parametrize("reverse", [False, True], ids=["as is", "reversed"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("source", [X, 7.0], ids=["tile", "number"])
def test_copy_where_the_flags_say(source: Any, dtype: Any, reverse: bool) -> None:
    made = copied(
        src=source if isinstance(source, float) else tile(source), predicate=tile(P, dtype), reverse_pred=reverse
    )
    np.testing.assert_array_equal(values(made), np.where((P != 0) ^ reverse, source, 0))


def test_copy_defines_what_it_writes_only() -> None:
    assert holes(copied(dst=blank(2, 4))).tolist() == (P == 0).tolist()
    gaps = [[True, True, False, False], [False] * 4]
    assert holes(copied(src=tile(X, holes=gaps))).tolist() == [[True, False, False, False], [False] * 4]


def test_copy_takes_shapes_of_equal_size() -> None:
    made = copied(src=tile(X.reshape(2, 2, 2)), predicate=tile(P.reshape(2, 2, 2), np.uint8))
    np.testing.assert_array_equal(values(made), np.where(P != 0, X, 0))


def test_copy_masks_its_destination() -> None:
    assert values(copied(mask=columns(4) < 2)).tolist() == [[1, 0, 0, 0], [0] * 4]
    assert values(copied(mask=False)).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param(lambda: {"predicate": tile(P, np.int8)}, "", id="signed flags"),
        pytest.param(lambda: {"predicate": tile(P[:, :3], np.uint8)}, "", id="fewer flags"),
        pytest.param(lambda: {"src": tile(X[:, :3])}, "", id="fewer elements"),
        pytest.param(lambda: {"src": tile(X[:1])}, MISMATCH, id="partitions"),
        pytest.param(lambda: {"src": tile(X, BF16)}, "", id="dtypes"),
        pytest.param(lambda: {"dtype": BF16}, "", id="another dtype asked for"),
        pytest.param(
            lambda: {"src": tile(X, space=Space.PSUM), "predicate": tile(P, np.uint8, space=Space.PSUM)},
            MEMORY,
            id="both in PSUM",
        ),
    ],
)
def test_refuses_predicated_copy(more: Any, code: str) -> None:
    with refuses(code):
        copied(**more())


def test_refuses_copy_by_undefined_flags() -> None:
    with pytest.raises(UndefinedReadFault):
        copied(predicate=tile(P, np.uint8, holes=True))


def test_flags_do_not_matter_without_arithmetic() -> None:
    with running(arithmetic=False):
        assert not holes(copied(dst=blank(2, 4))).any()


def test_each_is_one_instruction() -> None:
    with observe.observing(sequence=True) as seen:
        select(reduce_cmd=command.reset_reduce, reduce_res=blank(2, 1))
        in_range(reduce_cmd=command.reset_reduce, reduce_res=blank(2, 1))
        copied()
    assert [one.operation for one in seen] == ["select_reduce", "range_select", "tensor_copy_predicated"]
