from __future__ import annotations

import argparse
import builtins
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from nkifix.differential.cases import Array, Case
from nkifix.emulator.rules import RULES
from nkifix.errors import NkifixError
from scripts import bench_contenders, bench_emulator, bench_report
from scripts.bench_contenders import (
    BASE,
    BASE_ONE_THREAD,
    FLOOR,
    IN_PROCESS,
    TYPO_FIXED,
    TYPO_FIXED_UNCHECKED,
    UNCHECKED,
    VENDORED,
    CannotRun,
    Contender,
)
from scripts.bench_emulator import PRESETS, Preset
from scripts.bench_report import Measured, Setting
from scripts.benching import Times
from tests import upstream_clone

SHORT, LONG = Setting(2048, 8, "causal"), Setting(4096, 8, "causal")
ONE = Times(1.0, 1.0)


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(bench_report.SCHEMA_FILE.read_text(encoding="utf-8"))


def took(name: str, wall_s: float, cpu_s: float = 1.0) -> Measured:
    return Measured(name, (Times(wall_s, cpu_s), Times(9.0, 9.0), Times(0.0, 0.0)), ONE, 0.0)


def made_of(*rows: Measured, setting: Setting = SHORT, peak: int | None = None) -> dict[str, Any]:
    held = None if peak is None else (Setting(32768, 1, "causal"), peak)
    return bench_report.document({setting: rows}, held, preset="targets", rounds=3, threads=2)


# ------------------------------------------------------------------------------------------------- runs


def test_smoke_run_is_a_table_and_a_valid_document(
    schema: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="the comparison is with torch's attention")
    monkeypatch.delenv("NKIFIX_UPSTREAM", raising=False)
    threads = torch.get_num_threads()
    file = tmp_path / "bench.json"
    assert bench_emulator.main(["--preset", "smoke", "--threads", "1", "--json", str(file)]) == 0
    assert torch.get_num_threads() == threads
    made = json.loads(file.read_text())
    jsonschema.validate(made, schema)
    (case,) = made["cases"]
    rows = {row["name"]: row for row in case["contenders"]}
    assert {BASE, BASE_ONE_THREAD, FLOOR, IN_PROCESS, UNCHECKED, VENDORED} <= rows.keys()
    assert all(row["refused"] is None and row["differs_by"] < 0.1 for row in rows.values())
    assert rows[BASE]["ratio_to_torch"] == rows[FLOOR]["ratio_to_numpy"] == 1.0
    assert made["peak"]["bytes"] > 1 << 20
    out, err = capsys.readouterr()
    assert "512 x 2 heads, causal, bfloat16" in out
    assert "NKIFIX_UPSTREAM is not set: upstream's kernels do not take part" in err


def test_peak_is_the_programs_own_not_that_of_its_parent() -> None:
    held = np.ones(1 << 27, dtype=np.uint8)  # 128 MiB
    peak = bench_emulator.peak_bytes(Setting(128, 1, "full", head_dim=16))
    assert (1 << 24) < peak < held.nbytes + (1 << 26)
    assert bench_emulator.own_peak_bytes() > held.nbytes


def test_every_contender_answers_once_in_each_round_in_turns() -> None:
    order: list[str] = []

    def contender(name: str, value: float) -> Contender:
        def call() -> Array:
            order.append(name)
            return np.full((1, 1, 2, 2), value)

        return Contender(name, lambda case, inputs: call)

    everyone = [contender("a", 1.0), contender("b", 1.5), contender("c", 1.0)]
    rows = bench_emulator.rounds(Setting(128, 1, "causal").case(), everyone, 3)
    assert "".join(order) == "abcbcacababc"
    assert [len(row.times) for row in rows] == [3, 3, 3]
    assert [row.differs_by for row in rows] == [0.0, 0.5, 0.0]


def test_contender_that_cannot_is_a_row_and_asked_no_more(schema: Any) -> None:
    asked = []

    def refuse(case: Case, inputs: Sequence[Array]) -> Any:
        asked.append(case)
        raise CannotRun("why not")

    rows = bench_emulator.rounds(SHORT.case(), [Contender("a", refuse)], 3)
    assert (len(asked), rows[0].refused, rows[0].times) == (1, "why not", ())
    made = made_of(*rows)
    jsonschema.validate(made, schema)
    assert "a: why not" in bench_report.text(made)


def test_stock_kernel_is_not_asked_for_full_attention() -> None:
    stock = bench_contenders._of_kernel("stock", None, bench_contenders.params_with())  # type: ignore[arg-type]
    with pytest.raises(CannotRun, match="UnboundLocalError"):
        stock.prepare(Setting(2048, 1, "full").case(), ())


