"""What AWS's legacy tracer refuses, or takes for something else than Python does, found in a kernel's source.

The tracer executes the body of a loop once, with a symbolic index. So a condition on an index must be one expression
that it can turn into a predicate, indices must stay affine, nothing of Python may change from turn to turn, and what
is bound inside a block is gone after it. :func:`violations` follows which names hold such an index, from loop to
loop and from function to function, and reports what breaks a rule. It never runs the kernel.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TypeAlias

LOOPS = {"affine_range", "sequential_range", "static_range"}
LANGUAGE = {"nl", "nisa", "nki"}
TRACED_CALLS = {"program_id"}
"""All other functions of the language give tensors, or what is known when the kernel is traced."""
MUTATORS = {"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}
FORBIDDEN: dict[type[ast.AST], str] = {
    ast.While: "while",
    ast.Lambda: "lambda",
    ast.ListComp: "comprehension",
    ast.SetComp: "comprehension",
    ast.DictComp: "comprehension",
    ast.GeneratorExp: "comprehension",
    ast.BoolOp: "and/or between conditions",
    ast.Try: "try",
    ast.With: "with",
    ast.Global: "global",
    ast.Nonlocal: "nonlocal",
    ast.Break: "break",
    ast.Continue: "continue",
}

Traced: TypeAlias = "bool | tuple[Traced, ...]"
"""Whether a value depends on a loop index or program id; for a tuple, each of its items."""


def any_traced(value: Traced) -> bool:
    return any(any_traced(item) for item in value) if isinstance(value, tuple) else value


def either(a: Traced, b: Traced) -> Traced:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return tuple(either(x, y) for x, y in zip(a, b, strict=True))
    if a is False or b is False:  # nothing in it is traced, tuple or not
        return a or b
    return any_traced(a) or any_traced(b)


@dataclass
class Kernel:
    """The functions of a kernel file, and what of each parameter's value is traced."""

    functions: dict[str, ast.FunctionDef]
    parameters: dict[str, dict[str, Traced]] = field(default_factory=dict)
    changed: bool = True

    def note(self, name: str, parameter: str, value: Traced) -> None:
        known = self.parameters.setdefault(name, {})
        joined = either(known[parameter], value) if parameter in known else value
        if known.get(parameter) != joined:
            known[parameter] = joined
            self.changed = True


def violations(source: str) -> list[str]:
    """Every broken rule, as ``line: what``."""
    tree = ast.parse(source)
    kernel = Kernel({node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)})
    found: list[str] = []
    while kernel.changed:  # until no call tells more about a parameter
        kernel.changed = False
        found = []
        for function in kernel.functions.values():
            found += Checker(kernel, function).run()
    return sorted(set(found), key=lambda text: (int(text.split(":")[0]), text))


