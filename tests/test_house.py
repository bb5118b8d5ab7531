"""What holds for the repository as a whole."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import nkifix
from scripts import mutants, setup_venv

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
HERE = Path(__file__).name

MACHINE_PATH = re.compile(r"(?<![\w.$~}])/(?:home|root|Users|work|opt|mnt)/[\w.-]+")
"""A path that exists on somebody's machine only."""


def own_files() -> list[Path]:
    """The files of the tree: those that git knows or would add; all of them where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        pytest.skip("not a git checkout, so its own files cannot be told from what was built")
    return sorted(ROOT / name for name in set(done.stdout.decode().split("\0")) if name and (ROOT / name).is_file())


def text_files() -> list[tuple[Path, str]]:
    return [(path, path.read_bytes().decode("utf-8", errors="replace")) for path in own_files()]


def test_version_is_the_installed_one() -> None:
    if not (dist := next(iter(metadata.distributions(name="nkifix")), None)):
        pytest.skip("nkifix is on the path but not installed")
    assert dist.version == nkifix.__version__


def test_no_file_names_a_machine_path() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in text_files()
        if path.name != HERE
        for match in MACHINE_PATH.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_in_prose_exist(name: str) -> None:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not written yet")
    named = set(re.findall(r"\bmake (?:[A-Z]+=\S* )*([a-z-]+)\b", " ".join(code_spans(path.read_text("utf-8")))))
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert named
    assert named <= targets


def code_spans(markdown: str) -> list[str]:
    """Code blocks and inline code."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", rest)]


def reasonless(tree: ast.AST) -> list[int]:
    """Lines that skip or expect a failure without saying why."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail", "importorskip"}:
            call = next((one for one in ast.walk(tree) if isinstance(one, ast.Call) and one.func is node), None)
            mark = ast.unparse(node.value).endswith("mark")
            if node.attr == "importorskip" or ast.unparse(node.value) == "pytest" or mark:
                given = {keyword.arg for keyword in call.keywords} if call else set()
                positional = bool(call and call.args) and node.attr in {"skip", "xfail"}
                if not positional and not given & {"reason", "msg"}:
                    lines.append(node.lineno)
    return lines


def test_every_skip_says_why() -> None:
    tests = [path for path in own_files() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    found = {
        str(path.relative_to(ROOT)): lines
        for path in tests
        if "specimens" not in path.parts and (lines := reasonless(ast.parse(path.read_bytes())))
    }
    assert found == {}


def test_reasonless_finds_marks_and_calls() -> None:
    source = "@pytest.mark.skip\ndef f():\n    pytest.importorskip('torch')\n    pytest.skip('because')\n"
    assert reasonless(ast.parse(source)) == [1, 3]


def test_explained_mutants_stand_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- mutants:begin -->\n(.*?)\n<!-- mutants:end -->", text, re.DOTALL)
    explained = mutants.load_explained(ROOT / "tests" / "mutants_explained.toml")
    assert block
    assert block.group(1) == mutants.table([(*key, reason) for key, reason in sorted(explained.items())])


def test_explained_mutants_exist() -> None:
    explained = mutants.load_explained(ROOT / "tests" / "mutants_explained.toml")
    assert mutants.stale_explanations(ROOT, explained) == []


def test_oldest_constraints_are_the_lower_bounds() -> None:
    project = setup_venv.install_tables((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)==([\d.]+)", oldest, re.MULTILINE)
    core = project[project.index("\ndependencies") :].split("]")[0]
    for name, bound in re.findall(r'"([\w.-]+)>=([\d.]+)"', core):
        lowest = min(tuple(map(int, version.split("."))) for other, version in pinned if other == name)
        parts = tuple(map(int, bound.split(".")))
        assert lowest[: len(parts)] == parts, name
