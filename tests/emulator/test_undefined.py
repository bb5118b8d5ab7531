"""Bookkeeping of undefined elements."""

from __future__ import annotations

import numpy as np
import pytest

from nkifix.emulator.faults import UndefinedReadFault
from nkifix.emulator.undefined import MAX_ORIGINS, Origin, Undefined, merge, reduced, refuse_undefined

HERE = __file__


def origin(name: str) -> Origin:
    return Origin(lambda: f"tensor {name!r}")


def some(ids: list[int], *origins: Origin) -> Undefined:
    return Undefined(np.array(ids, dtype=np.uint8), origins)


def test_everywhere_is_a_read_only_broadcast_of_one_origin() -> None:
    a = origin("a")
    undefined = Undefined.everywhere((2, 3), a)
    assert undefined.ids.shape == (2, 3)
    assert (undefined.ids == 1).all()
    assert not undefined.ids.flags.writeable
    assert undefined.present() == [a]


def test_present_lists_origins_that_elements_have() -> None:
    a, b, c = origin("a"), origin("b"), origin("c")
    assert some([0, 3, 1, 3], a, b, c).present() == [a, c]


def test_note_read_keeps_the_first_reader() -> None:
    a, b = origin("a"), origin("b")
    some([1, 0], a, b).note_read("first")
    some([1, 2], a, b).note_read("second")
    assert a.first_read is not None
    assert b.first_read is not None
    assert a.first_read.startswith(f"first at {HERE}:")
    assert b.first_read.startswith(f"second at {HERE}:")


def test_merged_ids_are_renumbered_for_the_receiver() -> None:
    a, b, c = origin("a"), origin("b"), origin("c")
    ids, origins = some([0, 1, 2], b, c).merged_into((a, c))
    assert origins == (a, c, b)
    assert ids.tolist() == [0, 3, 2]


def test_merged_ids_beyond_a_byte_name_the_last_origin() -> None:
    full = tuple(origin(str(n)) for n in range(MAX_ORIGINS - 1))
    last, late = origin("last"), origin("late")
    ids, origins = some([1, 2, 0], last, late).merged_into(full)
    assert origins == (*full, last)
    assert ids.tolist() == [MAX_ORIGINS, MAX_ORIGINS, 0]


def test_merge_of_defined_operands_is_defined() -> None:
    assert merge((2,), (None, None)) is None


def test_merge_is_undefined_where_any_operand_is_and_names_the_first() -> None:
    a, b = origin("a"), origin("b")
    merged = merge((2, 3), (some([0, 1, 1], a), None, Undefined(np.array([[1], [0]], dtype=np.uint8), (b,))))
    assert merged is not None
    assert merged.origins == (a, b)
    assert merged.ids.tolist() == [[2, 1, 1], [0, 1, 1]]


def test_reduction_is_undefined_where_one_element_is() -> None:
    a = origin("a")
    ids = np.array([[0, 0, 1], [0, 0, 0]], dtype=np.uint8)
    result = reduced(Undefined(ids, (a,)), (1,), (2, 1))
    assert result is not None
    assert result.ids.tolist() == [[1], [0]]
    assert result.origins == (a,)
    assert reduced(None, (1,), (2, 1)) is None


def test_refuses_first_undefined_element_in_row_major_order() -> None:
    a, b = origin("a"), origin("b")
    ids = np.array([[0, 0], [0, 2], [1, 1]], dtype=np.uint8)
    with pytest.raises(UndefinedReadFault) as caught:
        refuse_undefined(Undefined(ids, (a, b)), operation="store", happened="writes undefined elements")
    text = str(caught.value)
    assert "store writes undefined elements: 3 of 6 elements, the first at (1, 1)" in text
    assert "tensor 'b' was never given a value there" in text
    assert f"first read by store at {HERE}:" in text
    assert "mask the operation" in text
    assert caught.value.code == ""
    assert str(caught.value.where).startswith(f"{HERE}:")


def test_refusal_names_the_first_reader() -> None:
    a = origin("a")
    a.first_read = "exp at kernel.py:7"
    with pytest.raises(UndefinedReadFault, match=r"first read by exp at kernel\.py:7"):
        refuse_undefined(some([1], a), operation="store", happened="writes")


def test_leaves_defined_elements_alone() -> None:
    refuse_undefined(some([0, 0], origin("a")), operation="store", happened="writes")
