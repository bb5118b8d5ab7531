"""Forked processes that share the programs of a launch; their parent waits, and has done nothing that must be undone.

A worker inherits kernel and arguments as they are, copied by nobody. Outputs lie in memory that all of them share. The
numbers of the programs wait in a pipe, and whoever is free takes the next. At its end a worker sends an account (see
:mod:`nkifix.emulator.worker`). An exception crosses no process: the parent executes that program again, and it raises
there.
"""

from __future__ import annotations

import gc
import math
import mmap
import os
import pickle
import selectors
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from nkifix.emulator.machine import Launch
from nkifix.emulator.memory import Storage
from nkifix.emulator.undefined import Undefined
from nkifix.emulator.worker import TOKEN_BYTES, Account, Bits, Execute, Report, unpacked, work


class Result(NamedTuple):
    """What a team did.

    Attributes
    ----------
    reports:
        Of the programs that went through, by number.
    stop:
        Number of the first program that did not; one past the last where all did.
    returned:
        What the launch's last program returned, where all went through.
    seconds:
        How long a program took, on average.
    """

    reports: dict[int, Report]
    stop: int
    returned: Any
    seconds: float


class WorkerDied(Exception):
    """A worker ended without an account."""


def run(launch: Launch, inputs: Sequence[Storage], execute: Execute, start: int, count: int) -> Result | None:
    """Execute the programs from number ``start`` on in ``count`` processes, and put what they wrote into the outputs.

    None where that cannot be told from their accounts: nothing has happened then.

    Raises
    ------
    WorkerDied
        Where one did; nothing has happened then either.
    OSError
        Where this machine gives no more processes or memory; nothing has happened then either.
    """
    shared = [_shared(storage, filled=start > 0) for storage in launch.outputs]
    tensors = [*launch.outputs, *inputs]
    tokens = _queue(range(start, len(launch.positions)))
    parent = os.getpid()
    team: list[_Worker] = []
    with _signals_noted() as noted:
        try:
            for _ in range(count):
                _hire(team, lambda: work(launch, tensors, execute, tokens, shared, parent))
            if not _listen(team, noted):
                return None
            accounts = [worker.account() for worker in team]
        finally:
            os.close(tokens)
            for worker in team:
                worker.dismiss()
    written = _merged([account.written for account in accounts])
    if written is None or any(account.needs_order for account in accounts):
        return None
    for storage, raw, bits in zip(launch.outputs, shared, written, strict=True):
        storage.raw[...] = raw
        _mark_written(storage, bits)
    reports = {number: report for account in accounts for number, report in account.reports.items()}
    stop = min([account.failed for account in accounts if account.failed is not None], default=len(launch.positions))
    returned = next((account.returned for account in accounts if account.returned is not None), None)
    seconds = sum(account.seconds for account in accounts) / max(1, len(reports))
    return Result(reports, stop, unpacked(returned, tensors), seconds)


def _shared(storage: Storage, *, filled: bool) -> Bits:
    """Memory for a tensor that forked processes share, with its bytes where there are any."""
    size = storage.raw.size
    raw: Bits = np.frombuffer(mmap.mmap(-1, max(1, size)), np.uint8, size)
    if filled:
        raw[...] = storage.raw
    return raw


_MOST_TOKENS = 4096 // TOKEN_BYTES
"""They fit in a page, which every pipe holds."""


def _queue(numbers: range) -> int:
    """The end of a pipe that gives the programs' numbers in order, in as many pieces as it holds."""
    size = math.ceil(len(numbers) / _MOST_TOKENS)
    tokens, end = os.pipe()
    for piece in numbers[::size]:
        os.write(end, piece.to_bytes(4, "little") + min(piece + size, numbers.stop).to_bytes(4, "little"))
    os.close(end)
    return tokens


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """What would end this process ends it after the block, not within: no worker is left behind."""
    noted: list[int] = []
    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, lambda got, _: noted.append(got))
    try:
        yield noted
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)
        if noted:
            signal.raise_signal(noted[0])


