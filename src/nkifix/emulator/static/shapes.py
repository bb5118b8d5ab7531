"""Annotated shapes of local variables: ``x: nt.tensor[128, 512] = nl.zeros((128, 512), ...)``.

Python does not evaluate these annotations. Shapes are compared where both sides are numbers, constants of the module
or of the function; others are left alone.

Source: error code ``err_annotation_shape_mismatch`` (Neuron SDK 2.26).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from nkifix.emulator.static.findings import Finding
from nkifix.emulator.static.vocabulary import CREATORS, TYPING, Vocabulary


def mismatch(node: ast.AnnAssign, file: str, vocabulary: Vocabulary, constants: Mapping[str, int]) -> Iterator[Finding]:
    """The finding where the annotated shape is not the allocated one."""
    annotated = _annotated(node.annotation, vocabulary, constants)
    actual = _allocated(node.value, vocabulary, constants)
    if annotated is None or actual is None or _agree(annotated, actual):
        return
    name = ast.unparse(node.target)
    yield Finding(
        rule="err_annotation_shape_mismatch",
        file=file,
        line=node.lineno,
        names=(name,),
        what=f"{name!r} is annotated as {_in_words(annotated)} and allocated as {_in_words(actual)}",
        why="the compiler checks the annotated shape of a variable against its tensor",
        next_step=f"annotate it as tensor[{', '.join(map(str, actual))}], or allocate the annotated shape",
    )


Shape = tuple["int | str", ...]
"""Sizes; one that is not a known number is the text of its expression."""


def _agree(a: Shape, b: Shape) -> bool:
    """Whether two shapes may be the same."""
    known = (isinstance(x, int) and isinstance(y, int) for x, y in zip(a, b, strict=False))
    return len(a) == len(b) and all(x == y for x, y, sure in zip(a, b, known, strict=True) if sure)


def _in_words(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _annotated(node: ast.expr, vocabulary: Vocabulary, constants: Mapping[str, int]) -> Shape | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return None
    if not isinstance(node, ast.Subscript) or not vocabulary.is_function(node.value, frozenset({"tensor"}), TYPING):
        return None
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return tuple(_size(part, vocabulary, constants) for part in parts)


def _allocated(node: ast.expr | None, vocabulary: Vocabulary, constants: Mapping[str, int]) -> Shape | None:
    if not isinstance(node, ast.Call) or not vocabulary.is_function(node.func, CREATORS):
        return None
    named = [keyword.value for keyword in node.keywords if keyword.arg == "shape"]
    shape = named[0] if named else node.args[0] if node.args else None
    if not isinstance(shape, (ast.Tuple, ast.List)) or any(isinstance(part, ast.Starred) for part in shape.elts):
        return None
    return tuple(_size(part, vocabulary, constants) for part in shape.elts)


def _size(node: ast.expr, vocabulary: Vocabulary, constants: Mapping[str, int]) -> int | str:
    if isinstance(node, ast.Call) and len(node.args) == 1 and vocabulary.is_function(node.func, frozenset({"par_dim"})):
        return _size(node.args[0], vocabulary, constants)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    return ast.unparse(node)
