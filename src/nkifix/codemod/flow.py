"""What a block of statements binds for certain, and what runs after it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

Block: TypeAlias = Sequence[ast.stmt]

LOOPS = (ast.For, ast.AsyncFor, ast.While)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_JUMPS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_NEVER_RETURN = {"exit", "quit", "sys.exit", "os._exit", "os.abort", "pytest.fail", "pytest.skip", "self.fail"}


def branches(chain: ast.If) -> list[Block]:
    """Return the blocks of an if, its elifs and its else, which is empty if it has none."""
    found: list[Block] = [chain.body]
    rest = chain.orelse
    while len(rest) == 1 and isinstance(rest[0], ast.If):
        found.append(rest[0].body)
        rest = rest[0].orelse
    return [*found, rest]


def blocks(statement: ast.stmt) -> list[Block]:
    """Return the blocks of a compound statement that belong to its scope, in the file's order."""
    if isinstance(statement, _DEFINITIONS):
        return []
    if isinstance(statement, ast.If):
        return [branch for branch in branches(statement) if branch]
    before: list[Block] = [getattr(statement, "body", [])]
    parts = [part.body for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ()))]
    after: list[Block] = [getattr(statement, name, []) for name in ("orelse", "finalbody")]
    return [block for block in (*before, *parts, *after) if block]


def bound_by(block: Block) -> set[str] | None:
    """Return the names that every path through ``block`` binds; None if no path reaches its end."""
    bound: set[str] = set()
    for statement in block:
        more = _bound_by_statement(statement)
        if more is None:
            return None
        bound |= more
    return bound


def follow(path: Sequence[tuple[Block, int, ast.stmt | None]]) -> Iterator[ast.stmt]:
    """Yield the statements that run after the one at the end of ``path``, as far as they are reached.

    ``path`` gives block, number in the block and owner of the block, from the scope's own block inward.
    """
    in_loop = True
    for block, number, owner in reversed(path):
        if in_loop:
            for statement in block[number + 1 :]:
                yield statement
                if _bound_by_statement(statement) is None:
                    if not any(isinstance(node, (ast.Break, ast.Continue)) for node in ast.walk(statement)):
                        return
                    in_loop = False  # on behind the loop
                    break
        if isinstance(owner, LOOPS):
            in_loop = True
            yield from owner.orelse if block is owner.body else ()
        elif in_loop and owner is not None:
            yield from _rest_of_try(owner, block)


def _rest_of_try(owner: ast.stmt, block: Block) -> Iterator[ast.stmt]:
    final: Block = getattr(owner, "finalbody", [])
    if block is getattr(owner, "body", None) and not isinstance(owner, ast.If):
        yield from getattr(owner, "orelse", [])
    if block is not final:
        yield from final


def _bound_by_statement(statement: ast.stmt) -> set[str] | None:
    if isinstance(statement, _JUMPS) or _never_returns(statement):
        return None
    if isinstance(statement, ast.If):
        return _bound_by_all(branches(statement))
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return _with(_names(item.optional_vars for item in statement.items), statement.body)
    if isinstance(statement, ast.Try) or type(statement).__name__ == "TryStar":
        return _bound_by_try(statement)
    if isinstance(statement, ast.Match):
        last = statement.cases[-1]
        catches_all = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        return _bound_by_all([case.body for case in statement.cases] + ([] if catches_all else [[]]))
    return _bound_by_simple(statement)


def _bound_by_simple(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.Assign):
        return _names(statement.targets)
    if isinstance(statement, ast.AnnAssign):
        return _names([statement.target] if statement.value else [])
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, _DEFINITIONS):
        return {statement.name}
    return set()


def _bound_by_all(alternatives: Iterable[Block]) -> set[str] | None:
    """Return what each of the alternatives binds that reaches its end."""
    outcomes = [bound for block in alternatives if (bound := bound_by(block)) is not None]
    return set.intersection(*outcomes) if outcomes else None


def _with(bound: set[str], block: Block) -> set[str] | None:
    more = bound_by(block)
    return None if more is None else bound | more


def _bound_by_try(statement: ast.stmt) -> set[str] | None:
    body: Block = [*getattr(statement, "body", []), *getattr(statement, "orelse", [])]
    either = _bound_by_all([body, *(handler.body for handler in getattr(statement, "handlers", []))])
    return None if either is None else _with(either, getattr(statement, "finalbody", []))


def _names(targets: Iterable[ast.expr | None]) -> set[str]:
    """Return the names that assignment targets bind: those in tuples too, those of attributes and items not."""
    found: set[str] = set()
    for target in targets:
        if isinstance(target, ast.Name):
            found.add(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            found |= _names(target.elts)
        elif isinstance(target, ast.Starred):
            found |= _names([target.value])
    return found


def _never_returns(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and not statement.test.value
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return ast.unparse(statement.value.func) in _NEVER_RETURN
    if isinstance(statement, ast.While):
        endless = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
        return endless and not any(isinstance(node, ast.Break) for node in ast.walk(statement))
    return False
