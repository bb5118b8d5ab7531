"""What fixes share to find their way in the kernel file, and to say what is to change there.

Fixes compare code with :func:`says`, which sees neither white space nor comments, parentheses or trailing commas: a
formatter makes no difference. They name the functions and variables of the kernel that users have; where one of those
is missing, or holds something else, :class:`UnsureError` says what was expected and on which line.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst

from nkifix.codemod.source import Edit, Source, UnsureError

KERNEL = "flash_fwd"
CORE = "_flash_attention_core"
"""The helper that works on one tile of queries and one tile of keys."""

_LAYOUT = (
    cst.BaseParenthesizableWhitespace,
    cst.TrailingWhitespace,
    cst.LeftParen,
    cst.RightParen,
    cst.Comma,
    cst.AssignEqual,
)
_REST_OF_LINE = re.compile(r"(?:[ \t\f;]|\\(?:\r\n?|\n))*(?:#[^\r\n]*)?")


@dataclass(frozen=True)
class Assignment:
    """A plain assignment of ``value`` to one name."""

    line: cst.SimpleStatementLine | cst.SimpleStatementSuite
    value: cst.BaseExpression


@functools.lru_cache(maxsize=1 << 14)  # twice a kernel file
def children(node: cst.CSTNode) -> tuple[cst.CSTNode, ...]:
    """Return the nodes right below ``node``, in the file's order; LibCST makes a copy of it to tell them."""
    return tuple(node.children)


def only_function(source: Source, name: str = KERNEL) -> cst.FunctionDef:
    """Return the one function of that name.

    Raises
    ------
    UnsureError
        There is none, or another one.
    """
    found = [node for node in source.tree.nodes(cst.FunctionDef, source.module) if node.name.value == name]
    if not found:
        raise UnsureError(f"expected a function {name}, found none: this is not the kernel file")
    first, *others = found
    if others:
        raise UnsureError(f"expected one function {name}, found another", source.line(others[0]))
    return first


def says(node: cst.CSTNode, expression: str) -> bool:
    """Whether ``node`` is that expression, however it is laid out."""
    return _shape(node) == _known_shape(expression)


@functools.cache
def _known_shape(expression: str) -> tuple[Any, ...]:
    return _shape(cst.parse_expression(expression))


def _shape(node: cst.CSTNode) -> tuple[Any, ...]:
    """Return the node's type, its own text and the same of all below it, without the layout."""
    text = [getattr(node, name, None) for name in ("value", "star")]
    below = (_shape(child) for child in children(node) if not isinstance(child, _LAYOUT))
    return type(node), *(part for part in text if isinstance(part, str)), *below


def only_assignment(source: Source, function: cst.FunctionDef, name: str) -> Assignment:
    """Return the one assignment to ``name`` in ``function``.

    Raises
    ------
    UnsureError
        There is none, or another one.
    """
    found = [
        Assignment(line, value)
        for line in source.tree.walk(function)
        if type(line) is cst.SimpleStatementLine or type(line) is cst.SimpleStatementSuite
        for statement in line.body
        for value in _values_for(statement, name)
    ]
    if len(found) != 1:
        where = source.line(found[1].line) if found else source.line(function)
        raise UnsureError(f"expected one assignment to {name} in {function.name.value}, found {len(found)}", where)
    return found[0]


def _values_for(statement: cst.CSTNode, name: str) -> Iterator[cst.BaseExpression]:
    """Yield what ``statement`` assigns to ``name``, if it does."""
    if isinstance(statement, cst.Assign):
        targets = [target.target for target in statement.targets]
    elif isinstance(statement, cst.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return
    if any(isinstance(target, cst.Name) and target.value == name for target in targets):
        assert statement.value is not None
        yield statement.value


def keyword(source: Source, call: cst.BaseExpression, function: str, name: str) -> cst.BaseExpression:
    """Return the value of the keyword argument ``name`` of ``call``, which must call ``function``.

    Raises
    ------
    UnsureError
        It is another expression, or has no such argument.
    """
    if isinstance(call, cst.Call) and says(call.func, function):
        for argument in call.args:
            if argument.keyword is not None and argument.keyword.value == name:
                return argument.value
    raise UnsureError(f"expected a call {function}(…, {name}=…)", source.line(call))


def has_assertion(source: Source, function: cst.FunctionDef, test: str) -> bool:
    """Whether ``function`` asserts ``test``."""
    return any(says(node.test, test) for node in source.tree.nodes(cst.Assert, function))


def replaced(source: Source, node: cst.CSTNode, text: str) -> Edit:
    """Replace ``node``, without parentheses around it, by ``text``."""
    start, end = source.span(node)
    return Edit(start, source.text[start:end], text)


def without_comment(source: Source, trailing: cst.TrailingWhitespace) -> Edit:
    """Take away the comment at the end of a line, with the space before it."""
    assert trailing.comment is not None
    start, _ = source.span(trailing.comment)
    gap = trailing.whitespace.value
    return Edit(start - len(gap), gap + trailing.comment.value, "")


def end_with_parentheses(source: Source, node: cst.BaseExpression) -> int:
    """Return where ``node`` ends, with the parentheses around it."""
    closing = getattr(node, "rpar", ())
    return source.span(closing[-1] if closing else node)[1]


def added_behind(source: Source, assignment: Assignment, code: str) -> Edit:
    """Add the lines of ``code`` behind the line of ``assignment``, as deep as that and ended like it.

    ``code`` indents by four spaces; the file's own unit takes their place.

    Raises
    ------
    UnsureError
        The assignment does not stand on a line of its own.
    """
    start, _ = source.span(assignment.line.body[0])
    _, end = source.span(assignment.line.body[-1])
    indent = source.text[source.line_start(start) : start].rpartition("\f")[2]
    if indent.strip(" \t") or isinstance(assignment.line, cst.SimpleStatementSuite):
        raise UnsureError("expected this assignment on a line of its own", source.line(assignment.line.body[0]))
    rest = _REST_OF_LINE.match(source.text, end)
    assert rest is not None
    newline = source.newline_near(rest.end())
    unit = source.module.default_indent
    lines = (indent + line.replace("    ", unit) for line in code.splitlines())
    return Edit(rest.end(), "", "".join(newline + line for line in lines))


def added_before(source: Source, function: cst.FunctionDef, code: str) -> Edit:
    """Add ``code`` and two empty lines before a function of the module, its decorators and the comments above them."""
    first = function.decorators[0] if function.decorators else function
    start = source.span(first)[0]
    position = source.line_start(start)
    if source.text[position:start].strip("\f"):
        raise UnsureError(f"expected {function.name.value} at the left margin", source.line(function))
    while position and source.text[above := source.line_start(position - 1)] == "#":
        position = above
    newline = source.newline_near(position)
    unit = source.module.default_indent
    lines = (line.replace("    ", unit) for line in (*code.splitlines(), "", ""))
    return Edit(position, "", "".join(line + newline for line in lines))
