from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nkifix import specimens
from nkifix.codemod import Fixed, apply, select
from nkifix.differential import references
from nkifix.differential.references import NXDI_KERNEL, SAMPLES_KERNEL, resolve
from nkifix.errors import RefusalError
from nkifix.upstream import locate

TYPO = "misspelled-causal-mask"
STOCK = specimens.path(TYPO).read_bytes()


def fixed() -> bytes:
    outcome = apply(STOCK, select())
    assert isinstance(outcome, Fixed)
    return outcome.data


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    file = tmp_path / "attention.py"
    file.write_bytes(STOCK)
    return file


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone whose first revision, tagged v1, holds the kernel in NxDI's place; the second holds nothing."""
    folder = tmp_path / "clone"
    file = folder / NXDI_KERNEL
    file.parent.mkdir(parents=True)
    file.write_bytes(STOCK)
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*args: str) -> None:
        subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, env={**os.environ, **who})

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("tag", "v1")
    git("rm", "-q", "-r", ".")
    git("commit", "-q", "-m", "two")
    return folder


def test_vendored_is_the_kernel_beside_nkifix() -> None:
    found = resolve("vendored")
    assert (found.file, found.function, found.fixes) == ("vendored_kernel/kernel.py", "flash_fwd", ())
    assert b"def flash_fwd" in found.source


def test_refuses_vendored_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "find_spec", lambda _name: None)
    with pytest.raises(RefusalError, match="not installed"):
        resolve("vendored")


def test_path_is_read_as_bytes(kernel: Path) -> None:
    found = resolve(str(kernel))
    assert (found.name, found.file, found.source, found.fixes) == (str(kernel), str(kernel), STOCK, ())


def test_path_may_name_the_function(kernel: Path) -> None:
    found = resolve(f"{kernel}:my_kernel+fix")
    assert (found.file, found.function, found.source) == (str(kernel), "my_kernel", fixed())


def test_file_with_a_colon_in_its_name_is_found(tmp_path: Path) -> None:
    file = tmp_path / "attention.py:old"
    file.write_bytes(STOCK)
    assert resolve(str(file)).function == "flash_fwd"


def test_folder_is_a_checkout(repository: Path) -> None:
    subprocess.run(["git", "-C", str(repository), "checkout", "-q", "v1"], check=True)
    assert resolve(str(repository)).source == STOCK


@pytest.mark.parametrize(
    ("suffix", "fixes"),
    [
        pytest.param("+fix", (TYPO,), id="the typo"),
        pytest.param("+fix:typo", (TYPO,), id="a series by name"),
        pytest.param(f"+fix:{TYPO}", (TYPO,), id="an id"),
    ],
)
def test_fixes_are_made_in_memory(suffix: str, fixes: tuple[str, ...], kernel: Path) -> None:
    found = resolve(f"{kernel}{suffix}")
    assert (found.source, found.fixes) == (fixed(), fixes)
    assert kernel.read_bytes() == STOCK


def test_leaves_a_fixed_kernel_as_it_is(kernel: Path) -> None:
    kernel.write_bytes(fixed())
    found = resolve(f"{kernel}+fix")
    assert (found.source, found.fixes) == (fixed(), ())


def test_revision_is_read_without_a_checkout(repository: Path) -> None:
    found = resolve(f"git:{repository}@v1")
    assert (found.file, found.source) == (f"v1:{NXDI_KERNEL}", STOCK)
    assert resolve(f"git:{repository}@v1:{NXDI_KERNEL}+fix").source == fixed()


REFUSED: list[tuple[str, Callable[[Path, Path], str], str]] = [
    ("no such file", lambda kernel, clone: f"{kernel}x", "cannot be read"),
    ("empty", lambda kernel, clone: "", "empty"),
    ("no such fix", lambda kernel, clone: f"{kernel}+fix:nonsense", "no fix 'nonsense'"),
    ("no such revision", lambda kernel, clone: f"git:{clone}@v9", "git cannot show v9:"),
    ("no such file in the revision", lambda kernel, clone: f"git:{clone}@HEAD", "git cannot show HEAD:"),
    ("no such repository", lambda kernel, clone: f"git:{clone}x@v1", "git cannot show"),
    ("no revision", lambda kernel, clone: f"git:{clone}", "does not name a file of a revision"),
    ("an option as revision", lambda kernel, clone: f"git:{clone}@--output=x", "does not name a file of a revision"),
]


@pytest.mark.parametrize(("name", "text"), [pytest.param(name, text, id=what) for what, name, text in REFUSED])
def test_refuses_what_names_no_kernel(
    name: Callable[[Path, Path], str], text: str, kernel: Path, repository: Path
) -> None:
    with pytest.raises(RefusalError, match=text):
        resolve(name(kernel, repository))


@pytest.mark.parametrize("source", [b"def flash_fwd(:\n", b"x = 1\n"], ids=["no Python", "no kernel"])
def test_refuses_to_fix_what_it_does_not_recognise(source: bytes, kernel: Path) -> None:
    kernel.write_bytes(source)
    with pytest.raises(RefusalError, match=r"recognise|no Python file"):
        resolve(f"{kernel}+fix")
    assert resolve(str(kernel)).source == source


def test_refuses_a_revision_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RefusalError, match="git is not installed"):
        resolve(f"git:{repository}@v1")


def test_installed_is_the_kernel_of_the_installed_package(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "installed", lambda: locate.Kernel(kernel, None))
    found = resolve("installed+fix")
    assert (found.file, found.source, found.fixes) == (str(kernel), fixed(), (TYPO,))


def test_refuses_installed_where_nothing_is() -> None:
    with pytest.raises(RefusalError, match="is not installed"):
        resolve("installed")


def test_nki_samples_is_a_clone_with_its_kernel_in_its_own_place(repository: Path) -> None:
    with pytest.raises(RefusalError, match=f"git cannot show v1:{SAMPLES_KERNEL}"):
        resolve(f"nki-samples:{repository}@v1")
    found = resolve(f"nki-samples:{repository}@v1:{NXDI_KERNEL}")
    assert found.source == STOCK
