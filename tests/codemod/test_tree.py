"""The nodes of a tree, against LibCST's own way to tell them."""

from __future__ import annotations

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

from nkifix.codemod.source import Source, UnsureError
from nkifix.codemod.tree import Tree

CODE = """\
import a.b as c  # why

@decorated(1, *x, key=[2 ** y for y in z if y])
def outer(first, /, second: int = 3, *rest, only=None, **named) -> "text":
    '''Docs.'''
    with (open(first) as file, other):
        yield from f"{first!r:>{second}} {rest}"
    try:
        x ,( y,  *_ )  = lambda  q , * , r = 1 :( q  ,r )
    except* (A, B) as error:
        raise error from None
    else:
        del x[1:2, ..., ::3]
    finally:
        async def inner(): return await only

match first:
    case {"a": [1, *_], **others} | Point(x=0) as whole if others: pass
"""


def below(node: cst.CSTNode) -> list[cst.CSTNode]:
    return [node, *(one for child in node.children for one in below(child))]


@pytest.fixture(scope="module")
def module() -> cst.Module:
    return cst.parse_module(CODE)


def test_walk_gives_what_libcst_gives(module: cst.Module) -> None:
    tree = Tree(module)
    for node in below(module):
        missing = {id(one): one for one in tree.walk(node)}
        assert {id(one) for one in below(node)} <= set(missing)
        for one in below(node):
            missing.pop(id(one), None)
        # LibCST 1.1 does not tell the white space before the ``if`` of a case.
        assert all(type(one) is cst.SimpleWhitespace for one in missing.values())


def test_nodes_come_in_the_files_order(module: cst.Module) -> None:
    # Children do not: LibCST tells the white space behind a keyword, for one, before the keyword's value.
    tree = Tree(module)
    starts = [tree.places(node)[0] for node in tree.walk(module) if isinstance(node, cst.Name | cst.Integer)]
    assert starts == sorted(starts)
    assert [tree.walk(node)[0] is node for node in tree.walk(module)] == [True] * len(tree.walk(module))


def test_places_and_code_are_those_of_libcst(module: cst.Module) -> None:
    tree = Tree(module)
    ranges = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    assert tree.code == module.code
    for node in below(module):
        there = ranges[node]
        assert tree.places(node) == ((there.start.line, there.start.column), (there.end.line, there.end.column)), node


def test_nodes_are_those_of_exactly_that_type(module: cst.Module) -> None:
    tree = Tree(module)
    outer = next(tree.nodes(cst.FunctionDef, module))
    assert outer.name.value == "outer"
    assert [one.name.value for one in tree.nodes(cst.FunctionDef, outer)] == ["outer", "inner"]
    assert not list(tree.nodes(cst.BaseExpression, module))  # type: ignore[type-abstract]


def test_path_leads_from_the_top_to_the_parent(module: cst.Module) -> None:
    tree = Tree(module)
    outer = next(tree.nodes(cst.FunctionDef, module))
    for name in tree.nodes(cst.Name, outer):
        path = tree.path(name, outer)
        assert path[0] is outer
        for parent, child in zip(path, (*path[1:], name), strict=True):
            assert any(child is one for one in parent.children)
    assert tree.path(outer, outer) == ()


def test_node_at_two_places_is_noticed(module: cst.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    name = cst.Name("twice")
    shared = cst.Module([cst.SimpleStatementLine([cst.Expr(cst.BinaryOperation(name, cst.Add(), name))])])
    assert not Tree(module).has_repeated_nodes
    assert Tree(shared).has_repeated_nodes
    monkeypatch.setattr(cst, "parse_module", lambda _: shared)
    with pytest.raises(UnsureError, match="does not give the file back"):
        Source.parse(b"twice + twice\n")
