"""Rules that only a kernel's source shows, each broken by a kernel that is launched, and its legal neighbour."""

from __future__ import annotations

import contextlib
import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nkifix.emulator import KernelFault, Params, machine, serving
from nkifix.emulator.rules import RULES
from tests.emulator.project import Project

X = np.arange(16 * 8, dtype=np.float32).reshape(16, 8)

MODULE = """\
import numpy as np
import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import neuronxcc.nki.typing as nt

@nki.jit
def kernel(x):
    out = nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)
    nl.store(out, nl.load(x))
"""
FIRST = MODULE.count("\n") + 1

SOURCES: dict[str, tuple[str, str]] = {
    "err_local_variable_used_out_of_scope": (
        "for i in nl.affine_range(2):\n    t = nl.load(x)\nnl.exp(t)",
        "t = nl.ndarray((16, 8), np.float32)\nfor i in nl.sequential_range(2):\n    t[...] = nl.load(x)\nnl.exp(t)",
    ),
    "err_annotation_shape_mismatch": (
        "t: nt.tensor[16, 4] = nl.zeros((16, 8), np.float32)",
        "t: nt.tensor[16, 8] = nl.zeros((16, 8), np.float32)",
    ),
    "err_while_loop_requires_unconditional_entry": (
        "t = nl.load(x[0:1, 0:1])\nwhile t < 10:\n    t = t + 1",
        "rounds = 0\nwhile rounds < 2:\n    rounds += 1",
    ),
    "err_shared_hbm_must_in_kernel_level": (
        "for i in nl.affine_range(2):\n    nl.ndarray((16, 8), np.float32, buffer=nl.shared_hbm)",
        "for i in nl.affine_range(2):\n    nl.ndarray((16, 8), np.float32, buffer=nl.private_hbm)",
    ),
    "err_unsupported_expression_in_mask": (
        "i, j = nl.mgrid[0:16, 0:8]\nfor k in range(2):\n    nl.load(x[i, j], mask=(j < 4) & (k % 2 < 1))",
        "i, j = nl.mgrid[0:16, 0:8]\nfor k in range(2):\n    nl.load(x[i, j], mask=(j < 4) & (k < 1))",
    ),
    "loop-carried-python-value": (
        "n = 0\nfor i in nl.sequential_range(2):\n    nl.load(x[n:16, :])\n    n += 1",
        "for i in nl.sequential_range(2):\n    nl.load(x[i:16, :])",
    ),
}
"""Code -> statements of a kernel that break the rule, and legal ones."""


def launch_source(project: Project, name: str, statements: str) -> Any:
    body = "".join(f"    {line}\n" for line in statements.splitlines())
    project.add(f"{name}.py", f"{MODULE}{body}    return out\n")
    with serving(beside_real=True):
        return importlib.import_module(name).kernel(X)


@pytest.mark.parametrize("code", SOURCES)
def test_refuses_source_that_breaks_a_rule(code: str, project: Project) -> None:
    breaks, keeps = SOURCES[code]
    with pytest.raises(KernelFault, match=re.escape(f"[{code}]")) as caught:
        launch_source(project, "breaks_it", breaks)
    file, _, line = str(caught.value.where).rpartition(":")
    assert Path(file).name == "breaks_it.py"
    assert FIRST <= int(line) < FIRST + 5
    assert caught.value.why
    assert caught.value.next_step
    np.testing.assert_array_equal(launch_source(project, "keeps_it", keeps), X)


@pytest.mark.parametrize("code", [code for code in SOURCES if RULES[code].optional])
def test_accepts_source_where_the_rule_is_off(code: str, project: Project) -> None:
    with machine.using(Params(rules_off=frozenset({code}))), contextlib.suppress(IndexError):
        np.testing.assert_array_equal(launch_source(project, "breaks_it", SOURCES[code][0]), X)
