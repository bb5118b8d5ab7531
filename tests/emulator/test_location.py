"""The kernel line that a message names."""

from __future__ import annotations

import _thread
import sys
from pathlib import Path

from nkifix.emulator import location


def test_location_is_the_callers_line() -> None:
    line = sys._getframe().f_lineno + 1
    assert location.kernel_location() == f"{__file__}:{line}"
    assert location.kernel_position() == (__file__, line + 1)


def test_location_skips_frames_of_the_emulator() -> None:
    code = compile(
        "def call(function):\n    return function()", str(Path(location.__file__).with_name("ops.py")), "exec"
    )
    namespace: dict[str, object] = {}
    exec(code, namespace)
    call = namespace["call"]
    assert callable(call)
    line = sys._getframe().f_lineno + 1
    assert call(location.kernel_location) == f"{__file__}:{line}"


def test_location_of_a_file_beside_the_emulator_is_its_own() -> None:
    beside = str(Path(location.__file__).parent) + "_kernels.py"
    namespace: dict[str, object] = {}
    exec(compile("def call(function):\n    return function()", beside, "exec"), namespace)
    call = namespace["call"]
    assert callable(call)
    assert call(location.kernel_location) == f"{beside}:2"


def test_location_without_a_kernel() -> None:
    found: list[tuple[str, int]] = []
    done = _thread.allocate_lock()
    done.acquire()
    namespace: dict[str, object] = {"position": location.kernel_position, "found": found, "done": done}
    exec(compile("def main():\n    found.append(position())\n    done.release()", location.__file__, "exec"), namespace)
    main = namespace["main"]
    assert callable(main)
    _thread.start_new_thread(main, ())  # a stack with frames of the emulator only
    assert done.acquire(timeout=10)
    assert found == [("<no kernel>", 0)]
