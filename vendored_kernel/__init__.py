"""Flash attention for NeuronCores: NxDI's ``flash_fwd``, written anew from its contract, without its defects.

    from vendored_kernel import FlashConfig, flash_fwd

    out = flash_fwd[batch, kv_heads](q, k, v)          # q (b, h, d, s), k (b, kv_h, d, s), v (b, kv_h, s, d)

    from vendored_kernel import attention

    out = attention(query, key, value, is_causal=True)  # all (batch, heads, length, head_dim)

``NKIFIX_KERNEL=MODULE`` takes ``flash_fwd`` and ``FlashConfig`` from another module, such as the package that
``nkifix vendor`` makes of your own upstream.

The kernel compiles with AWS's ``neuronxcc`` where that is installed (SDK 2.24 to 2.29) and runs on nkifix's CPU
emulator elsewhere; ``NKIFIX_BACKEND=auto|neuron|emulator`` chooses. It is loaded at the first use of a name below,
not by ``import vendored_kernel``. On a Neuron host nothing of ``nkifix`` is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vendored_kernel.config import FlashConfig
    from vendored_kernel.interface import attention

    flash_fwd: Any

__all__ = ["FlashConfig", "attention", "flash_fwd"]


def __getattr__(name: str) -> Any:
    if name == "flash_fwd":
        from vendored_kernel.backend import kernel_module

        return kernel_module().flash_fwd
    if name == "FlashConfig":
        from vendored_kernel import backend, config

        own = backend.kernel_name() == backend.KERNEL  # whose configuration needs no kernel to be loaded
        return config.FlashConfig if own else backend.kernel_module().FlashConfig
    if name == "attention":
        from vendored_kernel.interface import attention

        return attention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
