"""A process that was stopped to be read: its stop awaited, and it continued. For whoever reads it."""

from __future__ import annotations

import os
import signal
import time

from supervisor import sample

STOP_S = 0.05  # from the call to the stop of all threads


def resume(pid: int) -> bool:
    """Continue a process; False when it is gone or not ours."""
    try:
        os.kill(pid, signal.SIGCONT)
    except OSError:
        return False
    return True


def await_stop(pid: int) -> bool:
    """Whether the stop that guard asked for, or is just about to, has come; for the worker that continues it."""
    deadline_s = time.monotonic() + STOP_S
    while not sample.stopped(pid):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(0.001)
    return True
