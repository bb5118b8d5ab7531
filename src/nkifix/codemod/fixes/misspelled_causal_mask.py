"""Defect ``misspelled-causal-mask``: the branch without a mask binds a name that nothing reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import libcst as cst

from nkifix.codemod.anchors import KERNEL, only_function, replaced, without_comment
from nkifix.codemod.fix import Fix, Kind
from nkifix.codemod.source import Edit, Source, UnsureError

RIGHT = "causal_mask"
WRONG = "casual_mask"
SILENCED = "F841"
"""The lint code, "assigned but never used", that hid the misspelling."""

_COMMENTED_NAME = "pred_causal"
_WRONG_COMMENT = re.compile(r"#+\s*(casual)\s+mask\s*[.:;]?\s*", re.IGNORECASE)
_NOQA = re.compile(r"(?P<head>#\s*noqa\s*:\s*)(?P<codes>[A-Z]+\d+(?:[\s,]+[A-Z]+\d+)*)(?P<tail>[\s,]*)", re.IGNORECASE)

_BINDING = (cst.Assign, cst.AnnAssign)
_NAMING = (cst.Import, cst.ImportFrom, cst.Global, cst.Nonlocal, cst.MatchPattern)
"""Where a name that looks read may be bound or moved to another scope."""
_INNER_SCOPES = (cst.FunctionDef, cst.Lambda, cst.ClassDef, cst.BaseComp)


class MisspelledCausalMask(Fix):
    """Spell the mask's name right where no mask is wanted.

    before -> after::

        else:                                       else:
            casual_mask = True  # noqa: F841   ->       causal_mask = True

        pred_causal = …  # casual mask         ->   pred_causal = …  # causal mask

    The kernel is the one function ``flash_fwd``. In it, an ``if`` / ``elif`` / ``else`` binds ``causal_mask`` in every
    branch but the last, which binds ``casual_mask`` to True instead; ``causal_mask`` is read afterwards, is bound
    nowhere else, and ``casual_mask`` occurs nowhere else. Any other shape is not recognised.

    ``F841`` goes from the line's ``noqa``, and the comment with it if nothing else is left in it; other codes and
    other comments stay, and so does a ``noqa`` without codes or with words of its own behind them. A comment "casual
    mask" is put right where it belongs to an assignment to ``pred_causal``, and only together with the name: a kernel
    whose name is right counts as fixed, whatever its comments say.
    """

    id: ClassVar[str] = "misspelled-causal-mask"
    title: ClassVar[str] = "UnboundLocalError in the default call and in full attention"
    kind: ClassVar[Kind] = "crash"

    def find(self, source: Source) -> tuple[Edit, ...]:
        kernel = only_function(source)
        uses = _uses(kernel, source)
        wrong = [use for use in uses if use.name.value == WRONG]
        if not wrong:
            _require_fixed(kernel, uses, source)
            return ()
        if len(wrong) > 1 or not wrong[0].binds:
            last = max(source.line(use.name) for use in wrong)
            raise UnsureError(f"expected one assignment to {WRONG} and no other use of it", last)
        branch = _Branch.around(wrong[0], source)
        branch.require_shape(uses, source)
        name_start, _ = source.span(wrong[0].name)
        return (Edit(name_start, WRONG, RIGHT), *_noqa_edits(wrong[0], source), *comment_edits(source))


@dataclass(frozen=True)
class _Use:
    """One occurrence of either name, with the nodes that contain it, the kernel first."""

    name: cst.Name
    path: tuple[cst.CSTNode, ...]
    binds: bool
    """Whether it is the target of a plain assignment; otherwise it is read."""

    @property
    def statement(self) -> cst.CSTNode:
        """The assignment, if the name is the target of one."""
        return _statement_of(self.path)


@dataclass(frozen=True)
class _Branch:
    """An assignment in the ``else`` of an ``if`` chain."""

    use: _Use
    chain: tuple[cst.If, ...]
    """The ``if`` and its ``elif`` s, in the file's order."""

    @classmethod
    def around(cls, use: _Use, source: Source) -> _Branch:
        """Return the branch whose last part binds ``use`` as a statement of its own."""
        assert isinstance(use.statement, _BINDING)
        position = use.path.index(use.statement) - 1
        if isinstance(use.path[position], cst.SimpleStatementLine):
            position -= 1
        position -= 1  # from the block to what it belongs to
        in_else = isinstance(use.path[position], cst.Else)
        chain: list[cst.If] = []
        while isinstance(parent := use.path[position - 1], cst.If) and parent.orelse is use.path[position]:
            chain.insert(0, parent)
            position -= 1
        if not (in_else and chain):
            raise UnsureError(f"expected {use.name.value} to be bound in the else of an if", source.line(use.name))
        return cls(use, tuple(chain))

    def require_shape(self, uses: tuple[_Use, ...], source: Source) -> None:
        """Refuse a branch that is not the one this fix knows."""
        assert isinstance(self.use.statement, _BINDING)
        value = self.use.statement.value
        if not (isinstance(value, cst.Name) and value.value == "True"):
            raise UnsureError(f"expected {self.use.name.value} = True in the else", source.line(self.use.name))
        head, *others = self.chain
        if not others:
            raise UnsureError("expected an elif between this if and its else", source.line(head))
        for part in self.chain:
            if not _binds(part.body, RIGHT):
                raise UnsureError(f"expected this branch to bind {RIGHT} on every path", source.line(part))
        for use in uses:
            if use.binds and use is not self.use and not any(part.body in use.path for part in self.chain):
                raise UnsureError(f"expected no assignment to {RIGHT} outside these branches", source.line(use.name))
        if head in uses[-1].path:  # so nothing comes behind this branch
            raise UnsureError(f"expected {RIGHT} to be read after this if", source.line(head))


