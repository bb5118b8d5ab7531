"""Weighs rows by their scores, with every construct that a fix matches; no attention, and no use but for tests."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl

B_P_SIZE = 128
B_F_SIZE = 512


class FlashConfig:
    seq_tile_size: int = 512
    lse_dtype: str = ""
    windowed_context_encoding: bool = False


@nki.jit(mode="trace")
def _flash_attention_core(tile, m_buffer, acc_type, q_tile_idx, j, sliding_window):
    NEG_INFINITY = -9984.0  # for -inf: -9984.0
    row, column = nl.mgrid[0:128, 0:512]
    pred_causal = q_tile_idx * B_P_SIZE + row >= j * B_F_SIZE + column  # casual mask
    if q_tile_idx * B_P_SIZE + sliding_window >= j * B_F_SIZE:
        seen = nisa.affine_select(pred=pred_causal, on_true_tile=tile, on_false_value=NEG_INFINITY, dtype=acc_type)
        m_buffer[...] = nl.maximum(m_buffer, nl.max(seen, axis=1))


@nki.jit
def flash_fwd(q, k, softmax_scale=None, use_causal_mask=True, window_size=(-1, -1), mixed_precision=True, config=None):
    """Weigh rows. Otherwise the intermediates will be lost.

    - causal_mask: whether it counts
    - config:
        training: ignored
    """
    config = config or FlashConfig
    (b, h, B_D_SIZE, seqlen_q), (_, k_h, _, seqlen_k) = q.shape, k.shape
    left_window_size, _ = window_size
    use_causal_mask = True if left_window_size > 0 else use_causal_mask
    sliding_window = left_window_size + 1
    kernel_dtype = q.dtype if not mixed_precision else nl.bfloat16
    acc_type = nl.float32 if mixed_precision else kernel_dtype
    softmax_scale = softmax_scale or 0.5
    n_tile_q = seqlen_q // B_P_SIZE
    LARGE_TILE_SZ = config.seq_tile_size
    num_large_k_tile = (seqlen_k // LARGE_TILE_SZ)
    q_h_per_k_h = h // k_h
    weighed = nl.ndarray((b, h, seqlen_q, B_D_SIZE), dtype=q.dtype, buffer=nl.shared_hbm)
    for i in nl.affine_range(n_tile_q):
        l_buffer = nl.full((nl.par_dim(128), 1), fill_value=-9984.0, dtype=acc_type, buffer=nl.sbuf)
        m_buffer = nl.full((nl.par_dim(128), 1), fill_value=-9984.0, dtype=acc_type, buffer=nl.sbuf)
        for j in nl.sequential_range(num_large_k_tile):
            if use_causal_mask and (sliding_window < 0):
                causal_mask = j <= i
            elif sliding_window > 0:
                causal_mask = i * B_P_SIZE + sliding_window >= j * 512
            else:
                casual_mask = True  # noqa: F841
            if causal_mask:
                _flash_attention_core(nl.load(k[0, 0]), m_buffer, acc_type, i, j, sliding_window)
        out = nl.multiply(m_buffer, nl.add(l_buffer, softmax_scale * q_h_per_k_h), dtype=kernel_dtype)
        nl.store(weighed[0, 0, nl.ds(i * B_P_SIZE, B_P_SIZE), :], out)
    return weighed
