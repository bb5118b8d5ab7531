"""Adds up tiles in the dtype that they have, unless told otherwise."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl
import numpy as np


@nki.jit
def flash_fwd(q, mixed_precision=True):
    """With mixed_precision the sum is float32. Otherwise the intermediates
    will have the dtype of q."""
    kernel_dtype = q.dtype if not mixed_precision else nl.bfloat16
    acc_type = (np.float32) if mixed_precision else kernel_dtype
    total = nl.ndarray(q.shape[1:], dtype=acc_type, buffer=nl.shared_hbm)
    running = nl.zeros((nl.par_dim(128), q.shape[2]), dtype=acc_type, buffer=nl.sbuf)
    for i in nl.sequential_range(q.shape[0]):
        running[...] = nl.add(running, nl.load(q[i]))
    nl.store(total, running)
    return total