def _require_fixed(kernel: cst.FunctionDef, uses: tuple[_Use, ...], source: Source) -> None:
    """Refuse a kernel that has neither the misspelling nor the branch with the right name."""
    for use in uses:
        if use.binds:
            try:
                _Branch.around(use, source).require_shape(uses, source)
            except UnsureError:
                continue
            return
    raise UnsureError(
        f"expected {KERNEL} to have an if / elif / else that binds {RIGHT}, or in the else {WRONG}; found none",
        source.line(kernel),
    )


def _uses(kernel: cst.FunctionDef, source: Source) -> tuple[_Use, ...]:
    """Return where the kernel uses either name, in the file's order; refuse what is no plain assignment or read."""
    uses: list[_Use] = []
    for name in source.tree.nodes(cst.Name, kernel):
        if name.value not in (RIGHT, WRONG):
            continue
        path = source.tree.path(name, kernel)
        if _is_label(name, path[-1]):
            continue
        if any(isinstance(node, (*_INNER_SCOPES, *_NAMING)) for node in path if node is not kernel):
            raise _not_plain(name, source)
        use = _Use(name, path, _is_plain_target(name, path))
        if not use.binds and not is_read(name, path):
            raise _not_plain(name, source)
        uses.append(use)
    return tuple(uses)


def _not_plain(name: cst.Name, source: Source) -> UnsureError:
    return UnsureError(f"expected {name.value} in plain assignments and reads only", source.line(name))


def _is_label(name: cst.Name, parent: cst.CSTNode) -> bool:
    """Whether ``name`` is a keyword of a call or an attribute, which is no variable."""
    return (isinstance(parent, cst.Arg) and name is parent.keyword) or (
        isinstance(parent, cst.Attribute) and name is parent.attr
    )


