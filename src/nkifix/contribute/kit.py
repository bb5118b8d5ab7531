"""Making a kit: the patch, the texts for it and the evidence, from a clone that is only read."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nkifix import codemod
from nkifix.codemod.source import UnsureError
from nkifix.contribute import base as bases
from nkifix.contribute import hardware, patches, regression, runs, templates, texts
from nkifix.contribute.base import KERNEL, TESTS, Base
from nkifix.contribute.hardware import HardwareEvidence
from nkifix.contribute.patches import Patch
from nkifix.contribute.proof import Before, Proof, environment
from nkifix.contribute.repository import Identity, Scratch, configured_identity, scratch
from nkifix.contribute.runs import TestRun
from nkifix.errors import RefusalError

_TARGET = "trn1"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    repository:
        A clone of NxDI, bare or not.
    base:
        A revision of it; None for the head of its default branch.
    ids:
        The defects, each of which becomes a kit of its own.
    author:
        Who signs the commit; None for the identity that git is configured with.
    signoff:
        Whether the commit carries a Signed-off-by line.
    evidence:
        Files recorded by scripts/neuron_evidence.sh.
    backend:
        What upstream's tests run on.
    seconds:
        Time of the commit, in seconds since 1970.
    """

    repository: Path
    base: str | None
    ids: tuple[str, ...]
    author: Identity | None
    signoff: bool
    evidence: tuple[Path, ...]
    backend: runs.Backend
    seconds: int


@dataclass(frozen=True)
class Change:
    """One patch and the bytes that it makes of the two files."""

    patch: Patch
    kernel: bytes
    tests: bytes


@dataclass(frozen=True)
class Kit:
    """The files of one kit, by name."""

    patch: Patch
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Result:
    """The kits, and the defects that the base does not have."""

    base: Base
    kits: tuple[Kit, ...]
    absent: tuple[str, ...]

    def as_folder(self) -> dict[str, bytes]:
        """Return all files by their path in the output: those of one kit directly, of several in a folder each."""
        if len(self.kits) == 1:
            return dict(self.kits[0].files)
        return {f"{kit.patch.folder.name}/{name}": data for kit in self.kits for name, data in kit.files.items()}


def make(request: Request, progress: Callable[[str], None] = lambda _step: None) -> Result:
    """Make the kits that ``request`` asks for. Nothing is written but to temporary folders, which are gone afterwards.

    Raises
    ------
    RefusalError
        The clone, the base or the evidence cannot be used, or a patch does not prove what it claims.
    """
    evidence = [hardware.read(path) for path in request.evidence]
    base = bases.find(request.repository, request.base)
    author = request.author or _configured(base)
    runs.require_tools()
    changes = _changes(base, request.ids)
    kits = []
    with scratch(base.repository) as repository:
        known = _known(repository, base)
        for change in changes:
            progress(change.patch.id)
            kits.append(_kit(repository, base, change, known, author, request, evidence))
    if evidence:
        raise RefusalError(
            "the evidence is about another patch",
            where=evidence[0].file,
            why="no kit made here has its base and its bytes",
            next_step="record it again with this kit: scripts/neuron_evidence.sh",
        )
    made = {change.patch.id for change in changes}
    return Result(base, tuple(kits), tuple(name for name in request.ids if name not in made))


def _configured(base: Base) -> Identity:
    found = configured_identity(base.repository)
    if found is None:
        raise RefusalError(
            "the commit has no author",
            why="neither --author is given nor does git know your name and address",
            next_step='--author "Name <mail@example.org>", or git config --global user.name and user.email',
        )
    return found


def _changes(base: Base, ids: Sequence[str]) -> list[Change]:
    """Return what is to change for each of the defects that the base has.

    Raises
    ------
    RefusalError
        It has none of them, or one of the two files is not recognised.
    """
    changes = []
    for patch in patches.load(ids):
        fixed = _fixed(base, patch.id)
        if fixed is not None:
            changes.append(Change(patch, fixed, _tested(base, patch)))
    if not changes:
        raise RefusalError(
            f"{base.name} is already fixed: {', '.join(ids)}",
            where=f"{KERNEL} at {base.commit[:12]}",
            why="good news: there is nothing to contribute",
            next_step="nothing is left to do, unless you meant another --base or --series",
        )
    return changes


def _fixed(base: Base, defect: str) -> bytes | None:
    """Return the kernel without the defect, or None if it does not have it."""
    outcome = _outcome(base.kernel, defect)
    if isinstance(outcome, codemod.NotRecognised):
        raise RefusalError(
            f"{defect}: this kernel is not recognised",
            where=f"{KERNEL}:{outcome.line or 1} at {base.name}",
            why=outcome.reason,
            next_step="name a --base with upstream's own file, such as v0.7.14366",
        )
    return outcome.data if isinstance(outcome, codemod.Fixed) else None


