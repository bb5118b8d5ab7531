from __future__ import annotations

import pytest

from nkifix import codemod, specimens


@pytest.mark.parametrize("fix", codemod.FIXES, ids=lambda fix: fix.id)
def test_every_fix_has_a_specimen_that_needs_it(fix: codemod.Fix) -> None:
    outcome = codemod.apply(specimens.path(fix.id).read_bytes(), [fix])
    assert isinstance(outcome, codemod.Fixed)


def test_refuses_defect_without_a_specimen() -> None:
    with pytest.raises(KeyError, match="no-such-defect"):
        specimens.path("no-such-defect")
