"""The real kernel file, out of a clone that the environment names. Nothing of it is kept here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VARIABLE = "NKIFIX_UPSTREAM"
"""Environment variable holding the path of a clone of aws-neuron/neuronx-distributed-inference, bare or not."""

TAGS = ("v0.6.10598", "v0.7.14366")
KERNEL = "src/neuronx_distributed_inference/modules/sliding_window/attention.py"
WITHOUT_CLONE = f"{VARIABLE} is not set: it would name a clone of aws-neuron/neuronx-distributed-inference"


def clone() -> Path | None:
    """Return the clone's path, or None if the environment names none."""
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


def read(repository: Path, revision: str, path: str = KERNEL) -> bytes:
    """Return a file's bytes at a revision; a clone that does not have it is an error, no reason to skip."""
    command = ["git", "-C", str(repository), "show", f"{revision}:{path}"]
    return subprocess.run(command, capture_output=True, check=True).stdout
