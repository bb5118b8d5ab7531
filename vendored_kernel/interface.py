"""``attention``: the kernel behind a call that reads like torch's scaled_dot_product_attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vendored_kernel.backend import kernel_module
from vendored_kernel.config import FlashConfig


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    is_causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    scale: float | None = None,
    mixed_precision: bool = True,
    config: FlashConfig | None = None,
) -> Any:
    """Attention of tensors in torch's own layout; kernel layouts and launch grid are made here.

    On a device, each new combination of shapes and keyword values is a new compilation: pad or bucket lengths
    if they vary.

    Parameters
    ----------
    query:
        (batch, heads, seq_q, head_dim): a torch tensor (on the CPU, or an XLA device), or a numpy array.
        float32, bfloat16 or float16; head_dim at most 128; any length.
    key, value:
        (batch, kv_heads, seq_k, head_dim), of the query's kind and dtype. heads must be a multiple of kv_heads:
        grouped-query and multi-query attention need no repetition.
    is_causal:
        Query i sees keys 0 … i, as in torch: aligned at the first query and key.
    window_size:
        (left, -1): with ``is_causal``, query i sees keys i - left … i. A window of w tokens that counts the
        query itself (``sliding_window=w`` in transformers) is (w - 1, -1). A negative left is no window.
    scale:
        Factor on the scores; None for 1 / sqrt(head_dim).
    mixed_precision:
        Round matmul operands to bfloat16 (sums stay float32). False keeps the input dtype.
    config:
        Tile sizes; the layout fields are set here.

    Returns
    -------
    tensor
        (batch, heads, seq_q, head_dim), kind, device and dtype of the query.

    Raises
    ------
    ValueError
        Tensors or options that do not fit together, with what to write instead.
    """
    _check(query, key, value, is_causal, window_size, config)
    batch, kv_heads = key.shape[0], key.shape[1]
    kernel = kernel_module().flash_fwd[batch, kv_heads]
    return kernel(
        query.swapaxes(2, 3),
        key.swapaxes(2, 3),
        value,
        softmax_scale=scale,
        use_causal_mask=is_causal,
        window_size=tuple(window_size),
        mixed_precision=mixed_precision,
        config=config if config is None else replace(config, should_transpose_v=False),
    )


def _check(query: Any, key: Any, value: Any, is_causal: bool, window_size: Any, config: FlashConfig | None) -> None:
    named = {"query": query, "key": key, "value": value}
    for name, tensor in named.items():
        if not hasattr(tensor, "shape") or not hasattr(tensor, "swapaxes"):
            raise ValueError(f"{name} must be a torch tensor or a numpy array, got {type(tensor).__name__}")
        if len(tensor.shape) != 4:
            raise ValueError(
                f"{name} must be (batch, heads, length, head_dim), got shape {tuple(tensor.shape)}: add the missing "
                f"dimensions, e.g. {name}[None]"
            )
    if len({str(tensor.dtype) for tensor in named.values()}) > 1:
        dtypes = ", ".join(f"{name} {tensor.dtype}" for name, tensor in named.items())
        raise ValueError(f"query, key and value must have one dtype, got {dtypes}: cast them to the query's")
    if tuple(value.shape) != tuple(key.shape):
        raise ValueError(
            f"key {tuple(key.shape)} and value {tuple(value.shape)} must have the same shape "
            "(batch, kv_heads, length, head_dim)"
        )
    if query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        raise ValueError(
            f"query {tuple(query.shape)} and key {tuple(key.shape)} must agree in batch and head_dim; both are "
            "(batch, heads, length, head_dim)"
        )
    if not isinstance(window_size, (tuple, list)) or len(window_size) != 2:
        raise ValueError(f"window_size must be a pair (left, -1), got {window_size!r}")
    if window_size[0] >= 0 and not is_causal:
        raise ValueError(
            f"window_size={tuple(window_size)} reaches back from the query and hides all later keys: pass "
            "is_causal=True with it, or window_size=(-1, -1) for full attention"
        )
    if config is not None and config.windowed_context_encoding:
        raise ValueError(
            "windowed context encoding has its own key layout: call flash_fwd[batch, kv_heads] itself for it"
        )
