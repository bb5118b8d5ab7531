"""The class of mistakes behind the typo: one branch binds a near-miss of the name that all others bind.

The rule, on Python's own syntax tree and inside one scope (a function, or a module's top level): an ``if`` … ``else``,
with any number of ``elif``, in which

- every branch but one binds ``name`` on every path; branches that leave (return, raise, break, continue) do not count,
  and two branches at least must be left;
- the odd branch never binds ``name``, but assigns a near-miss of it, which nothing in the scope reads and no other
  place binds;
- nothing binds ``name`` before that ``if``, nor elsewhere in a loop around it, and ``name`` is read after it, before it
  is bound again.

So the odd branch runs into an UnboundLocalError or NameError. A scope that names its variables at run time
(``locals``, ``exec``, ``global``, ``del`` …) is left alone.

A near-miss is one typing mistake, in one word of the name: a letter too many, too few, another one, or two exchanged,
behind the word's first letter; or an underscore too many or too few. Words of fewer than four letters, digits, and
underscores at either end are taken to be meant.
"""

from __future__ import annotations

import ast
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nkifix.codemod.flow import LOOPS, Block, blocks, bound_by, branches, follow
from nkifix.codemod.occurrences import BINDING, Kind, Occurrence, Occurrences, Scope, occurrences

RULE = "misspelled-branch-name"
TITLE = "a branch assigns a near-miss of the name that the other branches bind"

_Place: TypeAlias = tuple[Block, int, ast.stmt | None]
"""A block, the number of a statement in it, and the statement that the block belongs to."""

_SHORTEST_WORD = 4


@dataclass(frozen=True, order=True)
class NearMiss:
    """A branch whose author meant another name."""

    line: int
    wrong: str
    right: str
    read_line: int

    @property
    def message(self) -> str:
        """One sentence for the person who reads the report."""
        return (
            f"this branch assigns {self.wrong}, which nothing reads; the other branches bind {self.right}, "
            f"which line {self.read_line} reads"
        )


def near_misses(data: bytes) -> tuple[NearMiss, ...]:
    """Return where a branch misspells a name, in the file's order.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError
        ``data`` is no Python that this interpreter can read.
    """
    if b"else" not in data:
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the file's own escapes
        tree = ast.parse(data)
    scopes = [node for node in ast.walk(tree) if isinstance(node, Scope)]
    return tuple(sorted({found for scope in scopes for found in _in_scope(scope)}))


def is_near_miss(wrong: str, right: str) -> bool:
    """Whether one typing mistake leads from one name to the other."""
    if wrong == right or _frame(wrong) != _frame(right):
        return False
    if wrong.replace("_", "") == right.replace("_", ""):
        return True
    words = list(itertools.zip_longest(wrong.split("_"), right.split("_"), fillvalue=""))
    different = [pair for pair in words if pair[0] != pair[1]]
    return len(different) == 1 and _is_misspelt(*different[0])


def _frame(name: str) -> tuple[int, int]:
    """How many underscores stand before and behind the name."""
    return len(name) - len(name.lstrip("_")), len(name) - len(name.rstrip("_"))


def _is_misspelt(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < _SHORTEST_WORD or short[0] != long[0] or _letters(short) == _letters(long):
        return False
    if len(short) < len(long):
        return any(long[:at] + long[at + 1 :] == short for at in range(len(long)))
    places = [at for at, (x, y) in enumerate(zip(short, long, strict=True)) if x != y]
    if len(places) == 1:
        return not (short[places[0]].isdigit() or long[places[0]].isdigit())
    first, second = places[0], places[-1]
    exchanged = short[first] == long[second] and short[second] == long[first]
    return len(places) == 2 and second == first + 1 and exchanged


def _letters(word: str) -> str:
    return "".join(character for character in word if not character.isdigit())


# ------------------------------------------------------------------------------------------- one scope


@dataclass(frozen=True)
class _Suspect:
    """A branch that binds a near-miss of what the others of its chain bind."""

    chain: ast.If
    path: tuple[_Place, ...]
    """Where the chain stands, the scope's own block first."""
    branch: Block
    wrong: str
    right: str


def _in_scope(scope: Scope) -> Iterator[NearMiss]:
    suspects = list(_suspects(scope.body, ()))
    names = occurrences(scope) if suspects else Occurrences()
    if names.dynamic:
        return
    for suspect in suspects:
        assigned = _only_here(names, suspect)
        read = _read_after(names, suspect)
        if assigned and read and not _bound_elsewhere(names, suspect, read):
            yield NearMiss(assigned.line, suspect.wrong, suspect.right, read.line)


def _suspects(block: Block, path: tuple[_Place, ...], owner: ast.stmt | None = None) -> Iterator[_Suspect]:
    for number, statement in enumerate(block):
        here = (*path, (block, number, owner))
        if isinstance(statement, ast.If):
            for branch, wrong, right in _odd_branches(branches(statement)):
                yield _Suspect(statement, here, branch, wrong, right)
        for inner in blocks(statement):
            yield from _suspects(inner, here, statement)


def _odd_branches(every: Sequence[Block]) -> Iterator[tuple[Block, str, str]]:
    """Yield branch, name assigned there, and name that all other branches bind, where one is a near-miss."""
    outcomes = [(branch, bound) for branch in every if (bound := bound_by(branch)) is not None]
    if not every[-1] or len(outcomes) < 2:
        return
    for branch, bound in outcomes:
        common = set.intersection(*(other for one, other in outcomes if one is not branch))
        for wrong, right in itertools.product(sorted(bound - common), sorted(common - bound)):
            if is_near_miss(wrong, right):
                yield branch, wrong, right


def _only_here(names: Occurrences, suspect: _Suspect) -> Occurrence | None:
    """Return the assignment to the wrong name, if nothing else happens to that name outside the branch."""
    everywhere = names.of(suspect.wrong)
    here = names.of(suspect.wrong, suspect.branch)
    if everywhere == here and all(one.kind is Kind.ASSIGNED for one in here):
        return here[0]
    return None


def _read_after(names: Occurrences, suspect: _Suspect) -> Occurrence | None:
    """Return the first read of the right name that the odd branch reaches, if nothing binds the name before it."""
    if names.of(suspect.right, suspect.branch):
        return None
    for statement in follow(suspect.path):
        if found := names.of(suspect.right, [statement]):
            return found[0] if found[0].kind is Kind.READ else None
    return None


def _bound_elsewhere(names: Occurrences, suspect: _Suspect, read: Occurrence) -> bool:
    """Whether the right name may have a value although the odd branch was taken, or its fate is unknown."""
    everywhere = names.of(suspect.right)
    chain = names.spans[suspect.chain]
    around = [names.spans[owner] for _, _, owner in suspect.path if isinstance(owner, LOOPS)]
    elsewhere = [one for one in everywhere if one.kind in BINDING and one.order not in chain]
    return any(one.kind is Kind.OTHER for one in everywhere) or any(
        one.order < read.order or any(one.order in loop for loop in around) for one in elsewhere
    )
