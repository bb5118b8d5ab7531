"""Rules about scopes: what a device loop or branch binds, counts or allocates.

Source: error catalogue of Neuron SDK 2.26 (``err_local_variable_used_out_of_scope``,
``err_shared_hbm_must_in_kernel_level``, ``err_while_loop_requires_unconditional_entry``), and the programming model:
the tracer executes a loop's body once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nkifix.emulator.static.findings import Finding
from nkifix.emulator.static.values import Binding, Kind, Scope
from nkifix.emulator.static.vocabulary import CREATORS, LANGUAGE

if TYPE_CHECKING:
    from nkifix.emulator.static.walk import Walk


@dataclass(frozen=True)
class Opener:
    """What opens a device scope: its line, and the statement in words."""

    line: int
    text: str


def out_of_scope(walk: Walk, node: ast.expr) -> Iterator[Finding]:
    """Tensors that ``node`` reads and that were bound in a scope which has ended."""
    for name in _reads(node):
        bindings = walk.names.get(name.id, ())
        ended = [one for one in bindings if one.kind & Kind.TENSOR and not _encloses(one.scope, walk.scope)]
        if not ended or len(ended) < len(bindings):
            continue
        binding = ended[0]
        opener = walk.openers[_first_beyond(binding, walk.scope)]
        yield Finding(
            rule="err_local_variable_used_out_of_scope",
            file=walk.file,
            line=name.lineno,
            names=(name.id,),
            what=f"the tensor {name.id!r} is used here, outside of the scope that it is bound in",
            why=f"line {binding.line} binds it inside {opener.text!r} of line {opener.line}, and the compiler gives "
            "loops and branches on loop indices a scope of their own",
            next_step=f"allocate {name.id} before line {opener.line} with nl.ndarray, and fill it inside with "
            f"{name.id}[...] = ...",
        )


def _reads(node: ast.expr) -> Iterator[ast.Name]:
    """The variables that an expression reads, less those that a comprehension or a lambda binds itself."""
    own: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.comprehension):
            own |= {one.id for one in ast.walk(part.target) if isinstance(one, ast.Name)}
        elif isinstance(part, ast.Lambda):
            own |= {one.arg for one in ast.walk(part.args) if isinstance(one, ast.arg)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id not in own:
            yield part


def _encloses(outer: Scope, inner: Scope) -> bool:
    return inner[: len(outer)] == outer


def _first_beyond(binding: Binding, scope: Scope) -> int:
    """The outermost scope around the binding that is not around the use."""
    return next(one for depth, one in enumerate(binding.scope) if scope[depth : depth + 1] != (one,))


def shared_in_scope(walk: Walk, node: ast.expr) -> Iterator[Finding]:
    """Outputs that ``node`` allocates inside a device scope."""
    if not walk.scope:
        return
    opener = walk.openers[walk.scope[-1]]
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or not walk.vocabulary.is_function(call.func, CREATORS):
            continue
        places = [keyword.value for keyword in call.keywords if keyword.arg == "buffer"]
        if any(walk.vocabulary.meaning(place) == (LANGUAGE, "shared_hbm") for place in places):
            yield Finding(
                rule="err_shared_hbm_must_in_kernel_level",
                file=walk.file,
                line=call.lineno,
                names=(),
                what=f"a shared_hbm tensor is created inside {opener.text!r} of line {opener.line}",
                why="outputs belong to the kernel as a whole",
                next_step=f"create it before line {opener.line}, at the top level of the kernel",
            )


def bent_masks(walk: Walk, node: ast.expr) -> Iterator[Finding]:
    """Masks of the language's functions that are not affine in the indices of loops, a plain ``range`` included."""
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or walk.vocabulary.meaning(call.func) is None:
            continue
        for keyword in call.keywords:
            if keyword.arg == "mask" and walk.kind(keyword.value) & Kind.BENT:
                yield Finding(
                    rule="err_unsupported_expression_in_mask",
                    file=walk.file,
                    line=keyword.value.lineno,
                    names=tuple(dict.fromkeys(name.id for name in _reads(keyword.value))),
                    what=f"'mask={ast.unparse(keyword.value)}' is not affine in the loops' indices",
                    why="a mask compares sums of indices times constants; a remainder, a quotient or a product of "
                    "indices is none",
                    next_step="split the loop in two, or make it an nl.static_range",
                )


def conditional_entry(walk: Walk, node: ast.While) -> Iterator[Finding]:
    """A ``while`` whose condition depends on tensors before the first round."""
    if not walk.kind(node.test) & (Kind.TENSOR | Kind.DATA):
        return
    yield Finding(
        rule="err_while_loop_requires_unconditional_entry",
        file=walk.file,
        line=node.lineno,
        names=tuple(dict.fromkeys(name.id for name in _reads(node.test))),
        what=f"'while {ast.unparse(node.test)}' decides on its first round by what a tensor holds",
        why="only the do-while pattern exists: the condition is computed at the end of a round",
        next_step="enter unconditionally, and let the last statement of the body compute the condition",
    )


def carried_numbers(walk: Walk, loop: ast.For) -> Iterator[Finding]:
    """Python numbers from before a device loop that its body changes, and that matter to the device."""
    for update, name in _updates(loop):
        bindings = walk.names.get(name, ())
        if not bindings or not all(one.kind & Kind.NUMBER for one in bindings):
            continue
        used = next(_uses_of_number(loop, name), None)
        if used is None:
            continue
        yield Finding(
            rule="loop-carried-python-value",
            file=walk.file,
            line=update.lineno,
            names=(name,),
            what=f"the loop of line {loop.lineno} changes the Python number {name!r}, which line {used.lineno} uses",
            why="the compiler executes a loop's body once, with a symbolic index: the number changes once, not once "
            "per iteration as it does here",
            next_step=f"compute it from the loop's index ({ast.unparse(loop.target)} * step), or unroll with "
            "nl.static_range",
        )


def _updates(loop: ast.For) -> Iterator[tuple[ast.stmt, str]]:
    """Statements of a loop's body that give a variable a value made of its old one; each variable once."""
    seen: set[str] = set()
    fresh: set[str] = set()
    for node in _in_order(loop.body):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name, reads_itself = node.target.id, True
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            reads_itself = any(one.id == name for one in _reads(node.value))
        else:
            continue
        if not reads_itself:
            fresh.add(name)  # set anew in every iteration
        elif name not in seen | fresh:
            seen.add(name)
            yield node, name


def _in_order(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes below the statements, in source order; not those of nested functions."""
    for statement in statements:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from _in_order(getattr(statement, name, []))


def _uses_of_number(loop: ast.For, name: str) -> Iterator[ast.expr]:
    """Where the loop's body uses a number for the device: as an index or an argument, but not as an address.

    ``buffer=`` is left out: shipped kernels count addresses up while they allocate, and mean them once.
    """
    for part in _device_parts(loop):
        for read in _reads(part):
            if read.id == name:
                yield read


def _device_parts(node: ast.AST) -> Iterator[ast.expr]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword) and child.arg == "buffer":
            continue
        if isinstance(child, ast.Subscript):
            yield child.slice
        elif isinstance(child, ast.Call) and not (isinstance(child.func, ast.Name) and child.func.id == "print"):
            yield from child.args
            yield from (keyword.value for keyword in child.keywords if keyword.arg != "buffer")
        yield from _device_parts(child)
