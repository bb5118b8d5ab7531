"""Modules of a user, to be imported where neuronxcc is served."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

KERNEL = """
import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl

@nki.jit
def double(x):
    o = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(o, nl.load(x) * 2.0)
    return o

def generation():
    return nisa.get_nc_version().name
"""


class Project:
    """Modules that a user wrote, in a folder on the path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()


def load(name: str) -> Any:
    """Import a module; its attributes are for the test to know."""
    return importlib.import_module(name)


def import_state() -> tuple[dict[str, Any], list[Any], list[str]]:
    """What the import system knows."""
    return dict(sys.modules), list(sys.meta_path), list(sys.path)
