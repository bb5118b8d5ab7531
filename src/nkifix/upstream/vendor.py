"""A package of the user's own: their upstream file, the fixes, and the proof of where every byte is from.

The whole of it::

    upstream = reference.read("git:clone@v0.7.14366")
    tree = render(upstream, codemod.select("typo"), package="my_flash")
    write(tree, Path("my-flash"))
    differences(Path("my-flash"), upstream)     # none
"""

from __future__ import annotations

import hashlib
import json
import keyword
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nkifix import __version__, codemod
from nkifix.errors import RefusalError
from nkifix.upstream import vendor_text
from nkifix.upstream.reference import Upstream

SCHEMA = "nkifix.vendor/1"
MANIFEST = "manifest.json"
DEFAULT_PACKAGE = "fixed_flash_attention"
_BUILT = ("build", "dist", "__pycache__", ".git")
"""Folders that building or committing the package leaves in it."""


def render(
    upstream: Upstream, fixes: Sequence[codemod.Fix], *, package: str = DEFAULT_PACKAGE, version: str = __version__
) -> dict[str, bytes]:
    """Return the package as relative path -> content. The same input gives the same bytes.

    Parameters
    ----------
    upstream:
        The user's file.
    fixes:
        The fixes to make; those that upstream has made already are left out.
    package:
        The name that the package is imported by.
    version:
        Of nkifix, as the texts name it.

    Raises
    ------
    RefusalError
        A fix does not recognise the file, or the name is no name for a package.
    """
    _require_package_name(package)
    series = _patched(upstream, fixes)
    made = tuple(fix for fix, _ in series)
    fixed = series[-1][1] if series else upstream.data
    kernel = vendor_text.change_notice(fixed, tuple(fix.id for fix in made), version)
    origin = _origin(upstream)
    files = {
        "LICENSE": upstream.licence,
        "NOTICE": vendor_text.notice(upstream.notice, origin, made, version),
        "README.md": vendor_text.readme(package, origin, made),
        "pyproject.toml": vendor_text.pyproject(package, _sha256(kernel)),
        f"src/{package}/__init__.py": vendor_text.init(package),
        _kernel_path(package): kernel,
        **_patches(upstream, series, kernel, version),
    }
    manifest = {
        "schema": SCHEMA,
        "nkifix": version,
        "package": package,
        "upstream": {
            "repository": upstream.repository,
            "commit": upstream.commit,
            "path": upstream.path,
            "blob": upstream.blob,
            "sha256": _sha256(upstream.data),
        },
        "fixes": [fix.id for fix in made],
        "kernel": {"path": _kernel_path(package), "sha256": _sha256(kernel)},
        "files": {name: _sha256(content) for name, content in sorted(files.items())},
    }
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return dict(sorted(files.items()))


