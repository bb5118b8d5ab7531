from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from nkifix.cli import main

APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


def schedule(*args: str | Path) -> Result:
    result = CliRunner(**APART).invoke(main, ["schedule", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_draws_the_mask_as_executed() -> None:
    result = schedule("vendored", "--case", "seq=1024,d=32")
    assert result.exit_code == 0
    assert result.stdout == "▒·\n" * 4 + "█▒\n" * 4
    assert "4 skipped, ▒ 8 boundary, █ 4 full" in result.stderr


def test_page_and_image_are_written(tmp_path: Path) -> None:
    page, image = tmp_path / "mask.html", tmp_path / "mask.png"
    result = schedule("vendored", "--case", "seq=600,d=32,window=99", "--html", page, "--png", image)
    assert result.exit_code == 0
    assert "vendored on trn1, case seq=600,d=32,window=99" in page.read_text()
    assert image.read_bytes().startswith(b"\x89PNG")
    assert result.stderr.count("written: ") == 2


OTHER = """\
from dataclasses import dataclass

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@dataclass(frozen=True)
class FlashConfig:
    pass


@nki.jit
def flash_fwd(q, k, v):
    o = nl.ndarray((1, 1, q.shape[3], q.shape[2]), dtype=q.dtype, buffer=nl.shared_hbm)
    nl.store(o[0, 0], nl.load(v[0, 0]))
    return o
"""


def test_refuses_a_kernel_that_makes_no_scores(tmp_path: Path) -> None:
    file = tmp_path / "other.py"
    file.write_text(OTHER)
    result = schedule(file, "--case", "seq=128,d=32")
    assert result.exit_code == 2
    assert "no matmul of q and k was seen" in result.stderr