def _listen(team: list[_Worker], noted: list[int]) -> bool:
    """Hear all workers to their end, whichever speaks; False where a signal came first."""
    with selectors.DefaultSelector() as selector:
        for worker in team:
            selector.register(worker.end, selectors.EVENT_READ, worker)
        while selector.get_map():
            if noted:
                return False
            for key, _ in selector.select(timeout=0.05):
                if not key.data.hear():
                    selector.unregister(key.fd)
    return True


@contextmanager
def _no_warning_of_threads() -> Iterator[None]:
    """Python 3.12 warns where a library has threads; a child uses none of them.

    :func:`warnings.catch_warnings` would make the module forget which warnings it has shown.
    """
    filters = cast("list[Any]", warnings.filters)
    filters.insert(0, ("ignore", None, DeprecationWarning, None, 0))
    try:
        yield
    finally:
        del filters[0]


class _Worker:
    """A forked process, seen from its parent."""

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self.end = end
        self._heard: list[bytes] = []
        self._is_running = True

    def hear(self) -> bool:
        """Take what it says; False where that was all."""
        self._heard.append(os.read(self.end, 1 << 20))
        return bool(self._heard[-1])

    def account(self) -> Account:
        """What it has said, once that was all."""
        status = self._reap()
        if status != 0:
            raise WorkerDied(f"signal {-status}" if status < 0 else f"exit code {status}")
        try:
            account: Account = pickle.loads(b"".join(self._heard))  # noqa: S301  of our own process
        except (EOFError, pickle.UnpicklingError) as error:  # its status is not known, see _reap
            raise WorkerDied("no account") from error
        return account

    def dismiss(self) -> None:
        """End it, if it has not ended."""
        os.close(self.end)
        if self._is_running:
            with suppress(ProcessLookupError):  # dead, and collected by somebody else
                os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        """Exit code, or the negative number of the signal."""
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:  # the program that we are in collects all children, or none
            status = 0
        self._is_running = False
        return os.waitstatus_to_exitcode(status)


def _hire(team: list[_Worker], work: Callable[[], bytes]) -> None:
    """Fork a process that sends what ``work()`` gives."""
    end, account = os.pipe()
    try:
        with _no_warning_of_threads():
            pid = os.fork()
            if pid == 0:
                _be_worker([end, *(worker.end for worker in team)], account, work)
            team.append(_Worker(pid, end))
    except OSError:
        os.close(end)
        raise
    finally:
        os.close(account)


def _merged(accounts: list[list[Bits]]) -> list[Bits] | None:
    """All elements that were written; None where two workers wrote the same one."""
    merged, *others = accounts
    for written in others:
        if any((mine & theirs).any() for mine, theirs in zip(merged, written, strict=True)):
            return None
        merged = [mine | theirs for mine, theirs in zip(merged, written, strict=True)]
    return merged


def _mark_written(storage: Storage, bits: Bits) -> None:
    """Elements that a worker wrote are defined."""
    if storage.undefined is None:
        return
    written = np.unpackbits(bits, count=storage.size).astype(np.bool_).reshape(storage.shape)
    ids = np.where(written, np.uint8(0), storage.undefined.ids)
    storage.undefined_count = int(np.count_nonzero(ids))
    storage.undefined = Undefined(ids, storage.undefined.origins) if storage.undefined_count else None


def _be_worker(readers: list[int], end: int, work: Callable[[], bytes]) -> NoReturn:
    """Leave without a trace of the parent's: no buffer is flushed, no exit handler runs."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a Ctrl-C ends
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for reader in readers:
            os.close(reader)  # so that a write fails where the parent is gone
        gc.freeze()  # finalizers of the parent's objects are not ours to run
        with open(end, "wb", buffering=0, closefd=False) as pipe:
            rest = memoryview(work())
            while rest:
                rest = rest[pipe.write(rest) :]
        status = 0
    finally:
        os._exit(status)
