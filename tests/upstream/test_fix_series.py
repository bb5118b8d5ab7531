"""The whole series on the real kernel file: each defect is gone with its fix, there without it, and nothing else moves.

Every proof compares two files: the one with all fixes, and the one with all but the fix in question.
"""

from __future__ import annotations

import ast
import functools
import itertools
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix import codemod
from nkifix.codemod.source import Source
from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import Array, Case, DtypeName
from nkifix.differential.kernels import Answered, Crashed, LoadedKernel, Result, loaded
from nkifix.differential.oracle import exact
from tests import upstream_clone
from tests.differential import calls

pytestmark = pytest.mark.upstream

IDS = tuple(fix.id for fix in codemod.FIXES)
OLD, NEW = upstream_clone.TAGS
WCTE = "wcte-window-alignment"
TYPO = "misspelled-causal-mask"
TILE_512 = {"seq_tile_size": 512}
AHEAD = {**TILE_512, "windowed_context_encoding": True}
SMALL = Case(name="small", head_dim=32, seq_q=512, seq_k=512, window_size=(-2, -1), config=TILE_512)
FULL = replace(SMALL, use_causal_mask=False, window_size=(-1, -1))


BY_ID = {fix.id: fix for fix in codemod.FIXES}


@functools.cache
def stock(tag: str) -> bytes:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    return upstream_clone.read(repository, tag)


def fixed(data: bytes, *ids: str) -> bytes:
    """``data`` with these fixes, made in this order, one by one."""
    for name in ids:
        outcome = codemod.apply(data, [BY_ID[name]])
        assert not isinstance(outcome, codemod.NotRecognised), outcome
        data = outcome.data if isinstance(outcome, codemod.Fixed) else data
    return data


@functools.cache
def parsed(data: bytes) -> Source:
    return Source.parse(data)


def at_once(data: bytes, *ids: str) -> bytes:
    """``data`` with these fixes, all found in the unchanged file."""
    source = parsed(data)
    return source.splice(edit for name in ids for edit in BY_ID[name].find(source))


def defects_of(tag: str) -> tuple[str, ...]:
    return tuple(name for name in IDS if not (tag == OLD and name == WCTE))


# ------------------------------------------------------------------------------------- any subset, any order


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_every_fix_changes_the_file_and_is_idempotent(tag: str, name: str) -> None:
    outcome = codemod.apply(stock(tag), [BY_ID[name]])
    if name in defects_of(tag):
        assert isinstance(outcome, codemod.Fixed), outcome
        assert outcome.data == at_once(stock(tag), name)
        outcome = codemod.apply(outcome.data, [BY_ID[name]])
    assert outcome == codemod.AlreadyFixed((name,))


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_any_two_fixes_give_the_same_in_both_orders_and_at_once(tag: str) -> None:
    for first, second in itertools.combinations(defects_of(tag), 2):
        forth = at_once(at_once(stock(tag), first), second)
        back = at_once(at_once(stock(tag), second), first)
        assert forth == back == at_once(stock(tag), first, second), (first, second)


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_random_subsets_give_the_same_in_random_orders(tag: str) -> None:
    chance = random.Random(7)
    names = defects_of(tag)
    for size in (3, 5, 8, len(names)):
        subset = chance.sample(names, size)
        assert fixed(stock(tag), *subset) == at_once(stock(tag), *subset), subset


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_whole_series_is_idempotent(tag: str) -> None:
    outcome = codemod.apply(stock(tag), codemod.select("full"))
    assert isinstance(outcome, codemod.Fixed), outcome
    assert outcome.fixes == defects_of(tag)
    assert codemod.apply(outcome.data, codemod.FIXES) == codemod.AlreadyFixed(IDS)


@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_fixed_lines_are_no_longer_than_upstream_allows(tag: str) -> None:
    before = set(stock(tag).splitlines())
    added = [line for line in at_once(stock(tag), *IDS).splitlines() if line not in before]
    longest = max(len(line) for line in added if not line.lstrip().startswith(b"- "))
    assert longest <= 120


# ---------------------------------------------------------------------------------- other forms of the file


