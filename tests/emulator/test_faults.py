"""Every documented code: a kernel that raises it, and its legal neighbour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import Params, machine
from nkifix.emulator.faults import EmulatorWarning, KernelFault, UndefinedReadFault
from nkifix.emulator.frontends.legacy import compiler as ncc
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy import typing as nt
from nkifix.emulator.rules import CODES
from nkifix.errors import NkifixError
from tests.emulator.static.test_catalogue import SOURCES

X = np.arange(16 * 8, dtype=np.float32).reshape(16, 8)


@dataclass(frozen=True)
class Rule:
    """A kernel body ``(x, out)`` on X and an output of the same shape; ``breaks`` says which variant runs."""

    code: str
    body: Callable[[Any, Any, bool], Any]


def finish(x: Any, out: Any) -> None:
    nl.store(out[:, :], nl.load(x[:, :]))


def one_dimensional_index(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[:, :])
    i = nl.arange(16) if breaks else nl.arange(16)[:, None]
    nl.exp(t[i, 0])


def tensor_as_condition(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[:, :])
    if t if breaks else t is not None:
        pass


def value_as_condition(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[0:1, 0:1])
    if t if breaks else t.shape == (1, 1):
        pass


def assignment_to_index(x: Any, out: Any, breaks: bool) -> None:
    i = nl.mgrid[0:1, 0:8].x
    target = i if breaks else nl.load(x[:, :])
    target[0, 5] = 1


def index_as_condition(x: Any, out: Any, breaks: bool) -> None:
    for j in nl.affine_range(2):
        index = j * 4 + nl.arange(4)[None, :] if breaks else j * 4
        if index > 2:
            pass


def rank_three_transpose(x: Any, out: Any, breaks: bool) -> None:
    i, j, k = nl.mgrid[0:4, 0:2, 0:2]
    nl.load_transpose2d(x[i, 2 * j + k] if breaks else x[0:4, 0:4])


def stationary_of_rank_three(x: Any, out: Any, breaks: bool) -> None:
    t = nl.zeros((4, 2, 2), np.float32)
    nisa.nc_matmul(t if breaks else t[:, 0], t)


def block_dimension_in_operand(x: Any, out: Any, breaks: bool) -> None:
    a = nl.zeros((4, nl.par_dim(8), 8), np.float32)
    nl.add(a if breaks else a[0], 32)


def value_in_hbm(x: Any, out: Any, breaks: bool) -> None:
    nl.full((3, 8), 1.0, np.float32, buffer=nl.private_hbm if breaks else nl.sbuf)


def too_many_partitions(x: Any, out: Any, breaks: bool) -> None:
    nl.zeros([129 if breaks else 128, 4], np.float32)


def different_partitions(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[:, :])
    nisa.nc_matmul(t[0:8] if breaks else t, t)


def bias_of_other_partitions(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[:, :])
    nisa.activation(np.exp, t, bias=t[0:8, 0:1] if breaks else t[:, 0:1])


def operator_broadcasts_partitions(x: Any, out: Any, breaks: bool) -> None:
    t, row = nl.load(x[:, :]), nl.load(x[0:1, :])
    t + row if breaks else nl.add(t, row)


def transpose_of_too_many(x: Any, out: Any, breaks: bool) -> None:
    nisa.nc_transpose(nl.zeros((4, 129 if breaks else 128), np.float32))


def larger_value(x: Any, out: Any, breaks: bool) -> None:
    a, b = nl.zeros((16, 8), np.float32), nl.zeros((16, 1), np.float32)
    source, destination = (a, b) if breaks else (b, a)
    destination[...] = source


def larger_tile(x: Any, out: Any, breaks: bool) -> None:
    nl.store(out[:, 0:1] if breaks else out[:, 0:8], nl.load(x[:, :]))


def past_the_end(x: Any, out: Any, breaks: bool) -> None:
    i, j = nl.mgrid[0:16, 0:6]
    for tile in nl.affine_range(2):
        nl.store(out[i, tile * 6 + j], 0, mask=None if breaks else tile * 6 + j < 8)


def integer_bias(x: Any, out: Any, breaks: bool) -> None:
    bias = nl.ones((16, 1), np.int8 if breaks else nl.bfloat16)
    nisa.activation(np.exp, nl.load(x[:, :]), bias=bias)


def half_scale(x: Any, out: Any, breaks: bool) -> None:
    nisa.activation(np.exp, nl.load(x[:, :]), scale=nl.ones((16, 1), np.float16 if breaks else np.float32))


def scale_per_element(x: Any, out: Any, breaks: bool) -> None:
    nisa.activation(np.exp, nl.load(x[:, :]), scale=nl.ones((16, 8 if breaks else 1), np.float32))


def remainder_in_mask(x: Any, out: Any, breaks: bool) -> None:
    i, j = nl.mgrid[0:16, 0:8]
    nl.load(x[i, j], mask=(j % 4) < 2 if breaks else j < 2)


def load_from_sbuf(x: Any, out: Any, breaks: bool) -> None:
    nl.load(nl.zeros((4, 4), np.float32) if breaks else x[0:4, 0:4])


def assignment_to_hbm(x: Any, out: Any, breaks: bool) -> None:
    t = nl.load(x[:, :])
    target = out if breaks else nl.ndarray((16, 8), np.float32)
    target[:, :] = t


def slice_and_range(x: Any, out: Any, breaks: bool) -> None:
    a = nl.load(x[:, :])
    i = nl.arange(4)[:, None]
    nl.exp(a[i, :] if breaks else a[i, nl.arange(8)[None, :]])


RULES = [
    pytest.param(Rule(code, body), id=body.__name__.replace("_", " "))
    for code, body in [
        ("err_1d_arange_not_supported", one_dimensional_index),
        ("err_ambiguous_tensor_truth_value", tensor_as_condition),
        ("err_dynamic_control_flow_not_supported", value_as_condition),
        ("err_cannot_assign_to_index", assignment_to_index),
        ("err_control_flow_condition_depending_on_arange", index_as_condition),
        ("err_exceed_max_supported_dimension", rank_three_transpose),
        ("err_exceed_max_supported_dimension", stationary_of_rank_three),
        ("err_failed_to_infer_tile_from_local_tensor", block_dimension_in_operand),
        ("err_hbm_tensor_with_init_value_not_supported", value_in_hbm),
        ("err_num_partition_exceed_arch_limit", too_many_partitions),
        ("err_num_partition_mismatch", different_partitions),
        ("err_num_partition_mismatch", bias_of_other_partitions),
        ("err_num_partition_mismatch", operator_broadcasts_partitions),
        ("err_size_of_dimension_exceed_arch_limit", transpose_of_too_many),
        ("err_store_dst_shape_smaller_than_other_shape", larger_value),
        ("err_store_dst_shape_smaller_than_other_shape", larger_tile),
        ("err_tensor_access_out_of_bound", past_the_end),
        ("err_activation_bias_invalid_type", integer_bias),
        ("err_activation_scale_invalid_type", half_scale),
        ("err_activation_scale_scalar_or_vector", scale_per_element),
        ("err_unsupported_expression_in_mask", remainder_in_mask),
        ("err_unsupported_memory", load_from_sbuf),
        ("err_unsupported_memory", assignment_to_hbm),
        ("err_unsupported_mixing_basic_advanced_tensor_indexing", slice_and_range),
    ]
]


def in_a_kernel(rule: Rule, breaks: bool) -> Any:
    @nki.jit
    def kernel(x: Any) -> Any:
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        rule.body(x, out, breaks)
        finish(x, out)
        return out

    return kernel(X)


@pytest.mark.parametrize("rule", RULES)
def test_refuses_kernel_that_breaks_a_rule(rule: Rule) -> None:
    with pytest.raises(KernelFault, match=rf"^\[{rule.code}\] ") as caught:
        in_a_kernel(rule, breaks=True)
    assert caught.value.code == rule.code
    first = rule.body.__code__.co_firstlineno
    file, _, line = str(caught.value.where).rpartition(":")
    assert file == __file__
    assert first < int(line) < first + 8
    assert caught.value.why or caught.value.next_step or "not float32" in caught.value.what


@pytest.mark.parametrize("rule", RULES)
def test_runs_the_legal_neighbour(rule: Rule) -> None:
    np.testing.assert_array_equal(in_a_kernel(rule, breaks=False), X)


# --------------------------------------------------------------------------- rules of a launch as a whole


@nki.jit
def stores_into_parameter(x: Any) -> Any:
    nl.store(x[:, :], nl.load(x[:, :]) + 1)
    return x


@nki.jit
def stores_into_mutable(x: nt.mutable_tensor, give_back: bool) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    whole: Any = x
    nl.store(whole[:, :], nl.load(whole[:, :]) + 1)
    nl.store(out[:, :], 0.0)
    return (out, x) if give_back else out


@nki.jit
def stores_nothing(x: Any, tiles: int) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    for _ in nl.affine_range(tiles):
        finish(x, out)
    return out


@nki.jit
def helper(x: Any, out: Any) -> None:
    finish(x, out)


@nki.jit
def calls_helper(x: Any, on_grid: bool) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    helper[2](x, out) if on_grid else helper(x, out)
    return out


@nki.jit
def transposes(x: Any, index: Any, by_tensor: bool) -> Any:
    out = nl.ndarray((8, 16), np.float32, buffer=nl.shared_hbm)
    if by_tensor:
        rows = nl.load(index)
        nl.load_transpose2d(x[rows[nl.arange(16)[:, None], 0], nl.arange(8)[None, :]])
    nl.store(out, nl.load_transpose2d(x))
    return out


@nki.jit
def gathers(x: Any, index: Any, along_free: bool) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    rows = nl.load(index)
    i, j = nl.arange(16)[:, None], nl.arange(8)[None, :]
    nl.store(out, nl.load(x[i, rows[i, 0] + 0 * j] if along_free else x[rows[i, 0], j]))
    return out


@nki.jit
def copies_by_tensor(x: Any, index: Any, by_assignment: bool) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    data, position = nl.load(x), nl.load(index[0:1, 0:1])
    column = nl.ndarray((16, 1), np.float32)
    i = nl.arange(16)[:, None]
    if by_assignment:
        column[...] = data[i, position]
    else:
        column[...] = nisa.tensor_copy_dynamic_src(data[i, position])
    nl.store(out, nl.copy(data))
    return out


@nki.jit
def allocates(x: Any, breaks: str) -> Any:
    """A directly allocated kernel that copies x, and breaks one of the rules of such kernels."""
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((16, 8), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))
    spare = nl.ndarray((16, 8), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=64))
    bias = nl.ndarray((16, 1), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=128))
    turned = nl.ndarray((8, 16), np.float32, buffer=ncc.psum.mod_alloc(base_bank=0))
    tile[...] = nl.load(x)
    bias[...] = 0.0
    if breaks == "value":
        nl.zeros((16, 8), np.float32, buffer=ncc.sbuf.mod_alloc(base_addr=192))
    if breaks == "bias":
        spare[...] = nisa.activation(np.exp, tile[...])
    spare[...] = nisa.activation(np.exp, tile[...], bias=bias)
    if breaks == "transpose":
        turned[...] = nisa.nc_transpose(tile[...])
    nl.store(out, tile)
    return out


@nki.jit
def has_blocks(x: Any) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    tiles = nl.ndarray((2, nl.par_dim(8), 8), np.float32)
    for i in nl.affine_range(2):
        tiles[i] = nl.load(x[nl.ds(8 * i, 8), :])
        nl.store(out[nl.ds(8 * i, 8), :], tiles[i])
    return out


@nki.jit
def writes_one_place(x: Any, shared: bool) -> Any:
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    finish(x, out)
    for i in nl.affine_range(2):
        place = nl.ds(0 if shared else 8 * i, 8)
        nl.store(out[place, :], nl.load(x[place, :]))
    return out


def in_a_helper(x: Any) -> Any:
    return nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)


@nki.jit
def allocates_output(x: Any, helped: bool) -> Any:
    out = in_a_helper(x) if helped else nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    finish(x, out)
    return out


@nki.jit
def allocates_outputs_together(x: Any) -> Any:
    first, second = [nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm) for _ in range(2)]
    finish(x, first)
    finish(x, second)
    return first, second


def test_comprehension_is_part_of_the_kernel() -> None:
    for output in allocates_outputs_together(X):
        np.testing.assert_array_equal(output, X)


INDEX = np.arange(16, dtype=np.int32).reshape(16, 1) % 8


def strictly(rule: str, launch: Callable[[], Any]) -> Any:
    with machine.using(Params(rules_on=frozenset({rule}))):
        return launch()


BLOCKS = "err_leading_dimension_of_tensor_must_be_partition"
LAUNCHES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "err_cannot_update_immutable_parameter": (
        lambda: stores_into_parameter(X),
        lambda: stores_into_mutable(X, give_back=True),
    ),
    "err_mutable_parameter_not_returned": (
        lambda: stores_into_mutable(X, give_back=False),
        lambda: stores_into_mutable(X, give_back=True),
    ),
    "err_tensor_output_not_written_to": (lambda: stores_nothing(X, 0), lambda: stores_nothing(X, 1)),
    "err_nested_kernel_with_spmd_grid": (lambda: calls_helper(X, True), lambda: calls_helper(X, False)),
    "err_nki_api_outside_of_nki_kernel": (
        lambda: nl.zeros((2, 2), np.float32),
        lambda: in_a_kernel(Rule("", lambda x, out, breaks: nl.zeros((2, 2), np.float32)), False),
    ),
    "err_indirect_indices_are_not_supported_with_nki_api": (
        lambda: transposes(X, INDEX, True),
        lambda: transposes(X, INDEX, False),
    ),
    "err_indirect_indices_free_dim": (lambda: gathers(X, INDEX, True), lambda: gathers(X, INDEX, False)),
    "err_copy_dynamic_indirect_indices_not_natively_supported": (
        lambda: copies_by_tensor(X, INDEX, True),
        lambda: copies_by_tensor(X, INDEX, False),
    ),
    "err_bias_tensor_must_be_specified_in_allocation": (lambda: allocates(X, "bias"), lambda: allocates(X, "")),
    "err_tensor_creation_on_scratchpad_with_init_value_not_supported": (
        lambda: allocates(X, "value"),
        lambda: allocates(X, ""),
    ),
    "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel": (
        lambda: allocates(X, "transpose"),
        lambda: allocates(X, ""),
    ),
    BLOCKS: (lambda: strictly(BLOCKS, lambda: has_blocks(X)), lambda: has_blocks(X)),
    "err_unexpected_output_dependencies": (
        lambda: writes_one_place(X, shared=True),
        lambda: writes_one_place(X, shared=False),
    ),
    "err_shared_hbm_must_in_kernel_level": (lambda: allocates_output(X, True), lambda: allocates_output(X, False)),
}
"""Code -> a launch that breaks the rule, and its legal neighbour."""


@pytest.mark.parametrize("code", LAUNCHES)
def test_refuses_launch_that_breaks_a_rule(code: str) -> None:
    breaks, keeps = LAUNCHES[code]
    with pytest.raises(KernelFault) as caught:
        breaks()
    assert caught.value.code == code
    keeps()


def test_every_code_has_a_kernel_that_raises_it() -> None:
    tried = (
        {param.values[0].code for param in RULES if isinstance(param.values[0], Rule)} | set(LAUNCHES) | set(SOURCES)
    )
    assert {code for code in tried if code.startswith("err_")} == CODES
    assert len(CODES) == 36


def test_all_codes_but_one_are_enforced_by_default() -> None:
    assert {code for code in CODES if not Params().enforces(code)} == {BLOCKS}


# ------------------------------------------------------------------------------------------- the errors


def test_message_leads_with_the_code() -> None:
    fault = KernelFault("err_x", "it broke", where="k.py:3", why="a rule", next_step="repair it")
    assert str(fault) == "[err_x] it broke\n  where: k.py:3\n  why: a rule\n  next: repair it"
    assert isinstance(fault, NkifixError)


def test_message_without_a_code() -> None:
    fault = KernelFault("", "it broke", where="k.py:3")
    assert str(fault) == "it broke\n  where: k.py:3"
    assert (fault.code, fault.why, fault.next_step) == ("", None, None)


def test_message_names_the_line_by_default() -> None:
    assert str(KernelFault("", "it broke").where).startswith(f"{__file__}:")


def test_undefined_read_is_a_kernel_fault() -> None:
    assert issubclass(UndefinedReadFault, KernelFault)
    assert issubclass(EmulatorWarning, UserWarning)
