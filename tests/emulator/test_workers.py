"""Worker processes: nothing that a caller sees depends on them but the time, whatever happens to them."""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkifix.emulator import Params, blas, footprint, launch, machine, team, workers
from nkifix.emulator.faults import EmulatorWarning
from nkifix.emulator.frontends.legacy import compiler as ncc
from nkifix.emulator.frontends.legacy import isa as nisa
from nkifix.emulator.frontends.legacy import kernel as nki
from nkifix.emulator.frontends.legacy import language as nl
from nkifix.emulator.frontends.legacy import typing as nt
from nkifix.emulator.frontends.legacy.tensor import LegacyTensor
from nkifix.emulator.observe import observing
from nkifix.errors import RefusalError
from tests.emulator.kernels import refuses
from vendored_kernel import flash_fwd

ROOT = Path(__file__).resolve().parents[2]
HERE = os.getpid()
F32 = np.float32
X = np.arange(32, dtype=F32).reshape(4, 8)
UNWRITTEN = "err_tensor_output_not_written_to"
UNORDERED = "err_unexpected_output_dependencies"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


class Team(list[tuple[int, int, int | None]]):
    """Of every team: the first program, the number of workers, and where it stopped; None where it was void."""


@pytest.fixture(autouse=True)
def teams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """Nothing is known of any kernel, and this process may fork, whoever runs the tests."""
    seen = Team()
    run = team.run

    def watched(launch: Any, inputs: Any, execute: Any, start: int, count: int) -> Any:
        seen.append((start, count, None))
        result = run(launch, inputs, execute, start, count)
        seen[-1] = (start, count, None if result is None else result.stop)
        return result

    monkeypatch.setattr(team, "run", watched)
    monkeypatch.setattr(workers, "reason_against", lambda: "")
    monkeypatch.delenv(workers.VARIABLE, raising=False)
    workers._records.clear()
    yield seen
    workers._records.clear()
    refuse_children()


def refuse_children() -> None:
    """No worker is left, running or dead."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    lines = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    mine = Path("/proc/self/cmdline").read_bytes()
    assert all(line not in (mine, b"") for line in lines)


def launched(kernel: Callable[..., Any], grid: Any, *args: Any, workers: int | None = 2, **choices: Any) -> Any:
    with machine.using(Params(workers=workers, **choices)):
        return nki.jit(kernel)[grid](*args)


def told(kernel: Callable[..., Any], grid: Any, *args: Any, workers: int | None = 2, **choices: Any) -> Any:
    """All that a caller sees of a launch: the results' bytes, or the error with the kernel's line; and the warnings."""
    copies = [arg.copy() for arg in args]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen: Any
        try:
            returned = launched(kernel, grid, *copies, workers=workers, **choices)
            results = returned if isinstance(returned, tuple) else (returned,)
            seen = [(one.dtype, one.shape, one.tobytes()) for one in results if one is not None]
        except Exception as error:
            frames = [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
            seen = (type(error), str(error), frames[-1], error.__context__)
    return seen, [array.tobytes() for array in copies], [(str(one.message), one.lineno) for one in caught]


def fill(x: Any, out: Any) -> None:
    """Write the program's row of the output."""
    i = nl.program_id(0)
    nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]) * 2 + i)


def rows(x: Any) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    fill(x, out)
    return out


def two_outputs(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, nl.bfloat16, buffer=nl.shared_hbm)
    other = nl.ndarray((1, x.shape[0]), np.int32, buffer=nl.shared_hbm)
    nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]) / 3)
    nl.store(other[0:1, nl.ds(i, 1)], i)
    return [other, out[1:3]]


# ------------------------------------------------------------------------------------------- same answers


@pytest.mark.parametrize("kernel", [rows, two_outputs])
def test_results_are_the_same_bytes_from_the_first_launch_on(kernel: Any, teams: Team) -> None:
    alone = told(kernel, 4, X, workers=1)
    assert teams == []
    assert [told(kernel, 4, X) for _ in range(2)] == [alone, alone]
    assert teams == [(1, 2, 4), (0, 2, 4)]


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_attention_is_the_same_bytes(dtype: Any, teams: Team) -> None:
    random = np.random.default_rng(0)
    q, k, v = (random.standard_normal(shape).astype(dtype) for shape in [(1, 8, 64, 256)] * 2 + [(1, 8, 256, 64)])
    answers = []
    for count in (1, 2, 3):
        with machine.using(Params(workers=count)):
            answers.append(flash_fwd[1, 8](q, k, v).tobytes())
    assert answers == answers[:1] * 3
    assert teams == [(1, 2, 8), (0, 3, 8)]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.sampled_from([(), (0,), (0, 3), (5,)]))
