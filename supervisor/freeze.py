"""Processes that guard stopped to have them read: continued by the worker that reads, at the latest by a deadline.

The worker is started (or told) first, then the process is stopped: should guard be killed at any moment, the worker
continues it.
"""

from __future__ import annotations

import os
import signal

from supervisor import sample, stops

MOST_S = 0.8  # a worker's start and one reading take a fourth of it; on a slow machine more
SLOWEST_S = 3.0


class Freezer:
    """What is stopped now; `pids` is shared with the init, which must not take these stops for job control's."""

    def __init__(self, pids: set[int], start_s: float) -> None:
        """`start_s`: what guard's own start took, the measure of this machine."""
        self._pids = pids
        self._most_s = min(max(MOST_S, 10 * start_s), SLOWEST_S)
        self._since_s: dict[int, float] = {}

    def stop(self, pid: int, start_ticks: int, now_s: float) -> bool:
        """Stop the process that is meant, unless it is gone or stopped already."""
        process = sample.read_process(pid)
        if process is None or process.start_ticks != start_ticks or process.state in ("T", "t", "Z", "X"):
            return False
        self._pids.add(pid)
        try:
            os.kill(pid, signal.SIGSTOP)
        except OSError:
            self._pids.discard(pid)
            return False
        self._since_s[pid] = now_s
        return True

    def enforce(self, now_s: float, read: set[int]) -> tuple[float, list[tuple[int, float, bool]]]:
        """Seconds to the next look, and who runs again: pid, seconds, and whether guard had to continue it.

        `read`: whom their workers have continued by now.
        """
        running: list[tuple[int, float, bool]] = []
        for pid, since_s in list(self._since_s.items()):
            late = now_s - since_s >= self._most_s
            if pid in read or late or sample.read_process(pid) is None:
                if late and pid not in read:
                    stops.resume(pid)
                del self._since_s[pid]
                self._pids.discard(pid)
                running.append((pid, now_s - since_s, late))
        return (0.05 if self._since_s else float("inf")), running

    def release(self) -> None:
        """Continue all."""
        for pid in self._since_s:
            stops.resume(pid)
        self._since_s.clear()
        self._pids.clear()