@functools.lru_cache(maxsize=32)
def _outcome(kernel: bytes, defect: str) -> codemod.Outcome:
    return codemod.apply(kernel, codemod.select(only=(defect,)))


def _tested(base: Base, patch: Patch) -> bytes:
    try:
        return regression.add_tests(base.tests, patch) if patch.has_tests else base.tests
    except UnsureError as error:
        raise RefusalError(
            f"{patch.id}: the regression test does not fit upstream's test file",
            where=f"{TESTS}:{error.line or 1} at {base.name}",
            why=error.reason,
            next_step="name a --base with upstream's own file, such as v0.7.14366",
        ) from error


def _kit(
    repository: Scratch,
    base: Base,
    change: Change,
    known: TestRun,
    author: Identity,
    request: Request,
    evidence: list[HardwareEvidence],
) -> Kit:
    """Commit one change, prove it and write about it; take the evidence that belongs to it out of the list."""
    before = {KERNEL: base.kernel, TESTS: base.tests}
    after = {name: data for name, data in ((KERNEL, change.kernel), (TESTS, change.tests)) if data != before[name]}
    message = texts.commit_message(change.patch, author if request.signoff else None)
    commit = repository.commit(base.commit, after, message, author, request.seconds)
    mail_name, mail = repository.format_patch(base.commit, commit)
    if repository.tree_after(base.commit, mail) != repository.tree_of(commit):
        raise RefusalError(
            "the patch does not give back its own commit",
            where=change.patch.id,
            why="git wrote it in a form that loses something",
            next_step="use a newer git",
        )
    proof = _proof(repository, base, change, commit, known, evidence)
    proof.check()
    files = {
        mail_name: mail,
        "PULL_REQUEST.md": texts.pull_request(proof, _template(base)).encode(),
        "ISSUE.md": texts.issue(proof, _issue_form(base)).encode(),
        "evidence.json": (json.dumps(proof.as_evidence(mail_name, mail), indent=2) + "\n").encode(),
    }
    return Kit(change.patch, files)


def _proof(
    repository: Scratch, base: Base, change: Change, commit: str, known: TestRun, evidence: list[HardwareEvidence]
) -> Proof:
    """Run everything with the fix, then without it what upstream does not have yet."""
    with _tree(repository, commit) as tree:
        after, script_after = runs.run_tests(tree), runs.run_script(tree, change.patch.reproduction)
        (tree / KERNEL).write_bytes(base.kernel)
        ids = tuple(test.id for test in known.outcomes)
        new = runs.run_tests(tree, ids).outcomes if change.patch.has_tests else ()
        before = TestRun(known.command, (*known.outcomes, *new), known.left_out)
        script_before = runs.run_script(tree, change.patch.reproduction)
        both = ({KERNEL: base.kernel, TESTS: base.tests}, {KERNEL: change.kernel, TESTS: change.tests})
        lint = runs.lint(tree.parent, *both)
    return _with_hardware(
        Proof(
            change.patch,
            base,
            change.kernel,
            change.tests,
            Before(before, script_before, ids),
            after,
            script_after,
            lint,
            _TARGET,
            environment(),
            _follow_ups(base, change.patch),
        ),
        evidence,
    )


def _known(repository: Scratch, base: Base) -> TestRun:
    """Run the tests that upstream has, as they are at the base."""
    with _tree(repository, base.commit) as tree:
        return runs.run_tests(tree)


@contextlib.contextmanager
def _tree(repository: Scratch, commit: str) -> Iterator[Path]:
    """Put what the tests need of a commit into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="nkifix-tree-") as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        repository.checkout(commit, tree, ("src", "test"))
        yield tree


def _with_hardware(proof: Proof, evidence: list[HardwareEvidence]) -> Proof:
    for found in evidence:
        if found.base_commit == proof.base.commit and found.digests == proof.digests():
            hardware.require_fit(found, proof.before.new)
            evidence.remove(found)
            return dataclasses.replace(proof, hardware=found)
    return proof


def _follow_ups(base: Base, patch: Patch) -> tuple[str, ...]:
    """Return a line for each related defect that the base has and this patch leaves."""
    titles = {fix.id: fix.title for fix in codemod.FIXES}
    return tuple(
        f"`{name}`: {titles[name]}"
        for name in patch.follow_ups
        if isinstance(_outcome(base.kernel, name), codemod.Fixed)
    )


def _template(base: Base) -> str | None:
    found = (base.read_newest(name) for name in templates.PULL_REQUEST_FORMS)
    return next((data.decode("utf-8", "replace") for data in found if data is not None), None)


def _issue_form(base: Base) -> templates.IssueForm | None:
    names = (name for name in base.names(templates.ISSUE_FORMS) if templates.is_bug_form(name))
    found = (base.read_newest(name) for name in names)
    return next((form for data in found if data and (form := templates.read_issue_form(data))), None)