class Checker(ast.NodeVisitor):
    """One function, statement by statement, in the order of its text."""

    def __init__(self, kernel: Kernel, function: ast.FunctionDef) -> None:
        self.kernel = kernel
        self.function = function
        self.names: dict[str, Traced] = dict(kernel.parameters.get(function.name, {}))
        self.bound: set[str] = {argument.arg for argument in function.args.args}
        self.gone: dict[str, int] = {}
        self.depth = 0
        self.found: list[str] = []

    def run(self) -> list[str]:
        for decorator in self.function.decorator_list:
            if "jit" not in ast.unparse(decorator):
                self.say(decorator, "a decorator that is not nki.jit")
        if not self.function.decorator_list:
            self.say(self.function, "a function without nki.jit")
        for statement in self.function.body:
            self.visit(statement)
        return self.found

    def say(self, node: ast.expr | ast.stmt, what: str) -> None:
        self.found.append(f"{node.lineno}: {what}")

    def traced(self, node: ast.expr) -> Traced:
        if isinstance(node, ast.Tuple):
            return tuple(self.traced(item) for item in node.elts)
        if isinstance(node, ast.Name):
            return self.names.get(node.id, False)
        if isinstance(node, ast.Attribute):
            return False  # shapes and dtypes are known
        if isinstance(node, ast.Subscript):  # a tensor's view is no index, an item of a tuple may be one
            whole, place = self.traced(node.value), node.slice
            if isinstance(whole, tuple) and isinstance(place, ast.Constant) and isinstance(place.value, int):
                return whole[place.value]
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if owner in LANGUAGE:
                return node.func.attr in TRACED_CALLS
        return any(
            any_traced(self.traced(child)) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)
        )

    def is_tensor_or_index(self, node: ast.expr) -> bool:
        return any_traced(self.traced(node))

    # ---------------------------------------------------------------------------------------------- statements

    def visit_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LOOPS):
            self.say(node, "a loop over something else than a range of nki.language")
        self.visit(node.iter)
        before = set(self.bound)
        self.bind(node.target, True)
        self.block(node.body, before, loop=True)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.condition(node.test)
        before = set(self.bound)
        self.block(node.body, before, loop=False)
        self.block(node.orelse, before, loop=False)

    def block(self, body: list[ast.stmt], before: set[str], *, loop: bool) -> None:
        self.depth += 1
        for statement in body:
            for name in names_bound(statement) & before if loop else ():
                self.say(statement, f"{name} is bound before the loop and again inside")
            self.visit(statement)
        self.depth -= 1
        for name in self.bound - before:
            self.gone[name] = body[-1].end_lineno or 0
        self.bound = set(before)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind(target, self.traced(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.say(node, f"{node.target.id} is changed in place, which the tracer does once")
        self.generic_visit(node)

    def bind(self, target: ast.expr, value: Traced) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
            self.bound.add(target.id)
            self.gone.pop(target.id, None)
        elif isinstance(target, ast.Tuple):
            items = value if isinstance(value, tuple) else (value,) * len(target.elts)
            for part, item in zip(target.elts, items, strict=True):
                self.bind(part, item)
        else:
            self.visit(target)

    def condition(self, node: ast.expr) -> None:
        if not self.is_tensor_or_index(node):
            return
        for part in ast.walk(node):
            if isinstance(part, ast.Compare) and len(part.ops) > 1:
                self.say(node, "a chained comparison of traced values")
            if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
                self.say(node, "not of a traced value")
            if isinstance(part, (ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.Eq, ast.NotEq)):
                self.say(node, "a traced value in a comparison that is no inequality")

    # --------------------------------------------------------------------------------------------- expressions

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self.gone:
            self.say(node, f"{node.id} is used after the block that binds it (line {self.gone[node.id]})")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        if self.is_tensor_or_index(node.test):
            self.say(node, "a conditional expression on a traced value")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        left, right = self.is_tensor_or_index(node.left), self.is_tensor_or_index(node.right)
        if isinstance(node.op, (ast.Mod, ast.FloorDiv, ast.Div, ast.Pow)) and (left or right):
            self.say(node, "an index expression that is not affine")
        if isinstance(node.op, ast.Mult) and left and right:
            self.say(node, "a product of two indices")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        text = ast.unparse(node.func)
        if "shared_hbm" in ast.unparse(node) and text == "nl.ndarray" and (self.depth or self.is_helper()):
            self.say(node, "shared_hbm below the kernel's top level")
        if text == "range":
            self.say(node, "a Python range")
        if isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            self.say(node, f"{text} changes a Python object")
        callee = self.kernel.functions.get(text)
        if callee is not None:
            names = [argument.arg for argument in callee.args.args]
            for name, argument in zip(names, node.args, strict=False):
                self.kernel.note(text, name, self.traced(argument))
            for keyword in node.keywords:
                if keyword.arg:
                    self.kernel.note(text, keyword.arg, self.traced(keyword.value))
        self.generic_visit(node)

    def is_helper(self) -> bool:
        return any("trace" in ast.unparse(decorator) for decorator in self.function.decorator_list)

    def generic_visit(self, node: ast.AST) -> None:
        for kind, name in FORBIDDEN.items():
            if isinstance(node, kind) and isinstance(node, (ast.expr, ast.stmt)):
                self.say(node, name)
        if isinstance(node, ast.FunctionDef):
            self.say(node, "a function inside a function")
        super().generic_visit(node)


def names_bound(statement: ast.stmt) -> set[str]:
    """Names that one plain assignment binds."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    parts = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return {part.id for part in parts if isinstance(part.ctx, ast.Store)}
