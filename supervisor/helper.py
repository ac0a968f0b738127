"""A process of guard's own that an option asks for, beside the target's tree: started, heard, started again.

It tells JSON objects, a line each, on its stdout; what it says on stderr goes the same way, and its last words tell
why it ended. It ends with the watcher that started it, and is begun again after a wait that grows.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from supervisor import output

_HELPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "helped.py")
_AGAIN_S, _LONGEST_S = 1.0, 60.0
_MOST_LINE = 65536
_STUCK_S = 30.0
# It ends with guard and not before: these are sent to all of a service's processes (systemd.kill(5)) or of a terminal.
_NOT_FOR_IT = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Helper:
    """One such process. `failed`: why it didn't start, or ended since the last `take`; after `again_s` it is due again.

    `module` is one of guard's own, which `helped` runs; where `secret` is set nothing of the spec is seen in its
    arguments: it comes by stdin. One that is `fed` gets it there as the first line, and then those of `send`; the end
    of them is its own end.
    """

    def __init__(
        self, module: str, poller: select.poll, helpers: set[int], *, secret: bool = False, fed: bool = False
    ) -> None:
        self._module = module
        self._poller = poller
        self._helpers = helpers
        self._secret = secret or fed
        self._fed = fed
        self._fd = self._feed = -1
        self._blocked_s: float | None = None
        self._pid = 0
        self._data = b""
        self._retry_s: float | None = None
        self._wait_s = _AGAIN_S
        self.again_s = 0.0
        self.failed = ""

    def begin(self, spec: dict[str, Any]) -> None:
        """Start it; it gets `spec`, and with it `parent` (this pid) and `path` (where modules are)."""
        self._retry_s, self.failed = None, ""
        text = json.dumps(spec | {"parent": os.getpid(), "path": [path for path in sys.path if path]})
        opened: list[int] = []
        read_end = -1
        try:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            opened.append(write_end)
            os.set_blocking(read_end, False)
            if self._secret:
                stdin, feed = os.pipe2(os.O_CLOEXEC)
                opened += [stdin, feed]
                os.set_blocking(feed, False)
                os.write(feed, text.encode() + b"\n")  # a pipe holds 64 KiB
            else:
                opened.append(stdin := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-IS", _HELPED, self._module, *([] if self._secret else [text])],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, write_end, 1),
                              (os.POSIX_SPAWN_DUP2, write_end, 2)],
                setsid=True, setsigmask=_NOT_FOR_IT,
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )  # fmt: skip
            if self._fed:
                self._feed = opened.pop()
        except OSError as error:
            if read_end >= 0:
                os.close(read_end)
            self._fail(error.strerror or str(error))
            return
        finally:
            for fd in opened:
                os.close(fd)
        self._helpers.add(self._pid)
        self._fd, self._data, self._blocked_s = read_end, b"", None
        self._poller.register(read_end, select.POLLIN)

    def begin_in(self, wait_s: float) -> None:
        """Let `due` become true after this time."""
        self._retry_s = time.monotonic() + wait_s

    def due(self, now_s: float) -> bool:
        """Whether it is time for another `begin`."""
        return self._retry_s is not None and now_s >= self._retry_s

    @property
    def left_s(self) -> float:
        """Seconds until there is something to do besides reading."""
        return max(0.0, self._retry_s - time.monotonic()) if self._retry_s is not None else float("inf")

    def take(self) -> list[dict[str, Any]]:
        """What it told since the last call."""
        if self._fd < 0:
            return []
        over = self._read()
        *lines, self._data = self._data.split(b"\n")
        told = [found for line in lines if (found := _parsed(line))]
        if over:
            self._close()
            self._fail(lines[-1].decode("utf-8", "replace")[:300] if lines else "it ended")
        return told

    def well(self) -> None:
        """It works: should it end, the wait begins anew."""
        self._wait_s = _AGAIN_S

    def send(self, line: bytes, now_s: float) -> bool:
        """Give it a line (its end included) without waiting; False when it was lost.

        One that reads nothing for half a minute is killed, and so begun again.
        """
        if self._feed < 0:
            return False
        try:
            if len(line) > select.PIPE_BUF:  # it might go in half (pipe(7))
                return False
            output.write(self._feed, line)
        except BlockingIOError:
            self._blocked_s = now_s if self._blocked_s is None else self._blocked_s
            if now_s - self._blocked_s >= _STUCK_S:
                self._kill(signal.SIGKILL)
            return False
        except OSError:  # it has ended, which `take` tells
            return False
        self._blocked_s = None
        return True

    @property
    def lives(self) -> bool:
        """Whether it is there; one that ended is, until it is reaped."""
        return self._pid in self._helpers

    @property
    def heard(self) -> bool:
        """Whether its end of the pipe is open, so that it may say something."""
        return self._fd >= 0

    def give_up(self, reason: str) -> None:
        """Nothing will come of it: kill it, and begin again as if it had ended for this reason."""
        if self.heard:
            self._close()
            self._kill(signal.SIGKILL)
            self._fail(reason)

    def end(self) -> None:
        """End it for good; one that is fed comes to its end by itself."""
        self._retry_s = None
        if self._fd >= 0:
            self._close()
            if not self._fed:
                self._kill(signal.SIGKILL)

    def _kill(self, number: int) -> None:
        if self.lives:  # nobody else can have its pid before it is reaped
            try:
                os.kill(self._pid, number)
            except OSError:
                pass

    def _close(self) -> None:
        self._poller.unregister(self._fd)
        os.close(self._fd)
        if self._feed >= 0:
            os.close(self._feed)
        self._fd = self._feed = -1

    def _read(self) -> bool:
        """Take what it said; whether it closed its end."""
        while True:
            try:
                chunk = os.read(self._fd, 65536)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not chunk:
                return True
            self._data = (self._data + chunk)[-_MOST_LINE:]

    def _fail(self, reason: str) -> None:
        self.failed = reason or "it ended"
        self.again_s = self._wait_s
        self._retry_s = time.monotonic() + self.again_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
