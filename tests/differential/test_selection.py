from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nkifix.differential.cases import POISONS, Case
from nkifix.differential.comparison import Row, case_of
from nkifix.differential.matrix import CASES, REFUSED
from nkifix.differential.models import CALLS, Scaled, scaled
from nkifix.differential.runner import row_key
from nkifix.differential.selection import FACTORS, choose, combined, read_file
from nkifix.errors import RefusalError


def names(rows: Sequence[Row]) -> list[str]:
    return [case_of(row).name for row in rows]


@pytest.mark.parametrize("wish", ["quick", "full", "models"])
def test_rows_of_a_set_are_told_apart(wish: str) -> None:
    keys = [row_key(row) for row in choose(wish)]
    assert len(keys) == len(set(keys))


def test_quick_holds_refusals_poison_and_every_value_of_every_factor() -> None:
    rows = choose("quick")
    assert set(REFUSED) <= {row for row in rows if not isinstance(row, Case)}
    assert {case_of(row).values for row in rows} == {*FACTORS["values"], *POISONS}
    assert {case_of(row).dtype for row in rows} == set(FACTORS["dtype"])


def test_full_holds_quick_and_the_matrix() -> None:
    full = set(map(row_key, choose("full")))
    assert set(map(row_key, choose("quick"))) <= full
    assert set(map(row_key, CASES)) <= full


def test_coverage_says_how_many_cases_there_are() -> None:
    assert len(list(combined("singles"))) < len(list(combined("pairs"))) < 80
    assert len(choose("quick", coverage="singles")) < len(choose("quick"))


def test_only_keeps_the_names_that_hold_one_of_the_texts() -> None:
    found = names(choose("quick", only=["window (127", "no grid"]))
    assert found == ["window (127, -1)", "no grid"]


def test_each_seed_gives_every_case_once() -> None:
    rows = choose("quick", only=["window (127", "no grid"], seeds=[0, 7, 7])
    assert names(rows) == ["window (127, -1)", "no grid", "window (127, -1), seed 7", "no grid, seed 7"]
    assert [case_of(row).seed for row in rows] == [0, 0, 7, 7]


def test_refuses_a_filter_that_nothing_passes() -> None:
    with pytest.raises(RefusalError, match="no case of quick has a name with 'nothing like it'"):
        choose("quick", only=["nothing like it"])


# ----------------------------------------------------------------------------------------------- files


def test_file_gives_its_cases(tmp_path: Path) -> None:
    file = tmp_path / "cases.toml"
    file.write_text(
        '[[case]]\nname = "mine"\nseq = 300\nheads = 4\nkv_heads = 2\ntransposed_v = true\nseed = 3\n'
        'values = "one-hot"\n[[case]]\nseq_q = 10\nscale = 0.5\n'
    )
    first, second = choose(str(file))
    assert first == Case(
        name="mine",
        heads=4,
        kv_heads=2,
        head_dim=128,
        seq_q=300,
        seq_k=300,
        config={"should_transpose_v": True},
        seed=3,
        values="one-hot",
    )
    assert case_of(second).name == "case 2"
    assert case_of(second).softmax_scale == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[[case", "this is no TOML", id="no TOML"),
        pytest.param("case = 1", r"begin each with \[\[case\]\]", id="no tables"),
        pytest.param("case = [1]", r"begin each with \[\[case\]\]", id="numbers"),
        pytest.param("[[case]]\nvalues = 'odd'", "values='odd' is not known", id="values"),
        pytest.param("[[case]]\nname = 1", "a name is a text", id="name"),
        pytest.param("[[case]]\nseed = 1.5", "a seed a whole number", id="seed"),
        pytest.param("[[case]]\nseq = 0", "cannot be read(.|\n)*case 1", id="setting"),
        pytest.param("", "holds no case", id="empty"),
    ],
)
def test_refuses_a_file_that_holds_no_cases(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "cases.toml"
    file.write_text(text)
    with pytest.raises(RefusalError) as caught:
        choose(str(file))
    assert caught.match(words)


def test_refuses_a_set_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="there is no case set") as caught:
        read_file(tmp_path / "quik")
    assert "choose one of quick, full, models" in str(caught.value)


# ---------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize(
    ("full", "small"),
    [
        pytest.param({"seq_q": 2304, "seq_k": 2304}, {"seq_q": 2304, "seq_k": 2304}, id="short enough"),
        pytest.param({"seq_q": 4608, "seq_k": 4608}, {"seq_q": 2560, "seq_k": 2560}, id="remainder kept"),
        pytest.param({"batch": 2, "heads": 32, "kv_heads": 8}, {"batch": 1, "heads": 4, "kv_heads": 1}, id="heads"),
        pytest.param(
            {"seq_q": 8192, "seq_k": 8192, "window_size": (4095, -1)},
            {"seq_q": 2048, "seq_k": 2048, "window_size": (1023, -1)},
            id="wide window",
        ),
        pytest.param(
            {"seq_q": 8192, "seq_k": 8192, "window_size": (127, -1)},
            {"seq_q": 2048, "seq_k": 2048, "window_size": (127, -1)},
            id="narrow window",
        ),
        pytest.param(
            {"seq_q": 8192, "seq_k": 8192, "window_size": (-1, -1)},
            {"seq_q": 2048, "seq_k": 2048, "window_size": (-1, -1)},
            id="no window",
        ),
    ],
)
def test_models_are_scaled_by_the_stated_rule(full: dict[str, Any], small: dict[str, Any]) -> None:
    made = scaled(Case(name="model", **full))
    assert made.case == Case(name="model", **small)
    assert (made.priced.seq_q, made.priced.heads, made.priced.batch) == (full.get("seq_q", 2048), 1, 1)


def test_models_fit_the_kernel() -> None:
    assert all(case.head_dim <= 128 and case.heads % case.kv_heads == 0 for case in CALLS)
    assert all(isinstance(row, Scaled) and row.case.seq_q <= 4096 for row in choose("models"))
