"""Write docs/coverage.md: every documented name of the legacy API, and whether the emulator has it.

python scripts/make_coverage.py            # writes the file
python scripts/make_coverage.py --check    # exits with 1 where it is stale
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from nkifix.emulator import serving
from nkifix.emulator.frontends.legacy.documented import DOCUMENTED, REFUSED

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"

_HEAD = """# Coverage of the legacy API

Every name that the NKI API reference of Neuron SDK 2.26 documents. *done*: emulated with the documented semantics,
limits and errors, as far as docs/fidelity.md does not say otherwise. *refused*: the name exists, and using it ends in
an error with this reason. Made by `scripts/make_coverage.py`; a test holds it equal to the code.
"""


def page() -> str:
    """The page's text, from what is served now."""
    parts = [_HEAD]
    with serving():
        for module, names in DOCUMENTED.items():
            served = importlib.import_module(module)
            rows = [(name, _state(module, name, hasattr(served, name))) for name in names]
            done = sum(state == "done" for _, state in rows)
            parts.append(f"\n## `{module}`: {done} of {len(rows)} done\n\n| name | state |\n|---|---|\n")
            parts += [f"| `{name}` | {state} |\n" for name, state in rows]
    return "".join(parts)


def _state(module: str, name: str, served: bool) -> str:
    if (module, name) in REFUSED:
        return f"refused: {REFUSED[module, name]}"
    return "done" if served else "missing"


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where the page is stale")
    made = page()
    if parser.parse_args().check:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
