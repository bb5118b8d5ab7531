"""The rules that a kernel must keep, by name: the documented error codes, and those that have no code.

A rule whose name begins with ``err_`` is a code of the NKI error catalogue (``nki.errors``, Neuron SDK 2.26).
A summary is written here; only the code is the catalogue's. :class:`nkifix.emulator.params.Params` turns a
rule on or off by its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from nkifix.errors import RefusalError

_CATALOGUE = "nki.errors, Neuron SDK 2.26"
_DIRECT_ALLOCATION = "NKI direct allocation developer guide, Neuron SDK 2.26"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes
    ----------
    summary:
        What a kernel must not do, or must do.
    source:
        Document and version.
    default:
        Whether it is enforced unless :class:`~nkifix.emulator.params.Params` says otherwise.
    optional:
        Whether it can be turned off: what breaks it must still have a meaning.
    """

    summary: str
    source: str = _CATALOGUE
    default: bool = True
    optional: bool = False


RULES: dict[str, Rule] = {
    "err_1d_arange_not_supported": Rule(summary="a tile is not indexed by a one-dimensional arange"),
    "err_activation_bias_invalid_type": Rule(summary="an activation's bias is float32, float16 or bfloat16"),
    "err_activation_scale_invalid_type": Rule(summary="an activation's scale tile is float32"),
    "err_activation_scale_scalar_or_vector": Rule(summary="an activation's scale is a number or a (P, 1) tile"),
    "err_ambiguous_tensor_truth_value": Rule(summary="a tensor of several elements is no condition"),
    "err_annotation_shape_mismatch": Rule(summary="an annotated shape is the tensor's shape", optional=True),
    "err_bias_tensor_must_be_specified_in_allocation": Rule(
        summary="a directly allocated kernel gives every activation a bias tile", optional=True
    ),
    "err_cannot_assign_to_index": Rule(summary="an index is not assigned to"),
    "err_cannot_update_immutable_parameter": Rule(summary="only parameters annotated as mutable are stored into"),
    "err_control_flow_condition_depending_on_arange": Rule(summary="a comparison of index ranges is no condition"),
    "err_copy_dynamic_indirect_indices_not_natively_supported": Rule(
        summary="an assignment does not copy through an index that is known only at run time", optional=True
    ),
    "err_dynamic_control_flow_not_supported": Rule(summary="a tensor's value does not steer the kernel"),
    "err_exceed_max_supported_dimension": Rule(summary="an operand has no more dimensions than its operation takes"),
    "err_failed_to_infer_tile_from_local_tensor": Rule(summary="an operand's first dimension is the partition one"),
    "err_hbm_tensor_with_init_value_not_supported": Rule(summary="a tensor in HBM is created without a value"),
    "err_indirect_indices_are_not_supported_with_nki_api": Rule(
        summary="the transposing DMA operations take no tensor as index"
    ),
    "err_indirect_indices_free_dim": Rule(
        summary="a tensor as index stands on the partition or a block dimension of a load or store, built on arange"
    ),
    "err_leading_dimension_of_tensor_must_be_partition": Rule(
        summary="an on-chip tensor has no block dimensions; off, because shipped kernels declare them",
        default=False,
        optional=True,
    ),
    "err_local_variable_used_out_of_scope": Rule(
        summary="a tensor bound inside a loop or branch is not used after it", optional=True
    ),
    "err_mutable_parameter_not_returned": Rule(summary="a mutable parameter that was stored into is returned"),
    "err_nested_kernel_with_spmd_grid": Rule(summary="a kernel called by a kernel has no launch grid"),
    "err_nki_api_outside_of_nki_kernel": Rule(summary="NKI functions are called by running kernels only"),
    "err_num_partition_exceed_arch_limit": Rule(summary="a tile has at most 128 partitions"),
    "err_num_partition_mismatch": Rule(summary="operands have the same number of partitions"),
    "err_shared_hbm_must_in_kernel_level": Rule(
        summary="shared_hbm tensors are created at the top level of the kernel", optional=True
    ),
    "err_size_of_dimension_exceed_arch_limit": Rule(summary="a dimension is within its operation's limit"),
    "err_store_dst_shape_smaller_than_other_shape": Rule(summary="a destination is as large as its value"),
    "err_tensor_access_out_of_bound": Rule(summary="an unmasked index lies within its tensor"),
    "err_tensor_creation_on_scratchpad_with_init_value_not_supported": Rule(
        summary="a directly allocated tensor is created without a value", optional=True
    ),
    "err_tensor_output_not_written_to": Rule(summary="every element of an output is stored"),
    "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel": Rule(
        summary="a directly allocated kernel transposes by a matmul with its own identity", optional=True
    ),
    "err_unexpected_output_dependencies": Rule(
        summary="two affine_range iterations, or two programs, do not write one element", optional=True
    ),
    "err_unsupported_expression_in_mask": Rule(summary="a mask compares affine expressions of static indices"),
    "err_unsupported_memory": Rule(summary="an operand lives where its engine reaches"),
    "err_unsupported_mixing_basic_advanced_tensor_indexing": Rule(summary="slices and index ranges are not mixed"),
    "err_while_loop_requires_unconditional_entry": Rule(summary="a while loop's first round is unconditional"),
    "index-not-affine": Rule(
        summary="a tensor is not indexed by a product of loop indices; remainders and quotients by a constant are "
        "accepted, because shipped kernels use them",
        source="err_unsupported_expression_in_mask, and index arithmetic in the programming model, Neuron SDK 2.26",
        optional=True,
    ),
    "loop-carried-python-value": Rule(
        summary="a Python number is not changed by the body of a device loop and used, since the body is traced once",
        source="programming model and NKI migration guide, Neuron SDK 2.26 and 2.27",
        optional=True,
    ),
    "nc-version": Rule(
        summary="an instruction is used on NeuronCores that have it", source="nki.isa reference, Neuron SDK 2.26"
    ),
    "engine-operation": Rule(
        summary="an instruction runs on an engine that can execute it", source="nki.isa reference, Neuron SDK 2.26"
    ),
    "physical-cores": Rule(
        summary="a launch grid has as many physical NeuronCores as the target: nl.nc(2) needs trn2",
        source="nl.nc in the nki.language reference, Neuron SDK 2.26",
        optional=True,
    ),
    "overwritten-tensor": Rule(
        summary="a directly allocated tensor is not read after another was written over it",
        source=_DIRECT_ALLOCATION,
        optional=True,
    ),
    "mixed-allocation": Rule(
        summary="a directly allocated kernel allocates all its tensors directly, results of instructions included",
        source=_DIRECT_ALLOCATION,
        optional=True,
    ),
    "allocated-kernel-hbm": Rule(
        summary="a directly allocated kernel declares no tensors in HBM but its outputs",
        source=_DIRECT_ALLOCATION,
        optional=True,
    ),
    "allocation-alignment": Rule(
        summary="an address in SBUF is a multiple of sbuf_min_align", source=_DIRECT_ALLOCATION
    ),
    "on-chip-capacity": Rule(
        summary="a tile fits into a partition, and a directly allocated one ends within it", source=_DIRECT_ALLOCATION
    ),
    "psum-bank": Rule(
        summary="a directly allocated PSUM tile is in one bank, from its first byte and partition 0",
        source=_DIRECT_ALLOCATION,
    ),
    "partition-start": Rule(
        summary="more than 64 partitions start at 0, more than 32 at 0 or 64, others at 0, 32, 64 or 96",
        source="Trainium/Inferentia2 architecture guide, Neuron SDK 2.26",
        optional=True,
    ),
}
"""Every rule, by name."""

CODES = frozenset(name for name in RULES if name.startswith("err_"))
"""The 36 codes of the error catalogue."""


def check_names(on: Iterable[str], off: Iterable[str]) -> None:
    """Refuse names that are no rules, rules that cannot be turned off, and a rule that is both on and off."""
    for name in (*on, *off):
        if name not in RULES:
            near = difflib.get_close_matches(name, RULES, n=1)
            raise RefusalError(
                f"{name!r} is no rule of the emulator",
                next_step=f"did you mean {near[0]}?" if near else "nkifix run --list-rules names them",
            )
    for name in off:
        if not RULES[name].optional:
            raise RefusalError(
                f"the rule {name} cannot be turned off",
                why="what breaks it has no meaning that could be computed",
                next_step="rules that can be turned off: " + ", ".join(n for n, rule in RULES.items() if rule.optional),
            )
    both = set(on) & set(off)
    if both:
        raise RefusalError(f"{', '.join(sorted(both))}: turned on and off at once", next_step="choose one")
