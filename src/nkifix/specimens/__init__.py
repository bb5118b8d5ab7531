"""Small kernels of our own, for machines without the upstream file.

They import ``neuronxcc`` and are never imported here: their path is handed to the codemod, which reads their bytes, and
to the emulator, which runs them.
"""

from __future__ import annotations

from pathlib import Path


def path(defect: str) -> Path:
    """Return the file of the kernel that has the defect of this id.

    Raises
    ------
    KeyError
        There is no specimen of that defect.
    """
    file = Path(__file__).with_name(f"{defect.replace('-', '_')}.py")
    if not file.is_file():
        raise KeyError(defect)
    return file
