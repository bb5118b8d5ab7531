from __future__ import annotations

from pathlib import Path

import pytest

from nkifix import codemod, specimens

FOLDER = Path(__file__).parent / "specimens"


@pytest.mark.parametrize("fix", codemod.FIXES, ids=lambda fix: fix.id)
def test_every_fix_has_a_specimen_that_needs_it(fix: codemod.Fix) -> None:
    file = FOLDER / f"{fix.id.replace('-', '_')}.py"
    data = (file if file.is_file() else specimens.path(fix.id)).read_bytes()
    assert isinstance(codemod.apply(data, [fix]), codemod.Fixed)


def test_refuses_defect_without_a_specimen() -> None:
    with pytest.raises(KeyError, match="no-such-defect"):
        specimens.path("no-such-defect")
