"""Doubles a tile: a kernel, but not the one with the branch."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def double(tile):
    twice = nl.ndarray(tile.shape, dtype=tile.dtype, buffer=nl.shared_hbm)
    casual_mask = 2.0
    nl.store(twice, nl.load(tile) * casual_mask)
    return twice
