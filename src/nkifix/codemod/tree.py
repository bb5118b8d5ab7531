"""The nodes of a file's tree: in the file's order, by type, and what each lies in.

They are listed in one pass, since LibCST makes a copy of a node to tell what is below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import libcst as cst

Node = TypeVar("Node", bound=cst.CSTNode)


class Tree:
    """All nodes of ``root``.

    Raises
    ------
    RecursionError
        It is nested too deeply; nothing that is done with the tree later goes deeper into the stack than this.
    """

    def __init__(self, root: cst.CSTNode) -> None:
        lister = _Lister()
        root.visit(lister)
        self._nodes = lister.nodes
        self._ends = lister.ends
        self._parents = lister.parents

    @property
    def has_repeated_nodes(self) -> bool:
        """Whether one node stands at two places, so that it has no place of its own."""
        return len(self._ends) < len(self._nodes)

    def walk(self, node: cst.CSTNode) -> Sequence[cst.CSTNode]:
        """Return ``node`` and all below it, in the file's order."""
        start, end = self._ends[node]
        return self._nodes[start:end]

    def nodes(self, kind: type[Node], node: cst.CSTNode) -> Iterator[Node]:
        """Yield the nodes of exactly that type among ``node`` and all below it, in the file's order."""
        # LibCST's classes are abstract ones: isinstance takes ten times as long.
        for one in self.walk(node):
            if type(one) is kind:
                yield one

    def path(self, node: cst.CSTNode, top: cst.CSTNode) -> tuple[cst.CSTNode, ...]:
        """Return the nodes that contain ``node``, from ``top`` inwards."""
        path: list[cst.CSTNode] = []
        while node is not top:
            node = self._parents[node]
            path.append(node)
        return tuple(reversed(path))


class _Lister(cst.CSTVisitor):
    """Lists nodes as they are visited, with the numbers of their first and behind their last one."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[cst.CSTNode] = []
        self.ends: dict[cst.CSTNode, tuple[int, int]] = {}
        self.parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self._around: list[cst.CSTNode] = []
        self._starts: list[int] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._around:
            self.parents[node] = self._around[-1]
        self._around.append(node)
        self._starts.append(len(self.nodes))
        self.nodes.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._around.pop()
        self.ends[original_node] = (self._starts.pop(), len(self.nodes))

    def on_visit_attribute(self, node: cst.CSTNode, attribute: str) -> None:
        """Nothing: by default, LibCST looks for a method of each attribute's name."""

    def on_leave_attribute(self, original_node: cst.CSTNode, attribute: str) -> None:
        """Nothing, as in :meth:`on_visit_attribute`."""
