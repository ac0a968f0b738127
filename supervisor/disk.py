"""Where the watcher's file work is done: a thread of its own, so that a disk that hangs never holds up a signal.

Nobody can write to a regular file without waiting: poll(2) calls it always ready, and O_NONBLOCK has no effect on it.
So the wait is somebody else's. A healthy disk answers within the patience, and the caller has the result as if it had
done the work: what is written survives guard's own SIGKILL.
"""

from __future__ import annotations

import _signal
import _thread
import errno
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_S = 0.5
LONG_PATIENCE_S = 2.0
_STACK_BYTES = 256 << 10


class Disk:
    """Does one job at a time. After one that hung, others are refused until it is through."""

    def __init__(self) -> None:
        self._asked = _thread.allocate_lock()
        self._answered = _thread.allocate_lock()
        self._asked.acquire()
        self._answered.acquire()
        self._job: Callable[[], Any] | None = None
        self._result: tuple[Any, BaseException | None] = (None, None)
        self._hangs = False
        self._alone = not self._start()  # no thread to be had: better to wait than to write nothing

    def _start(self) -> bool:
        """The thread takes no signals: handlers are the main thread's, and so are their interruptions."""
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        size = _thread.stack_size(_STACK_BYTES)
        try:
            _thread.start_new_thread(self._work, ())
        except RuntimeError:
            return False
        finally:
            _thread.stack_size(size)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        return True

    def run(self, job: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """What the job returns or raises. Raises OSError (ETIMEDOUT) when it isn't done within the patience."""
        return self.run_for(PATIENCE_S, job, *arguments, **options)

    def run_for(self, patience_s: float, job: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """As `run`, with another patience."""
        if self._alone:
            return job(*arguments, **options)
        if self._hangs:
            if not self._answered.acquire(True, patience_s if patience_s > PATIENCE_S else 0.0):
                raise OSError(errno.ETIMEDOUT, "the disk hangs")
            self._hangs = False
        self._job = lambda: job(*arguments, **options)
        self._asked.release()
        if not self._answered.acquire(True, patience_s):
            self._hangs = True
            raise OSError(errno.ETIMEDOUT, "the disk hangs")
        (result, error), self._result = self._result, (None, None)
        if error is not None:
            try:
                raise error
            finally:
                del error
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """Let the thread end, when it doesn't hang."""
        if not self._alone and not self._hangs:
            self._alone = True
            self._asked.release()

    def _work(self) -> None:
        while True:
            self._asked.acquire()
            job, self._job = self._job, None
            if job is None:
                return
            try:
                self._result = (job(), None)
            except BaseException as error:
                self._result = (None, error)
            del job
            self._answered.release()


class Lines:
    """A file of lines, written by way of the disk."""

    def __init__(self, disk: Disk, add: Callable[[bytes], None]) -> None:
        self._disk = disk
        self._add = add

    def add(self, line: bytes) -> None:
        """As files.Lines.add."""
        self._disk.run(self._add, line)