def in_quotes(data: bytes) -> bytes:
    return data.replace(b'"""', b"'''").replace(b'mode="trace"', b"mode='trace'")


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "bare decorators": lambda data: data.replace(b'@nki.jit(mode="trace")', b"@nki.jit"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "tabs": lambda data: data.replace(b"    ", b"\t"),
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "latin-1": lambda data: b"# coding: latin-1\n# \xfc\xdf\n" + data,
    "no final newline": lambda data: data.rstrip(b"\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_fixes_do_not_care_for_the_form_of_the_file(tag: str, form: str) -> None:
    change = FORMS[form]
    assert change(stock(tag)) != stock(tag)
    for ids in (*((name,) for name in defects_of(tag)), IDS):
        assert at_once(change(stock(tag)), *ids) == change(at_once(stock(tag), *ids)), ids
    assert codemod.apply(change(at_once(stock(tag), *IDS)), codemod.FIXES) == codemod.AlreadyFixed(IDS)


def tokens(data: bytes) -> str:
    """The program without layout, quotes and comments."""
    return ast.dump(ast.parse(data))


@pytest.mark.parametrize("options", [(), ("--line-length=70",), ("--config", "format.quote-style='single'")], ids=str)
@pytest.mark.parametrize("tag", upstream_clone.TAGS)
def test_fixes_do_not_care_for_a_formatter(tag: str, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ruff", "format", "--isolated", *options, "-"]
    reformatted = subprocess.run(command, input=stock(tag), capture_output=True, check=True).stdout
    assert reformatted != stock(tag)
    for ids in (*((name,) for name in defects_of(tag)), IDS):
        assert tokens(at_once(reformatted, *ids)) == tokens(at_once(stock(tag), *ids)), ids
    assert codemod.apply(at_once(reformatted, *IDS), codemod.FIXES) == codemod.AlreadyFixed(IDS)


# -------------------------------------------------------------------------------- defect by defect, on the emulator


@pytest.fixture(scope="module", params=upstream_clone.TAGS)
def series(request: pytest.FixtureRequest) -> Iterator[tuple[str, Mapping[str, LoadedKernel]]]:
    """``stock``; ``all`` fixes; for each id, that fix ``only`` and all ``but`` it."""
    tag: str = request.param
    sources = {"stock": stock(tag), "all": at_once(stock(tag), *IDS)}
    for name in defects_of(tag):
        sources[f"only-{name}"] = at_once(stock(tag), name)
        sources[f"but-{name}"] = at_once(stock(tag), *(other for other in IDS if other != name))
    with loaded(sources) as kernels:
        yield tag, kernels


def is_right(kernel: LoadedKernel, case: Case) -> Array:
    result = kernel.call(case)
    if isinstance(result, Crashed):
        raise RuntimeError(result.in_words())
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    assert not is_trivial(result.output)
    assert accuracy(result.output, truth, budget(case, q, k, v, truth)).right
    return result.output


def refuses(kernel: LoadedKernel, case: Case, *words: str) -> None:
    check_refusal(kernel.call(case), *words)


def check_refusal(result: Result, *words: str) -> None:
    assert isinstance(result, Crashed), "it answered"
    if result.type_name != "AssertionError":
        raise RuntimeError(result.in_words())
    assert all(word in result.message for word in words), result.message


def full_attention_answers(kernel: LoadedKernel) -> None:
    is_right(kernel, FULL)
    is_right(kernel, replace(SMALL, window_size=(-1, -1)))


def default_window_skips_what_no_query_sees(kernel: LoadedKernel) -> None:
    assert core_calls(kernel, (-1, -1)) == core_calls(kernel, (-2, -1)) == 12


def core_calls(kernel: LoadedKernel, window: tuple[int, int]) -> int:
    """How often the helper for one pair of tiles runs: 8 query tiles, 2 key tiles, 4 pairs above the diagonal."""
    module: Any = kernel.module
    count = itertools.count()
    core = module._flash_attention_core

    def counted(*args: Any, **keywords: Any) -> Any:
        next(count)
        return core(*args, **keywords)

    module._flash_attention_core = counted
    try:
        is_right(kernel, replace(SMALL, seq_q=1024, seq_k=1024, window_size=window))
    finally:
        module._flash_attention_core = core
    return next(count)


def window_of_the_query_itself_hides_all_others(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, window_size=(0, -1), use_causal_mask=False))


def unfinished_query_tile_is_refused(kernel: LoadedKernel) -> None:
    for queries in (129, 200):
        refuses(kernel, replace(SMALL, seq_q=queries), f"seqlen_q={queries}", "multiple of 128", "pad q")
    is_right(kernel, replace(SMALL, seq_q=384))


def key_tile_that_loses_keys_is_refused(kernel: LoadedKernel) -> None:
    for size in (513, 640, 768, 1000, 4608):
        case = replace(FULL, seq_q=128, seq_k=size, config={"seq_tile_size": size})
        refuses(kernel, case, f"seq_tile_size={size}", "multiple of 512")
    for size in (1536, 3584, 6144):
        is_right(kernel, replace(FULL, seq_q=128, seq_k=size, head_dim=16, config={"seq_tile_size": size}))


def no_score_lies_below_the_mask(kernel: LoadedKernel) -> None:
    for case in (SMALL, FULL, replace(SMALL, window_size=(127, -1))):
        is_right(kernel, replace(case, values="very negative logits"))


def windowed_context_of_any_window_is_right(kernel: LoadedKernel) -> None:
    for left in (99, 199, 126, 128):
        is_right(kernel, replace(SMALL, seq_k=1024, window_size=(left, -1), config=AHEAD))


def scale_of_zero_is_a_scale(kernel: LoadedKernel) -> None:
    is_right(kernel, replace(SMALL, softmax_scale=0.0))


def grid_that_leaves_heads_out_is_refused(kernel: LoadedKernel) -> None:
    for heads, kv_heads in ((7, 2), (2, 4)):
        case = replace(SMALL, heads=heads, kv_heads=kv_heads)
        refuses(kernel, case, f"{heads} query heads cannot share {kv_heads} kv heads", "multiple")
    case = replace(SMALL, batch=2, heads=4, kv_heads=2)
    config = kernel.module.FlashConfig(**TILE_512)
    for grid in ((1, 2), (2, 1), (2, 4), (3, 2)):
        with pytest.raises(AssertionError, match=re.escape("launch flash_fwd[2, 2](q, k, v, ...)")):
            kernel.module.flash_fwd[grid](*case.inputs(), window_size=(-2, -1), config=config)
    is_right(kernel, case)


def query_without_a_key_gives_zeros(kernel: LoadedKernel) -> None:
    for left in (0, 100, 127):
        output = is_right(kernel, replace(SMALL, seq_q=1024, window_size=(left, -1)))
        assert (output[0, 0, 512 + left :] == 0).all()
    if "windowed_context_encoding" in kernel.module.FlashConfig.__dataclass_fields__:
        output = is_right(kernel, replace(SMALL, seq_q=640, window_size=(127, -1), config=AHEAD))
        assert (output[0, 0, 511:] == 0).all()
    bf16: Case = replace(SMALL, seq_q=1024, window_size=(100, -1), mixed_precision=False)
    is_right(kernel, bf16)


def output_is_rounded_to_the_dtype_of_the_query_alone(kernel: LoadedKernel) -> None:
    dtypes: tuple[DtypeName, ...] = ("float32", "float16")
    for dtype in dtypes:
        output = is_right(kernel, replace(SMALL, dtype=dtype))
        assert (output.astype(ml_dtypes.bfloat16).astype(output.dtype) != output).any()


def unmixed_sums_are_as_exact_as_mixed_ones(kernel: LoadedKernel) -> None:
    dtypes: tuple[DtypeName, ...] = ("bfloat16", "float16")
    for dtype in dtypes:
        is_right(kernel, replace(SMALL, seq_q=1024, seq_k=1024, dtype=dtype, mixed_precision=False))


def docs_name_the_arguments_that_there_are(kernel: LoadedKernel) -> None:
    function = kernel.module.flash_fwd.func
    source = kernel.file.read_text("utf-8")
    named = set(re.findall(r"\w+", function.__doc__))
    assert {"use_causal_mask", "softmax_scale", "mixed_precision", "config"} <= named
    assert not named & {"training", "causal_mask"}
    assert "# casual" not in source
    assert re.search(r"lse_dtype.*# unused", source)


PROOFS: dict[str, Callable[[LoadedKernel], None]] = {
    TYPO: full_attention_answers,
    "default-window-tile-skip": default_window_skips_what_no_query_sees,
    "zero-left-window": window_of_the_query_itself_hides_all_others,
    "unwritten-query-rows": unfinished_query_tile_is_refused,
    "key-tile-multiple": key_tile_that_loses_keys_is_refused,
    "mask-constant": no_score_lies_below_the_mask,
    WCTE: windowed_context_of_any_window_is_right,
    "scale-zero": scale_of_zero_is_a_scale,
    "head-grid-mismatch": grid_that_leaves_heads_out_is_refused,
    "keyless-rows": query_without_a_key_gives_zeros,
    "fp32-output-rounding": output_is_rounded_to_the_dtype_of_the_query_alone,
    "unmixed-bf16-accumulators": unmixed_sums_are_as_exact_as_mixed_ones,
    "stale-docs": docs_name_the_arguments_that_there_are,
}


def test_every_fix_has_a_proof() -> None:
    assert tuple(PROOFS) == IDS


SYMPTOMS = {
    TYPO: "UnboundLocalError",
    "unwritten-query-rows": "err_tensor_output_not_written_to",
    "key-tile-multiple": "AssertionError: it answered",
    "head-grid-mismatch": "err_tensor_output_not_written_to",
}
"""What is seen without the fix; where it is not said, an answer that is wrong."""


@pytest.mark.filterwarnings("ignore::nkifix.emulator.EmulatorWarning")
@pytest.mark.parametrize("defect", IDS)
def test_defect_is_gone_with_its_fix_and_there_without(
    defect: str, series: tuple[str, Mapping[str, LoadedKernel]]
) -> None:
    tag, kernels = series
    if defect not in defects_of(tag):
        pytest.skip("windowed context encoding came after this tag")
    PROOFS[defect](kernels["all"])
    with pytest.raises(Exception) as seen:
        PROOFS[defect](kernels[f"but-{defect}"])
    assert SYMPTOMS.get(defect, "AssertionError: assert ") in f"{seen.type.__name__}: {seen.value}"


# ------------------------------------------------------------------------------------ nothing else moves

SOME = tuple(
    case
    for group in (calls.MASKS, calls.LENGTHS, calls.HEADS, calls.LAYOUTS, calls.NUMBERS, calls.AHEAD)
    for case in group[1::4]
)


def takes(tag: str, case: Case) -> bool:
    return not (tag == OLD and "windowed_context_encoding" in case.config)


def check_same_bytes(before: LoadedKernel, after: LoadedKernel, case: Case) -> None:
    assert calls.answer(before, case).tobytes() == calls.answer(after, case).tobytes(), case.name


@pytest.mark.parametrize("case", calls.by_name((*calls.RIGHT_BEFORE, *calls.ONLY_UPSTREAM)))
def test_series_changes_no_byte_of_a_right_answer(series: tuple[str, Mapping[str, LoadedKernel]], case: Case) -> None:
    tag, kernels = series
    if takes(tag, case):
        check_same_bytes(kernels["stock"], kernels["all"], case)


@pytest.mark.parametrize("defect", IDS)
def test_no_fix_changes_a_byte_of_a_right_answer(series: tuple[str, Mapping[str, LoadedKernel]], defect: str) -> None:
    tag, kernels = series
    for case in SOME:
        if takes(tag, case) and defect in defects_of(tag):
            check_same_bytes(kernels["stock"], kernels[f"only-{defect}"], case)


@pytest.mark.parametrize("case", calls.by_name(calls.CRASHES_BEFORE))
def test_series_answers_what_crashed_as_the_typo_fix_alone_does(
    series: tuple[str, Mapping[str, LoadedKernel]], case: Case
) -> None:
    _, kernels = series
    check_same_bytes(kernels[f"only-{TYPO}"], kernels["all"], case)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", calls.by_name((calls.MASKS[1], calls.MASKS[7], calls.HEADS[1])))
def test_series_keeps_other_dtypes_up_to_bf16(
    series: tuple[str, Mapping[str, LoadedKernel]], case: Case, dtype: DtypeName
) -> None:
    _, kernels = series
    wide = replace(case, dtype=dtype)
    before, after = (calls.answer(kernels[name], wide).astype(np.float32) for name in ("stock", "all"))
    assert not np.array_equal(before, after)
    # float16 is rounded before bfloat16, so a tie may fall to the other side
    np.testing.assert_allclose(after, before, rtol=2**-7 if dtype == "float16" else 2**-8, atol=1e-6)
    if dtype == "float32":
        assert np.array_equal(after.astype(ml_dtypes.bfloat16).astype(np.float32), before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("window", [(-2, -1), (127, -1)], ids=str)
def test_mask_constant_alone_suits_accumulators_of_any_dtype(
    series: tuple[str, Mapping[str, LoadedKernel]], dtype: DtypeName, window: tuple[int, int]
) -> None:
    _, kernels = series
    case = replace(SMALL, seq_q=1024, seq_k=1024, dtype=dtype, window_size=window, mixed_precision=False)
    before, after = (kernels[name].call(case) for name in ("stock", "only-mask-constant"))
    assert isinstance(before, Answered)
    assert isinstance(after, Answered)
    assert before.output.tobytes() == after.output.tobytes()
