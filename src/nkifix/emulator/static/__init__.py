"""Rules that only a kernel's source shows: AWS's tracer sees statements, plain Python sees what they do.

Nothing here executes or imports the source. Python's own conditions (constants, arguments, ``is None``) choose at
compile time and open no scope; loops over a device range and conditions on loop indices or program ids do.
"""

from nkifix.emulator.static.check import check_function, check_source
from nkifix.emulator.static.findings import Finding

__all__ = ["Finding", "check_function", "check_source"]
