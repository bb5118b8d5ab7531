"""The process that a program runs in, with the kernel fixed at import; like :mod:`nkifix.cli.child`, but no emulator.

The file is executed by its path: what is on ``sys.path`` is the program's alone.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent


def main(series: str, kind: str, program: str, *args: str) -> None:
    """Install the hook, then become the program; ``kind`` is ``module`` or ``script``."""
    from nkifix.emulator import mainprogram
    from nkifix.errors import NkifixError
    from nkifix.upstream.import_hook import install

    try:
        install(series)
        run = mainprogram.run_module if kind == "module" else mainprogram.run_script
        run(program, args)
    except NkifixError as error:
        from nkifix.cli import console

        console.refuse(error)


if __name__ == "__main__":
    if sys.path and Path(sys.path[0]).absolute() == HERE:
        del sys.path[0]
    runpy.run_path(str(HERE / "child.py"))["_load_own_package"]()
    main(*sys.argv[1:])
