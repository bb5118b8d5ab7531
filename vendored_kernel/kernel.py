"""``flash_fwd``: flash attention, forward, in the legacy Neuron Kernel Interface (``neuronxcc.nki``).

One program handles one batch entry and one key/value head. It walks over groups of query tiles, of as many of the
query heads that share that head as fit on chip (:mod:`vendored_kernel.plan`); for each group over key tiles, which
are loaded once for all of it; and over the query tiles of the group. Each pair of tiles updates the running maximum,
the running log-sum-exp and the running output. What no query of a tile can see is neither loaded nor computed
(:mod:`vendored_kernel.schedule`).
"""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import numpy as np

from vendored_kernel.config import FlashConfig, check_grid, checked_config, checked_shapes, checked_window
from vendored_kernel.plan import Call, plan_of
from vendored_kernel.schedule import BLOCK_KEYS, CHUNK_KEYS, TILE_QUERIES, band_of

__all__ = ["FlashConfig", "flash_fwd"]

HIDDEN = nl.fp32.min
"""Score of a masked pair, and start of maximum and log-sum-exp: the smallest finite float32, so that no real
score lies below it."""


@nki.jit(mode="trace")
def score_chunk(scores, peaks, query, keys, q0, k0, chunk, width, rows, band):
    """Scores of one chunk of keys, masked, into ``scores``; their maximum per query into ``peaks``."""
    start = chunk * CHUNK_KEYS
    place = nl.ds(start, width)
    if band.sees_any(q0, rows, k0 + start, width):
        product = nl.ndarray((nl.par_dim(rows), width), dtype=np.float32, buffer=nl.psum)
        product[:, :] = nl.matmul(query, keys[:, place], transpose_x=True)
        if band.sees_all(q0, rows, k0 + start, width):
            # One instruction takes the scores out of PSUM and their maximum.
            scores[:, place] = nisa.tensor_scalar_reduce(
                data=product,
                op0=np.multiply,
                operand0=1.0,
                reduce_op=np.max,
                reduce_res=peaks[:, chunk],
                dtype=np.float32,
            )
        else:
            scores[:, place] = nl.copy(product, dtype=np.float32)
            mask_chunk(scores, q0, k0, start, width, rows, band)
            peaks[:, chunk] = nisa.tensor_reduce(np.max, scores[:, place], axis=(1,), dtype=np.float32)


@nki.jit(mode="trace")
def mask_chunk(scores, q0, k0, start, width, rows, band):
    """Hide the pairs of a chunk that lie outside of the band."""
    place = nl.ds(start, width)
    row, column = nl.mgrid[0:rows, 0:width]
    if band.cut_above(q0, k0 + start, width):
        scores[:, place] = nisa.affine_select(
            pred=(q0 + band.high + row >= k0 + start + column),
            on_true_tile=scores[:, place],
            on_false_value=HIDDEN,
        )
    if band.cut_below(q0, rows, k0 + start):
        scores[:, place] = nisa.affine_select(
            pred=(k0 + start + column >= q0 + band.low + row),
            on_true_tile=scores[:, place],
            on_false_value=HIDDEN,
        )


