"""Where the names of one scope are bound and read, in the order in which Python does it.

What runs later (a nested function) or has names of its own (a comprehension) counts where it stands: its reads of the
scope's names are reads, and what it rebinds there (``nonlocal``) makes the name one of unknown fate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Scope: TypeAlias = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMES_AT_RUN_TIME = {"locals", "vars", "globals", "exec", "eval", "__all__"}
"""Whoever reads one of these, or binds it, may read any name of the scope."""


class Kind(Enum):
    """What happens to a name."""

    ASSIGNED = "assigned"
    """By ``=``, alone or in a tuple."""
    BOUND = "bound"
    """In any other way: a parameter, an import, a loop, a definition …"""
    READ = "read"
    OTHER = "other"
    """Deleted, or declared to belong to another scope."""


BINDING = (Kind.ASSIGNED, Kind.BOUND)


@dataclass(frozen=True)
class Occurrence:
    """One name at one place; ``order`` counts occurrences as they are executed."""

    name: str
    kind: Kind
    line: int
    order: int


@dataclass
class Occurrences:
    """The names of a scope."""

    by_name: dict[str, list[Occurrence]] = field(default_factory=dict)
    spans: dict[ast.AST, range] = field(default_factory=dict)
    """Statement -> the orders of the occurrences in it."""
    count: int = 0

    @property
    def dynamic(self) -> bool:
        """Whether names may be read or bound that the text does not show."""
        return not self.by_name.keys().isdisjoint({*_NAMES_AT_RUN_TIME, "*"})

    def of(self, name: str, statements: Sequence[ast.stmt] | None = None) -> list[Occurrence]:
        """Return the occurrences of ``name`` in order: all, or those in consecutive statements of one block."""
        found = self.by_name.get(name, [])
        if statements is None:
            return found
        inside = range(self.spans[statements[0]].start, self.spans[statements[-1]].stop)
        return [one for one in found if one.order in inside]

    def add(self, name: str, kind: Kind, line: int) -> None:
        """Append the next occurrence."""
        self.by_name.setdefault(name, []).append(Occurrence(name, kind, line, self.count))
        self.count += 1

    def all(self) -> list[Occurrence]:
        """Return every occurrence in order."""
        return sorted((one for ones in self.by_name.values() for one in ones), key=lambda one: one.order)


def occurrences(scope: Scope) -> Occurrences:
    """Return the names of a function, its parameters first, or of a module's top level."""
    walker = _Walker()
    if isinstance(scope, _FUNCTIONS):
        walker.parameters(scope.args)
    walker.block(scope.body)
    return walker.names


class _Walker(ast.NodeVisitor):
    """Visits expressions and statements in the order of their evaluation."""

    def __init__(self) -> None:
        self.names = Occurrences()

    def visit(self, node: ast.AST) -> None:
        start = self.names.count
        super().visit(node)
        if isinstance(node, ast.stmt):
            self.names.spans[node] = range(start, self.names.count)

    def block(self, nodes: Sequence[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def parameters(self, arguments: ast.arguments) -> None:
        every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        for argument in filter(None, every):
            self.names.add(argument.arg, Kind.BOUND, argument.lineno)

    # names

    def visit_Name(self, node: ast.Name) -> None:
        kinds = {ast.Load: Kind.READ, ast.Store: Kind.BOUND}
        self.names.add(node.id, kinds.get(type(node.ctx), Kind.OTHER), node.lineno)

    def visit_Constant(self, node: ast.Constant) -> None:
        pass

    def _foreign(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self.names.add(name, Kind.OTHER, node.lineno)

    visit_Global = visit_Nonlocal = _foreign  # noqa: N815

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.names.add(alias.asname or alias.name.partition(".")[0], Kind.BOUND, node.lineno)

    visit_Import = visit_ImportFrom = _import  # noqa: N815

    # bindings, the value before the target

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._target(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self._target(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.names.add(node.target.id, Kind.READ, node.target.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def _target(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.names.add(target.id, Kind.ASSIGNED, target.lineno)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._target(element)
        else:
            self.visit(target)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self.block([node.iter, node.target, *node.body, *node.orelse])

    visit_For = visit_AsyncFor = _for  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.block([node.type])
        if node.name:
            self.names.add(node.name, Kind.BOUND, node.lineno)
        self.block(node.body)

    def _pattern(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        self.generic_visit(node)
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name:
            self.names.add(name, Kind.BOUND, node.lineno)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _pattern  # noqa: N815

    # scopes inside

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        annotations = [argument.annotation for argument in ast.walk(arguments) if isinstance(argument, ast.arg)]
        outside = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, *annotations, node.returns]
        self.block(outside)
        inner = _Walker()
        inner.parameters(arguments)
        inner.block(node.body)
        self._take(inner)
        self.names.add(node.name, Kind.BOUND, node.lineno)

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.block([*node.args.defaults, *node.args.kw_defaults])
        inner = _Walker()
        inner.parameters(node.args)
        inner.visit(node.body)
        self._take(inner)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.block([*node.decorator_list, *node.bases, *node.keywords])
        inner = _Walker()
        inner.block(node.body)
        self._take(inner, hides=False)  # the functions in a class do not see its names
        self.names.add(node.name, Kind.BOUND, node.lineno)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        inner = _Walker()
        for part in node.generators:
            inner.block([part.iter, part.target, *part.ifs])
        inner.block([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        outward = {walrus.target.id for walrus in ast.walk(node) if isinstance(walrus, ast.NamedExpr)}
        for name in outward:
            self.names.add(name, Kind.OTHER, node.lineno)
        self._take(inner)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815

    def _take(self, inner: _Walker, *, hides: bool = True) -> None:
        """Take over what an inner scope does to names that are not its own."""
        own = set(_bound(inner.names)) if hides else set()
        foreign = {one.name for one in inner.names.all() if one.kind is Kind.OTHER}
        for one in inner.names.all():
            if one.name in foreign:
                self.names.add(one.name, Kind.OTHER, one.line)
            elif one.kind is Kind.READ and one.name not in own:
                self.names.add(one.name, Kind.READ, one.line)


def _bound(names: Occurrences) -> Iterator[str]:
    for name, ones in names.by_name.items():
        if any(one.kind in BINDING for one in ones):
            yield name
