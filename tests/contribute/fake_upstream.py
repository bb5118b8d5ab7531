"""Small repositories of our own in the shape of upstream's: its paths, our text."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nkifix import specimens
from nkifix.contribute.base import CALLER, KERNEL, TESTS

AUTHOR = "A. Contributor <contributor@example.org>"

STOCK = specimens.path("misspelled-causal-mask").read_bytes()
FIXED = STOCK.replace(b"casual_mask = True  # noqa: F841", b"causal_mask = True").replace(b"casual", b"causal")

TEST_FILE = '''\
"""Checks the kernel against softmax in float32."""

import numpy as np
import pytest
import torch
import torch_xla.core.xla_model as xm

from neuronx_distributed_inference.modules.sliding_window.attention import FlashConfig, flash_fwd


def reference(q, k, v, causal, width):
    rows, columns = np.indices((q.shape[2], k.shape[2]))
    hidden = (columns > rows) if causal or width > 0 else np.zeros_like(rows, dtype=bool)
    if width > 0:
        hidden |= columns <= rows - width
    scores = torch.einsum("bhqd,bhkd->bhqk", q.float(), k.float()) * q.shape[-1] ** -0.5
    return torch.softmax(scores.masked_fill(torch.from_numpy(hidden), -torch.inf), -1) @ v.float()


class TestKernel:
    @pytest.mark.parametrize("limit", [
    [0.0],
    ])
    def test_flash_attn_fwd_perf(self, limit):
        raise AssertionError("there is no device here")

    @pytest.mark.simulation
    @pytest.mark.parametrize("bs, nheads, seqlen_q, seqlen_k, d, dtype, \\
                              use_causal_mask, sliding_window, tile_size, kv_heads, should_transpose_v, wce", [
    [1, 1, 512, 512, 64, torch.bfloat16, True, 128, 512, None, False, False],  # a window
    ])
    def test_flash_attn_fwd_numerical(
        self, bs, nheads, seqlen_q, seqlen_k, d, dtype, use_causal_mask,
        sliding_window, tile_size, kv_heads, should_transpose_v, wce,
    ):
        torch.manual_seed(0)
        q, k, v = (torch.randn(bs, nheads, seqlen_q, d, dtype=dtype) for _ in range(3))
        place = [tensor.to(xm.xla_device()) for tensor in (q.mT, k.mT, v)]
        options = FlashConfig(seq_tile_size=tile_size, windowed_context_encoding=wce)
        found = flash_fwd[bs, nheads](
            *place, use_causal_mask=use_causal_mask, window_size=(sliding_window - 1, -1), config=options
        )
        wanted = reference(q, k, v, use_causal_mask, sliding_window)
        assert torch.allclose(found.cpu().float(), wanted, atol=0.02)
'''

PULL_REQUEST_FORM = """\
*Only fill out what is relevant.*

## Description

*Say what it does*

## Model Information

**Model Name:** *for example, Llama*

## Testing

**How did you test this change?**

*Say how*

**Test Results:**

*Paste them*

## Compatibility

**Tested with:**
- **Neuron SDK Version(s):** *for example, 2.24*
- **Instance Type(s):** *for example, Trn1*
- **PyTorch Version:** *for example, 2.9
- **Python Version:** *for example, 3.10

## Related Issues

*Links*

## vLLM Integration

- [ ] It is for vLLM

---

**By submitting this, I confirm that:**
- [ ] I have read the guidelines
"""

ISSUE_FORM = """\
name: Bug
description: Tell us
body:
  - type: markdown
    attributes:
      value: Thank you
  - type: textarea
    id: what
    attributes:
      label: Describe the bug
  - type: textarea
    id: model
    attributes:
      label: Model Name
  - type: textarea
    id: instance
    attributes:
      label: Instance Type
  - type: textarea
    id: steps
    attributes:
      label: Reproduction Steps
  - type: checkboxes
    id: regression
    attributes:
      label: Regression Issue
      options:
        - label: It worked before
  - type: textarea
    id: mood
    attributes:
      label: Favourite colour
"""

FILES: Mapping[str, bytes] = {
    "src/neuronx_distributed_inference/__init__.py": b"",
    "src/neuronx_distributed_inference/modules/__init__.py": b"",
    "src/neuronx_distributed_inference/modules/sliding_window/__init__.py": b"",
    CALLER: b"",
    KERNEL: STOCK,
    TESTS: TEST_FILE.encode(),
    ".github/PULL_REQUEST_TEMPLATE.md": PULL_REQUEST_FORM.encode(),
    ".github/ISSUE_TEMPLATE/bug-report.yml": ISSUE_FORM.encode(),
    ".github/ISSUE_TEMPLATE/config.yml": b"blank_issues_enabled: false\n",
}


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Git as a user runs it, but with nobody's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _PARTS}
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment | identity | settings, input=stdin, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


_PARTS = (("NAME", "Somebody"), ("EMAIL", "somebody@example.org"), ("DATE", "1700000000 +0000"))


def make(folder: Path, **changes: bytes | None) -> Path:
    """Make a clone with one commit on ``main``; ``changes`` by the file's last part without its ending."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, data in FILES.items():
        stem = Path(name).stem.replace("-", "_")
        content = changes.get(stem, data)
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    commit(folder, "A start")
    return folder


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones and git's own too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