@pytest.mark.upstream
def test_upstream_kernels_take_part() -> None:
    torch = pytest.importorskip("torch", reason="the comparison is with torch's attention")
    clone = upstream_clone.clone()
    if clone is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    with bench_contenders.contenders(torch, 1, {upstream_clone.VARIABLE: str(clone)}) as everyone:
        chosen = [one for one in everyone if one.name in (BASE, "typo-fixed", "stock")]
        rows = bench_emulator.rounds(Setting(512, 1, "causal", head_dim=16).case(), chosen, 1)
    assert [(row.name, row.refused) for row in rows] == [(BASE, ""), ("typo-fixed", ""), ("stock", "")]
    assert all(row.differs_by is not None and row.differs_by < 0.1 for row in rows)


def test_no_checks_is_every_rule_that_can_be_turned_off() -> None:
    params = bench_contenders.params_with(checks=False)
    assert {name for name, rule in RULES.items() if params.enforces(name)} == {
        name for name, rule in RULES.items() if rule.default and not rule.optional
    }
    assert not bench_contenders.params_with().rules_off


# --------------------------------------------------------------------------------------------- document


def test_ratios_are_of_medians() -> None:
    made = made_of(took(BASE, 2.0), took(BASE_ONE_THREAD, 3.0, 4.0), took(FLOOR, 4.0), took(VENDORED, 6.0, 2.0))
    row = made["cases"][0]["contenders"][-1]
    assert (row["ratio_to_torch"], row["ratio_to_numpy"], row["cpu_ratio_to_torch"]) == (3.0, 1.5, 0.5)
    assert row["wall_s"] == {"median": 6.0, "min": 0.0, "max": 9.0}
    assert row["first_wall_s"] == 1.0


def test_ratio_to_one_who_took_no_part_is_left_open() -> None:
    row = made_of(took(VENDORED, 6.0))["cases"][0]["contenders"][0]
    assert (row["ratio_to_torch"], row["ratio_to_numpy"], row["cpu_ratio_to_torch"]) == (None, None, None)


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        pytest.param([took(IN_PROCESS, 1.0, 4.0), took(UNCHECKED, 1.0, 3.0)], 0.25, id="both"),
        pytest.param([took(IN_PROCESS, 1.0, 4.0)], None, id="one alone"),
        pytest.param([], None, id="none"),
    ],
)
def test_share_of_the_checks_is_what_goes_without_them(rows: list[Measured], share: float | None) -> None:
    assert bench_report.checks_share({row.name: row for row in rows}) == share


@pytest.mark.parametrize(
    ("name", "wall_s", "target", "met"),
    [
        pytest.param(VENDORED, 6.0, 3.0, True, id="at"),
        pytest.param(TYPO_FIXED, 6.1, 3.0, False, id="above"),
        pytest.param(TYPO_FIXED_UNCHECKED, 4.0, 2.0, True, id="without checks"),
    ],
)
def test_ratio_is_held_against_its_target(name: str, wall_s: float, target: float, met: bool) -> None:
    (row,) = made_of(took(BASE, 2.0), took(name, wall_s), took("stock", 99.0))["targets"]
    assert (row["measured"], row["target"], row["met"]) == (wall_s / 2, target, met)


@pytest.mark.parametrize(("peak", "met"), [(2 << 30, True), ((2 << 30) + (1 << 24), False)])
def test_peak_is_held_against_its_target(peak: int, met: bool) -> None:
    (row,) = made_of(peak=peak)["targets"]
    assert row["met"] is met


def test_cases_with_ratio_targets_are_those_of_the_preset() -> None:
    assert {setting.name for setting in PRESETS["targets"].settings} >= bench_report.RATIO_CASES


@pytest.mark.parametrize(
    ("other", "seconds", "target", "met"),
    [
        pytest.param(Setting(2048, 32, "causal"), 4.2, 4.2, True, id="heads, as its tiles"),
        pytest.param(Setting(2048, 32, "causal"), 4.3, 4.2, False, id="heads, faster"),
        pytest.param(Setting(8192, 8, "window"), 0.43, 0.4302, True, id="window"),
        pytest.param(Setting(16384, 8, "causal"), 8.0, None, None, id="length"),
    ],
)
def test_growth_is_held_against_the_executed_tiles(
    other: Setting, seconds: float, target: float | None, met: bool | None
) -> None:
    before = Setting(2048 if other.heads == 32 else 8192, 8, "causal")
    results = {before: [took(VENDORED, 1.0)], other: [took(VENDORED, seconds)]}
    (row,) = bench_report.targets(results, None)
    assert (row["measured"], row["target"], row["met"]) == (seconds, target and pytest.approx(target), met)