@nki.jit(mode="trace")
def score_all(scores, minus_highest, query, keys, q0, k0, rows, n_keys, band):
    """Scores of all visible chunks of a key tile, and the negated maximum per query into ``minus_highest``."""
    n_chunks = -(-n_keys // CHUNK_KEYS)
    peaks = nl.ndarray((nl.par_dim(rows), n_chunks), dtype=np.float32, buffer=nl.sbuf)
    if band.sees_ends(q0, rows, k0, n_keys):
        pass  # a tracer has no negation of joined comparisons
    else:
        peaks[:, :] = HIDDEN  # a skipped chunk has no maximum
    for chunk in nl.affine_range(n_keys // CHUNK_KEYS):
        score_chunk(scores, peaks, query, keys, q0, k0, chunk, CHUNK_KEYS, rows, band)
    if n_keys % CHUNK_KEYS:
        score_chunk(scores, peaks, query, keys, q0, k0, n_keys // CHUNK_KEYS, n_keys % CHUNK_KEYS, rows, band)
    minus_highest[:, :] = nisa.tensor_reduce(np.max, peaks, axis=(1,), dtype=np.float32, negate=True)


@nki.jit(mode="trace")
def weigh(weights, sums, scores, minus_peak, start, width, column):
    """``exp(score - peak)`` of a run of keys, and its sum per query before rounding."""
    place = nl.ds(start, width)
    weights[:, place] = nisa.activation_reduce(
        np.exp,
        scores[:, place],
        bias=minus_peak,
        scale=1.0,
        reduce_op=nl.add,
        reduce_res=sums[:, column],
        dtype=weights.dtype,
    )


@nki.jit(mode="trace")
def weigh_span(weights, sums, scores, minus_peak, q0, k0, chunk, n_chunks, rows, band):
    """Weights of ``n_chunks`` whole chunks: in one instruction where all matter, else chunk by chunk."""
    start = chunk * CHUNK_KEYS
    if band.sees_ends(q0, rows, k0 + start, n_chunks * CHUNK_KEYS):
        weigh(weights, sums, scores, minus_peak, start, n_chunks * CHUNK_KEYS, chunk)
    else:
        for i in nl.affine_range(n_chunks):
            if band.sees_any(q0, rows, k0 + start + i * CHUNK_KEYS, CHUNK_KEYS):
                weigh(weights, sums, scores, minus_peak, start + i * CHUNK_KEYS, CHUNK_KEYS, chunk + i)


@nki.jit(mode="trace")
def weigh_whole(weights, total, scores, minus_peak, rows, n_keys, span):
    """Weights of a key tile whose chunks all matter, and their sum per query: an instruction for each span."""
    whole = n_keys // CHUNK_KEYS
    singles = whole % span
    n_sums = whole // span + singles + (1 if n_keys % CHUNK_KEYS else 0)
    sums = nl.ndarray((nl.par_dim(rows), n_sums), dtype=np.float32, buffer=nl.sbuf)
    for i in nl.affine_range(whole // span):
        weigh(weights, sums, scores, minus_peak, i * span * CHUNK_KEYS, span * CHUNK_KEYS, i)
    for i in nl.affine_range(singles):
        weigh(weights, sums, scores, minus_peak, (whole - singles + i) * CHUNK_KEYS, CHUNK_KEYS, whole // span + i)
    if n_keys % CHUNK_KEYS:
        weigh(weights, sums, scores, minus_peak, whole * CHUNK_KEYS, n_keys % CHUNK_KEYS, n_sums - 1)
    total[:, :] = nl.sum(sums, axis=1, dtype=np.float32)


@nki.jit(mode="trace")
def weigh_partly(weights, total, scores, minus_peak, q0, k0, rows, n_keys, span, band):
    """Weights of a key tile with skipped chunks, and their sum per query."""
    whole = n_keys // CHUNK_KEYS
    sums = nl.ndarray((nl.par_dim(rows), -(-n_keys // CHUNK_KEYS)), dtype=np.float32, buffer=nl.sbuf)
    sums[:, :] = 0.0  # of skipped chunks, and of all but the first of a span that is summed at once
    for i in nl.affine_range(whole // span):
        weigh_span(weights, sums, scores, minus_peak, q0, k0, i * span, span, rows, band)
    for i in nl.affine_range(whole % span):
        weigh_span(weights, sums, scores, minus_peak, q0, k0, whole - whole % span + i, 1, rows, band)
    if n_keys % CHUNK_KEYS:
        if band.sees_any(q0, rows, k0 + whole * CHUNK_KEYS, n_keys % CHUNK_KEYS):
            weigh(weights, sums, scores, minus_peak, whole * CHUNK_KEYS, n_keys % CHUNK_KEYS, whole)
    total[:, :] = nl.sum(sums, axis=1, dtype=np.float32)


@nki.jit(mode="trace")
def weigh_all(weights, total, scores, minus_peak, q0, k0, rows, n_keys, band):
    """Weights of all visible chunks of a key tile, and their sum per query.

    Sums are taken per half tile of at most 2048 keys, in NxDI's order, so that answers stay comparable bit by bit.
    """
    span = max(1, min(2048, n_keys // 2) // CHUNK_KEYS)
    if band.sees_ends(q0, rows, k0, n_keys):
        weigh_whole(weights, total, scores, minus_peak, rows, n_keys, span)
    else:
        weigh_partly(weights, total, scores, minus_peak, q0, k0, rows, n_keys, span, band)


@nki.jit(mode="trace")
def add_values(mixed, weights, values, q0, k0, block, width, rows, band):
    """Add the values of one block of keys, weighted, to ``mixed``."""
    start = block * BLOCK_KEYS
    if band.sees_any(q0, rows, k0 + start, width):
        # A transpose is exact in any dtype; only NeuronCore-v3 can leave it in PSUM as it is, and copy half as much.
        dtype = weights.dtype if nisa.get_nc_version() >= nisa.nc_version.gen3 else np.float32
        turned = nl.ndarray((nl.par_dim(width), rows), dtype=dtype, buffer=nl.psum)
        turned[:, :] = nisa.nc_transpose(weights[:, nl.ds(start, width)])
        mixed[:, :] += nl.matmul(
            nl.copy(turned, dtype=weights.dtype), values[block, nl.ds(0, width), :], transpose_x=True
        )


@nki.jit(mode="trace")
def attend(query, keys, values, state, q0, k0, rows, n_keys, band):
    """Update the state of one query tile with one key tile.

    Shapes: query (d, rows), keys (d, n_keys), values (blocks, 128, d); state, all float32: output (rows, d), and,
    negated, log-sum-exp and maximum (rows, 1).
    """
    output, minus_lse, minus_peak = state
    scores = nl.ndarray((nl.par_dim(rows), n_keys), dtype=np.float32, buffer=nl.sbuf)
    weights = nl.ndarray((nl.par_dim(rows), n_keys), dtype=query.dtype, buffer=nl.sbuf)
    minus_highest = nl.ndarray((nl.par_dim(rows), 1), dtype=np.float32, buffer=nl.sbuf)
    total = nl.ndarray((nl.par_dim(rows), 1), dtype=np.float32, buffer=nl.sbuf)
    mixed = nl.zeros(output.shape, dtype=np.float32, buffer=nl.psum)

    score_all(scores, minus_highest, query, keys, q0, k0, rows, n_keys, band)
    if k0 <= 0:
        # Nothing came before: the old output is zero, and so is its decay.
        minus_peak[:, :] = nl.minimum(minus_highest, -HIDDEN)
    else:
        previous = nl.copy(minus_peak, dtype=np.float32)
        minus_peak[:, :] = nl.minimum(previous, minus_highest)
        output[:, :] = nl.multiply(output, nisa.activation(np.exp, previous, bias=minus_peak, scale=-1.0))

    weigh_all(weights, total, scores, minus_peak, q0, k0, rows, n_keys, band)
    for block in nl.affine_range(n_keys // BLOCK_KEYS):
        add_values(mixed, weights, values, q0, k0, block, BLOCK_KEYS, rows, band)
    if n_keys % BLOCK_KEYS:
        add_values(mixed, weights, values, q0, k0, n_keys // BLOCK_KEYS, n_keys % BLOCK_KEYS, rows, band)

    output[:, :] = nl.add(output, mixed)
    carried = nisa.activation(np.exp, minus_lse, bias=minus_peak, scale=-1.0)
    minus_lse[:, :] = nl.subtract(minus_peak, nisa.activation(np.log, carried, bias=total))


@nki.jit(mode="trace")
def load_values(v_head, values, k0, block, width, transposed):
    """One block of V, (width, d), into ``values[block]``."""
    place = nl.ds(k0 + block * BLOCK_KEYS, width)
    if not transposed:
        values[block, nl.ds(0, width), :] = nl.load(v_head[place, :], dtype=values.dtype)
    elif nisa.get_nc_version() >= nisa.nc_version.gen3:
        values[block, nl.ds(0, width), :] = nisa.tensor_copy(nisa.dma_transpose(v_head[:, place]), dtype=values.dtype)
    else:
        values[block, nl.ds(0, width), :] = nl.load_transpose2d(v_head[:, place], dtype=values.dtype)


@nki.jit(mode="trace")
def load_query(query, q_head, q0, rows, scale):
    """One query tile, (d, rows), rounded as it is loaded and again as it is scaled."""
    query[:, :] = nl.multiply(nl.load(q_head[:, nl.ds(q0, rows)], dtype=query.dtype), scale)


@nki.jit(mode="trace")
def hold_tile(queries, q_heads, group, tile, seq_k, call):
    """One query tile, scaled, into its place among ``queries``, if it sees a key at all."""
    first, _, q0, _, _ = group
    head, i, rows = tile
    start = q0 + i * TILE_QUERIES
    if call.band.sees_any(start, rows, 0, seq_k):
        load_query(queries[head, i, :, nl.ds(0, rows)], q_heads[first + head], start, rows, call.scale)


@nki.jit(mode="trace")
def held_queries(q_heads, group, seq_k, call):
    """The queries of a group, (heads, tiles, d, 128); None if the plan does not hold them."""
    queries = None
    if call.plan.holds_queries:
        _, n_heads, _, n_tiles, tail = group
        shape = (n_heads, n_tiles + (1 if tail else 0), nl.par_dim(q_heads.shape[1]), TILE_QUERIES)
        queries = nl.ndarray(shape, dtype=call.dtype, buffer=nl.sbuf)
        for head in nl.affine_range(n_heads):
            for i in nl.affine_range(n_tiles):
                hold_tile(queries, q_heads, group, (head, i, TILE_QUERIES), seq_k, call)
            if tail:
                hold_tile(queries, q_heads, group, (head, n_tiles, tail), seq_k, call)
    return queries


@nki.jit(mode="trace")
def state_of(state, tile):
    """Output, negated log-sum-exp and negated maximum of one query tile."""
    output, minus_lse, minus_peak = state
    head, i, rows = tile
    place = nl.ds(0, rows)
    return output[head, i, place, :], minus_lse[head, i, place, :], minus_peak[head, i, place, :]


@nki.jit(mode="trace")
def attend_tile(q_heads, queries, keys, values, state, group, tile, k0, n_keys, call):
    """One query tile against one key tile, if any pair of them is visible."""
    first, _, q0, _, _ = group
    head, i, rows = tile
    start = q0 + i * TILE_QUERIES
    if call.band.sees_any(start, rows, k0, n_keys):
        own = state_of(state, tile)
        if call.plan.holds_queries:
            attend(queries[head, i, :, nl.ds(0, rows)], keys, values, own, start, k0, rows, n_keys, call.band)
        else:
            query = nl.ndarray((nl.par_dim(q_heads.shape[1]), rows), dtype=call.dtype, buffer=nl.sbuf)
            load_query(query, q_heads[first + head], start, rows, call.scale)
            attend(query, keys, values, own, start, k0, rows, n_keys, call.band)


@nki.jit(mode="trace")
def attend_group(q_heads, k_head, v_head, queries, state, group, k0, n_keys, call):
    """All query tiles of a group against one key tile, loaded once for them, if any of them needs it."""
    _, n_heads, q0, n_tiles, tail = group
    if call.band.sees_any(q0, n_tiles * TILE_QUERIES + tail, k0, n_keys):
        head_dim = k_head.shape[0]
        keys = nl.ndarray((nl.par_dim(head_dim), n_keys), dtype=call.dtype, buffer=nl.sbuf)
        keys[:, :] = nl.load(k_head[:, nl.ds(k0, n_keys)], dtype=call.dtype)
        n_blocks = -(-n_keys // BLOCK_KEYS)
        values = nl.ndarray((n_blocks, nl.par_dim(BLOCK_KEYS), head_dim), dtype=call.dtype, buffer=nl.sbuf)
        for block in nl.affine_range(n_keys // BLOCK_KEYS):
            load_values(v_head, values, k0, block, BLOCK_KEYS, call.config.should_transpose_v)
        if n_keys % BLOCK_KEYS:
            load_values(v_head, values, k0, n_keys // BLOCK_KEYS, n_keys % BLOCK_KEYS, call.config.should_transpose_v)

        for head in nl.affine_range(n_heads):
            for i in nl.affine_range(n_tiles):
                tile = (head, i, TILE_QUERIES)
                attend_tile(q_heads, queries, keys, values, state, group, tile, k0, n_keys, call)
            if tail:
                tile = (head, n_tiles, tail)
                attend_tile(q_heads, queries, keys, values, state, group, tile, k0, n_keys, call)


@nki.jit(mode="trace")
def store_tile(o_heads, state, group, tile, seq_k, band):
    """Normalise one query tile, round it once, and write it; queries that see no key get zeros."""
    first, _, q0, _, _ = group
    head, i, rows = tile
    start = q0 + i * TILE_QUERIES
    output, minus_lse, minus_peak = state_of(state, tile)
    head_dim = o_heads.shape[2]
    result = nl.ndarray((nl.par_dim(rows), head_dim), dtype=o_heads.dtype, buffer=nl.sbuf)
    result[:, :] = nl.multiply(output, nisa.activation(np.exp, minus_peak, bias=minus_lse, scale=-1.0))
    keyless = band.first_keyless(seq_k)
    if keyless is not None:
        if start + rows > keyless:
            row, column = nl.mgrid[0:rows, 0:head_dim]
            result[:, :] = nisa.affine_select(
                pred=(start + row + 0 * column < keyless), on_true_tile=result, on_false_value=0.0
            )
    o_head = o_heads[first + head]
    nl.store(o_head[nl.ds(start, rows), :], result)


@nki.jit(mode="trace")
def attend_queries(q_heads, k_head, v_head, o_heads, group, call):
    """One group of query tiles against all keys: its state lives on chip from first to last."""
    _, n_heads, _, n_tiles, tail = group
    count = n_tiles + (1 if tail else 0)
    head_dim, seq_k = k_head.shape
    column = (n_heads, count, nl.par_dim(TILE_QUERIES), 1)
    state = (
        nl.zeros((n_heads, count, nl.par_dim(TILE_QUERIES), head_dim), dtype=np.float32, buffer=nl.sbuf),
        nl.full(column, -HIDDEN, dtype=np.float32, buffer=nl.sbuf),
        nl.full(column, -HIDDEN, dtype=np.float32, buffer=nl.sbuf),
    )
    queries = held_queries(q_heads, group, seq_k, call)

    size = min(call.config.seq_tile_size, seq_k)
    for j in nl.sequential_range(seq_k // size):
        attend_group(q_heads, k_head, v_head, queries, state, group, j * size, size, call)
    if seq_k % size:
        attend_group(q_heads, k_head, v_head, queries, state, group, seq_k - seq_k % size, seq_k % size, call)

    for head in nl.affine_range(n_heads):
        for i in nl.affine_range(n_tiles):
            store_tile(o_heads, state, group, (head, i, TILE_QUERIES), seq_k, call.band)
        if tail:
            store_tile(o_heads, state, group, (head, n_tiles, tail), seq_k, call.band)


@nki.jit
def flash_fwd(
    q, k, v, softmax_scale=None, use_causal_mask=True, window_size=(-1, -1), mixed_precision=True, config=None
):
    """Flash attention, forward. Launch as ``flash_fwd[batch, kv_heads](q, k, v, …)``.

    Parameters
    ----------
    q:
        (batch, heads, head_dim, seq_q). head_dim is at most 128; any length.
    k:
        (batch, kv_heads, head_dim, seq_k), where heads is a multiple of kv_heads; any length.
    v:
        (batch, kv_heads, seq_k, head_dim), or (batch, kv_heads, head_dim, seq_k) with
        ``config.should_transpose_v``.
    softmax_scale:
        Factor on the scores; None for 1 / sqrt(head_dim). 0.0 is a factor like any other.
    use_causal_mask:
        Query i sees keys 0 … i (aligned at the first query and key, whatever the lengths).
    window_size:
        (left, right). left >= 0: query i sees keys i - left … i, whatever ``use_causal_mask`` says.
        left < 0: no window. right must be negative.
    mixed_precision:
        Round matmul operands to bfloat16. Otherwise they keep the query's dtype. Sums, maxima and the output
        are float32 either way, and rounded once to the query's dtype.
    config:
        :class:`vendored_kernel.FlashConfig`; None for its defaults.

    Returns
    -------
    tensor
        (batch, heads, seq_q, head_dim), dtype of q. The row of a query that sees no key is zero.

    Raises
    ------
    AssertionError
        The launch grid does not have two dimensions.
    ValueError
        A call without a meaning; the message says what to pass instead.
    """
    config = checked_config(config)
    left = checked_window(window_size, config)
    shapes = checked_shapes(q, k, v, config.should_transpose_v)
    check_grid(nl.program_ndim(), nl.num_programs, shapes)
    band = band_of(use_causal_mask, left, config.windowed_context_encoding)
    scale = shapes.head_dim**-0.5 if softmax_scale is None else softmax_scale
    dtype = nl.bfloat16 if mixed_precision else q.dtype
    call = Call(band, plan_of(band, shapes, 2 if mixed_precision else 4, config), scale, dtype, config)

    o = nl.ndarray((shapes.batch, shapes.heads, shapes.seq_q, shapes.head_dim), dtype=q.dtype, buffer=nl.shared_hbm)
    batch = nl.program_id(axis=0)
    kv_head = nl.program_id(axis=1)
    shared = shapes.heads // shapes.kv_heads
    k_head = k[batch, kv_head]
    v_head = v[batch, kv_head]
    n_tiles = shapes.seq_q // TILE_QUERIES
    tail = shapes.seq_q % TILE_QUERIES
    n_heads, size = call.plan.heads, call.plan.tiles

    for i in nl.affine_range(shared // n_heads):
        first = kv_head * shared + i * n_heads
        for g in nl.sequential_range(n_tiles // size):
            group = (first, n_heads, g * size * TILE_QUERIES, size, 0)
            attend_queries(q[batch], k_head, v_head, o[batch], group, call)
        rest = n_tiles % size
        if rest + tail > 0:
            group = (first, n_heads, (n_tiles - rest) * TILE_QUERIES, rest, tail)
            attend_queries(q[batch], k_head, v_head, o[batch], group, call)
    return o
