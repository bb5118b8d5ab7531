"""What is left out to be quick changes no answer: held on our specimens and on a sample of the files installed here."""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import ExpressionContext, ExpressionContextProvider, MetadataWrapper

from nkifix.codemod import detect
from nkifix.codemod.detect import Finding
from nkifix.codemod.fixes.misspelled_causal_mask import is_read
from nkifix.codemod.unsure import UnsureError

SPECIMENS = Path(__file__).parent.parent / "specimens"
SAMPLE = 20
LARGEST_BYTES = 6_000
NO_VARIABLES = (cst.Import, cst.ImportFrom, cst.Global, cst.Nonlocal, cst.MatchPattern)
EVERY_TARGET = b"""\
def f(a, b=1, *c, d, **e):
    g = h, (i, [j, *k]) = l
    m: n = o
    p: q
    r += s
    t.u = v[w] = x
    for y, (z, aa[bb]) in cc: pass
    with dd as ee, ff as (gg, hh.ii): pass
    try: pass
    except jj as kk: pass
    del ll, (mm, nn[oo])
    if (pp := qq): return [rr for rr, ss in tt if uu], f"{vv} {(ww := xx)}"
    return *yy, (zz, [ab]), {ac: ad, **ae}, af if ag else ah
"""


def sample() -> list[Path]:
    """Our specimens, and as many files again of other people."""
    installed = sorted(Path(sysconfig.get_path("purelib")).rglob("*.py"))
    random.Random(1).shuffle(installed)
    small = (path for path in installed if path.stat().st_size < LARGEST_BYTES)
    return [*sorted(SPECIMENS.rglob("*.py")), *(path for path, _ in zip(small, range(SAMPLE), strict=False))]


@pytest.fixture(scope="module")
def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sample()}


def answer(data: bytes) -> tuple[Finding, ...] | str:
    try:
        return detect.check(data)
    except UnsureError as error:
        return error.reason


def test_only_files_with_the_mark_are_kernels(files: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {path: answer(data) for path, data in files.items()}
    monkeypatch.setattr(detect, "_MARK", re.compile(b""))  # no file is passed over
    assert {path: answer(data) for path, data in files.items()} == quick
    assert any(quick.values())


def parsed(data: bytes) -> cst.Module | None:
    try:
        return cst.parse_module(data)
    except Exception:  # what LibCST cannot parse, and how it says so, is another test's matter
        return None


def names(node: cst.CSTNode, path: Sequence[cst.CSTNode] = ()) -> list[tuple[cst.Name, Sequence[cst.CSTNode]]]:
    here = [(node, path)] if isinstance(node, cst.Name) else []
    return here + [found for child in node.children for found in names(child, (*path, node))]


def is_variable(name: cst.Name, path: Sequence[cst.CSTNode]) -> bool:
    label = any(getattr(path[-1], field, None) is name for field in ("attr", "keyword"))
    return not label and not any(isinstance(node, NO_VARIABLES) for node in path)


def test_reads_are_those_that_libcst_tells(files: dict[Path, bytes]) -> None:
    seen = {True: 0, False: 0}
    for data in (EVERY_TARGET, *files.values()):
        tree = parsed(data)
        if tree is None:
            continue
        wrapper = MetadataWrapper(tree, unsafe_skip_copy=True)
        contexts = wrapper.resolve(ExpressionContextProvider)
        for name, path in names(tree):
            if is_variable(name, path):
                told = contexts.get(name) is ExpressionContext.LOAD
                assert is_read(name, path) is told, (data[:80], name.value, [type(node).__name__ for node in path])
                seen[told] += 1
    assert min(seen.values()) > 300
