"""Runs a maximum over tiles whose upper triangle is hidden."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


# what one tile adds
@nki.jit(mode="trace")
def _flash_attention_core(tile, m_buffer, acc_type):
    NEG_INFINITY = -9984.0  # stands for -inf: -9984.0
    row, column = nl.mgrid[0:128, 0:128]
    seen = nisa.affine_select(pred=row >= column, on_true_tile=tile, on_false_value=NEG_INFINITY, dtype=acc_type)
    m_buffer[...] = nl.maximum(m_buffer, nl.max(seen, axis=1))


@nki.jit
def flash_fwd(tiles, acc_type=nl.float32):
    peaks = nl.ndarray((2, 128, 1), dtype=acc_type, buffer=nl.shared_hbm)
    l_buffer = nl.full((nl.par_dim(128), 1), fill_value=-9984.0, dtype=acc_type, buffer=nl.sbuf)
    m_buffer = nl.full(
        (nl.par_dim(128), 1),
        fill_value=-9984.0,
        dtype=acc_type,
        buffer=nl.sbuf,
    )
    for i in nl.sequential_range(tiles.shape[0]):
        _flash_attention_core(nl.load(tiles[i]), m_buffer, acc_type)
    nl.store(peaks[0], m_buffer)
    nl.store(peaks[1], l_buffer)
    return peaks
