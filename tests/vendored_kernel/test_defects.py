"""Every known defect of NxDI's kernel: one check each, which the stock kernel fails and ours passes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix import specimens
from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import Array, Case, DtypeName
from nkifix.differential.kernels import LoadedKernel, loaded
from nkifix.differential.oracle import exact
from nkifix.emulator.observe import observing
from tests.vendored_kernel.test_kernel import answer, executed

TILE_512 = {"seq_tile_size": 512}
CAUSAL = (-2, -1)
"""The plain causal mask in the one spelling that the stock kernel survives."""
SMALL = Case(name="small", head_dim=32, seq_q=512, seq_k=512, window_size=CAUSAL, config=TILE_512)


def is_right(kernel: LoadedKernel, case: Case) -> Array:
    q, k, v = case.inputs()
    output = answer(kernel, case, (q, k, v))
    truth = exact(case, q, k, v)
    assert not is_trivial(output)
    assert accuracy(output, truth, budget(case, q, k, v, truth)).right
    return output


def every_mask_answers(kernel: LoadedKernel) -> None:
    is_right(kernel, Case(name="default call", head_dim=32))
    is_right(kernel, replace(SMALL, window_size=(-1, -1)))
    is_right(kernel, replace(SMALL, window_size=(-1, -1), use_causal_mask=False))
    is_right(kernel, replace(SMALL, window_size=(-2, -1), use_causal_mask=False))


def default_window_skips_what_no_query_sees(kernel: LoadedKernel) -> None:
    with observing(sequence=True) as by_default:
        answer(kernel, Case(name="default", head_dim=16, seq_q=4096, seq_k=4096))
    with observing(sequence=True) as said:
        answer(kernel, Case(name="causal", head_dim=16, seq_q=4096, seq_k=4096, window_size=CAUSAL))
    assert executed(by_default) == executed(said)


def window_of_the_query_itself_hides_all_others(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, window_size=(0, -1), use_causal_mask=False))


def every_query_row_is_written(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, seq_q=200))
    is_right(kernel, replace(SMALL, seq_q=100))


def key_tiles_of_any_size_are_right(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, seq_k=1280, config={"seq_tile_size": 640}))
    is_right(kernel, replace(SMALL, seq_k=513, config={"seq_tile_size": 513}))


def no_score_lies_below_the_mask(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, values="very negative logits"))


def windowed_context_of_any_window_is_right(kernel: LoadedKernel) -> None:
    config = {**TILE_512, "windowed_context_encoding": True}
    is_right(kernel, replace(SMALL, seq_k=1024, window_size=(99, -1), config=config))


def scale_of_zero_is_a_scale(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, softmax_scale=0.0))


def grid_that_leaves_heads_out_is_refused(kernel: LoadedKernel) -> None:
    def refuses(shapes: tuple[int, int, int], grid: tuple[int, int]) -> None:
        batch, heads, kv_heads = shapes
        q, k, v = replace(SMALL, batch=batch, heads=heads, kv_heads=kv_heads).inputs()
        with pytest.raises(ValueError, match=r"grid \[\d, \d\]|cannot share"):
            kernel.module.flash_fwd[grid](q, k, v, window_size=CAUSAL, config=kernel.module.FlashConfig(**TILE_512))

    refuses((1, 7, 2), (1, 2))
    refuses((1, 2, 4), (1, 4))
    refuses((2, 1, 1), (1, 1))


def query_without_a_key_gives_zeros(kernel: LoadedKernel) -> None:
    output = is_right(kernel, replace(SMALL, seq_q=1024, window_size=(100, -1)))
    assert (output[0, 0, 512 + 100 :] == 0).all()


def output_is_rounded_to_the_dtype_of_the_query_alone(kernel: LoadedKernel) -> None:
    dtypes: tuple[DtypeName, ...] = ("float32", "float16")
    for dtype in dtypes:
        output = is_right(kernel, replace(SMALL, dtype=dtype))
        assert (output.astype(ml_dtypes.bfloat16).astype(output.dtype) != output).any()


def unmixed_sums_are_as_exact_as_mixed_ones(kernel: LoadedKernel) -> None:
    dtypes: tuple[DtypeName, ...] = ("bfloat16", "float16")
    for dtype in dtypes:
        case = replace(SMALL, seq_q=1024, seq_k=1024, dtype=dtype, mixed_precision=False)
        is_right(kernel, case)


def docs_name_the_arguments_that_there_are(kernel: LoadedKernel) -> None:
    function = kernel.module.flash_fwd.func
    named = set(re.findall(r"\w+", inspect.getdoc(function) or ""))
    assert named >= set(inspect.signature(function).parameters)
    assert not named & {"training", "causal_mask", "casual"}


DEFECTS: dict[str, Callable[[LoadedKernel], None]] = {
    "misspelled-causal-mask": every_mask_answers,
    "default-window-tile-skip": default_window_skips_what_no_query_sees,
    "zero-left-window": window_of_the_query_itself_hides_all_others,
    "unwritten-query-rows": every_query_row_is_written,
    "key-tile-multiple": key_tiles_of_any_size_are_right,
    "mask-constant": no_score_lies_below_the_mask,
    "wcte-window-alignment": windowed_context_of_any_window_is_right,
    "scale-zero": scale_of_zero_is_a_scale,
    "head-grid-mismatch": grid_that_leaves_heads_out_is_refused,
    "keyless-rows": query_without_a_key_gives_zeros,
    "fp32-output-rounding": output_is_rounded_to_the_dtype_of_the_query_alone,
    "unmixed-bf16-accumulators": unmixed_sums_are_as_exact_as_mixed_ones,
    "stale-docs": docs_name_the_arguments_that_there_are,
}
AFTER_THE_TYPO = {"default-window-tile-skip"}
"""Defects that show only once the misspelled name is mended."""


@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_gone(defect: str, package: LoadedKernel, kernel_file: LoadedKernel) -> None:
    DEFECTS[defect](package)
    DEFECTS[defect](kernel_file)


@pytest.mark.upstream
@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_in_the_stock_kernel(defect: str, upstream_kernels: dict[str, LoadedKernel]) -> None:
    kernel = upstream_kernels["fixed" if defect in AFTER_THE_TYPO else "stock"]
    known = set(kernel.module.FlashConfig.__dataclass_fields__)
    if defect.startswith("wcte") and "windowed_context_encoding" not in known:
        pytest.skip("windowed context encoding came after this tag")
    with pytest.raises(Exception) as failure:
        DEFECTS[defect](kernel)
    assert SYMPTOMS[defect](failure.value), failure.value


def is_wrong(error: BaseException) -> bool:
    """An assertion about the answer failed; the kernel itself raised nothing."""
    return type(error) is AssertionError


def raised(words: str) -> Callable[[BaseException], bool]:
    return lambda error: words in f"{type(error).__name__}: {error}"


def any_of(*symptoms: Callable[[BaseException], bool]) -> Callable[[BaseException], bool]:
    return lambda error: any(symptom(error) for symptom in symptoms)


UNWRITTEN = raised("err_tensor_output_not_written_to")
SYMPTOMS: dict[str, Callable[[BaseException], bool]] = {
    **dict.fromkeys(DEFECTS, is_wrong),
    "misspelled-causal-mask": raised("UnboundLocalError: cannot access local variable 'causal_mask'"),
    "unwritten-query-rows": UNWRITTEN,
    "key-tile-multiple": raised("undefined"),
    "head-grid-mismatch": UNWRITTEN,
}


@pytest.mark.parametrize("defect", ["misspelled-causal-mask"])
def test_defect_is_in_its_specimen(defect: str) -> None:
    with loaded({"specimen": specimens.path(defect).read_bytes()}) as kernels:
        kernel = kernels["specimen"]
    with pytest.raises(UnboundLocalError, match="causal_mask"):
        DEFECTS[defect](kernel)


def test_documents_what_nothing_else_names(package: LoadedKernel) -> None:
    fields: Any = package.module.FlashConfig.__dataclass_fields__
    source = inspect.getsource(package.module.FlashConfig)
    for name in fields:
        assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE), f"{name} is not documented"
    assert re.search(r'lse_dtype: str = ""\n    """Unused', source)


def test_one_check_for_each_symptom() -> None:
    assert list(SYMPTOMS) == list(DEFECTS)
    assert np.unique(list(DEFECTS)).size == 13
