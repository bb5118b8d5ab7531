"""Marks the pairs of tiles that a window ahead of the queries reaches."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

B_P_SIZE = 128


class FlashConfig:
    windowed_context_encoding = True


@nki.jit(mode="trace")
def _flash_attention_core(mark, q_tile_idx, first_key, sliding_window):
    mark[...] = 1.0 if q_tile_idx * B_P_SIZE + sliding_window >= first_key else 0.0


@nki.jit
def flash_fwd(marks, sliding_window, config=FlashConfig):
    reached = nl.ndarray(marks.shape, dtype=nl.float32, buffer=nl.shared_hbm)
    for i in nl.affine_range(marks.shape[0]):
        mark = nl.zeros((nl.par_dim(128), 1), dtype=nl.float32, buffer=nl.sbuf)
        if config.windowed_context_encoding:
            near = i * B_P_SIZE + sliding_window >= 512
            if near:
                _flash_attention_core(mark, i, 512, sliding_window)
        nl.store(reached[i], mark)
    return reached
