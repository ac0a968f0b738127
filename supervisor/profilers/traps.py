"""How a process is held while its stack is read: the exact traps of `faults`, or what is left without ptrace."""

from __future__ import annotations

import os
import signal
from typing import Protocol

from supervisor import sample


class Trap(Protocol):
    """Stops a thread where it takes memory. `cost_share`: of the time it is armed, what the process loses at most."""

    cost_share: float

    def arm(self, period: int) -> None:
        """Get ready."""

    def wait(self, timeout_s: float) -> int | None:
        """The stopped thread, 0 when none in particular, or None."""

    def stays(self) -> bool | None:
        """Whether what was caught is still there; None when that can't be told."""

    def release(self) -> None:
        """Let go."""

    def close(self) -> None:
        """Give everything back."""


class NoTrap:
    """Where nothing may be stopped: the stack is read a moment after the growth, from the running process."""

    cost_share = 0.0

    def arm(self, period: int) -> None:
        """Nothing to do."""

    def wait(self, timeout_s: float) -> int | None:
        """At once, no thread in particular."""
        return 0

    def stays(self) -> bool | None:
        """Never known."""
        return None

    def release(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class StopTrap:
    """Where ptrace is refused and there is hardly any time left: SIGSTOP holds the whole process.

    Only what it stopped itself it continues; a worker that dies in between leaves that to the watcher.
    """

    cost_share = 0.0

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._holds = False

    def arm(self, period: int) -> None:
        """Nothing to do."""

    def wait(self, timeout_s: float) -> int | None:
        """Stop the process. Raises OSError."""
        if not sample.stopped(self._pid):
            os.kill(self._pid, signal.SIGSTOP)
            self._holds = True
        return 0

    def stays(self) -> bool | None:
        """Never known."""
        return None

    def release(self) -> None:
        """Continue it."""
        if self._holds:
            self._holds = False
            os.kill(self._pid, signal.SIGCONT)

    def close(self) -> None:
        """Continue it."""
        self.release()
