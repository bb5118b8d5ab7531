"""The kernel over the case matrix: right answers, in both import modes, with the work that the schedule says."""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix.differential.budget import accuracy, budget, is_trivial
from nkifix.differential.cases import DTYPES, Array, Case, DtypeName
from nkifix.differential.kernels import Answered, LoadedKernel
from nkifix.differential.matrix import CASES, GROUPS, MASKS, REFUSED, TRANSPOSED, WINDOWED_CONTEXT, Refused
from nkifix.differential.oracle import exact
from nkifix.emulator import Params, machine
from nkifix.emulator.memory import Space, Storage
from nkifix.emulator.observe import Observer, observing
from tests.differential.calls import CRASHES_BEFORE, ONLY_UPSTREAM, RIGHT_BEFORE
from tests.vendored_kernel.plans import band, planned
from vendored_kernel import FlashConfig
from vendored_kernel.schedule import BLOCK_KEYS, TILE_QUERIES, Kind, Work, pieces, tiles, work

ROOT = Path(__file__).resolve().parents[2]


def named(cases: Iterable[Any]) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases]


def answer(kernel: LoadedKernel, case: Case, inputs: tuple[Array, Array, Array] | None = None) -> Array:
    """The kernel's answer; what it raises is raised."""
    output: Array = kernel.module.flash_fwd[case.grid](
        *(inputs or case.inputs()), **case.keywords(kernel.module.FlashConfig)
    )
    return output


def scheduled(case: Case) -> Work:
    """The work of one query head."""
    size = min(case.config.get("seq_tile_size", 2048), case.seq_k)
    return work(band(case), case.seq_q, case.seq_k, seq_tile_size=size)


def transfers(case: Case) -> int:
    """Loads: of keys and values once for all heads of a group that sees some; of queries once, or for each key tile."""
    plan, shared = planned(case), case.heads // case.kv_heads
    seen = case.visible()
    key_tiles = pieces(case.seq_k, min(case.config.get("seq_tile_size", 2048), case.seq_k))
    keys = queries = 0
    for q0, rows in pieces(case.seq_q, plan.tiles * TILE_QUERIES):
        keys += sum(1 + len(pieces(n, BLOCK_KEYS)) for k0, n in key_tiles if seen[q0 : q0 + rows, k0 : k0 + n].any())
    for q0, rows in pieces(case.seq_q, TILE_QUERIES):
        needed = sum(bool(seen[q0 : q0 + rows, k0 : k0 + n].any()) for k0, n in key_tiles)
        queries += min(1, needed) if plan.holds_queries else needed
    return case.batch * case.kv_heads * (shared // plan.heads * keys + shared * queries)


def executed(seen: Observer) -> Counter[str]:
    """What the engines were asked to do: instructions, and columns that went through the exponential."""
    done: Counter[str] = Counter(one.operation for one in seen)
    done["exponentials"] = sum(one.shape[1] for one in seen if one.operation == "activation_reduce")
    return done


# ------------------------------------------------------------------------------------------------ right answers


@pytest.mark.parametrize("case", named(CASES))
def test_answer_is_right_in_both_import_modes_with_the_scheduled_work(
    case: Case, package: LoadedKernel, kernel_file: LoadedKernel
) -> None:
    q, k, v = case.inputs()
    with observing(sequence=True) as seen:
        output = answer(package, case, (q, k, v))
    truth = exact(case, q, k, v)
    assert output.dtype == q.dtype
    assert is_trivial(output) == is_trivial(truth)
    assert accuracy(output, truth, budget(case, q, k, v, truth)).spent <= 1
    assert answer(kernel_file, case, (q, k, v)).tobytes() == output.tobytes()

    done, heads, expected = executed(seen), case.batch * case.heads, scheduled(case)
    assert done["nc_matmul"] == heads * (expected.score_matmuls + expected.value_matmuls)
    assert done["nc_transpose"] == heads * expected.transposes
    assert done["exponentials"] == heads * expected.exponentials
    assert done["affine_select"] == heads * (expected.selections + expected.clearings)
    assert Counter(one.operation for one in seen if "load" in one.operation).total() == transfers(case)


@pytest.mark.parametrize("target", ["trn1", "trn2"])
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.name)
def test_answer_is_the_same_on_every_target(mask: Any, target: Any, package: LoadedKernel) -> None:
    case = mask.case("V transposed", seq_q=200, seq_k=300, config=TRANSPOSED)
    with machine.using(Params(target=target)):
        output = answer(package, case)
    assert output.tobytes() == answer(package, case).tobytes()
    q, k, v = case.inputs()
    config = {name: value for name, value in case.config.items() if name not in TRANSPOSED}
    turned = answer(package, replace(case, config=config), (q, k, np.ascontiguousarray(v.swapaxes(2, 3))))
    assert output.tobytes() == turned.tobytes()