def test_any_grid_and_number_of_workers(height: int, width: int, count: int, left_out: tuple[int, ...]) -> None:
    def kernel(x: Any) -> Any:
        i, j = nl.program_id(0), nl.program_id(1)
        out = nl.ndarray((height, width * 8), F32, buffer=nl.shared_hbm)
        if i * width + j not in left_out:
            nl.store(out[nl.ds(i, 1), nl.ds(j * 8, 8)], nl.load(x[0:1]) + (10 * i + j))
        return out

    workers._records.clear()
    alone = told(kernel, (height, width), X, workers=1)
    assert [told(kernel, (height, width), X, workers=count) for _ in range(2)] == [alone, alone]


def test_more_programs_than_the_queue_has_places(teams: Team) -> None:
    x = np.arange(1100, dtype=F32).reshape(1100, 1)
    assert launched(rows, 1100, x).tolist() == (x * 3).tolist()
    assert teams == [(1, 2, 1100)]


def test_results_are_memory_of_this_process(teams: Team) -> None:
    result = launched(rows, 4, X)
    result[...] = 0
    if (pid := os.fork()) == 0:
        result[...] = 1
        os._exit(0)
    os.waitpid(pid, 0)
    assert not result.any()
    assert len(teams) == 1


def test_counts_are_those_of_one_process(teams: Team) -> None:
    counts = []
    for count in (1, 2, 2):
        with observing() as seen:
            launched(rows, 4, X, workers=count)
        counts.append(seen.counts)
    assert counts == counts[:1] * 3
    assert sum(counts[0].values()) == 4 * 4
    assert len(teams) == 2


# ------------------------------------------------------------------------------------- programs in order


def reading(x: Any) -> Any:
    """The second program reads what the first has stored."""
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    value = nl.load(x[nl.ds(i, 1)]) if i < 2 else nl.load(out[nl.ds(i - 1, 1)]) + 1
    nl.store(out[nl.ds(i, 1)], value)
    return out


def copying(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nisa.dma_copy(src=x[nl.ds(i, 1)] if i < 2 else out[nl.ds(i - 1, 1)], dst=out[nl.ds(i, 1)])
    return out


def transposing(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    turned = nl.load_transpose2d(x[nl.ds(i, 1)] if i < 2 else out[nl.ds(i - 1, 1)])
    nl.store(out[nl.ds(i, 1)], nl.transpose(nl.copy(turned)))
    return out


def adding(x: Any) -> Any:
    """Programs add to the same elements in HBM."""
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    if i == 1:
        nl.store(out, nl.load(x))
    place = nl.zeros((1, 1), np.int32)
    if i > 1:
        nl.atomic_rmw(out[place, nl.arange(8)[None, :]], nl.load(x[nl.ds(i, 1)]), np.add)
    return out


def updating(x: Any, y: Any) -> Any:
    """A parameter is written, by all programs but the first."""
    i = nl.program_id(0)
    if i > 0:
        nl.store(y[nl.ds(i, 1)], nl.load(y[nl.ds(i - 1, 1)]) + nl.load(x[nl.ds(i, 1)]))
    return y


updating.__annotations__["y"] = nt.mutable_tensor


def older(x: Any, y: Any) -> None:
    i = nl.program_id(0)
    nl.store(y[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]))


def repeating(x: Any) -> Any:
    """Programs write the same bytes to the same elements, as a shipped kernel does."""
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    if nl.program_id(0) > 0:
        time.sleep(0.2)  # no worker is quick enough to run two of them
        nl.store(out, nl.load(x))
    return out


def colliding(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]))
    if i == 3:
        nl.store(out[1:2], nl.load(x[0:1]))
    return out


def another_output(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray((4, 8), F32, buffer=nl.shared_hbm)
    nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]))
    if i == 2:
        out = nl.ndarray((1, 8), F32, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x[0:1]))
    return out


