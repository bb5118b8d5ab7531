"""The kernel's configuration, and the checks of a call: refused where it has no meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vendored_kernel.schedule import CHUNK_KEYS

MAX_HEAD_DIM = 128


@dataclass(frozen=True)
class FlashConfig:
    """How ``flash_fwd`` cuts the sequence, and how values and windows are laid out.

    The fields, their order and their defaults are those of NxDI's kernel (SDK 2.27).
    """

    seq_tile_size: int = 2048
    """Keys that are processed before the running softmax state is updated; at least 512. No need to divide
    the number of keys."""
    attn_core_tile_size: int = 256
    """At most so many tiles of 128 queries, of all heads taken together, have their running state on chip at once;
    keys are loaded again for each such group. Fewer are held where that loads less (:mod:`vendored_kernel.plan`)."""
    should_transpose_v: bool = False
    """Values come as (batch, kv_heads, head_dim, seq_k) instead of (batch, kv_heads, seq_k, head_dim)."""
    lse_dtype: str = ""
    """Unused; kept because NxDI's configuration has it."""
    windowed_context_encoding: bool = False
    """The keys begin one window before the queries: query i sees keys i + 1 … i + window, where window is
    the left window size + 1."""


@dataclass(frozen=True)
class Shapes:
    """Sizes of one call, checked."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    seq_q: int
    seq_k: int


def checked_config(config: Any) -> Any:
    """``config``, or the default where it is None.

    Raises
    ------
    ValueError
        A tile size that has no meaning.
    """
    if config is None:
        return FlashConfig()
    if config.seq_tile_size < CHUNK_KEYS:
        raise ValueError(
            f"seq_tile_size={config.seq_tile_size} is too small: pass FlashConfig(seq_tile_size=512) or more"
        )
    if config.attn_core_tile_size < 1:
        raise ValueError(
            f"attn_core_tile_size={config.attn_core_tile_size} holds no query: pass 1 or more (default 256)"
        )
    return config


def checked_window(window_size: tuple[int, int], config: Any) -> int:
    """The left window size.

    Raises
    ------
    ValueError
        A right window, or windowed context encoding without a window.
    """
    left, right = window_size
    if right >= 0:
        raise ValueError(f"window_size={window_size}: there is no right window, pass ({left}, -1)")
    if config.windowed_context_encoding and left < 1:
        raise ValueError(
            f"windowed_context_encoding needs a window: pass window_size=(left, -1) with left >= 1, got {window_size}"
        )
    return left


def checked_shapes(q: Any, k: Any, v: Any, should_transpose_v: bool) -> Shapes:
    """The sizes of a call.

    Raises
    ------
    ValueError
        Shapes that do not belong together, with the shape that was expected.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if len(tensor.shape) != 4:
            raise ValueError(f"{name} must have four dimensions (batch, heads, …), got shape {tuple(tensor.shape)}")
    batch, heads, head_dim, seq_q = q.shape
    kv_heads, seq_k = k.shape[1], k.shape[3]
    expected_k = (batch, kv_heads, head_dim, seq_k)
    expected_v = expected_k if should_transpose_v else (batch, kv_heads, seq_k, head_dim)
    layouts = {"k": "(batch, kv_heads, head_dim, seq_k)", "v": "(batch, kv_heads, seq_k, head_dim)"}
    if should_transpose_v:
        layouts["v"] = layouts["k"]
    for name, tensor, expected in (("k", k, expected_k), ("v", v, expected_v)):
        if tuple(tensor.shape) != expected:
            raise ValueError(f"{name} must be {layouts[name]} = {expected}, got {tuple(tensor.shape)}")
    if head_dim > MAX_HEAD_DIM:
        raise ValueError(
            f"head_dim={head_dim}: at most {MAX_HEAD_DIM} fits the Tensor Engine; pass smaller heads or use a kernel "
            "that splits the head dimension"
        )
    if heads % kv_heads != 0:
        raise ValueError(
            f"{heads} query heads cannot share {kv_heads} key/value heads: pass heads that are a multiple of kv_heads"
        )
    return Shapes(batch, heads, kv_heads, head_dim, seq_q, seq_k)


def check_grid(ndim: int, programs: Any, shapes: Shapes) -> None:
    """Check the launch grid.

    Parameters
    ----------
    programs:
        ``nl.num_programs``: number of programs along an axis; asked only for a grid of two dimensions.

    Raises
    ------
    AssertionError
        The grid has not two dimensions (the text that NxDI's kernel gives).
    ValueError
        The grid is not ``[batch, kv_heads]``.
    """
    if ndim != 2:
        raise AssertionError(f"Expect spmd grid with 2 dimensions, got {ndim} instead!")
    grid = (programs(axes=0), programs(axes=1))
    if grid != (shapes.batch, shapes.kv_heads):
        raise ValueError(
            f"launched on the grid {list(grid)}, but these tensors need [batch, kv_heads]: write "
            f"flash_fwd[{shapes.batch}, {shapes.kv_heads}](q, k, v, ...)"
        )
