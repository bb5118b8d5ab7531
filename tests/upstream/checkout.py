"""Trees out of clones that the environment names, put where a test can run them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import nkifix

SAMPLES_VARIABLE = "NKIFIX_NKI_SAMPLES"
"""Environment variable holding the path of a clone of aws-neuron/nki-samples, bare or not."""
SAMPLES_REVISION = "8370e11"
"""The last revision with the reference kernels."""
WITHOUT_SAMPLES = f"{SAMPLES_VARIABLE} is not set: it would name a clone of aws-neuron/nki-samples"

_SOURCE = Path(nkifix.__file__).parent.parent


def samples_clone() -> Path | None:
    """The clone's path, or None if the environment names none."""
    value = os.environ.get(SAMPLES_VARIABLE)
    return Path(value) if value else None


def extract(repository: Path, revision: str, target: Path, *paths: str) -> Path:
    """Put files and folders of a revision into ``target``, and return it."""
    command = ["git", "-C", str(repository), "archive", "--format=tar", revision, *paths]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            if member.isfile():
                content = tar.extractfile(member)
                assert content
                file = target / member.name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.read())
    return target


def run_pytest(tree: Path, *args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """``nkifix run [options] -m pytest [args]`` in a tree, with its ``src`` on the path."""
    path = os.pathsep.join([str(tree / "src"), str(_SOURCE)])
    command = [sys.executable, "-m", "nkifix", "run", *options, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600)
