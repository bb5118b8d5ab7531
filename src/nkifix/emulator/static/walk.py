"""A walk over one kernel function, statement by statement, as the tracer would meet them.

It keeps what each variable may hold and in which device scope it was bound, and asks the rules of
:mod:`nkifix.emulator.static.scopes` and :mod:`nkifix.emulator.static.shapes` at every statement.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from nkifix.emulator.static import scopes, shapes
from nkifix.emulator.static.findings import Finding
from nkifix.emulator.static.values import Binding, Kind, Scope, kind_of
from nkifix.emulator.static.vocabulary import Vocabulary, constants_of

Function = ast.FunctionDef | ast.AsyncFunctionDef
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass
class Walk:
    """The state of a walk.

    Attributes
    ----------
    names:
        Variable -> the bindings that may be the last one.
    scope:
        The device scopes around the current statement.
    openers:
        Number of a device scope -> the line that opens it, and in words.
    """

    file: str
    vocabulary: Vocabulary
    constants: dict[str, int]
    names: dict[str, tuple[Binding, ...]] = field(default_factory=dict)
    scope: Scope = ()
    openers: dict[int, scopes.Opener] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def function(self, node: Function) -> None:
        """Walk over a function's body, in the scope of its caller: what it captures is legal to use."""
        before = self.names, self.scope
        captured = {name: tuple(_anywhere(one) for one in bindings) for name, bindings in self.names.items()}
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        parameters = {one.arg: (Binding(Kind.NOTHING, (), node.lineno),) for one in every if one}
        self.names, self.scope = {**captured, **parameters}, ()
        self.constants = {**self.constants, **constants_of(node.body)}
        self.block(node.body)
        self.names, self.scope = before

    def block(self, statements: list[ast.stmt]) -> None:
        """Walk over statements in order."""
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """Walk over one statement."""
        handler: Callable[[ast.stmt], None] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is not None:
            handler(node)
            return
        for value in _expressions(node):
            self.use(value)
        for inner in ("body", "handlers", "orelse", "finalbody"):
            for statement in getattr(node, inner, ()):
                self.block(statement.body) if isinstance(statement, ast.ExceptHandler) else self.statement(statement)

    def use(self, node: ast.expr) -> None:
        """Evaluate an expression: what it reads must be in scope, and its calls be legal here."""
        self.findings += scopes.out_of_scope(self, node)
        self.findings += scopes.shared_in_scope(self, node)
        self.findings += scopes.bent_masks(self, node)

    def bind(self, target: ast.expr, value: ast.expr | None, kind: Kind) -> None:
        """Assign to a target."""
        if isinstance(target, ast.Name):
            self.names[target.id] = (Binding(kind, self.scope, target.lineno),)
        elif isinstance(target, (ast.Tuple, ast.List)):
            pairs = (
                value.elts if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts) else None
            )
            for number, element in enumerate(target.elts):
                part = pairs[number] if pairs else None
                inner = self.kind(part) if part is not None else kind & ~(Kind.TENSOR | Kind.NUMBER)
                self.bind(element, part, inner)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, None, Kind.NOTHING)
        else:
            self.use(target)

    def kind(self, node: ast.expr) -> Kind:
        """The kind of an expression here."""
        return kind_of(node, self.names, self.vocabulary)

    # ---------------------------------------------------------------------------------------- statements

    def _functiondef(self, node: ast.FunctionDef) -> None:
        self.names[node.name] = (Binding(Kind.NOTHING, self.scope, node.lineno),)
        constants = self.constants
        self.function(node)
        self.constants = constants

    def _classdef(self, node: ast.ClassDef) -> None:
        """A class inside a kernel is Python's."""

    def _assign(self, node: ast.Assign) -> None:
        self.use(node.value)
        kind = self.kind(node.value)
        for target in node.targets:
            self.bind(target, node.value, kind)

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value is None:
            return
        self.use(node.value)
        self.findings += shapes.mismatch(node, self.file, self.vocabulary, self.constants)
        self.bind(node.target, node.value, self.kind(node.value))

    def _augassign(self, node: ast.AugAssign) -> None:
        self.use(node.value)
        if not isinstance(node.target, ast.Name):
            self.use(node.target)
            return
        reading = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        self.use(reading)
        kind = self.kind(reading)
        if not kind & Kind.TENSOR:  # a tensor is updated in place
            self.bind(node.target, None, self.kind(ast.BinOp(reading, node.op, node.value)))

    def _for(self, node: ast.For) -> None:
        self.use(node.iter)
        if not self._is_device_loop(node.iter):
            before = dict(self.names)
            self.bind(node.target, None, self.kind(node.iter) & Kind.INDEX)
            self.block(node.body)
            self._merge(before)
            self.block(node.orelse)
            return
        self.findings += scopes.carried_numbers(self, node)
        opener = scopes.Opener(node.lineno, f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}")
        self._in_scope(opener, node.body, index=node.target)
        self.block(node.orelse)

    def _is_device_loop(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Name) and node.func.id in ("enumerate", "zip", "reversed"):
            return any(self._is_device_loop(one) for one in node.args)
        plain = isinstance(node.func, ast.Name) and node.func.id == "range" and "range" not in self.names
        return plain or bool(self.kind(node.func) & Kind.RANGE)

    def _while(self, node: ast.While) -> None:
        self.use(node.test)
        self.findings += scopes.conditional_entry(self, node)
        before = dict(self.names)
        self.block(node.body)
        self._merge(before)
        self.block(node.orelse)

    def _if(self, node: ast.If) -> None:
        self.use(node.test)
        if self.kind(node.test) & Kind.INDEX:
            condition = ast.unparse(node.test)
            self._in_scope(scopes.Opener(node.lineno, f"if {condition}"), node.body)
            if node.orelse:
                line = node.orelse[0].lineno
                self._in_scope(scopes.Opener(line, f"else of if {condition}"), node.orelse)
            return
        before = dict(self.names)
        self.block(node.body)
        after, self.names = self.names, before
        self.block(node.orelse)
        if _ends(node.orelse):
            self.names = after
        elif not _ends(node.body):
            self._merge(after)

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            self.use(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, None, Kind.NOTHING)
        self.block(node.body)

    def _in_scope(self, opener: scopes.Opener, body: list[ast.stmt], index: ast.expr | None = None) -> None:
        outer = self.scope
        number = len(self.openers)
        self.openers[number] = opener
        self.scope = (*outer, number)
        if index is not None:
            self.bind(index, None, Kind.INDEX)
        self.block(body)
        self.scope = outer

    def _merge(self, other: dict[str, tuple[Binding, ...]]) -> None:
        """Either set of bindings may hold from here on."""
        for name, bindings in other.items():
            mine = self.names.get(name, ())
            self.names[name] = (*mine, *(one for one in bindings if one not in mine))


def _anywhere(binding: Binding) -> Binding:
    return Binding(binding.kind, (), binding.line)


def _ends(statements: list[ast.stmt]) -> bool:
    return bool(statements) and isinstance(statements[-1], _ENDS)


def _expressions(node: ast.stmt) -> list[ast.expr]:
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
