"""The nodes of a file's tree: in the file's order, by type, what each lies in, and where it stands.

All of it comes from one pass in which LibCST writes the file again. Asked one by one (children, positions, code), it
needs five times as long, which is most of the time that a kernel file takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import libcst as cst
from libcst.metadata.position_provider import PositionProvidingCodegenState

Node = TypeVar("Node", bound=cst.CSTNode)


class Place(NamedTuple):
    """Where something starts or ends."""

    line: int
    """Counts from 1."""
    column: int
    """In characters; counts from 0."""


class Tree:
    """All nodes of ``module``.

    Raises
    ------
    RecursionError
        It is nested too deeply; nothing that is done with the tree later goes deeper into the stack than this.
    """

    def __init__(self, module: cst.Module) -> None:
        written = _Writing(module)
        module._codegen(written)
        self.code = "".join(written.tokens)
        """What the tree says, to be compared with the file."""
        self._nodes = written.nodes
        self._ends = written.ends
        self._parents = written.parents
        self._ranges = written.ranges

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

    def places(self, node: cst.CSTNode) -> tuple[Place, Place]:
        """Return where ``node`` starts and ends, without the white space that only surrounds it."""
        return self._ranges[node]


class _Writing(PositionProvidingCodegenState):
    """Notes each node as it is written, with the numbers of the first and behind the last one that lies in it."""

    def __init__(self, module: cst.Module) -> None:
        super().__init__(module.default_indent, module.default_newline, provider=None)  # type: ignore[arg-type]
        self.nodes: list[cst.CSTNode] = []
        self.ends: dict[cst.CSTNode, tuple[int, int]] = {}
        self.parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self.ranges: dict[cst.CSTNode, tuple[Place, Place]] = {}
        self._open: list[tuple[cst.CSTNode, int, Place]] = []

    @property
    def _here(self) -> Place:
        return Place(self.line, self.column)

    def add_indent_tokens(self) -> None:
        for token in self.indent_tokens:
            self.add_token(token)

    def add_token(self, value: str) -> None:
        self.tokens.append(value)
        behind = value.rfind("\n") + 1
        if behind:
            self.line += value.count("\n")
            self.column = len(value) - behind
        else:
            self.column += len(value)

    def before_codegen(self, node: cst.CSTNode) -> None:
        if self._open:
            self.parents[node] = self._open[-1][0]
        self._open.append((node, len(self.nodes), self._here))
        self.nodes.append(node)

    def after_codegen(self, node: cst.CSTNode) -> None:
        _, first, start = self._open.pop()
        self.ends[node] = (first, len(self.nodes))
        self.ranges.setdefault(node, (start, self._here))  # unless the node itself said what is only around it

    @contextmanager
    def record_syntactic_position(
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> Iterator[None]:
        start = self._here
        yield
        end = self._here
        self.ranges[node] = (
            self.ranges[start_node][0] if start_node else start,
            self.ranges[end_node][1] if end_node else end,
        )
