"""The flash kernel's arithmetic in plain NumPy, written by hand: a floor for what an emulator on NumPy can take.

Queries in tiles of 128, keys in tiles of 2048; scores in matmuls of 512 keys; weights rounded to bfloat16; values in
matmuls of 128 keys; running maxima and sums in float32. What no query of a tile sees is skipped, as the kernel does.
Nothing is checked and nothing is accounted for.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nkifix.differential.cases import Array, Case
from vendored_kernel.schedule import Band, band_of

TILE_QUERIES = 128
TILE_KEYS = 2048
CHUNK_KEYS = 512
BLOCK_KEYS = 128

Floats = npt.NDArray[np.float32]
_LOWEST = np.finfo(np.float32).min


def attention(case: Case, inputs: Sequence[Array], processes: int = 1) -> Array:
    """Answer a case whose query heads have a key head each: (batch, heads, seq_q, head_dim), of the query's dtype.

    ``processes`` share the heads: the others are forked, and write into memory that is shared.
    """
    q, k, v = inputs
    heads = [(entry, head) for entry in range(case.batch) for head in range(case.heads)]
    shape = (case.batch, case.heads, case.seq_q, case.head_dim)
    out: Array = np.ndarray(shape, q.dtype, mmap.mmap(-1, math.prod(shape) * q.dtype.itemsize))
    band = band_of(case.use_causal_mask is not False, (case.window_size or (-1, -1))[0], False)

    def work(mine: Sequence[tuple[int, int]]) -> None:
        for place in mine:
            out[place] = _head(q[place], k[place], v[place], np.float32(case.scale), band)

    _shared(work, [heads[first::processes] for first in range(processes)])
    return out


def _shared(work: Callable[[Sequence[Any]], None], parts: Sequence[Sequence[Any]]) -> None:
    """Do the first part here and each other one in a process of its own."""
    children = []
    for part in parts[1:]:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(part)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    work(parts[0])
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise RuntimeError("a process of the plain NumPy attention failed")


def _head(q: Array, k: Array, v: Array, scale: np.float32, band: Band) -> Floats:
    keys, values = k.astype(np.float32), v.astype(np.float32)
    length = q.shape[1]
    out = np.empty((length, q.shape[0]), dtype=np.float32)
    for q0 in range(0, length, TILE_QUERIES):
        query = _rounded(q[:, q0 : q0 + TILE_QUERIES].astype(np.float32) * scale).T
        out[q0 : q0 + TILE_QUERIES] = _tile(query, keys, values, q0, band)
    return out


def _tile(query: Floats, keys: Floats, values: Floats, q0: int, band: Band) -> Floats:
    """The answer of one tile of queries."""
    rows, length = query.shape[0], keys.shape[1]
    peak = np.full((rows, 1), _LOWEST, dtype=np.float32)
    total = np.zeros((rows, 1), dtype=np.float32)
    mixed = np.zeros((rows, values.shape[1]), dtype=np.float32)
    for k0 in range(0, length, TILE_KEYS):
        width = min(TILE_KEYS, length - k0)
        if not band.sees_any(q0, rows, k0, width):
            continue
        scores = _scores(query, keys, q0, k0, width, band)
        higher = np.maximum(peak, scores.max(axis=1, keepdims=True))
        fade = np.exp(peak - higher)
        weights = np.exp(np.subtract(scores, higher, out=scores), out=scores)
        total = total * fade + weights.sum(axis=1, keepdims=True)
        weights = _rounded(weights)
        mixed *= fade
        for start in range(0, width, BLOCK_KEYS):
            stop = min(start + BLOCK_KEYS, width)
            if band.sees_any(q0, rows, k0 + start, stop - start):
                mixed += weights[:, start:stop] @ values[k0 + start : k0 + stop]
        peak = higher
    return mixed / total


def _scores(query: Floats, keys: Floats, q0: int, k0: int, width: int, band: Band) -> Floats:
    """Scores of one tile of keys; what a query does not see is the lowest number."""
    rows = query.shape[0]
    scores = np.empty((rows, width), dtype=np.float32)
    for start in range(0, width, CHUNK_KEYS):
        stop = min(start + CHUNK_KEYS, width)
        part, first = scores[:, start:stop], k0 + start
        if not band.sees_any(q0, rows, first, stop - start):
            part[:] = _LOWEST
            continue
        np.matmul(query, keys[:, first : k0 + stop], out=part)
        if not band.sees_all(q0, rows, first, stop - start):
            distance = np.arange(first, k0 + stop)[None, :] - np.arange(q0, q0 + rows)[:, None]
            late = False if band.high is None else distance > band.high
            early = False if band.low is None else distance < band.low
            part[late | early] = _LOWEST
    return scores


def _rounded(values: Floats) -> Floats:
    """To bfloat16 and back."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)
