"""One call of an attention kernel, described by data: shapes, mask, dtype, seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DtypeName = Literal["bfloat16", "float16", "float32"]
Values = Literal[
    "normal",
    "large queries",
    "large values",
    "tiny values",
    "equal logits",
    "very negative logits",
    "one-hot",
    "repeated rows",
    "NaN at one key",
    "Inf at one key",
]
"""What the inputs hold; see :meth:`Case.inputs`."""

POISONS: dict[Values, float] = {"NaN at one key": float("nan"), "Inf at one key": float("inf")}
"""Values -> what K and V hold at :attr:`Case.poisoned_key`."""

DTYPES: dict[DtypeName, np.dtype[Any]] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
}


def _twice(values: Array, axis: int) -> Array:
    """Each second entry along an axis made the one before it."""
    kept: Array = np.take(values, np.arange(values.shape[axis]) // 2 * 2, axis=axis)
    return kept


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call of ``flash_fwd[batch, kv_heads](q, k, v, **keywords)``.

    Attributes
    ----------
    window_size:
        ``(left, right)`` as the kernel takes it; None leaves the argument out (the documented default).
    use_causal_mask:
        None leaves the argument out (the documented default, True).
    config:
        Fields of ``FlashConfig`` that differ from its defaults; empty leaves the argument out.
    values:
        What the inputs hold.
    """

    name: str
    batch: int = 1
    heads: int = 1
    kv_heads: int = 1
    head_dim: int = 64
    seq_q: int = 2048
    seq_k: int = 2048
    dtype: DtypeName = "bfloat16"
    use_causal_mask: bool | None = None
    window_size: tuple[int, int] | None = None
    softmax_scale: float | None = None
    mixed_precision: bool = True
    config: dict[str, Any] = field(default_factory=dict, hash=False)
    seed: int = 0
    values: Values = "normal"

    @property
    def grid(self) -> tuple[int, int]:
        """The launch grid that the contract asks for."""
        return self.batch, self.kv_heads

    @property
    def scale(self) -> float:
        """The factor on the scores: 1 / sqrt(head_dim) unless given."""
        return self.head_dim**-0.5 if self.softmax_scale is None else self.softmax_scale

    def keywords(self, config_type: Any) -> dict[str, Any]:
        """Keyword arguments of the call, with ``config`` built from the kernel's own config class."""
        given: dict[str, Any] = {}
        if self.use_causal_mask is not None:
            given["use_causal_mask"] = self.use_causal_mask
        if self.window_size is not None:
            given["window_size"] = self.window_size
        if self.softmax_scale is not None:
            given["softmax_scale"] = self.softmax_scale
        if not self.mixed_precision:
            given["mixed_precision"] = False
        if self.config:
            given["config"] = config_type(**self.config)
        return given

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of q (b, h, d, seq_q), k (b, kv_h, d, seq_k) and v in the layout of the config."""
        v = (self.batch, self.kv_heads, self.seq_k, self.head_dim)
        if self.config.get("should_transpose_v", False):
            v = (self.batch, self.kv_heads, self.head_dim, self.seq_k)
        q = (self.batch, self.heads, self.head_dim, self.seq_q)
        return q, (self.batch, self.kv_heads, self.head_dim, self.seq_k), v

    def inputs(self) -> tuple[Array, Array, Array]:
        """Standard-normal q, k and v, the same at every call, unless :attr:`values` asks for others.

        Large queries are 10,000 times as large. Equal logits come from keys that are all the same. Very negative
        ones come from large positive queries and negative keys: they lie far below -9984. One-hot weights come from
        queries along one key each. Large values are 1000 times as large; tiny ones 100 times as small, with queries
        1000 times as small. Of repeated rows, each second query, key and value is the one before it. NaN or Inf stands
        at one key, in K and V: queries that do not see it have the answer that they have without (:attr:`clean`).
        """
        random = np.random.default_rng(self.seed)
        q, k, v = (random.standard_normal(shape, dtype=np.float32) for shape in self.shapes)
        match self.values:
            case "large queries":
                q = q * np.float32(1e4)
            case "equal logits":
                k = np.repeat(k[..., :1], self.seq_k, axis=-1)
            case "very negative logits":
                q, k = np.float32(1e4) * np.abs(q), -np.abs(k)
            case "large values":
                v = v * np.float32(1e3)
            case "tiny values":
                q, v = q * np.float32(1e-3), v * np.float32(1e-2)
            case "one-hot":
                keys = np.take(k, np.arange(self.seq_q) * 7 % self.seq_k, axis=-1)
                q = np.float32(8) * np.repeat(keys, self.heads // self.kv_heads, axis=1)
            case "repeated rows":
                q, k = _twice(q, -1), _twice(k, -1)
                v = _twice(v, self._key_axis_of_v)
            case "NaN at one key" | "Inf at one key":
                k[..., self.poisoned_key] = POISONS[self.values]
                np.moveaxis(v, self._key_axis_of_v, 0)[self.poisoned_key] = POISONS[self.values]
        dtype = DTYPES[self.dtype]
        return q.astype(dtype), k.astype(dtype), v.astype(dtype)

    @property
    def _key_axis_of_v(self) -> int:
        return -1 if self.config.get("should_transpose_v", False) else -2

    @property
    def poisoned_key(self) -> int:
        """Where NaN or Inf stands, if :attr:`values` asks for one."""
        return self.seq_k * 3 // 4

    @property
    def clean(self) -> Case:
        """The same call without NaN and Inf."""
        return replace(self, values="normal") if self.values in POISONS else self

    def visible(self) -> npt.NDArray[np.bool_]:
        """Which key each query sees, (seq_q, seq_k): the documented masks, top-left aligned."""
        left, right = self.window_size or (-1, -1)
        if right >= 0:
            raise ValueError(f"{self.name}: a right window has no documented meaning")
        query = np.arange(self.seq_q)[:, None]
        key = np.arange(self.seq_k)[None, :]
        if self.config.get("windowed_context_encoding", False):
            return (query < key) & (key <= query + left + 1)
        if left >= 0:
            return (key <= query) & (key >= query - left)
        if self.use_causal_mask is None or self.use_causal_mask:
            return key <= query
        return np.ones((self.seq_q, self.seq_k), dtype=np.bool_)


def blank_inputs(case: Case) -> tuple[Array, Array, Array]:
    """Zeros of the case's shapes and dtype, for a run whose values do not matter."""
    q, k, v = (np.zeros(shape, dtype=DTYPES[case.dtype]) for shape in case.shapes)
    return q, k, v
