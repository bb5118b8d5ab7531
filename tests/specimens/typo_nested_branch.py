"""Sums the tiles that a window reaches; one branch chooses again, and the helper comes first."""

from neuronxcc import nki
import neuronxcc.nki.language as nl


@nki.jit(mode="trace")
def visible(row, column, shift):
    pred_causal = row + shift >= column  # casual mask
    if shift:
        pred_causal = row >= column - shift  # causal mask, shifted
    return pred_causal


@nki.jit()
def flash_fwd(tiles, use_causal_mask=True, window=0, shift=0):
    total = nl.ndarray((128, 128), dtype=tiles.dtype, buffer=nl.shared_hbm)
    row, column = nl.mgrid[0:128, 0:128]
    running = nl.zeros((nl.par_dim(128), 128), dtype=tiles.dtype, buffer=nl.sbuf)
    for tile in nl.sequential_range(tiles.shape[0]):
        if use_causal_mask and window < 0:
            causal_mask = tile <= 2
            near = True
        elif window > 0:
            if shift > 0:
                causal_mask = tile <= window + shift
                near = tile > shift
            else:
                causal_mask = tile <= window
                near = True
        else:
            casual_mask = True  # noqa: F841
            near = True
        if causal_mask & near:
            running[...] = nl.add(running, nl.load(tiles[tile]), mask=visible(row, column, shift))
    nl.store(total, running)
    return total
