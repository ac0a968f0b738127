"""Log events: structlog in front, sinks that never block behind.

structlog as installed pulls asyncio and rich: 12 MiB that a watcher has no use for. Both are kept out while it is
imported; guard uses neither of the two things that need them.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol

from supervisor import console, output

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MOST_LINE_BYTES = select.PIPE_BUF  # a line up to this long reaches a pipe whole or not at all
_MOST_TEXT = 600


class Sink(Protocol):
    """Takes finished lines; never blocks, never raises."""

    def write(self, line: bytes) -> None:
        """Write or drop one line."""


class Stream:
    """An inherited descriptor such as stderr: written without waiting, what doesn't fit is counted in `dropped`.

    O_NONBLOCK on the descriptor itself would reach the target, which shares its file description. So a pipe or a
    terminal is opened anew through /proc, a socket gets MSG_DONTWAIT, and else poll tells whether a write fits.
    """

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._fd = fd
        self._send: Callable[[bytes], int] | None = None
        self._poll = False
        self._own = False
        try:
            mode = os.fstat(fd).st_mode & 0o170000
        except OSError:
            self._fd = -1
            return
        if mode == 0o140000:
            import _socket

            self._connection = _socket.socket(fileno=os.dup(fd))
            flags = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
            self._send = lambda line: self._connection.send(line, flags)
        elif mode in (0o010000, 0o020000):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(f"/proc/self/fd/{fd}", flags)
                self._own = True
            except OSError:
                self._poll = True

    def write(self, line: bytes) -> None:
        """Write a whole line or count it as dropped."""
        if self._fd < 0:
            self.dropped += 1
            return
        try:
            if self._send is not None:
                written = self._send(line)
            elif self._poll and not self._fits():
                raise BlockingIOError(errno.EAGAIN, "full")
            else:
                written = output.write(self._fd, line)
        except OSError:
            self.dropped += 1
            return
        if written < len(line):
            self.dropped += 1

    def close(self) -> None:
        """Give back what was opened beside the inherited descriptor."""
        if self._send is not None:
            self._connection.close()
        elif self._own:
            os.close(self._fd)
        self._fd, self._send = -1, None

    def _fits(self) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poller.poll(0))


def import_structlog() -> Any:
    """structlog without asyncio and rich, which stay importable for others afterwards."""
    from types import ModuleType

    class _Absent(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    held = {name: sys.modules.get(name) for name in ("asyncio", "rich")}
    placeholder = _Absent("asyncio")
    if held["asyncio"] is None:
        sys.modules["asyncio"] = placeholder
    if held["rich"] is None:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        for name, module in held.items():
            if module is None:
                sys.modules.pop(name, None)
    return structlog


class Log:
    """Where events go: to `people` (stderr) in the chosen format and level, to `files` as JSON lines."""

    def __init__(
        self, people: Sink | None, *, json_lines: bool, level: str, files: list[Callable[[bytes], None]]
    ) -> None:
        structlog = import_structlog()
        self._people = people
        self._json_lines = json_lines
        self._level = _LEVELS[level]
        self._files = files
        self._render = structlog.processors.JSONRenderer(default=str, ensure_ascii=True)
        self._drop = structlog.DropEvent
        least = min(self._level, _LEVELS["info"])
        self._logger = structlog.wrap_logger(
            object(),  # never used; None would make structlog want sys.stdout, which may be closed
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                self._deliver,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(least),
            context_class=dict,
        )

    def hush(self) -> None:
        """People get warnings at least from now on; files get all as before."""
        self._level = max(self._level, _LEVELS["warning"])

    def close(self) -> None:
        """Nothing goes to files any more."""
        self._files = []

    def emit(self, level: str, name: str, fields: Mapping[str, Any]) -> None:
        """Log one event."""
        getattr(self._logger, level)(name, **{key: _clip(value) for key, value in fields.items()})

    def _deliver(self, logger: object, method: str, event: MutableMapping[str, Any]) -> Any:
        ordered = {"timestamp": event.pop("timestamp"), "level": event.pop("level"), "event": event.pop("event")}
        ordered.update(event)
        line = str(self._render(None, method, ordered)).encode("utf-8", "backslashreplace") + b"\n"
        for write in self._files:
            write(line)
        if self._people is not None and _LEVELS[method] >= self._level:
            if self._json_lines:
                short = line if len(line) <= _MOST_LINE_BYTES else self._shortened(method, ordered)
            else:
                text = console.line(ordered)
                short = text.encode("utf-8", "backslashreplace")[: _MOST_LINE_BYTES - 1] + b"\n"
            self._people.write(short)
        raise self._drop

    def _shortened(self, method: str, event: dict[str, Any]) -> bytes:
        """The line with its long texts cut until it fits a pipe's atomic write."""
        for most in (200, 60, 20):
            cut = {key: value[:most] if isinstance(value, str) else value for key, value in event.items()}
            cut = {key: value for key, value in cut.items() if not isinstance(value, list | dict)}
            line = str(self._render(None, method, cut)).encode() + b"\n"
            if len(line) <= _MOST_LINE_BYTES:
                break
        return line[:_MOST_LINE_BYTES]


def _clip(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        return value[: _MOST_TEXT - 1] + "…"
    return value
