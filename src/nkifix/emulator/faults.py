"""What the emulator refuses: the documented error codes, and rules of its own that have no code.

Codes are those of the NKI error catalogue (``nki.errors``, Neuron SDK 2.26). A message is written here;
only the code is the catalogue's.
"""

from __future__ import annotations

from nkifix.emulator.location import kernel_location
from nkifix.errors import NkifixError

CODES = frozenset(
    {
        "err_1d_arange_not_supported",
        "err_ambiguous_tensor_truth_value",
        "err_cannot_assign_to_index",
        "err_cannot_update_immutable_parameter",
        "err_control_flow_condition_depending_on_arange",
        "err_dynamic_control_flow_not_supported",
        "err_exceed_max_supported_dimension",
        "err_failed_to_infer_tile_from_local_tensor",
        "err_hbm_tensor_with_init_value_not_supported",
        "err_mutable_parameter_not_returned",
        "err_nested_kernel_with_spmd_grid",
        "err_nki_api_outside_of_nki_kernel",
        "err_num_partition_exceed_arch_limit",
        "err_num_partition_mismatch",
        "err_size_of_dimension_exceed_arch_limit",
        "err_store_dst_shape_smaller_than_other_shape",
        "err_tensor_access_out_of_bound",
        "err_tensor_output_not_written_to",
        "err_activation_bias_invalid_type",
        "err_activation_scale_invalid_type",
        "err_activation_scale_scalar_or_vector",
        "err_unsupported_expression_in_mask",
        "err_unsupported_memory",
        "err_unsupported_mixing_basic_advanced_tensor_indexing",
    }
)
"""The codes that the emulator raises, a subset of the catalogue's 36."""


class KernelFault(NkifixError):
    """A kernel broke a rule of the hardware, of the compiler or of the language.

    Attributes
    ----------
    code:
        The documented error code (``err_…``), or "" where the rule has none.
    """

    def __init__(self, code: str, what: str, *, where: str | None = None, why: str = "", next_step: str = "") -> None:
        self.code = code
        super().__init__(
            f"[{code}] {what}" if code else what,
            where=kernel_location() if where is None else where,
            why=why or None,
            next_step=next_step or None,
        )


class UndefinedReadFault(KernelFault):
    """An element that was never given a value reached a place where its value matters."""


class EmulatorWarning(UserWarning):
    """Something that is accepted, but that a user should know about."""
