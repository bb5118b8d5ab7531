from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nkifix.differential.named_cases import read_case
from nkifix.differential.references import resolve
from nkifix.profiling.measure import measure

RAISES = """\
from dataclasses import dataclass

import neuronxcc.nki as nki


@dataclass(frozen=True)
class FlashConfig:
    pass


@nki.jit
def flash_fwd(q, k, v, use_causal_mask=True):
    return 1 // 0
"""
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_costs.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_costs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["make_costs"] = module
    spec.loader.exec_module(module)
    return module


def test_document_has_a_table_for_each_target_mask_and_number_of_heads(script: Any) -> None:
    cells = script.cells(measure(resolve("vendored"), read_case("seq=256,d=32"), "trn1", compute=False))
    rows = [
        script.Row(script.Job("trn1", "causal", "one head", 2048, "vendored", "vendored"), cells),
        script.Row(script.Job("trn1", "full", "one head", 2048, "stock", "x"), (), "raises UnboundLocalError"),
    ]
    assert {row.job.heads for row in rows} < set(script.HEADS)
    text = script.document(rows)
    assert text.count("\n## ") == 2 * 3 * 2
    assert f"| 2,048 | vendored | {' | '.join(cells)} |" in text
    assert "| 2,048 | stock | raises UnboundLocalError |" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {len(script.COLUMNS) + 1}


def test_shared_heads_are_priced_up_to_a_length(script: Any) -> None:
    jobs = list(script._jobs("x", script.LENGTHS))
    longest = {heads: max(job.seq for job in jobs if job.heads == heads) for heads in script.HEADS}
    assert list(longest.values()) == [32768, 8192]


def test_kernel_that_raises_is_a_row(script: Any, tmp_path: Path) -> None:
    job = script.Job("trn1", "full", "one head", 100, "stock", str(tmp_path / "attention.py"))
    (tmp_path / "attention.py").write_text(RAISES)
    row = script._priced(job)
    assert (row.cells, row.refused) == ((), "raises ZeroDivisionError")


def test_refuses_without_a_clone(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("NKIFIX_UPSTREAM", raising=False)
    monkeypatch.setattr(sys, "argv", ["make_costs.py"])
    assert script.main() == 2
    assert "NKIFIX_UPSTREAM is not set" in capsys.readouterr().err


def test_document_in_the_repository_is_of_this_script(script: Any) -> None:
    header = script.HEADER.format(tag=script.TAG)
    assert script.DOCUMENT.read_text(encoding="utf-8").startswith(header)