@pytest.mark.parametrize(("target", "how"), [("trn1", "load_transpose2d"), ("trn2", "dma_transpose")])
def test_values_are_turned_by_what_the_target_has(target: Any, how: str, package: LoadedKernel) -> None:
    case = Case(name="V transposed", head_dim=16, seq_q=4, seq_k=300, use_causal_mask=False, config=TRANSPOSED)
    with machine.using(Params(target=target)), observing(sequence=True) as seen:
        answer(package, case)
    assert [one.operation for one in seen if "transpose" in one.operation and one.operation != "nc_transpose"] == [
        how
    ] * 3


def test_answer_is_the_same_under_nkifix_run(package: LoadedKernel, tmp_path: Path) -> None:
    cases = GROUPS["heads"]
    script = tmp_path / "model.py"
    script.write_text(
        "import sys, hashlib\n"
        "from nkifix.differential.matrix import GROUPS\n"
        "from vendored_kernel import FlashConfig, flash_fwd\n"
        "assert 'neuronxcc' in sys.modules\n"
        "for case in GROUPS['heads']:\n"
        "    answer = flash_fwd[case.grid](*case.inputs(), **case.keywords(FlashConfig))\n"
        "    sys.stdout.write(hashlib.sha256(answer.tobytes()).hexdigest() + '\\n')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "nkifix", "run", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=with_path(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hashlib.sha256(answer(package, case).tobytes()).hexdigest() for case in cases]
    assert "EmulatedKernelWarning" not in done.stderr


def with_path() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NKIFIX_BACKEND"}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("row", [pytest.param(row, id=row.case.name) for row in REFUSED])
def test_refuses_a_call_without_a_meaning(row: Refused, package: LoadedKernel, kernel_file: LoadedKernel) -> None:
    q, k, v = row.case.inputs()
    if row.v_shape is not None:
        v = np.zeros(row.v_shape, v.dtype)
    for kernel in (package, kernel_file):
        module = kernel.module
        launched = module.flash_fwd if row.grid == () else module.flash_fwd[row.grid or row.case.grid]
        with pytest.raises(row.error) as refusal:
            launched(q, k, v, **row.case.keywords(module.FlashConfig))
        assert type(refusal.value) is row.error
        assert str(refusal.value).startswith(row.text)


# ----------------------------------------------------------------------------------- special rows and numbers


@pytest.mark.parametrize(
    ("case", "first"),
    [
        pytest.param(Case(name="window", seq_q=300, seq_k=130, window_size=(20, -1), head_dim=16), 150, id="window"),
        pytest.param(
            Case(name="window on the border", seq_q=300, seq_k=128, window_size=(0, -1), head_dim=16),
            128,
            id="window, whole tiles",
        ),
        pytest.param(
            Case(name="ahead", seq_q=140, seq_k=100, window_size=(20, -1), head_dim=16, config=WINDOWED_CONTEXT),
            99,
            id="windowed context",
        ),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "unmixed"])
def test_query_that_sees_no_key_gives_zeros(
    case: Case, first: int, dtype: DtypeName, mixed: bool, package: LoadedKernel
) -> None:
    output = answer(package, replace(case, dtype=dtype, mixed_precision=mixed)).astype(np.float32)
    assert (output[0, 0, first:] == 0).all()
    assert output[0, 0, :first].any(axis=1).all()


def executed_rows(case: Case, key: int, keys: int) -> Array:
    """The queries whose tile executes the tile of ``keys`` keys that holds ``key``."""
    held = np.zeros(case.seq_q, dtype=np.bool_)
    for tile in tiles(band(case), case.seq_q, case.seq_k, seq_tile_size=2048, keys=keys):
        if tile.k0 <= key < tile.k0 + tile.keys and tile.kind is not Kind.SKIPPED:
            held[tile.q0 : tile.q0 + tile.rows] = True
    return held


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.name)
@pytest.mark.parametrize("key", [0, 255, 700, 999])
def test_nan_value_reaches_only_rows_whose_tile_holds_it(mask: Any, key: int, package: LoadedKernel) -> None:
    case = mask.case("NaN in V", seq_q=900, seq_k=1000, head_dim=16)
    q, k, v = case.inputs()
    v[0, 0, key, :] = np.nan
    output = answer(package, case, (q, k, v)).astype(np.float32)
    poisoned = np.isnan(output[0, 0]).all(axis=1)
    np.testing.assert_array_equal(poisoned, np.isnan(output[0, 0]).any(axis=1))
    np.testing.assert_array_equal(poisoned, executed_rows(case, key, BLOCK_KEYS))
    assert poisoned[case.visible()[:, key]].all()


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.name)
@pytest.mark.parametrize("key", [0, 255, 700, 999])
def test_nan_key_reaches_only_rows_that_see_it(mask: Any, key: int, package: LoadedKernel) -> None:
    case = mask.case("NaN in K", seq_q=900, seq_k=1000, head_dim=16)
    q, k, v = case.inputs()
    k[0, 0, :, key] = np.nan
    output = answer(package, case, (q, k, v)).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(output[0, 0]).any(axis=1), case.visible()[:, key])


