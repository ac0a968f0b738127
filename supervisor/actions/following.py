"""What following a growing process takes, in whatever language it is: its size, its freeze-frame, calls for haste."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from supervisor import sample, stops
from supervisor.actions import mappings, stacks
from supervisor.actions.task import Task
from supervisor.proc_tree import PAGE_BYTES
from supervisor.profilers import runner


def is_frozen(task: Task) -> bool:
    """Whether the watcher stopped the process to have it read; waits for that stop."""
    return bool(task.spec.get("freeze")) and stops.await_stop(task.pid)


def go_on(task: Task) -> None:
    """Let it go on and tell the watcher (`workers.READ`)."""
    stops.resume(task.pid)
    task.spec["freeze"] = False
    sys.stdout.write("read\n")
    sys.stdout.flush()


def write_frame(task: Task, threads: list[dict[str, Any]], engine: str = "py-spy") -> None:
    """The stopped process as it stands: every thread's stack, and where its memory lies."""
    process = sample.read_process(task.pid)
    rss = process.rss_bytes if process is not None else None
    facts: dict[str, Any] = {"engine": engine, "frozen": True, "rss_bytes": rss}
    stacks.write(task, threads, nonblocking=True, **facts)
    stacks.write(task, threads, nonblocking=True, **facts, mappings=mappings.read(task.pid, rss))


def rest(task: Task, seconds: float) -> bool:
    """Sleep; True when the watcher calls for haste (SIGUSR1, which a worker starts with blocked).

    SIGINT is taken here, too, and first: a call that came with it stays pending for who lets the process go.
    Raises Interrupted.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        came = signal.sigtimedwait((signal.SIGUSR1, signal.SIGINT), max(0.0, seconds))
        if came is None:
            return False
        if came.si_signo == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise runner.Interrupted
        task.spec["freeze"] = True  # until the process is continued, whatever happens
        return True
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))


class Rss:
    """The process's resident bytes by a kept descriptor."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> int | None:
        """None when it is gone."""
        try:
            pages = int(os.pread(self._fd, 128, 0).split()[1])
        except (OSError, IndexError):
            return None
        return pages * PAGE_BYTES or None


class Run:
    """How far a thread has come since it was let go: on a busy machine time passes and it hasn't run."""

    def __init__(self, pid: int, tid: int) -> None:
        self._tid = tid
        self._path = f"/proc/{pid}/task/{tid}/schedstat"
        self._start_s = self._ran_s()

    def has_run(self, seconds: float) -> bool:
        """Whether it had so much of a processor, waits for something else than that, or is gone."""
        now_s = self._ran_s()
        if self._start_s is None or now_s is None or now_s - self._start_s >= seconds:
            return True
        thread = sample.read_process(self._tid)
        return thread is None or thread.state != "R"

    def _ran_s(self) -> float | None:
        """None where the kernel keeps no schedule statistics, or the thread is gone. proc_pid_schedstat(5)."""
        try:
            with open(self._path, "rb") as file:
                return int(file.read(64).split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            return None
