"""The forward reference kernel of nki-samples, from which NxDI's descends, on the emulator.

It takes ``sliding_window`` (keys that a query sees, itself included; -1 for none) where NxDI's takes
``window_size``, and also a seed, a bias on the logits and a drop rate; in training it returns the
log-sum-exp too. Its configuration of 512 keys per tile keeps these tests small.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import DTYPES, Array, Case
from nkifix.differential.oracle import exact
from nkifix.emulator import Params, Target, UndefinedReadFault, serving
from tests.upstream import checkout

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.filterwarnings("ignore:affine_select reads PSUM"),  # once for each kernel line, always expected
]

TILE = {"seq_tile_size": 512}
CAUSAL = Case(name="causal", head_dim=32, seq_q=1024, seq_k=1024, dtype="float32", config=TILE)
FULL = replace(CAUSAL, name="full", use_causal_mask=False)


class Samples:
    """The kernel and its configuration class."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(
        self, case: Case, *, training: bool = False, seed: Array | None = None, **keywords: Any
    ) -> tuple[Array, Array | None]:
        """Output and, in training, log-sum-exp of a case's call."""
        left, _ = case.window_size or (-1, -1)
        result = self.module.flash_fwd[case.grid](
            *case.inputs(),
            seed,
            use_causal_mask=case.use_causal_mask is not False,
            sliding_window=left + 1 if left >= 0 else -1,
            mixed_precision=case.mixed_precision,
            config=self.module.FlashConfig(training=training, **case.config),
            **keywords,
        )
        return result if training else (result, None)


@pytest.fixture(scope="module", params=["trn1", "trn2"])
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    repository = checkout.samples_clone()
    if repository is None:
        pytest.skip(checkout.WITHOUT_SAMPLES)
    target: Target = request.param
    tree = checkout.extract(
        repository, checkout.SAMPLES_REVISION, tmp_path_factory.mktemp("nki-samples"), "src/nki_samples/reference"
    )
    sys.path.insert(0, str(tree / "src"))
    try:
        with serving(Params(target=target)):
            yield Samples(importlib.import_module("nki_samples.reference.attention"))
    finally:
        sys.path.remove(str(tree / "src"))


# ------------------------------------------------------------------------------------------- oracles


