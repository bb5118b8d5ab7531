"""Where in the user's kernel something happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

EMULATOR_DIR = str(Path(__file__).parent) + os.sep
"""Code in it is no kernel's."""


class _Own(dict[str, bool]):
    """File name -> whether it is the emulator's; filled on demand, since frames are looked at often."""

    def __missing__(self, file: str) -> bool:
        own = self[file] = file.startswith(EMULATOR_DIR)
        return own


_own = _Own()


def kernel_frame() -> FrameType | None:
    """The innermost frame that belongs to no module of the emulator."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _own[frame.f_code.co_filename]:
        frame = frame.f_back
    return frame


def kernel_position() -> tuple[str, int]:
    """File and line of the kernel statement that is being executed."""
    frame = kernel_frame()
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("<no kernel>", 0)


def kernel_location() -> str:
    """:func:`kernel_position` as ``file:line``."""
    return "{}:{}".format(*kernel_position())
