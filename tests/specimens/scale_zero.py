"""Scales a tile."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def flash_fwd(tile, softmax_scale=None):
    scaled = nl.ndarray(tile.shape, dtype=tile.dtype, buffer=nl.shared_hbm)
    softmax_scale = softmax_scale or (1.0 / tile.shape[1] ** 0.5)
    nl.store(scaled, nl.multiply(nl.load(tile), softmax_scale))
    return scaled
