"""Upstream's own tests of their kernels, unmodified, by the command that a user would give.

Left out with ``-k numerical``: the latency tests, which hold the wall-clock time of a device against a limit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nkifix import codemod
from tests import upstream_clone
from tests.upstream import checkout

pytestmark = [pytest.mark.upstream, pytest.mark.slow]

OWN_TEST = "test/unit/modules/sliding_window/test_attention.py"
NUMERICAL = {"v0.6.10598": 3, "v0.7.14366": 4}
"""Tag -> how many numerical tests its file has."""


@pytest.fixture(params=upstream_clone.TAGS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    repository = upstream_clone.clone()
    if repository is None:
        pytest.skip(upstream_clone.WITHOUT_CLONE)
    pytest.importorskip("torch", reason="the test file needs torch, an optional extra")
    return checkout.extract(repository, request.param, tmp_path / request.param, "src", "test")


@pytest.mark.parametrize("version", ["stock", "fixed"])
def test_numerical_tests_of_nxdi_pass(tree: Path, version: str) -> None:
    kernel = tree / upstream_clone.KERNEL
    stock = kernel.read_bytes()
    if version == "fixed":
        outcome = codemod.apply(stock, codemod.select("typo"))
        assert isinstance(outcome, codemod.Fixed)
        kernel.write_bytes(outcome.data)
    done = checkout.run_pytest(tree, "-k", "numerical", OWN_TEST, options=("--torch-xla-stub",))
    assert f"{NUMERICAL[tree.name]} passed, 2 deselected" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert done.stderr.startswith("torch_xla is not installed")


@pytest.mark.parametrize("tree", upstream_clone.TAGS[-1:], indirect=True)
def test_numerical_tests_of_nxdi_see_a_mask_that_hides_nothing(tree: Path) -> None:
    kernel = tree / upstream_clone.KERNEL
    stock = kernel.read_bytes()
    assert b"-9984.0" in stock
    kernel.write_bytes(stock.replace(b"-9984.0", b"0.0"))
    done = checkout.run_pytest(tree, "-x", "-k", "numerical", OWN_TEST, options=("--torch-xla-stub",))
    assert "1 failed" in done.stdout
    assert done.returncode == 1


def test_numerical_tests_of_nki_samples_pass(tmp_path: Path) -> None:
    repository = checkout.samples_clone()
    if repository is None:
        pytest.skip(checkout.WITHOUT_SAMPLES)
    tree = checkout.extract(repository, checkout.SAMPLES_REVISION, tmp_path, "src", "test")
    done = checkout.run_pytest(tree, "--simulation-only", "-k", "numerical", "test/unit/test_flash_attn_fwd.py")
    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
