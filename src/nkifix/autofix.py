"""``import nkifix.autofix``: the installed kernel is fixed in memory when it is imported; no file changes.

It must come before the first import of ``neuronx_distributed_inference.modules.sliding_window.attention``, and warns
where it comes too late. ``NKIFIX_SERIES`` chooses the fixes: ``typo`` (the default) or ``full``.

    import nkifix.autofix
    from neuronx_distributed_inference.modules.sliding_window.attention import flash_fwd

:func:`uninstall` takes it back; :func:`install` chooses other fixes.
"""

from __future__ import annotations

import os

from nkifix.upstream.import_hook import SERIES_VARIABLE, AutofixWarning, install, is_active, uninstall

__all__ = ["SERIES_VARIABLE", "AutofixWarning", "install", "is_active", "uninstall"]

install(os.environ.get(SERIES_VARIABLE) or None)
