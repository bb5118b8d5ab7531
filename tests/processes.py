"""What tests that start programs share."""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """For ``preexec_fn``: a shell that runs the tests in the background may have all its children ignore these."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
