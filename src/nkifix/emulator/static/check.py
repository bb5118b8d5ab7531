"""Running the static rules: over a source text, or over a function that is about to be launched."""

from __future__ import annotations

import ast
import inspect
import linecache
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from nkifix.emulator.static.findings import Finding
from nkifix.emulator.static.vocabulary import KERNEL_DECORATORS, Vocabulary
from nkifix.emulator.static.walk import Function, Walk


def check_source(text: str, filename: str) -> list[Finding]:
    """All findings in a module's source, in the order of its lines; nothing of it is executed.

    Kernels are the functions that a decorator of the language wraps, or that call its functions.

    Raises
    ------
    SyntaxError
        Where the text is no Python.
    """
    found = (one for findings, _ in _checked(text, filename).values() for one in findings)
    return sorted(set(found), key=lambda one: (one.line, one.rule, one.names))


def check_function(function: Callable[..., Any]) -> list[Finding]:
    """The findings in a function and in the functions of its module that it calls, directly or not.

    A function whose source is not to be had (an interactive session) has none.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return []
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    return list(_reachable(text, code.co_filename, code.co_name, code.co_firstlineno))


@lru_cache(maxsize=256)
def _reachable(text: str, filename: str, name: str, line: int) -> tuple[Finding, ...]:
    """The findings of the function of that name and first line, and of those that it calls."""
    try:
        functions = _checked(text, filename)
    except SyntaxError:  # the file changed under the running program
        return ()
    found: dict[Finding, None] = {}
    waiting = [(name, line)]
    seen = set(waiting)
    while waiting:
        findings, called = functions.get(waiting.pop(), ((), ()))
        found.update(dict.fromkeys(findings))
        further = [key for key in functions if key[0] in called and key not in seen]
        seen.update(further)
        waiting += further
    return tuple(sorted(found, key=lambda one: one.line))


_Checked: TypeAlias = dict[tuple[str, int], tuple[list[Finding], frozenset[str]]]
"""Name and first line of a function -> its findings, and the names that it calls."""


@lru_cache(maxsize=32)
def _checked(text: str, filename: str) -> _Checked:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the interpreter gave them when it compiled the file
        tree = ast.parse(text, filename)
    vocabulary = Vocabulary(tree)
    checked: _Checked = {}
    for node in _functions(tree):
        walk = Walk(filename, vocabulary, dict(vocabulary.constants))
        if _is_kernel(node, vocabulary):
            walk.function(node)
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        checked[node.name, first] = walk.findings, _calls(node)
    return checked


def _functions(node: ast.AST) -> Iterator[Function]:
    """All functions, nested ones too: those may be kernels inside a function of the host."""
    return (one for one in ast.walk(node) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _is_kernel(node: Function, vocabulary: Vocabulary) -> bool:
    for decorator in node.decorator_list:
        meaning = vocabulary.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if meaning is not None and meaning[1] in KERNEL_DECORATORS:
            return True
    return any(vocabulary.makes_tensor(call.func) for call in _own_calls(node))


def _calls(node: Function) -> frozenset[str]:
    return frozenset(call.func.id for call in _own_calls(node) if isinstance(call.func, ast.Name))


def _own_calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls in a function, less those of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from _own_calls(child)
