from __future__ import annotations

import platform
from pathlib import Path

import pytest

from scripts import benching
from scripts.benching import Spread


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        pytest.param([2.0], Spread(2.0, 2.0, 2.0), id="one"),
        pytest.param([3.0, 1.0, 9.0], Spread(3.0, 1.0, 9.0), id="odd"),
        pytest.param([4.0, 1.0, 2.0, 9.0], Spread(3.0, 1.0, 9.0), id="even"),
    ],
)
def test_spread_is_median_least_and_most(values: list[float], spread: Spread) -> None:
    assert Spread.of(values) == spread


def test_spread_is_written_with_the_digits_it_has() -> None:
    assert Spread(1.23456, 0.000123456, 123456.0).to_json() == {"median": 1.235, "min": 0.0001235, "max": 123500.0}


def test_everyone_has_every_turn_once_in_as_many_rounds() -> None:
    orders = [benching.rotated("abc", turn) for turn in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    assert benching.rotated([], 3) == []


@pytest.mark.parametrize(
    ("value", "base", "expected"),
    [(3.0, 2.0, 1.5), (1.0, 3.0, 0.3333), (1.0, 0.0, None), (1.0, None, None)],
)
def test_ratio_to_nothing_is_left_open(value: float, base: float | None, expected: float | None) -> None:
    assert benching.ratio(value, base) == expected


def test_machine_names_what_is_installed_and_what_is_not() -> None:
    facts = benching.machine(["numpy", "no-such-package"])
    assert facts["packages"]["numpy"]
    assert facts["packages"]["no-such-package"] is None
    assert facts["cores"] >= 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n", "Some CPU @ 2 GHz", id="named"),
        pytest.param("processor : 0\n", None, id="nameless"),
        pytest.param(None, None, id="no such file"),
    ],
)
def test_processor_is_named_where_the_system_knows_it(
    tmp_path: Path, content: str | None, expected: str | None
) -> None:
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_text(content)
    assert benching.cpu_model(file) == (expected or platform.processor() or "unknown")


def test_table_is_as_wide_as_its_cells() -> None:
    assert benching.table(["name", "x"], [["a", "10"], ["longer", ""]]) == (
        "name     x\n------  --\na       10\nlonger\n"
    )
