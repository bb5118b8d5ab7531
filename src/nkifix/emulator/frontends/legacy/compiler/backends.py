"""Names of the compiler's inside that shipped kernels import, most of them for annotations. They are undocumented."""

from __future__ import annotations

from typing import Any

from nkifix.emulator.affine import AffineIndex
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.numeric import storage_dtype


def size_in_bytes(dtype: Any) -> int:
    """Bytes of one element."""
    return storage_dtype(dtype).itemsize


MODULES: dict[str, dict[str, object]] = {
    "neuronxcc.nki.compiler.backends": {},
    "neuronxcc.nki.compiler.backends.neuron": {},
    "neuronxcc.nki.compiler.backends.neuron.indexing": {"TileIndex": AffineIndex},
    "neuronxcc.nki.compiler.backends.neuron.tensor": {"local_tile": LegacyTensor},
    "neuronxcc.nki.language.constants": {"sizeinbytes": size_in_bytes},
}
"""Served module -> its names."""