@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        pytest.param(reading, [X], id="an output is loaded"),
        pytest.param(copying, [X], id="an output is copied"),
        pytest.param(transposing, [X], id="an output is loaded and transposed"),
        pytest.param(adding, [X], id="programs add to an output"),
        pytest.param(updating, [X, X + 1], id="a mutable parameter"),
        pytest.param(repeating, [X], id="the same bytes twice"),
        pytest.param(colliding, [X], id="other bytes"),
        pytest.param(another_output, [X], id="a tensor of one program"),
    ],
)
def test_programs_that_need_their_order_run_here(kernel: Any, args: list[Any], teams: Team) -> None:
    choices = {"rules_off": frozenset({"err_shared_hbm_must_in_kernel_level"})}
    alone = told(kernel, 4, *args, workers=1, **choices)
    assert [told(kernel, 4, *args, workers=4, **choices) for _ in range(3)] == [alone] * 3
    assert teams == [(1, 3, None)]  # once: then it is known


def test_first_program_tells_that_there_is_an_order(teams: Team) -> None:
    y = np.zeros_like(X)
    assert launched(older, 4, X, y) is None
    assert y.tolist() == X.tolist()
    assert teams == []


def test_first_program_that_writes_everything_leaves_nothing_to_share(teams: Team) -> None:
    def kernel(x: Any) -> Any:
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x))
        return out

    assert launched(kernel, 4, X).tolist() == X.tolist()
    assert teams == []


def test_last_of_several_programs_counts_where_the_rule_is_off() -> None:
    off = frozenset({UNORDERED})
    alone = told(colliding, 4, X, workers=1, rules_off=off)
    assert [told(colliding, 4, X, workers=4, rules_off=off) for _ in range(5)] == [alone] * 5


def test_programs_in_random_order_are_not_parallel(teams: Team) -> None:
    assert told(colliding, 4, X, order="shuffled")[0][0].__name__ == "KernelFault"
    assert teams == []


def test_outputs_of_another_shape_than_before_are_noticed(teams: Team) -> None:
    width = 8

    def kernel(x: Any) -> Any:
        i = nl.program_id(0)
        out = nl.ndarray((4, width), F32, buffer=nl.shared_hbm)
        nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1), nl.ds(0, width)]))
        return out

    launched(kernel, 4, X)
    width = 4
    assert launched(kernel, 4, X).tolist() == X[:, :4].tolist()
    assert teams == [(1, 2, 4), (0, 2, None)]


# ------------------------------------------------------------------------------------------- same errors


def failing(at: tuple[int, ...], error: type[BaseException] = ValueError) -> Callable[[Any], Any]:
    def kernel(x: Any) -> Any:
        i = nl.program_id(0)
        out = nl.ndarray((8, 8), F32, buffer=nl.shared_hbm)
        sys.stdout.write(f"program {i}\n")
        if i in at:
            raise error(f"program {i}")
        nl.store(out[nl.ds(i, 1)], nl.load(x[0:1]))
        return out

    return kernel


