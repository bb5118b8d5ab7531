"""Annotated shapes of local variables against what is allocated."""

from __future__ import annotations

import pytest

from nkifix.emulator.static import check_source

CODE = "err_annotation_shape_mismatch"
SOURCE = """\
import numpy as np
import neuronxcc.nki as nki
import neuronxcc.nki.language as nl
import neuronxcc.nki.typing as nt
from neuronxcc.nki.language import ndarray, par_dim

ROWS = 128
SIZE = 4
SIZE = 8

@nki.jit
def kernel(a, n, shape):
    columns = 512
    {}
"""


def found(statement: str) -> list[tuple[str, int, tuple[str, ...]]]:
    findings = check_source(SOURCE.format(statement), "k.py")
    return [(one.rule, one.line, one.names) for one in findings]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("x: nt.tensor[128, 512] = nl.zeros((128, 128), np.float32)", id="numbers"),
        pytest.param("x: nt.tensor[128, 512] = nl.zeros((par_dim(128), 128), np.float32)", id="partition dimension"),
        pytest.param("x: nt.tensor[128, 512] = nl.ndarray(shape=[128, 128], dtype=np.float32)", id="keyword"),
        pytest.param("x: nt.tensor[128, 512] = nl.zeros((2, 128, 512), np.float32)", id="rank"),
        pytest.param("x: nt.tensor[128] = nl.zeros((128, 512), np.float32)", id="rank of the annotation"),
        pytest.param("x: nt.tensor[ROWS, 512] = nl.zeros((64, columns), np.float32)", id="constants"),
        pytest.param("x: nt.tensor[n, 512] = nl.zeros((n, 4), np.float32)", id="the known one of two"),
        pytest.param("x: 'nt.tensor[128, 512]' = nl.full((128, 4), 0, np.float32)", id="in quotes"),
    ],
)
def test_refuses_annotation_of_another_shape(statement: str) -> None:
    assert found(statement) == [(CODE, 14, ("x",))]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("x: nt.tensor[128, 512] = nl.zeros((128, 512), np.float32)", id="the same"),
        pytest.param("x: nt.tensor[ROWS, columns] = nl.zeros((par_dim(128), 512), np.float32)", id="constants"),
        pytest.param("x: nt.tensor[n, 512] = nl.zeros((n, 512), np.float32)", id="an argument"),
        pytest.param("x: nt.tensor[n, 512] = nl.zeros((64, 512), np.float32)", id="may be the same"),
        pytest.param("x: nt.tensor[SIZE, 512] = nl.zeros((4, 512), np.float32)", id="no constant"),
        pytest.param("x: nt.tensor[128, 512] = nl.zeros(shape, np.float32)", id="a shape by name"),
        pytest.param("x: nt.tensor[128, 512] = nl.zeros((*shape, 4), np.float32)", id="a shape in parts"),
        pytest.param("x: nt.tensor[128, 512] = nl.zeros()", id="no shape"),
        pytest.param("x: nt.tensor[128, 512] = nl.load(a)", id="not allocated here"),
        pytest.param("x: nt.tensor[128, 512] = a", id="an argument as it is"),
        pytest.param("x: nt.tensor = nl.zeros((4, 4), np.float32)", id="no shape annotated"),
        pytest.param("x: list[int] = nl.zeros((4, 4), np.float32)", id="another annotation"),
        pytest.param("x: 'not python[' = nl.zeros((4, 4), np.float32)", id="no annotation at all"),
        pytest.param("x: nt.tensor[128, 512]", id="no value"),
    ],
)
def test_leaves_annotation_alone(statement: str) -> None:
    assert found(statement) == []


def test_message_says_both_shapes() -> None:
    (finding,) = check_source(SOURCE.format("x: nt.tensor[ROWS, n] = nl.zeros((64, n), np.float32)"), "k.py")
    assert finding.what == "'x' is annotated as [128, n] and allocated as [64, n]"
    assert finding.next_step == "annotate it as tensor[64, n], or allocate the annotated shape"
