"""Attention calls of public models, as they are and scaled down for the emulator.

Scaling, in this order: one batch entry; heads are divided by the number of kv heads, so that one kv head with its
group of query heads is left (every program of the grid does the same work); a length above 2304 becomes 2048 plus its
remainder modulo 2048, so that what is left over behind the last tile stays; a window of more than half that length
shrinks as the length does. Costs are those of the full length, of one query head: all do the same work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nkifix.differential.cases import Case

LONGEST = 2304
_KEPT = 2048


@dataclass(frozen=True)
class Scaled:
    """A model's call: small enough to be computed, and as long as it is priced."""

    case: Case
    priced: Case


def scaled(full: Case) -> Scaled:
    """Scale a call down by the rule of this module."""
    one_group = replace(full, batch=1, heads=full.heads // full.kv_heads, kv_heads=1)
    window = one_group.window_size
    seq_q, seq_k = _length(full.seq_q), _length(full.seq_k)
    if window is not None and 2 * (window[0] + 1) > seq_k:
        window = (max(1, (window[0] + 1) * seq_k // full.seq_k) - 1, window[1])
    return Scaled(replace(one_group, seq_q=seq_q, seq_k=seq_k, window_size=window), replace(one_group, heads=1))


def _length(length: int) -> int:
    return length if length <= LONGEST else _KEPT + length % _KEPT


def _causal(name: str, heads: int, kv_heads: int, head_dim: int, length: int, window: int = 0) -> Case:
    return Case(
        name=name,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_q=length,
        seq_k=length,
        use_causal_mask=True,
        window_size=(window - 1, -1),
    )


def _full(name: str, heads: int, head_dim: int, length: int, **config: int) -> Case:
    return Case(
        name=name,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        seq_q=length,
        seq_k=length,
        use_causal_mask=False,
        config=dict(config),
    )


CALLS = (
    _causal("Llama 3 8B", 32, 8, 128, 8192),
    _causal("Llama 3.3 70B", 64, 8, 128, 8192),
    _causal("Qwen3 8B", 32, 8, 128, 8192),
    _causal("Qwen3 235B (MoE)", 64, 4, 128, 8192),
    _causal("Mistral 7B, window 4096", 32, 8, 128, 8192, 4096),
    _causal("Gemma 3 27B, window 1024", 32, 16, 128, 8192, 1024),
    _causal("Gemma 3 27B, global layer", 32, 16, 128, 8192),
    _causal("gpt-oss, window 128, without sinks", 64, 8, 64, 8192, 128),
    _causal("gpt-oss, full layer, without sinks", 64, 8, 64, 8192),
    _full("Gemma 3 vision", 16, 72, 4096),
    _full("SigLIP so400m/384", 16, 72, 729),
    _full("Pixtral vision, one image", 16, 64, 4096),
    _full("Whisper large v3 encoder", 20, 64, 1500),
    _full("FLUX.1 joint", 24, 128, 4096 + 512, seq_tile_size=512),
    _full("SD3 medium joint", 24, 64, 4096 + 333),
    _full("ModernBERT base, full layer", 12, 64, 8192),
)
"""By each model's published configuration. Language models take a prefill of 8192 tokens, which all of them allow:
longer ones repeat the same tiles. Gemma 3's smaller models are left out: their heads of 256 do not fit a kernel of
heads up to 128. So are sinks and windows to both sides, which it does not have."""

MODELS = tuple(map(scaled, CALLS))
