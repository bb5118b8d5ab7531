"""What kind of value an expression has, as far as the source shows."""

from __future__ import annotations

import ast
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nkifix.emulator.static.vocabulary import DEVICE_RANGES, LANGUAGE, Vocabulary

_SHAPE_LIKE = frozenset({"shape", "dtype", "ndim", "buffer", "itemsize", "name"})
"""Attributes of a tensor that are known when the kernel is compiled."""
_TENSOR_METHODS = frozenset({"broadcast_to", "astype", "reshape", "view", "expand_dims", "assume_offset"})


_BENDING = (ast.Mod, ast.FloorDiv, ast.Pow, ast.RShift)
"""Operators whose result is not affine in an index."""


class Kind(enum.Flag):
    """What an expression may be; NOTHING stands for all that is of no concern, and for the unknown."""

    NOTHING = 0
    TENSOR = enum.auto()
    """A tensor of the device."""
    DATA = enum.auto()
    """Computed from what a tensor holds."""
    INDEX = enum.auto()
    """Computed from loop indices or program ids."""
    BENT = enum.auto()
    """Computed from loop indices or program ids, and not affine in them."""
    NUMBER = enum.auto()
    """A Python number."""
    RANGE = enum.auto()
    """``nl.affine_range`` or ``nl.sequential_range`` itself, under another name."""


Scope: TypeAlias = tuple[int, ...]
"""Numbers of the device scopes around a statement, outermost first."""


@dataclass(frozen=True)
class Binding:
    """One assignment to a variable."""

    kind: Kind
    scope: Scope
    line: int


Names: TypeAlias = Mapping[str, tuple[Binding, ...]]
"""Variable -> the assignments that may be the last one."""


def kind_of(node: ast.expr, names: Names, vocabulary: Vocabulary) -> Kind:
    """The kind of an expression."""
    return _Kinds(names, vocabulary).visit(node)  # type: ignore[no-any-return]


class _Kinds(ast.NodeVisitor):
    """Computes a :class:`Kind` per node; node types without a method here are of no concern."""

    def __init__(self, names: Names, vocabulary: Vocabulary) -> None:
        self.names = names
        self.vocabulary = vocabulary

    def generic_visit(self, node: ast.AST) -> Kind:
        return Kind.NOTHING

    def _any(self, *nodes: ast.expr) -> Kind:
        kind = Kind.NOTHING
        for node in nodes:
            kind |= self.visit(node)
        return kind

    def visit_Name(self, node: ast.Name) -> Kind:
        kind = Kind.RANGE if self.vocabulary.is_function(node, DEVICE_RANGES) else Kind.NOTHING
        for binding in self.names.get(node.id, ()):
            kind |= binding.kind
        return kind

    def visit_Constant(self, node: ast.Constant) -> Kind:
        return Kind.NUMBER if type(node.value) in (int, float) else Kind.NOTHING

    def visit_BinOp(self, node: ast.BinOp) -> Kind:
        left, right = self.visit(node.left), self.visit(node.right)
        product = isinstance(node.op, ast.Mult) and left & right & Kind.INDEX
        bends = product or (isinstance(node.op, _BENDING) and (left | right) & Kind.INDEX)
        return _without_number(left, right) | (Kind.BENT if bends else Kind.NOTHING)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Kind:
        return self.visit(node.operand)  # type: ignore[no-any-return]

    def visit_Compare(self, node: ast.Compare) -> Kind:
        if all(isinstance(operator, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for operator in node.ops):
            return Kind.NOTHING
        return self._any(node.left, *node.comparators) & ~Kind.NUMBER

    def visit_BoolOp(self, node: ast.BoolOp) -> Kind:
        return self._any(*node.values) & ~Kind.NUMBER

    def visit_IfExp(self, node: ast.IfExp) -> Kind:
        steering: Kind = self.visit(node.test) & Kind.INDEX
        return _without_number(self.visit(node.body), self.visit(node.orelse)) | steering

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Kind:
        return self.visit(node.value)  # type: ignore[no-any-return]

    def visit_Subscript(self, node: ast.Subscript) -> Kind:
        return self.visit(node.value) & ~Kind.NUMBER  # type: ignore[no-any-return]

    def visit_Attribute(self, node: ast.Attribute) -> Kind:
        if self.vocabulary.is_function(node, DEVICE_RANGES):
            return Kind.RANGE
        kind = self.visit(node.value)
        if node.attr in _SHAPE_LIKE:
            kind &= ~Kind.TENSOR
        return kind & ~Kind.NUMBER  # type: ignore[no-any-return]

    def visit_Call(self, node: ast.Call) -> Kind:
        if self.vocabulary.makes_tensor(node.func):
            return Kind.TENSOR
        meaning = self.vocabulary.meaning(node.func)
        if meaning == (LANGUAGE, "program_id"):
            return Kind.INDEX
        given = self._any(*node.args, *(keyword.value for keyword in node.keywords))
        if isinstance(node.func, ast.Attribute) and meaning is None:
            owner = self.visit(node.func.value)
            if owner & Kind.TENSOR and node.func.attr in _TENSOR_METHODS:
                return Kind.TENSOR
            given |= owner
        if given & Kind.TENSOR:
            given = given & ~Kind.TENSOR | Kind.DATA
        return given & (Kind.DATA | Kind.INDEX)


def _without_number(a: Kind, b: Kind) -> Kind:
    """The kind of what is made of both: a number only where both are."""
    return (a | b) if a & b & Kind.NUMBER else (a | b) & ~Kind.NUMBER
