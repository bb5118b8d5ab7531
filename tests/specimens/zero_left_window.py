"""Copies a tile, or its lower triangle where a window asks for it."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def flash_fwd(tile, use_causal_mask=True, window_size=(-1, -1)):
    kept = nl.ndarray(tile.shape, dtype=tile.dtype, buffer=nl.shared_hbm)
    left_window_size, _ = window_size
    use_causal_mask = True if left_window_size > 0 else use_causal_mask
    row, column = nl.mgrid[0:128, 0:128]
    held = nl.load(tile)
    if use_causal_mask:
        nl.store(kept, nisa.affine_select(pred=row >= column, on_true_tile=held, on_false_value=0.0))
    else:
        nl.store(kept, held)
    return kept
