"""What a mutation run changes: every mutant of a module, as a replacement of bytes. It runs nothing."""

from __future__ import annotations

import ast
import copy
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

SWAPS: dict[type[ast.AST], tuple[type[Any], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
"""Each operator and what it is mistaken for: the neighbouring boundary first, then the opposite."""

WORD = re.compile(r"[\w.-]+")
"""A string that is a code, a key or a name; prose is left alone."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change to one module, as a replacement of bytes."""

    module: str
    lines: tuple[int, int]
    span: tuple[int, int]
    replacement: str
    source_line: str
    change: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the mutant for good: line numbers move, the line's text stays."""
        return (self.module, self.source_line, self.change)

    def apply(self, source: bytes) -> bytes:
        """The mutated module."""
        return source[: self.span[0]] + self.replacement.encode() + source[self.span[1] :]


def with_field(node: ast.AST, field: str, value: object) -> ast.AST:
    """A copy of ``node`` with one field changed."""
    changed = copy.copy(node)
    setattr(changed, field, value)
    return changed


def other_constants(value: object) -> Iterator[ast.Constant]:
    """The opposite of a truth value, the next number, another word."""
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case str() if WORD.fullmatch(value):
            yield ast.Constant(f"{value}_mutated")


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Every changed version of one node, its children left as they are."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in SWAPS.get(type(operator), ()):
                    yield with_field(node, "ops", [*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BoolOp() | ast.BinOp() | ast.AugAssign():
            for other in SWAPS.get(type(node.op), ()):
                yield with_field(node, "op", other())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant():
            yield from other_constants(node.value)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield with_field(node, "value", ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield ast.Pass()


def condition_of(node: ast.AST) -> ast.expr | None:
    """A condition that is a bare name or call, and so has no operator of its own to swap."""
    test = getattr(node, "test", None)
    plain = (ast.Name, ast.Attribute, ast.Call, ast.Subscript)
    return test if isinstance(node, ast.If | ast.IfExp | ast.While) and isinstance(test, plain) else None


def decides_nothing(node: ast.AST) -> bool:
    """A docstring, an f-string, or a statement for type checkers and import machinery only."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr():
            return True
        case ast.If(test=condition):
            return bool(re.search(r"\b(TYPE_CHECKING|__name__)\b", ast.unparse(condition)))
        case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
            return True
        case ast.Subscript(value=generic):
            return ast.unparse(generic).endswith("Literal")
    return False


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of ``node`` that can change what it does: no annotations and no decorators."""
    skipped = {"annotation", "returns", "decorator_list"}
    for field, value in ast.iter_fields(node):
        if field not in skipped:
            yield from (part for part in (value if isinstance(value, list) else [value]) if isinstance(part, ast.AST))


def find_mutants(module: str, source: bytes) -> list[Mutant]:
    """All mutants of one module, in the order of its text."""
    starts = [0]
    text_lines = source.split(b"\n")
    for line in text_lines:
        starts.append(starts[-1] + len(line) + 1)

    def mutant(old: ast.expr | ast.stmt, new: ast.AST, lines: tuple[int, int]) -> Mutant:
        span = (starts[old.lineno - 1] + old.col_offset, starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0))
        replacement = ast.unparse(new) if isinstance(new, ast.stmt) else f"({ast.unparse(new)})"
        return Mutant(
            module=module,
            lines=lines,
            span=span,
            replacement=replacement,
            source_line=text_lines[old.lineno - 1].decode().strip(),
            change=f"{ast.unparse(old)} -> {ast.unparse(new)}",
        )

    found: list[Mutant] = []

    def walk(node: ast.AST, lines: tuple[int, int] | None, in_raise: bool) -> None:
        if decides_nothing(node):
            return
        # A statement's lines count as one, but a block's header must not reach over its body.
        if isinstance(node, ast.expr | ast.stmt) and lines is None and not hasattr(node, "body"):
            lines = (node.lineno, node.end_lineno or node.lineno)
        if isinstance(node, ast.expr | ast.stmt) and (isinstance(node, ast.Constant) or not in_raise):
            here = lines or (node.lineno, node.lineno)
            found.extend(mutant(node, new, here) for new in variants(node))
        condition = condition_of(node)
        if condition is not None and not in_raise:
            here = lines or (condition.lineno, condition.end_lineno or condition.lineno)
            found.append(mutant(condition, ast.UnaryOp(op=ast.Not(), operand=condition), here))
        for child in children(node):
            walk(child, None if isinstance(child, ast.stmt) else lines, in_raise or isinstance(node, ast.Raise))

    walk(ast.parse(source), None, in_raise=False)
    return numbered(sorted(found, key=lambda one: (one.span, one.change)))


def numbered(found: list[Mutant]) -> list[Mutant]:
    """The same mutants, each with a key of its own: the second ``0 -> 1`` on equal lines is ``0 -> 1 #2``."""
    seen: dict[tuple[str, str, str], int] = {}
    unique: list[Mutant] = []
    for one in found:
        seen[one.key] = seen.get(one.key, 0) + 1
        times = seen[one.key]
        unique.append(one if times == 1 else dataclasses.replace(one, change=f"{one.change} #{times}"))
    return unique
