"""The process that a program runs in: it serves the emulator and does nothing else.

It takes the place of the command's own process, so signals, exit status and the standard streams are the
program's. A real ``neuronxcc`` was not imported in it, and the program meets neither the command line's modules
nor its frames. The file is executed by its path: what is on ``sys.path`` is the program's alone.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

HERE = Path(__file__).absolute().parent


def main(params: str, torch_xla: str, kind: str, program: str, *args: str) -> None:
    """Serve the emulator, then become the program.

    Parameters
    ----------
    params:
        What to imitate, as :meth:`nkifix.emulator.params.Params.to_text` writes it.
    torch_xla:
        ``stub`` to serve a stub where torch_xla is not installed.
    kind:
        ``module`` or ``script``.
    """
    from nkifix.emulator import mainprogram, serve
    from nkifix.emulator.params import Params
    from nkifix.errors import NkifixError

    try:
        real = serve.installed("torch_xla")
        wanted = torch_xla == "stub"
        serve.install(Params.from_text(params), beside_real=True, torch_xla=wanted and real is None)
        if wanted:
            _announce(real)
        run = mainprogram.run_module if kind == "module" else mainprogram.run_script
        run(program, args)
    except NkifixError as error:
        from nkifix.cli import console

        console.refuse(error)


def _announce(real: str | None) -> None:
    from nkifix.cli import console

    if real is None:
        console.note("torch_xla is not installed: a stub serves xm.xla_device() as the CPU, and tensors stay there")
    else:
        console.note(f"torch_xla is installed ({real}): the stub is not used")


def _load_own_package() -> None:
    """Import this very nkifix, wherever it lies, without touching ``sys.path``."""
    package = HERE.parent
    spec = spec_from_file_location("nkifix", package / "__init__.py", submodule_search_locations=[str(package)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["nkifix"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if sys.path and Path(sys.path[0]).absolute() == HERE:
        del sys.path[0]
    _load_own_package()
    main(*sys.argv[1:])
