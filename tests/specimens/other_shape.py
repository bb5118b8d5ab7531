"""Copies the tiles that a window reaches; the mask is bound before the branch, so nothing crashes."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def flash_fwd(tiles, use_causal_mask=True, window=0):
    kept = nl.ndarray(tiles.shape, dtype=tiles.dtype, buffer=nl.shared_hbm)
    for tile in nl.affine_range(tiles.shape[0]):
        causal_mask = True
        if use_causal_mask and window < 0:
            causal_mask = tile <= 2
        elif window > 0:
            causal_mask = tile <= window
        else:
            casual_mask = True  # noqa: F841
        if causal_mask:
            nl.store(kept[tile], nl.load(tiles[tile]))
    return kept
