"""`--reload` on the watcher's side: the process that watches files (`watch`), what it tells, what becomes of it."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from supervisor.config import Config

_WATCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "watch.py")
_AGAIN_S, _LONGEST_S = 1.0, 60.0
_MOST_LINE = 65536


class Reloader:
    """The process that watches files: started, read, started again when it ended. Everything it can't do is told once.

    `news` waits in it: events (level, name, fields) for whoever has a log.
    """

    def __init__(self, config: Config, poller: select.poll, helpers: set[int]) -> None:
        self._poller = poller
        self._helpers = helpers
        self._fd = -1
        self._data = b""
        self._retry_s: float | None = None
        self._wait_s = _AGAIN_S
        never = [config.profiles_dir, *([config.log_file] if config.log_file else [])]
        self._spec: dict[str, Any] = {
            "directories": list(config.reload_dir),
            "include": list(config.reload_include),
            "exclude": list(config.reload_exclude),
            "never": never,
        }
        self.news: list[tuple[str, str, dict[str, Any]]] = []

    def begin(self, since: float) -> None:
        """Start it; changes after `since` (seconds since the epoch) count."""
        spec = self._spec | {"since": since, "parent": os.getpid(), "path": [path for path in sys.path if path]}
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(read_end, False)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                pid = os.posix_spawn(
                    sys.executable, [sys.executable, "-IS", _WATCH, json.dumps(spec)], os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, write_end, 1),
                                  (os.POSIX_SPAWN_DUP2, write_end, 2)],
                    setsid=True, setsigmask=(), setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
                )  # fmt: skip
            finally:
                os.close(null)
        except OSError as error:
            os.close(read_end)
            self._failed(error.strerror or str(error))
            return
        finally:
            os.close(write_end)
        self._helpers.add(pid)
        self._fd, self._data, self._pid = read_end, b"", pid
        self._poller.register(read_end, select.POLLIN)

    def take(self, now_s: float) -> dict[str, Any] | None:
        """What changed since the last call (`paths`, `count`), or None."""
        if self._retry_s is not None and now_s >= self._retry_s:
            self._retry_s = None
            self.begin(time.time() - self._wait_s)
        if self._fd < 0:
            return None
        over = self._read()
        *lines, self._data = self._data.split(b"\n")
        found: dict[str, Any] | None = None
        for line in lines:
            told = _parsed(line)
            if "changed" in told:
                paths = [str(path) for path in told["changed"]]
                found = {"paths": paths, "count": int(told["count"]) + (found["count"] if found else 0)}
            elif "engine" in told:
                self._wait_s = _AGAIN_S
                level = "warning" if told["engine"] == "polling" else "info"
                self.news.append((level, "reload.watching", {
                    "engine": told["engine"], "reason": told.get("reason") or "", "paths": self._spec["directories"],
                }))  # fmt: skip
        if over:
            said = lines[-1] if lines else b""
            self._poller.unregister(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._failed(said.decode("utf-8", "replace")[:300] or "it ended")
        return found

    @property
    def left_s(self) -> float:
        """Seconds until there is something to do besides reading."""
        return max(0.0, self._retry_s - time.monotonic()) if self._retry_s is not None else float("inf")

    def end(self) -> None:
        """End it."""
        if self._fd >= 0:
            self._poller.unregister(self._fd)
            os.close(self._fd)
            self._fd = -1
            try:
                os.kill(self._pid, signal.SIGTERM)
            except OSError:
                pass

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

    def _failed(self, reason: str) -> None:
        self.news.append(("warning", "reload.failed", {
            "reason": reason, "again_s": self._wait_s, "hint": "guard run --reload --reload-dir DIR with fewer files",
        }))  # fmt: skip
        self._retry_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
