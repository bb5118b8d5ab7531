"""The texts of a vendored package, all ours but the licence and the notice of upstream."""

from __future__ import annotations

import re
import textwrap

from nkifix.codemod import Fix

_HEADER_LINES = re.compile(rb"(?:#!|[ \t\f]*#.*?coding[:=])")


def change_notice(data: bytes, fixes: tuple[str, ...], version: str) -> bytes:
    """Return a Python file with a line that says it was changed, behind shebang and encoding (Apache-2.0, 4b)."""
    newline = b"\r\n" if b"\r\n" in data else b"\n"
    line = f"# CHANGED from upstream by nkifix {version}: {', '.join(fixes) or 'nothing but this line'}; see patches/."
    bom = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    lines = data[len(bom) :].splitlines(keepends=True)
    head = 0
    while head < min(2, len(lines)) and _HEADER_LINES.match(lines[head]):
        head += 1
    return bom + b"".join([*lines[:head], line.encode() + newline, *lines[head:]])


def patch_header(title: str, subject: str, version: str) -> bytes:
    """Return the head of a patch in the form of Debian's DEP-3."""
    return textwrap.dedent(
        f"""\
        Description: {title}
         {subject}
        Origin: other, nkifix {version}
        Forwarded: no
        ---
        """
    ).encode()


def init(package: str) -> bytes:
    """Return ``__init__.py``."""
    text = f'''\
        """{package}: flash attention for NeuronCores, a copy of upstream's kernel with fixes; see README.md."""

        from .attention import FlashConfig, flash_fwd

        __all__ = ["FlashConfig", "flash_fwd"]
        '''
    return textwrap.dedent(text).encode()


def pyproject(package: str, digest: str) -> bytes:
    """Return ``pyproject.toml``; the version says which kernel it is."""
    text = f"""\
        [build-system]
        requires = ["setuptools>=61"]
        build-backend = "setuptools.build_meta"

        [project]
        name = "{package.replace("_", "-")}"
        version = "1+{digest[:12]}"
        description = "A fixed copy of upstream's flash-attention kernel for NeuronCores"
        readme = "README.md"
        requires-python = ">=3.9"
        classifiers = ["License :: OSI Approved :: Apache Software License"]
        dependencies = ["numpy"]

        [tool.setuptools]
        package-dir = {{ "" = "src" }}
        packages = ["{package}"]
        """
    return textwrap.dedent(text).encode()


def notice(upstream_notice: bytes | None, origin: str, fixes: tuple[Fix, ...], version: str) -> bytes:
    """Return upstream's notice, if it has one, and the statement of what was changed (Apache-2.0, 4d and 4b)."""
    changes = "".join(f"- {fix.id}: {fix.title}\n" for fix in fixes) or "- nothing but a line that says so\n"
    own = (
        f"The file attention.py in this package is a copy of\n  {origin}\nchanged by nkifix {version}:\n{changes}"
        "Each change is a file in patches/. All other files but LICENSE were written by nkifix.\n"
    )
    given = upstream_notice.rstrip() + b"\n\n" if upstream_notice else b""
    return given + own.encode()


def readme(package: str, origin: str, fixes: tuple[Fix, ...]) -> bytes:
    """Return ``README.md``."""
    rows = "".join(f"| `{fix.id}` | {fix.title} |\n" for fix in fixes)
    text = f"""\
# {package}

`flash_fwd` and `FlashConfig` of `{origin}`, with these fixes:

| fix | what went wrong |
|---|---|
{rows}
Made by `nkifix vendor`. Do not edit it by hand: make it again from a newer upstream. `manifest.json` holds where every
byte is from, and `nkifix vendor --check --upstream REF --output .` proves it.

    pip install .
    NKIFIX_KERNEL={package} python your_program.py     # from vendored_kernel import flash_fwd, FlashConfig

or `from {package} import flash_fwd, FlashConfig`. It needs `neuronxcc` (neuronx-cc 2.21 to 2.24, SDK 2.26 to 2.29), or
nkifix's emulator (`nkifix run`). Licence: Apache-2.0, see LICENSE and NOTICE.
"""
    return text.encode()