# ---------------------------------------------------------------------------------------------- on-chip memory


def allocated(monkeypatch: pytest.MonkeyPatch, kernel: LoadedKernel, case: Case) -> dict[Space, dict[Any, int]]:
    """Bytes in one partition of every tensor that the kernel declares, by memory and by line: the largest there."""
    found: dict[Space, dict[Any, int]] = {Space.SBUF: {}, Space.PSUM: {}, Space.HBM: {}, Space.SHARED_HBM: {}}
    declared = Storage.declared

    def noted(kind: Any, name: str) -> Storage:
        self = declared(kind, name)
        axis = self.partition_axis or 0
        size = int(np.prod(self.shape)) // self.shape[axis] * self.dtype.itemsize
        frame: Any = sys._getframe()
        while frame.f_code.co_filename != str(kernel.file):
            frame = frame.f_back
        lines = found[self.space]
        place = (frame.f_code.co_name, frame.f_lineno)
        lines[place] = max(size, lines.get(place, 0))
        return self

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "declared", noted)
        answer(kernel, case)
    return found


PSUM_BANK_BYTES = 2048
SBUF_PARTITION_BYTES = 192 * 1024 - 16 * 1024
"""Of a NeuronCore-v2, less what the compiler keeps for itself."""


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_declared_tensors_fit_on_chip_at_the_default_config(
    dtype: DtypeName, package: LoadedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(
        name="a whole group of queries, one whole key tile",
        head_dim=128,
        seq_q=257 * TILE_QUERIES,
        window_size=(0, -1),
        dtype=dtype,
        mixed_precision=False,
    )
    found = allocated(monkeypatch, package, case)
    assert max(found[Space.PSUM].values()) == PSUM_BANK_BYTES
    assert len(found[Space.PSUM]) <= 8, "one bank to each"
    assert len(found[Space.SBUF]) > 5
    assert sum(found[Space.SBUF].values()) <= SBUF_PARTITION_BYTES


@pytest.mark.parametrize(
    ("seq_q", "core", "held"),
    [
        pytest.param(256, 256, 2, id="whole tiles"),
        pytest.param(300, 256, 3, id="whole tiles and a tail"),
        pytest.param(100, 256, 1, id="a tail"),
        pytest.param(640, 2, 2, id="three groups"),
        pytest.param(512, 2, 2, id="whole groups and nothing left"),
        pytest.param(300, 2, 2, id="a group and a tail"),
    ],
)
def test_state_is_held_for_the_tiles_of_one_group(
    seq_q: int, core: int, held: int, package: LoadedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(name="state", head_dim=128, seq_q=seq_q, seq_k=1, config={"attn_core_tile_size": core})
    found = allocated(monkeypatch, package, case)[Space.SBUF]
    state = sorted(size for (function, _), size in found.items() if function == "attend_queries")
    assert state == [4 * held, 4 * held, 4 * 128 * held]


def test_declared_tensors_are_as_large_as_their_tile(package: LoadedKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(name="sizes", head_dim=16, seq_q=100, seq_k=1500, use_causal_mask=False)
    found = allocated(monkeypatch, package, case)
    sizes: dict[str, list[int]] = {}
    for (function, _), size in {**found[Space.SBUF], **found[Space.PSUM]}.items():
        sizes[function] = sorted([*sizes.get(function, []), size])
    keys, chunks, blocks = 1500, 3, 12
    assert sizes == {
        "attend_queries": [4, 4, 4 * 16],
        "attend_group": sorted([2 * keys, 2 * 16 * blocks]),
        "attend_tile": [2 * 100],
        "score_chunk": [4 * 512],
        "attend": sorted([4 * keys, 2 * keys, 4, 4, 4 * 16]),
        "score_all": [4 * chunks],
        "weigh_whole": [4 * chunks],
        "add_values": [4 * 100],
        "store_tile": [2 * 16],
    }


@pytest.mark.parametrize(
    ("keys", "tile", "widths"),
    [
        pytest.param(100, 2048, [100], id="tail alone"),
        pytest.param(512, 512, [512], id="one chunk"),
        pytest.param(729, 2048, [512, 217], id="chunk and tail"),
        pytest.param(1024, 1024, [512, 512], id="two halves of one chunk"),
        pytest.param(1500, 2048, [512, 512, 476], id="chunks and tail"),
        pytest.param(2048, 2048, [1024, 1024], id="two halves of two chunks"),
        pytest.param(2560, 4096, [1024, 1024, 512], id="halves of no whole chunks"),
        pytest.param(4096, 2048, [1024] * 4, id="two key tiles"),
        pytest.param(4096, 4096, [2048, 2048], id="two halves of four chunks"),
        pytest.param(8192, 8192, [2048] * 4, id="never more than 2048 keys"),
        pytest.param(5120, 5120, [2048, 2048, 512, 512], id="chunks that fill no span"),
    ],
)
def test_weights_are_summed_in_the_order_of_the_contract(
    keys: int, tile: int, widths: list[int], package: LoadedKernel
) -> None:
    config = {"seq_tile_size": tile}
    case = Case(name="sums", head_dim=16, seq_q=4, seq_k=keys, use_causal_mask=False, config=config)
    with observing(sequence=True) as seen:
        answer(package, case)
    assert [one.shape[1] for one in seen if one.operation == "activation_reduce"] == widths


@pytest.mark.parametrize(
    ("case", "widths"),
    [
        pytest.param(Case(name="causal", seq_q=1152, seq_k=2048), [512] * 4 + [1024] * 4 + [1024, 512], id="causal"),
        pytest.param(
            Case(name="window", seq_q=1664, seq_k=2048, window_size=(600, -1)),
            [512] * 4 + [1024] * 4 + [1024, 512] + [512, 512] * 3 + [512, 1024],
            id="window",
        ),
        pytest.param(
            Case(name="narrow window", seq_q=1152, seq_k=2048, window_size=(100, -1)),
            [512] * 4 + [1024] + [512] * 3 + [512, 512],
            id="narrow window",
        ),
    ],
)
def test_weights_are_summed_at_once_where_all_chunks_are_seen(
    case: Case, widths: list[int], package: LoadedKernel
) -> None:
    with observing(sequence=True) as seen:
        answer(package, replace(case, head_dim=16))
    assert [one.shape[1] for one in seen if one.operation == "activation_reduce"] == widths


# --------------------------------------------------------------------------------------- compared with NxDI's


def stock_is_right(case: Case) -> bool:
    """Whether no defect of NxDI's kernel but the misspelled name touches the call."""
    tile = case.config.get("seq_tile_size", 2048)
    left, _ = case.window_size or (-1, -1)
    return bool(
        case.seq_q % 128 == 0
        and tile % 512 == 0
        and case.seq_k % tile == 0
        and case.mixed_precision
        and case.softmax_scale != 0
        and case.values == "normal"
        and not (left == 0 and case.use_causal_mask is False)
        and not (case.config.get("windowed_context_encoding") and (left + 1) % 128)
        and case.visible().any(axis=1).all()
    )


def sums_in_the_same_order(case: Case) -> bool:
    """Half a key tile is whole chunks, or half a chunk: sums of partial sums then give the same bytes."""
    tile: int = case.config.get("seq_tile_size", 2048)
    return tile == 512 or tile % 1024 == 0


DEFAULT_TILE = tuple(
    mask.case(f"{seq_q} x {seq_k}", seq_q=seq_q, seq_k=seq_k, head_dim=head_dim)
    for mask in MASKS
    for seq_q, seq_k, head_dim in ((2048, 2048, 64), (512, 4096, 16), (4096, 2048, 16))
)
COMPARED = {
    case: None
    for case in (*RIGHT_BEFORE, *ONLY_UPSTREAM, *CRASHES_BEFORE, *DEFAULT_TILE, *CASES)
    if stock_is_right(case) and sums_in_the_same_order(case) and case.dtype == "bfloat16"
}


@pytest.mark.upstream
@pytest.mark.parametrize("case", named(COMPARED))
def test_bytes_and_work_are_those_of_fixed_upstream_or_less(
    case: Case, package: LoadedKernel, upstream_kernels: dict[str, LoadedKernel]
) -> None:
    with observing(sequence=True) as theirs:
        expected = upstream_answer(upstream_kernels["fixed"], case)
    with observing(sequence=True) as ours:
        output = answer(package, case)
    assert output.tobytes() == expected.tobytes()
    mine, other = executed(ours), executed(theirs)
    kinds = ("nc_matmul", "nc_transpose", "exponentials", "activation_reduce", "activation", "affine_select", "load")
    assert {kind: mine[kind] - other[kind] for kind in kinds if mine[kind] > other[kind]} == {}


def upstream_answer(kernel: LoadedKernel, case: Case) -> Array:
    if not set(case.config) <= set(kernel.module.FlashConfig.__dataclass_fields__):
        pytest.skip("windowed context encoding came after this tag")
    result = kernel.call(case)
    assert isinstance(result, Answered), result
    return result.output


WIDE = tuple(
    case
    for case in (*DEFAULT_TILE, *RIGHT_BEFORE[:40:4], *CRASHES_BEFORE[::4])
    if case.seq_q * case.seq_k <= 2048 * 2048 and stock_is_right(case)
)


@pytest.mark.upstream
@pytest.mark.parametrize("case", named(WIDE))
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_wide_dtypes_are_fixed_upstream_after_rounding(
    case: Case, dtype: DtypeName, package: LoadedKernel, upstream_kernels: dict[str, LoadedKernel]
) -> None:
    """Both round fp32 sums at last: NxDI's to bf16 and then to the query's dtype, ours to the query's dtype alone.

    Rounding to fp16 and then to bf16 is not rounding to bf16, so fp16 is compared through the fp32 output of the
    same inputs, which both round once.
    """
    case = replace(case, dtype=dtype)
    expected = upstream_answer(upstream_kernels["fixed"], case)
    wide = answer(package, replace(case, dtype="float32"), tuple(x.astype(np.float32) for x in case.inputs()))  # type: ignore[arg-type]
    assert wide.astype(ml_dtypes.bfloat16).astype(DTYPES[dtype]).tobytes() == expected.tobytes()
    assert wide.astype(DTYPES[dtype]).tobytes() == answer(package, case).tobytes()


@pytest.mark.parametrize(
    ("case", "selections"),
    [
        pytest.param(Case(name="full", use_causal_mask=False, head_dim=16), 0, id="full: none"),
        pytest.param(Case(name="causal", head_dim=16), 16, id="causal: one to each diagonal chunk"),
    ],
)
def test_mask_arithmetic_runs_on_boundary_tiles_only(case: Case, selections: int, package: LoadedKernel) -> None:
    with observing(sequence=True) as seen:
        answer(package, case)
    assert executed(seen)["affine_select"] == selections


def test_defaults_of_the_signature_are_those_of_the_contract(package: LoadedKernel) -> None:
    parameters = inspect.signature(package.module.flash_fwd.func).parameters
    assert {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty} == {
        "softmax_scale": None,
        "use_causal_mask": True,
        "window_size": (-1, -1),
        "mixed_precision": True,
        "config": None,
    }
    assert list(parameters)[:3] == ["q", "k", "v"]
    assert package.module.FlashConfig is FlashConfig
