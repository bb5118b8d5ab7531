"""Copies heads, several to a program."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def flash_fwd(q, k):
    b, h, _, _ = q.shape
    k_h = k.shape[1]
    copied = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
    batch, head = nl.program_id(axis=0), nl.program_id(axis=1)
    q_h_per_k_h = h // k_h
    for i in nl.affine_range(q_h_per_k_h):
        nl.store(copied[batch, head * q_h_per_k_h + i], nl.load(q[batch, head * q_h_per_k_h + i]))
    return copied