def test_growth_goes_to_the_next_that_differs_in_one_thing() -> None:
    settings = [
        SHORT,
        LONG,
        Setting(8192, 8, "causal"),
        Setting(2048, 32, "causal"),
        Setting(2048, 8, "window"),
        Setting(2048, 8, "full"),
        Setting(2048, 8, "causal", "float32"),
    ]
    rows = list(bench_report.growth({setting: [took(VENDORED, 1.0)] for setting in settings}))
    assert [(row["from"], row["to"]) for row in rows] == [
        (SHORT.name, LONG.name),
        (SHORT.name, "2048 x 32 heads, causal, bfloat16"),
        (SHORT.name, "2048 x 8 heads, window, bfloat16"),
        (LONG.name, "8192 x 8 heads, causal, bfloat16"),
    ]
    assert rows[1]["tiles"] == 4.0


@pytest.mark.parametrize(
    ("setting", "tiles"),
    [
        pytest.param(Setting(2048, 8, "full"), 8 * 16 * 4, id="full"),
        pytest.param(Setting(2048, 1, "causal"), 4 * (1 + 2 + 3 + 4), id="causal"),
        pytest.param(Setting(512, 1, "causal"), 4, id="one chunk"),
    ],
)
def test_tiles_are_those_that_are_not_skipped(setting: Setting, tiles: int) -> None:
    assert setting.tiles == tiles


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda made: made.update(schema="nkifix.bench/2"), id="another version"),
        pytest.param(lambda made: made.update(more=1), id="a field too many"),
        pytest.param(lambda made: made.pop("machine"), id="a field too few"),
        pytest.param(lambda made: made["cases"][0].update(mask="other"), id="no such mask"),
        pytest.param(lambda made: made["cases"][0]["contenders"][0].pop("wall_s"), id="no time and no reason"),
        pytest.param(lambda made: made["cases"][0]["contenders"][0].update(refused="x"), id="a time and a reason"),
    ],
)
def test_schema_refuses_other_forms(change: Any, schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    made = json.loads(json.dumps(made_of(took(BASE, 1.0), peak=1)))
    jsonschema.validate(made, schema)
    change(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, schema)


# ------------------------------------------------------------------------------------------------- plot


def test_plot_has_a_line_for_each_contender_by_length() -> None:
    refused = Measured("stock", (), refused="why not")
    results = {LONG: [took(BASE, 4.0), refused], SHORT: [took(BASE, 2.0)]}
    made = bench_report.document(results, None, preset="full", rounds=3, threads=2)
    assert bench_report.plotted(made) == {"causal, 8 heads, bfloat16": {BASE: [(2048, 2.0), (4096, 4.0)]}}


def test_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it is an extra")
    bench_report.plot(made_of(took(BASE, 2.0)), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------- filters, refusals


def given(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"seq": None, "heads": None, "mask": None, "dtype": None, "rounds": None, **more})


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        pytest.param({}, [SHORT.name, LONG.name], id="none"),
        pytest.param({"seq": [1024]}, ["1024 x 8 heads, causal, bfloat16"], id="length, each case once"),
        pytest.param(
            {"seq": [512], "mask": ["full", "window"], "heads": [1], "dtype": ["float32"]},
            ["512 x 1 head, full, float32", "512 x 1 head, window, float32"],
            id="all",
        ),
    ],
)
def test_filters_take_the_place_of_the_presets_values(filters: dict[str, Any], names: list[str]) -> None:
    preset = bench_emulator.filtered(Preset((SHORT, LONG), 5, SHORT), given(**filters))
    assert [setting.name for setting in preset.settings] == names
    assert preset.peak == (None if filters else SHORT)
    assert preset.rounds == 5
    assert bench_emulator.filtered(Preset((SHORT,), 5), given(rounds=2)).rounds == 2


@pytest.mark.parametrize(
    ("missing", "words"),
    [("torch", "pip install 'nkifix[torch]'"), ("matplotlib", "pip install 'nkifix[plots]'")],
)
def test_refuses_without_a_package_it_needs(
    missing: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    importing = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name == missing:
            raise ImportError(name)
        return importing(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(bench_emulator, "measured", lambda *_: pytest.fail("nothing is measured"))
    assert bench_emulator.main(["--preset", "smoke", "--plot", "x.png"]) == 2
    assert words in capsys.readouterr().err


def test_refuses_a_contender_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the comparison is with torch's attention")
    assert bench_emulator.main(["--preset", "smoke", "--only", "nobody"]) == 2
    assert "there is no contender 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seq", "--heads", "--rounds", "--threads"])
def test_refuses_numbers_that_are_none(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench_emulator.main([option, "0"])
    assert ended.value.code == 2


def test_failing_process_of_the_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(NkifixError, match="the process whose memory is measured failed"):
        bench_emulator.peak_bytes(SHORT)
