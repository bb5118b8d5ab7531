"""A small attention kernel with one planted fault, the misspelled name of defect ``misspelled-causal-mask``.

It takes the same calls as the kernel it stands in for, but works in the plainest way: one tile of 128 queries against
a whole row of scores, and one softmax over that row. Apart from the planted fault it is complete and right.
"""
# mypy: ignore-errors

from dataclasses import dataclass

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import numpy as np

ROWS = 128  # queries in one tile, one to a partition
BLOCK = 512  # keys in one block, the widest moving operand of a matmul
HIDDEN = -3.0e38  # score of a key that a query must not see


@dataclass(frozen=True)
class FlashConfig:
    """How the sequence is cut and how values and windows are laid out."""

    seq_tile_size: int = 2048
    """The number of keys must be a multiple of it, and it of 512."""
    should_transpose_v: bool = False
    """Values come as (batch, kv_heads, d, keys) instead of (batch, kv_heads, keys, d)."""
    windowed_context_encoding: bool = False
    """Keys begin one window before the queries: query i sees keys i + 1 to i + window."""


@nki.jit(mode="trace")
def score_block(scores, q_tile, keys, tile, block, use_causal_mask, window, ahead):
    """Write the scores of one block of keys into its place in the row, HIDDEN where a query must not see."""
    place = nl.ds(block * BLOCK, BLOCK)
    scores[:, place] = nl.copy(nl.matmul(q_tile, keys[:, place], transpose_x=True), dtype=np.float32)
    row, column = nl.mgrid[0:ROWS, 0:BLOCK]
    query = tile * ROWS + row
    key = block * BLOCK + column
    if use_causal_mask:
        pred_causal = query + ahead >= key  # casual mask
        scores[:, place] = nisa.affine_select(pred_causal, scores[:, place], HIDDEN, dtype=np.float32)
    if window > 0:
        pred_window = key > query + ahead - window
        scores[:, place] = nisa.affine_select(pred_window, scores[:, place], HIDDEN, dtype=np.float32)


@nki.jit(mode="trace")
def load_values(v, batch, kv_head, part, config, dtype):
    """Return 128 rows of V as a (128, d) tile."""
    place = nl.ds(part * ROWS, ROWS)
    if config.should_transpose_v:
        return nl.copy(nisa.nc_transpose(nl.load(v[batch, kv_head, :, place], dtype=dtype)), dtype=dtype)
    return nl.load(v[batch, kv_head, place, :], dtype=dtype)


@nki.jit
def flash_fwd(
    q, k, v, softmax_scale=None, use_causal_mask=True, window_size=(-1, -1), mixed_precision=True, config=None
):
    """Attention: q (b, h, d, queries), k (b, kv_h, d, keys), v (b, kv_h, keys, d) -> (b, h, queries, d).

    Launch as ``flash_fwd[b, kv_h](q, k, v)``. With ``window_size[0] >= 0`` a query sees itself and that many keys
    before it; otherwise all keys up to itself, or all keys if ``use_causal_mask`` is False.
    """
    config = config or FlashConfig()
    dims = nl.program_ndim()
    assert dims == 2, f"Expect spmd grid with 2 dimensions, got {dims} instead!"
    n_batch, n_heads, d, n_query = q.shape
    kv_heads, n_key = k.shape[1], k.shape[3]
    left, right = window_size
    window = left + 1  # counts the query itself
    use_causal_mask = use_causal_mask or left >= 0
    ahead = window if config.windowed_context_encoding else 0  # how far keys run ahead of queries
    assert right < 0, "a window to the right is not supported"
    assert d <= ROWS, f"at most {ROWS} elements to a head, got {d}"
    assert n_heads % kv_heads == 0, f"{n_heads} heads cannot share {kv_heads} kv heads evenly"
    assert n_query % ROWS == 0, f"the number of queries must be a multiple of {ROWS}, got {n_query}"
    assert config.seq_tile_size % BLOCK == 0, f"seq_tile_size must be a multiple of {BLOCK}"
    assert n_key % config.seq_tile_size == 0, f"{n_key} keys are no multiple of {config.seq_tile_size}"
    assert window <= 0 or n_query <= n_key, "with a window, no query may lie behind the last key"
    assert ahead >= 0 and (ahead == 0 or n_query < n_key), "windowed context encoding needs a window and its keys"

    dtype = nl.bfloat16 if mixed_precision else q.dtype
    scale = d**-0.5 if softmax_scale is None else softmax_scale
    batch, kv_head = nl.program_id(axis=0), nl.program_id(axis=1)
    out = nl.ndarray((n_batch, n_heads, n_query, d), dtype=q.dtype, buffer=nl.shared_hbm)

    keys = nl.load(k[batch, kv_head], dtype=dtype)
    values = nl.ndarray((n_key // ROWS, nl.par_dim(ROWS), d), dtype=dtype, buffer=nl.sbuf)
    for part in nl.affine_range(n_key // ROWS):
        values[part, :, :] = load_values(v, batch, kv_head, part, config, dtype)

    for shared in nl.affine_range(n_heads // kv_heads):
        head = kv_head * (n_heads // kv_heads) + shared
        for tile in nl.affine_range(n_query // ROWS):
            q_tile = nl.load(q[batch, head, :, nl.ds(tile * ROWS, ROWS)], dtype=dtype)
            q_tile = nl.multiply(q_tile, scale, dtype=dtype)
            scores = nl.full((nl.par_dim(ROWS), n_key), HIDDEN, dtype=np.float32, buffer=nl.sbuf)
            for block in nl.affine_range(n_key // BLOCK):
                # a block counts if one of the tile's queries sees one of its keys
                first, last = tile * ROWS, tile * ROWS + ROWS - 1
                if use_causal_mask and window < 0:
                    causal_mask = block * BLOCK <= last
                    window_mask = True
                elif window > 0:
                    causal_mask = block * BLOCK <= last + ahead
                    window_mask = (block + 1) * BLOCK > first + ahead - window + 1
                else:
                    casual_mask = True  # noqa: F841
                    window_mask = True
                if window_mask & causal_mask:
                    score_block(scores, q_tile, keys, tile, block, use_causal_mask, window, ahead)

            peak = nisa.tensor_reduce(np.max, scores, axis=(1,), dtype=np.float32)
            weights = nl.ndarray((nl.par_dim(ROWS), n_key), dtype=dtype, buffer=nl.sbuf)
            sums = nl.ndarray((nl.par_dim(ROWS), n_key // BLOCK), dtype=np.float32, buffer=nl.sbuf)
            for block in nl.affine_range(n_key // BLOCK):
                place = nl.ds(block * BLOCK, BLOCK)
                weights[:, place] = nisa.activation_reduce(
                    np.exp,
                    scores[:, place],
                    reduce_op=nl.add,
                    reduce_res=sums[:, block],
                    bias=nl.multiply(peak, -1.0),
                    dtype=dtype,
                )

            mixed = nl.zeros((nl.par_dim(ROWS), d), dtype=np.float32, buffer=nl.psum)
            for part in nl.affine_range(n_key // ROWS):
                turned = nl.copy(nisa.nc_transpose(weights[:, nl.ds(part * ROWS, ROWS)]), dtype=dtype)
                mixed[:, :] += nl.matmul(turned, values[part, :, :], transpose_x=True)
            total = nl.sum(sums, axis=1, dtype=np.float32)
            result = nl.multiply(mixed, nl.reciprocal(total), dtype=q.dtype)
            nl.store(out[batch, head, nl.ds(tile * ROWS, ROWS), :], result)
    return out