def write(tree: Mapping[str, bytes], output: Path) -> None:
    """Put ``tree`` into the folder ``output``, whole or not at all; an unedited older tree is replaced.

    Raises
    ------
    RefusalError
        The folder holds something else, was edited, or cannot be written.
    """
    replaced = _require_own(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{output.name}.nkifix-", dir=output.parent))
    except OSError as error:
        raise _not_written(output, error) from error
    new, old = staged / "new", staged / "old"
    try:
        for name, content in tree.items():
            file = new / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if replaced:
            output.rename(old)
        os.replace(new, output)  # noqa: PTH105  takes the place of an empty folder too
    except BaseException as error:
        if not output.exists() and old.exists():
            old.rename(output)
        if isinstance(error, OSError):
            raise _not_written(output, error) from error
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def differences(output: Path, upstream: Upstream | None) -> list[str]:
    """Return what is not as ``nkifix vendor`` made it, a sentence each; none if all is proven.

    Parameters
    ----------
    output:
        The package's folder.
    upstream:
        The user's file, from which everything is made once more and compared; None to compare digests only.

    Raises
    ------
    RefusalError
        The folder was not made by ``nkifix vendor``, or its fixes are not known here.
    """
    manifest = _manifest(output)
    wanted: dict[str, str] = dict(manifest["files"])
    found: list[str] = []
    if upstream is not None:
        tree = _rendered_again(manifest, upstream)
        if tree is None:
            return [f"{upstream.where} is not the file that this was made from: its blob is {upstream.blob}"]
        wanted = {name: _sha256(content) for name, content in tree.items()}
    for name, digest in sorted(wanted.items()):
        file = output / name
        if not file.is_file():
            found.append(f"{name} is missing")
        elif _sha256(file.read_bytes()) != digest:
            found.append(f"{name} was changed")
    found += [f"{name} does not belong here" for name in _present(output) if name not in {*wanted, MANIFEST}]
    return found


def _rendered_again(manifest: Mapping[str, Any], upstream: Upstream) -> dict[str, bytes] | None:
    if manifest["upstream"]["sha256"] != _sha256(upstream.data):
        return None
    fixes = codemod.select(only=tuple(manifest["fixes"])) if manifest["fixes"] else ()
    return render(upstream, fixes, package=manifest["package"], version=manifest["nkifix"])


def _patched(upstream: Upstream, fixes: Sequence[codemod.Fix]) -> list[tuple[codemod.Fix, bytes]]:
    """Return each fix that changes something, with the content after it, one on top of the other."""
    whole = codemod.apply(upstream.data, fixes)
    if isinstance(whole, codemod.NotRecognised):
        raise RefusalError(
            f"{whole.fix} does not recognise this file" if whole.fix else "this is no Python file that can be read",
            where=f"{upstream.where}:{whole.line}" if whole.line else upstream.where,
            why=whole.reason,
            next_step="give NxDI's modules/sliding_window/attention.py (tags v0.6.10598 to v0.7.14366)",
        )
    series: list[tuple[codemod.Fix, bytes]] = []
    data = upstream.data
    for fix in fixes:
        outcome = codemod.apply(data, (fix,))
        if isinstance(outcome, codemod.Fixed):
            data = outcome.data
            series.append((fix, data))
    expected = whole.data if isinstance(whole, codemod.Fixed) else upstream.data
    if data != expected:
        raise RefusalError(
            "the fixes made one after the other differ from the fixes made together",
            where=upstream.where,
            why="each patch must stand for one fix",
            next_step="vendor with fewer fixes (--only ID), and report this",
        )
    return series


def _patches(
    upstream: Upstream, series: Sequence[tuple[codemod.Fix, bytes]], kernel: bytes, version: str
) -> dict[str, bytes]:
    name = upstream.path.encode()
    patches: dict[str, bytes] = {}
    before = upstream.data
    for number, (fix, after) in enumerate(series, start=1):
        head = vendor_text.patch_header(fix.title, f"The fix {fix.id} of nkifix.", version)
        patches[f"patches/{number:04}-{fix.id}.patch"] = head + codemod.unified_diff(before, after, name)
        before = after
    head = vendor_text.patch_header("say that the file was changed", "As the Apache License, 4 (b), asks.", version)
    patches[f"patches/{len(series) + 1:04}-change-notice.patch"] = head + codemod.unified_diff(before, kernel, name)
    return patches


def _origin(upstream: Upstream) -> str:
    if upstream.commit is None:
        return f"{upstream.path} (blob {upstream.blob})"
    return f"{upstream.repository}, commit {upstream.commit}, {upstream.path}"


def _kernel_path(package: str) -> str:
    return f"src/{package}/attention.py"


def _require_package_name(package: str) -> None:
    taken = package in sys.stdlib_module_names or package in {"nkifix", "vendored_kernel", "neuronxcc", "nki"}
    if not package.isidentifier() or not package.isascii() or keyword.iskeyword(package) or taken:
        raise RefusalError(
            f"{package!r} is no name for this package",
            why="it is taken" if taken else "it must be a Python identifier of ASCII letters",
            next_step=f"choose another, for example --package {DEFAULT_PACKAGE}",
        )


def _manifest(output: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((output / MANIFEST).read_bytes())
        if manifest["schema"] == SCHEMA and {"files", "fixes", "package", "nkifix", "upstream"} <= manifest.keys():
            return manifest
        reason = "its schema is another"
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "it is no manifest"
    raise RefusalError(
        "this folder was not made by nkifix vendor",
        where=str(output / MANIFEST),
        why=reason,
        next_step="give the folder that --output named",
    )


def _require_own(output: Path) -> bool:
    """Refuse to replace anything but an unedited tree of ours; return whether there is one."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not output.is_dir() or not (output / MANIFEST).is_file():
        raise RefusalError(
            "the output folder holds something else",
            where=str(output),
            why="it would be lost",
            next_step="give a folder that does not exist yet",
        )
    edited = differences(output, None)
    if edited:
        raise RefusalError(
            "the vendored package was edited by hand",
            where=str(output),
            why="; ".join(edited),
            next_step="move it elsewhere, and run this again",
        )
    return True


def _present(output: Path) -> list[str]:
    files = (file for file in output.rglob("*") if file.is_file())
    names = (file.relative_to(output) for file in files)
    return sorted(
        name.as_posix()
        for name in names
        if not any(part in _BUILT or part.endswith(".egg-info") for part in name.parts[:-1])
    )


def _not_written(output: Path, error: OSError) -> RefusalError:
    return RefusalError(
        "the output folder cannot be written",
        where=str(output),
        why=error.strerror or str(error),
        next_step="nothing was changed; choose another folder",
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
