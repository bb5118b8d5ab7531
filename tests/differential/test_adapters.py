from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from nkifix.differential.adapters import NotExpressibleError, adapter_of
from nkifix.differential.cases import Case


@dataclass(frozen=True)
class Config:
    seq_tile_size: int = 2048
    training: bool = True


@dataclass(frozen=True)
class Small:
    seq_tile_size: int = 2048


def nxdi(q: Any, k: Any, v: Any, softmax_scale: Any = None, window_size: Any = (-1, -1)) -> None: ...


def samples(q: Any, k: Any, v: Any, seed: Any, sliding_window: int = -1) -> None: ...


CASE = Case(name="x")


@pytest.mark.parametrize("kernel", [nxdi, SimpleNamespace(func=nxdi)], ids=["function", "jitted"])
def test_kernel_of_nxdis_kind_takes_the_case_as_it_is(kernel: Any) -> None:
    if not callable(kernel):
        kernel = type("Jitted", (), {"func": staticmethod(nxdi)})()
    more, keywords = adapter_of(kernel)(Case(name="x", window_size=(3, -1), softmax_scale=0.5), Config)
    assert more == ()
    assert keywords == {"window_size": (3, -1), "softmax_scale": 0.5}


@pytest.mark.parametrize(
    ("given", "causal", "window"),
    [
        pytest.param({}, True, -1, id="default"),
        pytest.param({"use_causal_mask": False}, False, -1, id="full"),
        pytest.param({"window_size": (-2, -1)}, True, -1, id="causal"),
        pytest.param({"window_size": (0, -1), "use_causal_mask": False}, True, 1, id="the query itself"),
        pytest.param({"window_size": (99, -1)}, True, 100, id="window"),
    ],
)
def test_kernel_of_nki_samples_kind_counts_the_query_in_its_window(
    given: dict[str, Any], causal: bool, window: int
) -> None:
    more, keywords = adapter_of(samples)(Case(name="x", **given), Config)
    assert more == (None,)
    assert (keywords["use_causal_mask"], keywords["sliding_window"]) == (causal, window)
    assert keywords["config"] == Config(training=False)
    assert "softmax_scale" not in keywords


def test_kernel_of_nki_samples_kind_takes_scale_and_config() -> None:
    case = Case(name="x", softmax_scale=0.0, mixed_precision=False, config={"seq_tile_size": 512})
    _, keywords = adapter_of(samples)(case, Small)
    assert keywords["softmax_scale"] == 0.0
    assert keywords["mixed_precision"] is False
    assert keywords["config"] == Small(512)


@pytest.mark.parametrize(
    ("kernel", "given", "words"),
    [
        pytest.param(samples, {"window_size": (-1, 0)}, "no right window", id="right window"),
        pytest.param(
            samples,
            {"window_size": (9, -1), "config": {"windowed_context_encoding": True}},
            "no windowed context encoding",
            id="windowed context",
        ),
        pytest.param(samples, {"config": {"odd": 1, "bad": 2}}, "has no bad, odd", id="config of samples"),
        pytest.param(nxdi, {"config": {"odd": 1}}, "its FlashConfig has no odd", id="config of nxdi"),
    ],
)
def test_refuses_what_a_kernel_has_no_arguments_for(kernel: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(NotExpressibleError, match=words):
        adapter_of(kernel)(Case(name="x", **given), Config)