def is_read(name: cst.Name, path: Sequence[cst.CSTNode]) -> bool:
    """Whether the value of ``name``, a variable inside the nodes of ``path``, is read there.

    LibCST calls what a node binds or deletes its target, or its name; in both there may be tuples.
    """
    node: cst.CSTNode = name
    for parent in reversed(path):
        if not isinstance(parent, (cst.Tuple, cst.List, cst.BaseElement)):
            return not any(getattr(parent, bound, None) is node for bound in ("target", "name"))
        node = parent
    return True


def _is_plain_target(name: cst.Name, path: tuple[cst.CSTNode, ...]) -> bool:
    statement = _statement_of(path)
    if isinstance(statement, cst.Assign):
        return len(statement.targets) == 1 and statement.targets[0] is path[-1]
    return isinstance(statement, cst.AnnAssign) and statement.target is name and statement.value is not None


def _statement_of(path: tuple[cst.CSTNode, ...]) -> cst.CSTNode:
    """Return the assignment whose target the end of ``path`` holds; else that end."""
    return path[-2] if isinstance(path[-1], cst.AssignTarget) else path[-1]


def _binds(body: cst.BaseSuite, name: str) -> bool:
    """Whether every path through ``body`` binds ``name`` by a plain assignment."""
    return any(_statement_binds(statement, name) for statement in body.body)


def _statement_binds(statement: cst.CSTNode, name: str) -> bool:
    if isinstance(statement, cst.SimpleStatementLine):
        return any(_statement_binds(small, name) for small in statement.body)
    if isinstance(statement, cst.Assign):
        target = statement.targets[0].target
        return isinstance(target, cst.Name) and target.value == name
    if isinstance(statement, cst.AnnAssign):
        return isinstance(statement.target, cst.Name) and statement.target.value == name
    if isinstance(statement, cst.Else):
        return _binds(statement.body, name)
    return (
        isinstance(statement, cst.If)
        and statement.orelse is not None
        and _binds(statement.body, name)
        and _statement_binds(statement.orelse, name)
    )


def _noqa_edits(use: _Use, source: Source) -> Iterator[Edit]:
    """Take F841 from the noqa of the assignment's line, and the comment away if nothing is left of it."""
    line = use.path[use.path.index(use.statement) - 1]
    assert isinstance(line, (cst.SimpleStatementLine, cst.SimpleStatementSuite))
    trailing = line.trailing_whitespace
    if len(line.body) > 1 or trailing.comment is None or "\\" in trailing.whitespace.value:
        return  # other statements may need the noqa; a comment behind a continued line stays in its place
    comment = trailing.comment.value
    kept = _without_silenced(comment)
    if kept == comment:
        return
    yield replaced(source, trailing.comment, kept) if kept else without_comment(source, trailing)


def _without_silenced(comment: str) -> str:
    """Return ``comment`` without F841 in its noqa directives; all other text stays."""
    parts = [_part_without_silenced(part) for part in re.split(r"(?=#)", comment)]
    return "".join(parts) if parts[-1] else "".join(parts).rstrip()


def _part_without_silenced(part: str) -> str:
    noqa = _NOQA.fullmatch(part)
    if noqa is None:
        return part
    codes = re.split(r"[\s,]+", noqa["codes"])
    kept = [code for code in codes if code.upper() != SILENCED]
    if kept == codes:
        return part
    separator = "".join(re.findall(r"[\s,]+", noqa["codes"])[:1])
    return noqa["head"] + separator.join(kept) + noqa["tail"] if kept else ""


def comment_edits(source: Source) -> Iterator[Edit]:
    """Spell "causal mask" right in the comments above, inside and behind the assignments to ``pred_causal``."""
    for statement in source.tree.nodes(cst.SimpleStatementLine, source.module):
        if _statement_binds(statement, _COMMENTED_NAME):
            for comment in source.tree.nodes(cst.Comment, statement):
                match = _WRONG_COMMENT.fullmatch(comment.value)
                if match:
                    word = match[1]
                    start, _ = source.span(comment)
                    yield Edit(start + match.start(1), word, word[:2] + word[3] + word[2] + word[4:])