def undefined(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray((8, 8), F32, buffer=nl.shared_hbm)
    tile = nl.ndarray((1, 8), F32)
    if i != 5:
        tile[...] = nl.load(x[0:1])
    nl.store(out[nl.ds(i, 1)], tile)
    return out


def half(x: Any) -> Any:
    i = nl.program_id(0)
    out = nl.ndarray((16, 8), F32, buffer=nl.shared_hbm)
    nl.store(out[nl.ds(2 * i, 1), nl.ds(0, 4)], nl.load(x[0:1, 0:4]))
    return out


def no_tensor(x: Any) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    fill(x, out)
    return 5


def sbuf_tensor(x: Any) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    fill(x, out)
    return nl.load(x) if nl.program_id(0) == 7 else out


@pytest.mark.parametrize(
    "kernel",
    [
        failing((3,)),
        failing((6, 3, 7)),
        failing((7,)),
        failing((4,), SystemExit),
        undefined,
        half,
        no_tensor,
        sbuf_tensor,
    ],
)
def test_errors_are_the_same(kernel: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(count: int) -> Any:
        try:
            return told(kernel, 8, np.ones((8, 8), F32), workers=count), capsys.readouterr().out
        except SystemExit as error:
            return str(error), capsys.readouterr().out

    alone = shown(1)
    assert [shown(2), shown(2), shown(3)] == [alone] * 3


def test_unwritten_elements_are_counted_over_all_workers() -> None:
    for count in (1, 2, 2):
        with refuses(UNWRITTEN, match=r"96 of 128 elements .* the first at \(0, 4\)"):
            launched(half, 8, X, workers=count)


def test_program_that_fails_in_a_worker_only_is_computed_here(teams: Team) -> None:
    def kernel(x: Any) -> Any:
        assert os.getpid() == HERE or nl.program_id(0) != 2
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    assert told(kernel, 4, X) == told(rows, 4, X, workers=1)
    assert teams == [(1, 2, 2)]


# --------------------------------------------------------------------------------------- warnings, output


def talking(x: Any) -> Any:
    i = nl.program_id(0)
    sys.stdout.write(f"begin {i}\n")
    warnings.warn(f"odd {i % 2}", stacklevel=1)
    sys.stderr.write(f"problem {i}\n")
    if i != 0:
        nl.log(nl.load(x[0:1]) * 0)  # warns once a launch
    nl.device_print("tile", nl.load(x[nl.ds(i, 1), nl.ds(0, 1)]))
    time.sleep(0.002 * (4 - i))
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    fill(x, out)
    return out


@pytest.mark.parametrize("filter_", ["always", "default", "once", "ignore"])
def test_warnings_and_output_come_in_program_order(filter_: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(count: int) -> Any:
        globals().pop("__warningregistry__", None)
        machine._warned.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(filter_)
            launched(talking, 4, X, workers=count)
        return capsys.readouterr(), [(one.category, str(one.message), one.filename, one.lineno) for one in caught]

    alone = shown(1)
    assert [shown(2), shown(2)] == [alone, alone]
    assert alone[0].out.startswith("begin 0\ntile")
    assert alone[0].err == "problem 0\nproblem 1\nproblem 2\nproblem 3\n"


def test_warning_that_is_an_error_is_raised_inside_its_program(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(count: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error", EmulatorWarning)
            warnings.simplefilter("ignore", UserWarning, append=True)
            with pytest.raises(EmulatorWarning) as caught:
                launched(talking, 4, X, workers=count)
        return str(caught.value), caught.traceback[-1].lineno, capsys.readouterr()

    alone = shown(1)
    assert [shown(2), shown(2)] == [alone, alone]


def test_warning_that_cannot_be_sent_is_given_here(teams: Team) -> None:
    class Local(UserWarning):
        pass

    def kernel(x: Any) -> Any:
        warnings.warn(Local(str(nl.program_id(0))), stacklevel=1)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    alone = told(kernel, 4, X, workers=1)
    assert told(kernel, 4, X) == alone
    assert teams == [(1, 2, None)]


# --------------------------------------------------------------------------------------------- accidents


@pytest.mark.parametrize(
    ("end", "why"),
    [
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), "signal 9", id="killed"),
        pytest.param(lambda: os._exit(3), "exit code 3", id="left"),
        pytest.param(lambda: os._exit(0), "no account", id="left without an account"),
    ],
)
def test_programs_of_a_worker_that_dies_are_computed_here(end: Callable[[], Any], why: str, teams: Team) -> None:
    def kernel(x: Any) -> Any:
        if os.getpid() != HERE and nl.program_id(0) == 2:
            end()
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    expected = told(rows, 4, X, workers=1)
    with pytest.warns(EmulatorWarning, match=rf"a worker process died \({why}\)") as caught:
        assert launched(kernel, 4, X).tobytes() == expected[0][0][2]
    assert (caught[0].filename, caught[0].lineno) == (__file__, kernel.__code__.co_firstlineno)
    assert told(kernel, 4, X) == expected  # in one process now
    assert teams == [(1, 2, None)]


def test_machine_without_processes_computes_here(monkeypatch: pytest.MonkeyPatch, teams: Team) -> None:
    forks = iter([os.fork])

    def fork() -> int:
        with contextlib.suppress(StopIteration):
            return next(forks)()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.warns(EmulatorWarning, match="no worker processes .Resource temporarily unavailable."):
        assert launched(rows, 4, X).tobytes() == told(rows, 4, X, workers=1)[0][0][2]
    assert teams == [(1, 2, None)]


def test_program_that_collects_its_children_itself(teams: Team) -> None:
    def kernel(x: Any) -> Any:
        if os.getpid() != HERE and deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    deadly = False
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert told(kernel, 4, X) == told(rows, 4, X, workers=1)
        deadly = True
        with pytest.warns(EmulatorWarning, match=r"a worker process died \(no account\)"):
            launched(kernel, 4, X)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert teams == [(1, 2, 4), (0, 2, None)]


def test_interrupt_leaves_no_worker_behind() -> None:
    def kernel(x: Any) -> Any:
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to all: workers let their parent decide
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        for _ in range(5):
            workers._records.clear()
            with pytest.raises(KeyboardInterrupt):
                launched(kernel, 4, X)
            refuse_children()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_interrupt_that_the_program_handles_itself_is_handled_once_nobody_works(teams: Team) -> None:
    def kernel(x: Any) -> Any:
        if os.getpid() != HERE:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    seen: list[int] = []

    def handle(number: int, _: object) -> None:
        refuse_children()
        seen.append(number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        assert told(kernel, 4, X) == told(rows, 4, X, workers=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    assert teams == [(1, 2, None)]


ORPHANS = """
import os, sys, time
import numpy as np
from nkifix.emulator import Params, machine, workers
from nkifix.emulator.frontends.legacy import kernel as nki, language as nl
from tests.emulator.test_workers import fill

def kernel(x):
    if os.getpid() != parent:
        print(os.getpid(), file=sys.__stdout__, flush=True)
    time.sleep(0.01)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    fill(x, out)
    return out

parent = os.getpid()
workers.reason_against = lambda: ""
with machine.using(Params(workers=2)):
    nki.jit(kernel)[6000](np.zeros((6000, 1), np.float32))
"""


def test_workers_end_when_their_parent_is_gone() -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    child = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout is not None
    begun = [child.stdout.readline()]
    child.kill()
    rest, _ = child.communicate(timeout=60)  # ends when the last worker does
    assert len([*begun, *rest.splitlines()]) < 6000


def test_worker_flushes_nothing_and_runs_no_exit_handler() -> None:
    script = "import atexit, sys\natexit.register(print, 'left')\nsys.stdout.write('once ')\n" + ORPHANS.replace(
        "6000", "4"
    ).replace("print(os.getpid(), file=sys.__stdout__, flush=True)", "pass")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, text=True, check=True)
    assert done.stdout == "once left\n"


# --------------------------------------------------------------------------------------------- BLAS threads


def threads() -> list[int]:
    return [library.get() for library in blas.libraries()]


def test_blas_has_one_thread_in_a_launch_and_its_own_number_afterwards() -> None:
    if not blas.libraries():
        pytest.skip("numpy has no OpenBLAS here")

    def kernel(x: Any) -> Any:
        assert set(threads()) == {1}
        assert nl.program_id(0) != failing_at
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    before = threads()
    try:
        blas._set([2] * len(before))
        for count, failing_at in [(1, -1), (2, -1), (2, 3)]:
            with contextlib.suppress(AssertionError):
                launched(kernel, 4, X, workers=count)
                assert failing_at < 0
            assert set(threads()) == {2}
    finally:
        blas._set(before)


def test_blas_threads_come_back_when_the_last_user_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    value = [4]
    library = blas.Library(lambda: value[0], lambda count: value.__setitem__(0, count))
    monkeypatch.setattr(blas, "libraries", lambda: (library,))
    outer, inner = blas.one_thread(), blas.one_thread()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert value == [1]
    inner.__exit__(None, None, None)
    assert value == [4]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no list of libraries"),
        pytest.param("00-01 r-xp 00 00:00 1 /lib/libc.so.6\n00-01 rw-p 00 00:00 0\n", id="no OpenBLAS"),
        pytest.param("00-01 r-xp 00 00:00 1 /nowhere/libopenblas.so\n", id="a file that is gone"),
        pytest.param("00-01 r-xp 00 00:00 1 {libc}?openblas\n", id="another library"),
    ],
)
def test_blas_that_is_not_found_is_left_alone(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    if text is not None:
        libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so" in line)
        (tmp_path / "openblas.so").symlink_to(libc)
        maps.write_text(text.replace("{libc}?openblas", str(tmp_path / "openblas.so")))
    monkeypatch.setattr(blas, "_MAPS", maps)
    blas.libraries.cache_clear()
    try:
        assert blas.libraries() == ()
        with blas.one_thread():
            pass
    finally:
        blas.libraries.cache_clear()


# ------------------------------------------------------------------------------------- how many processes


def test_processes_are_forked_where_they_pay(monkeypatch: pytest.MonkeyPatch, teams: Team) -> None:
    def slow(x: Any) -> Any:
        time.sleep(0.02)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    monkeypatch.setattr(workers, "_cores", lambda: 2)
    launched(slow, 4, X, workers=None)
    assert teams == []
    monkeypatch.setattr(workers, "_LEAST_SAVING_S", 0.03)
    assert launched(slow, 4, X, workers=None).tobytes() == launched(rows, 4, X, workers=1).tobytes()
    assert teams == [(0, 2, 4)]  # the time is known
    workers._records.clear()
    monkeypatch.setattr(workers, "_LEAST_SAVING_S", 0.015)
    launched(slow, 4, X, workers=None)
    assert teams[1:] == [(1, 2, 4)]  # after the first program
    monkeypatch.setattr(workers, "_cores", lambda: 1)
    launched(slow, 4, X, workers=None)
    assert len(teams) == 2


def test_number_of_workers_from_the_environment(monkeypatch: pytest.MonkeyPatch, teams: Team) -> None:
    monkeypatch.setenv(workers.VARIABLE, "3")
    launched(rows, 4, X, workers=None)
    launched(rows, 4, X, workers=1)
    assert teams == [(1, 3, 4)]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_refuses_environment_without_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(workers.VARIABLE, text)
    with pytest.raises(RefusalError, match=f"NKIFIX_WORKERS='{text}' is no number of processes"):
        launched(rows, 4, X, workers=None)


def test_grid_of_one_program_is_computed_here(teams: Team) -> None:
    launched(rows, 1, X[:1])
    assert teams == []


@pytest.mark.parametrize("watching", [lambda: observing(sequence=True), lambda: observing(print), footprint.measuring])
def test_watched_launch_is_computed_here(watching: Any, teams: Team) -> None:
    with watching():
        launched(rows, 4, X)
    assert teams == []


def test_direct_allocation_is_placed_by_the_first_program(teams: Team) -> None:
    def kernel(x: Any) -> Any:
        i = nl.program_id(0)
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        tile = nl.ndarray((nl.par_dim(1), 8), F32, buffer=ncc.sbuf.mod_alloc(base_addr=0))
        tile[...] = nl.load(x[nl.ds(i, 1)])
        nl.store(out[nl.ds(i, 1)], tile)
        return out

    for _ in range(2):
        assert launched(kernel, 4, X).tolist() == X.tolist()
    assert teams == [(1, 2, 4), (1, 2, 4)]


def test_records_are_few_and_hold_no_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_MOST_RECORDS", 3)

    def kernel(x: Any, number: Any, pair: Any, other: Any) -> Any:
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        fill(x, out)
        return out

    for number in range(6):
        launched(kernel, 4, X, number, (X, number), Params(seed=number), workers=2)
    assert [key[-1][1] for key in workers._records] == [(int, 3), (int, 4), (int, 5)]  # type: ignore[index]


def test_function_without_code_is_never_known(teams: Team) -> None:
    class Callable_:
        def __call__(self, x: Any) -> Any:
            i = nl.program_id(0)
            out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
            nl.store(out[nl.ds(i, 1)], nl.load(x[nl.ds(i, 1)]))
            return out

    for _ in range(2):
        with machine.using(Params(workers=2)):
            launch.run(Callable_(), (4,), (X,), {}, LegacyTensor)
    assert teams == [(1, 2, 4)] * 2
    assert not workers._records


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        pytest.param("pytest-xdist", lambda patch: patch.setenv("PYTEST_XDIST_WORKER", "gw0"), id="xdist"),
        pytest.param(
            "multiprocessing",
            lambda patch: patch.setitem(multiprocessing.process.current_process()._config, "daemon", True),  # type: ignore[attr-defined]
            id="daemon",
        ),
        pytest.param(
            "multiprocessing",
            lambda patch: patch.setattr(multiprocessing.process, "parent_process", lambda: "a parent"),
            id="child",
        ),
        pytest.param("threads", lambda patch: patch.setattr(threading, "active_count", lambda: 2), id="threads"),
        pytest.param("threads", lambda patch: patch.setattr(threading, "main_thread", lambda: None), id="not the main"),
        pytest.param("JAX", lambda patch: patch.setitem(sys.modules, "jax", types.ModuleType("jax")), id="jax"),
        pytest.param("Linux", lambda patch: patch.setattr(sys, "platform", "darwin"), id="another system"),
    ],
)
def test_process_that_must_not_fork(
    reason: str, change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert workers.reason_against() == ""
    change(monkeypatch)
    assert reason in workers.reason_against()


def test_launch_is_computed_here_where_the_process_must_not_fork(monkeypatch: pytest.MonkeyPatch, teams: Team) -> None:
    monkeypatch.setattr(workers, "reason_against", lambda: "threads")
    launched(rows, 4, X)
    assert teams == []
