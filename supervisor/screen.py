"""Console lines and full screens: what guard has to say waits while a program of the tree draws on the terminal.

Only the lines for people wait; the log file and events.jsonl get theirs at once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from supervisor import terminal
from supervisor.log import Stream

_MOST_LINES = 200


class Screen:
    """A sink in front of a stream that is a terminal. `ours`: whether a process group is guard's or the tree's."""

    def __init__(self, stream: Stream, fd: int, ours: Callable[[int], bool]) -> None:
        self._stream = stream
        self._fd = fd
        self._ours = ours
        self._held: deque[bytes] = deque()
        self._closed = False

    def write(self, line: bytes) -> None:
        """Write the line, or keep it for later; of too many the oldest are dropped and counted."""
        self._held.append(line)
        self.release()
        if len(self._held) > _MOST_LINES:
            self._held.popleft()
            self._stream.dropped += 1

    def release(self) -> None:
        """Write what waits if nobody draws on the screen now."""
        if self._held and (self._closed or not self._busy()):
            while self._held:
                self._stream.write(self._held.popleft())

    def close(self) -> None:
        """The target has ended: nothing waits any longer."""
        self._closed = True
        self.release()

    def _busy(self) -> bool:
        """Whether a program in front reads key by key. A shell's prompt over guard as a background job doesn't count:
        it would hold lines back for ever, and only moves to the next line."""
        if not terminal.is_raw(self._fd):
            return False
        try:
            return self._ours(os.tcgetpgrp(self._fd))
        except OSError:  # not guard's controlling terminal: whoever draws there isn't the target
            return False
