from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nkifix.cli import main
from nkifix.cli.profile_view import sparkline
from nkifix.emulator.cost.schedule import ASSUMPTIONS

APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
CASE = "seq=300,d=32"


def profile(*args: str | Path) -> Result:
    result = CliRunner(**APART).invoke(main, ["profile", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_prints_engines_lines_memory_and_bounds() -> None:
    result = profile("vendored", "--case", CASE)
    assert result.exit_code == 0
    text = result.stdout
    assert text.startswith(f"vendored on trn1, case {CASE}: estimated ")
    assert "measured on no device" in text
    for engine in ("Tensor", "Vector", "Scalar", "GpSimd", "DMA"):
        assert any(line.startswith(engine) for line in text.splitlines())
    assert text.count("vendored_kernel/kernel.py:") == 10
    assert "nl.matmul(" in text
    assert "Bounds: Tensor" in text
    assert "DMA bytes per descriptor" in text
    assert "SBUF over time" in text
    assert "Not costed" not in text
    assert ASSUMPTIONS[0] not in text


def test_no_compute_says_so_and_costs_the_same() -> None:
    computed, priced = profile("vendored", "--case", CASE), profile("vendored", "--case", CASE, "--no-compute")
    assert "(emulated)" in computed.stdout
    assert "(priced without its arithmetic)" in priced.stdout
    assert engine_table(computed.stdout) == engine_table(priced.stdout)


def engine_table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.split(" ")[0] in ("Tensor", "Vector", "Scalar", "GpSimd", "DMA")]


def test_assumptions_are_printed_on_request() -> None:
    text = profile("vendored", "--case", CASE, "--no-compute", "--assumptions").stdout
    assert all(assumption in text for assumption in ASSUMPTIONS)


def test_against_puts_two_side_by_side() -> None:
    text = profile("vendored", "--case", CASE, "--no-compute", "--against", "vendored").stdout
    assert text.count("measured on no device") == 2
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("estimated latency us")] == ["1.000"]
    assert any(line.startswith("GpSimd cycles") for line in text.splitlines())


def test_json_and_trace_are_written(tmp_path: Path) -> None:
    written, trace = tmp_path / "p.json", tmp_path / "t.json"
    result = profile(
        "vendored", "--case", CASE, "--no-compute", "--json", written, "--trace", trace, "--target", "trn2"
    )
    assert result.exit_code == 0
    assert f"written: {written}" in result.stderr
    made = json.loads(written.read_text())
    assert made["schema"] == "nkifix.profile/1"
    assert made["profile"]["target"] == "trn2"
    events = json.loads(trace.read_text())["traceEvents"]
    assert any(one["args"].get("at", "").startswith("vendored_kernel/kernel.py:") for one in events)


def test_json_replaces_an_old_report(tmp_path: Path) -> None:
    written = tmp_path / "p.json"
    written.write_text("old")
    assert profile("vendored", "--case", CASE, "--no-compute", "--json", written).exit_code == 0
    assert json.loads(written.read_text())["estimated"] is True


UNCOSTED = """\
from dataclasses import dataclass

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@dataclass(frozen=True)
class FlashConfig:
    pass


@nki.jit
def mine(q, k, v):
    o = nl.ndarray((1, 1, q.shape[3], q.shape[2]), dtype=q.dtype, buffer=nl.shared_hbm)
    held = nl.zeros((128, 30000), dtype=nl.float32, buffer=nl.sbuf)
    more = nl.zeros((128, 30000), dtype=nl.float32, buffer=nl.sbuf)
    tile = nl.softmax(nl.load(v[0, 0]), axis=1)
    nl.store(o[0, 0], tile)
    return o
"""


def test_uncosted_instructions_and_spills_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(UNCOSTED)
    result = profile(f"{file}:mine", "--case", "seq=128,d=32", "--no-compute")
    assert "Not costed, for lack of a documented formula: softmax (1 times)" in result.stdout
    assert f"SBUF is exceeded first at {file}:16" in result.stdout


@pytest.mark.parametrize(
    ("args", "text"),
    [
        pytest.param(("nowhere.py",), "cannot be read", id="no such kernel"),
        pytest.param(("vendored", "--case", "nonsense"), "there is no case", id="no such case"),
        pytest.param(("vendored", "--case", "seq=64,d=256"), "does not run on this case", id="the kernel refuses"),
    ],
)
def test_refuses_what_cannot_be_priced(args: tuple[str, ...], text: str) -> None:
    result = profile(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


def test_sparkline_shows_the_largest_of_each_stretch() -> None:
    assert sparkline([0, 7, 0, 0], width=2) == "█▁"
    assert sparkline([1, 2]) == "▄█"
    assert sparkline([0, 0]) == "▁▁"
