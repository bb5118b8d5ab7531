"""The plain test of the kernel where it is compiled: it launches, and answers with the right shape and values.

    pytest tests/test_flash_kernel_compiled.py --nki-backend device      # on an Inf2, Trn1 or Trn2 instance

Emulated everywhere else (the default backend), and on XLA tensors in the lane of scripts/xla_lane.sh. The kernels
are upstream's file as it is and with the misspelled name fixed, where NKIFIX_UPSTREAM names a clone; otherwise a
small kernel of our own that has the same defect.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from nkifix import specimens
from nkifix.backends import Backend
from nkifix.codemod import Fixed, apply, select
from nkifix.differential.budget import accuracy, budget
from nkifix.differential.cases import Case
from nkifix.differential.oracle import exact
from tests import upstream_clone

LENGTH = 2048
CAUSAL = Case(name="causal", batch=1, heads=2, kv_heads=2, seq_q=LENGTH, seq_k=LENGTH, window_size=(-2, -1))
FULL = Case(name="full", batch=1, heads=2, kv_heads=2, seq_q=LENGTH, seq_k=LENGTH, use_causal_mask=False)


def stock_source() -> bytes:
    repository = upstream_clone.clone()
    if repository is None:
        return specimens.path("misspelled-causal-mask").read_bytes()
    return upstream_clone.read(repository, upstream_clone.TAGS[-1])


@pytest.fixture(scope="module")
def kernels(nki_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """``stock`` and ``fixed``, imported where the backend runs them."""
    stock = stock_source()
    outcome = apply(stock, select(only=("misspelled-causal-mask",)))
    assert isinstance(outcome, Fixed)
    folder = tmp_path_factory.mktemp("compiled")
    with nki_backend.session():
        yield {
            name: _imported(folder / f"{name}_attention.py", data)
            for name, data in (("stock", stock), ("fixed", outcome.data))
        }
    for name in ("stock", "fixed"):
        sys.modules.pop(f"{name}_attention", None)


def _imported(file: Path, data: bytes) -> Any:
    file.write_bytes(data)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(nki_backend: Backend, module: Any, case: Case) -> Any:
    q, k, v = case.inputs()
    answer = nki_backend.launch(module.flash_fwd, case.grid, (q, k, v), case.keywords(module.FlashConfig))
    assert nki_backend.suspicion(answer) == ""
    return answer


@pytest.mark.parametrize("case", [CAUSAL, FULL], ids=lambda case: case.name)
def test_fixed_kernel_launches_and_is_right(nki_backend: Backend, kernels: dict[str, Any], case: Case) -> None:
    answer = launch(nki_backend, kernels["fixed"], case)
    assert answer.shape == (1, 2, LENGTH, 64)
    assert answer.dtype == ml_dtypes.bfloat16
    assert np.isfinite(answer.astype(np.float32)).all()
    q, k, v = case.inputs()
    truth = exact(case, q, k, v)
    assert accuracy(answer, truth, budget(case, q, k, v, truth)).spent <= 1


def test_fix_changes_no_byte_of_causal_attention(nki_backend: Backend, kernels: dict[str, Any]) -> None:
    stock, fixed = (launch(nki_backend, kernels[name], CAUSAL) for name in ("stock", "fixed"))
    assert stock.tobytes() == fixed.tobytes()


def test_stock_kernel_crashes_on_full_attention(nki_backend: Backend, kernels: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="causal_mask"):
        launch(nki_backend, kernels["stock"], FULL)
