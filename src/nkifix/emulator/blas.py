"""One BLAS thread while a kernel runs.

OpenBLAS adds the products of one matmul in another order when it has several threads: the last bits of a result would
depend on the number of cores, and on how many processes share them. More threads gain nothing on tiles of 128 x 512.

The library is the one that numpy has loaded. It is looked for where Linux tells (``/proc/self/maps``); another BLAS,
and another system, are left alone.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_MAPS = Path("/proc/self/maps")
_PREFIXES = ("scipy_openblas", "openblas")  # wheels of numpy 2, and all others
_SUFFIXES = ("64_", "")  # with 64-bit indices, and without


class Library(NamedTuple):
    """A loaded OpenBLAS."""

    get: Callable[[], int]
    set: Callable[[int], object]


@lru_cache(maxsize=1)
def libraries() -> tuple[Library, ...]:
    """Every OpenBLAS that this process had loaded at the first call."""
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ()
    paths = sorted({line[line.index("/") :] for line in lines if "openblas" in line and "/" in line})
    return tuple(library for path in paths if (library := _opened(path)) is not None)


def _opened(path: str) -> Library | None:
    try:
        loaded = ctypes.CDLL(path)
    except OSError:
        return None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(loaded, f"{prefix}_get_num_threads{suffix}", None)
            put = getattr(loaded, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                return Library(get, put)
    return None


_changing = threading.Lock()
_before: list[int] = []
_users = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside; what was set before is set again when the last context of all threads ends."""
    global _users
    with _changing:
        if _users == 0:
            _before[:] = [library.get() for library in libraries()]
            _set([1] * len(_before))
        _users += 1
    try:
        yield
    finally:
        with _changing:
            _users -= 1
            if _users == 0:
                _set(_before)


def _set(counts: list[int]) -> None:
    for library, count in zip(libraries(), counts, strict=True):
        library.set(count)
