"""Copies the lower triangle of a tile; what it says of itself is old."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


class FlashConfig:
    seq_tile_size: int = 2048
    lse_dtype: str = ""


@nki.jit
def flash_fwd(tile, use_causal_mask=True, config=None):
    """Copy a tile.

    - causal_mask: whether to leave the upper triangle out
    - config:
        seq_tile_size: ignored
        training: ignored, too
    """
    kept = nl.ndarray(tile.shape, dtype=tile.dtype, buffer=nl.shared_hbm)
    row, column = nl.mgrid[0:128, 0:128]
    pred_causal = row >= column  # casual mask
    nl.store(kept, nisa.affine_select(pred=pred_causal, on_true_tile=nl.load(tile), on_false_value=0.0))
    return kept