def scores(case: Case, *, bias: Array | None = None, low: bool = False) -> Any:
    """Masked scores (b, h, seq_q, seq_k) in float64; ``low`` rounds operands as mixed precision does."""

    def narrow(x: Any) -> Any:
        return x.astype(DTYPES["bfloat16"]).astype(np.float64) if low else x.astype(np.float64)

    q, k, _ = case.inputs()
    shared = np.repeat(narrow(k), case.heads // case.kv_heads, axis=1)
    result = np.matmul(np.swapaxes(narrow(narrow(q) * case.scale), 2, 3), shared)
    return np.where(case.visible(), result + (0 if bias is None else narrow(bias)), -np.inf)


def log_sum_exp(masked: Any) -> Any:
    """(b, h, seq_q)."""
    peak = masked.max(axis=-1)
    return peak + np.log(np.exp(masked - peak[..., None]).sum(axis=-1))


def attended(case: Case, masked: Any) -> Any:
    """(b, h, seq_q, d), from scores."""
    _, _, v = case.inputs()
    weights = np.exp(masked - log_sum_exp(masked)[..., None])
    return np.matmul(weights, np.repeat(v.astype(np.float64), case.heads // case.kv_heads, axis=1))


def by_row(lse: Array) -> npt.NDArray[np.float64]:
    """The kernel's log-sum-exp, (b, h, row in tile, tile), as (b, h, row)."""
    b, h, rows, tiles = lse.shape
    return np.swapaxes(lse, 2, 3).reshape(b, h, rows * tiles).astype(np.float64)


def tolerance(truth: Any, low: Any, digits: int) -> Any:
    """Twice the error of a low-precision reference, and the rounding of the result to so many bits."""
    return 2 * (np.abs(low - truth).max() + 0.5**digits * np.abs(truth).max())


# -------------------------------------------------------------------------------------------- forward

CASES = [
    CAUSAL,
    FULL,
    *(replace(CAUSAL, name=f"window {left + 1}", window_size=(left, -1)) for left in (0, 1, 99, 127, 511, 700, 5000)),
    replace(CAUSAL, name="window with the causal flag off", window_size=(99, -1), use_causal_mask=False),
    replace(CAUSAL, name="fewer queries", seq_q=256),
    replace(CAUSAL, name="more queries", seq_k=512),
    replace(FULL, name="full, fewer queries", seq_q=128),
    replace(CAUSAL, name="batch 2, 4/2 heads", batch=2, heads=4, kv_heads=2, seq_q=512, seq_k=512),
    replace(CAUSAL, name="3/1 heads, window 100", heads=3, seq_q=512, seq_k=512, window_size=(99, -1)),
    replace(CAUSAL, name="V transposed", config=TILE | {"should_transpose_v": True}),
    replace(CAUSAL, name="d 128, tile 2048", head_dim=128, seq_q=512, seq_k=2048, config={}),
    replace(CAUSAL, name="core tiles of 3", config=TILE | {"attn_core_tile_size": 3}),
    replace(CAUSAL, name="bfloat16", dtype="bfloat16"),
    replace(CAUSAL, name="float32 unmixed", mixed_precision=False),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_output_is_right(samples: Samples, case: Case) -> None:
    answer, _ = samples(case)
    truth = exact(case, *case.inputs())
    assert answer.dtype == DTYPES[case.dtype]
    assert not is_trivial(answer)
    assert accuracy(answer, truth, budget(case, *case.inputs(), truth)).right


TRAINING = [
    CAUSAL,
    FULL,
    replace(CAUSAL, name="window 100", window_size=(99, -1)),
    replace(CAUSAL, name="4/2 heads", heads=4, kv_heads=2, seq_q=512, seq_k=512),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in TRAINING])
def test_log_sum_exp_is_right(samples: Samples, case: Case) -> None:
    answer, lse = samples(case, training=True)
    assert lse is not None
    assert lse.dtype == np.float32
    truth, low = log_sum_exp(scores(case)), log_sum_exp(scores(case, low=True))
    assert np.abs(by_row(lse) - truth).max() <= tolerance(truth, low, 23)
    assert np.array_equal(answer, samples(case)[0])


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in (CAUSAL, FULL)])
def test_bias_on_logits_is_added(samples: Samples, case: Case) -> None:
    bias = np.random.default_rng(1).standard_normal((1, 1, case.seq_q, case.seq_k), dtype=np.float32)
    answer, lse = samples(case, training=True, logit_bias=bias)
    assert lse is not None
    exactly, roughly = scores(case, bias=bias), scores(case, bias=bias, low=True)
    truth, low = log_sum_exp(exactly), log_sum_exp(roughly)
    assert np.abs(by_row(lse) - truth).max() <= tolerance(truth, low, 23)
    output, low_output = attended(case, exactly), attended(case, roughly)
    assert np.abs(answer - output).max() <= tolerance(output, low_output, 8)
    assert np.abs(answer - samples(case)[0]).max() > 10 * tolerance(output, low_output, 8)


# -------------------------------------------------------------- defects of this kernel that the emulator shows


def test_bias_with_a_window_reads_what_was_never_written(samples: Samples) -> None:
    case = replace(CAUSAL, window_size=(99, -1))
    with pytest.raises(UndefinedReadFault) as caught:
        samples(case, logit_bias=np.zeros((1, 1, case.seq_q, case.seq_k), np.float32))
    assert "first read by affine_select" in str(caught.value.why)


def test_bias_loses_the_window_inside_diagonal_tiles(samples: Samples) -> None:
    case = replace(CAUSAL, seq_q=512, seq_k=512)
    windowed = replace(case, window_size=(99, -1))
    bias = np.zeros((1, 1, case.seq_q, case.seq_k), np.float32)
    assert np.array_equal(samples(windowed, logit_bias=bias)[0], samples(case)[0])
    assert not np.array_equal(samples(windowed)[0], samples(case)[0])


# ------------------------------------------------------------------------------------------- dropout

DROPPING = replace(FULL, name="dropout", seq_q=256, seq_k=2048, values="equal logits", config={})
"""Every weight is 1 / 2048, so with V all ones a row of the output counts the keys that were kept."""


def kept(samples: Samples, case: Case, seed: int, rate: float) -> tuple[Array, Array | None]:
    class Ones(Case):
        def inputs(self) -> tuple[Array, Array, Array]:
            q, k, v = case.inputs()
            return q, k, np.ones_like(v)

    given = {name: getattr(case, name) for name in ("head_dim", "seq_q", "seq_k", "dtype", "use_causal_mask", "values")}
    ones = Ones(name=case.name, config=case.config, **given)
    return samples(ones, training=True, seed=np.array([seed], np.int32), dropout_p=rate)


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_dropout_drops_at_its_rate(samples: Samples, rate: float) -> None:
    answer, lse = kept(samples, DROPPING, 7, rate)
    rows = answer[0, 0, :, 0].astype(np.float64)
    assert np.array_equal(answer[0, 0], np.repeat(answer[0, 0, :, :1], DROPPING.head_dim, axis=1))
    # bfloat16 weights: the kept ones are scaled by 1 / (1 - rate), rounded; and so is the result
    rounding = 0.5**8 * 2
    spread = np.sqrt(rate / (1 - rate) / DROPPING.seq_k)
    assert abs(rows.mean() - 1) <= 5 * spread / np.sqrt(len(rows)) + rounding
    assert 0.8 * spread <= rows.std() <= 1.2 * spread + rounding
    assert lse is not None
    truth, low = log_sum_exp(scores(DROPPING)), log_sum_exp(scores(DROPPING, low=True))
    assert np.abs(by_row(lse) - truth).max() <= tolerance(truth, low, 23)


def test_dropout_follows_its_seed(samples: Samples) -> None:
    first, again, other = (kept(samples, DROPPING, seed, 0.5)[0] for seed in (7, 7, 8000))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_dropout_is_lost_with_tiles_of_512(samples: Samples) -> None:
    case = replace(DROPPING, config=TILE)
    assert np.array_equal(kept(samples, case, 7, 0.5)[0], np.ones((1, 1, case.seq_q, case.head_dim)))
