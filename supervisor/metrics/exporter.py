"""The process that shows a run's figures: on a port, on a unix socket, in a file. Its other end is `teller`.

A helper (see `helped`). After its spec the watcher's lines come by stdin, the last one counts. What it does and what
it can't do goes to stdout as JSON lines: {"serving": WHAT, "place"} or {"failed": WHAT, "reason", "hint"}. It ends with
its stdin, after the file and OTLP have got the last word.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import threading
import time
from typing import Any

from supervisor import files
from supervisor.metrics import exposition, figures, serving

OUTLIVES = True
_FILE_EVERY_S = 1.0
_AGAIN_S, _LONGEST_S = 1.0, 60.0
_FILE_MODE = 0o644  # who collects such files is another user
_MOST_LINE = 65536


def main(spec: dict[str, Any]) -> None:
    """Show until stdin ends."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.set_blocking(0, False)
    Exporter(spec).run()


class Exporter:
    """`spec`: `address`, `port`, `socket`, `file`, `otlp`; null for what isn't asked for."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._poller = select.poll()
        self._poller.register(0, select.POLLIN)
        self._server = serving.Server(self._poller, self._answer)
        self._names = figures.Names()
        self._line: dict[str, Any] = {}
        self._came_s = time.monotonic()
        self._data = b""
        self._over = False
        self._wanted = [what for what in ("port", "socket") if spec[what] is not None]
        self._wait_s = _AGAIN_S
        self._retry_s = time.monotonic()
        self._told: dict[str, str] = {}
        self._bound: tuple[str, tuple[int, int]] | None = None  # the socket's path and file
        self._file_due_s = float("inf")
        self._written_s = float("-inf")
        self._lock = threading.Lock()
        self._pusher = self._open_otlp() if spec["otlp"] is not None else None

    def run(self) -> None:
        """Serve until the watcher has ended."""
        while not self._over:
            now_s = time.monotonic()
            if self._wanted and now_s >= self._retry_s:
                self._listen(now_s)
            if now_s >= self._file_due_s:
                self._write(now_s)
            retry_s = self._retry_s if self._wanted else float("inf")
            left_s = min(min(retry_s, self._file_due_s) - now_s, self._server.left_s(now_s))
            timeout = None if left_s == float("inf") else max(0.0, left_s) * 1000 + 1
            ready = dict(self._poller.poll(timeout))
            if 0 in ready:
                self._hear()
            self._server.step(ready, time.monotonic())
        self._end()

    # -- the watcher -------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        while True:
            try:
                chunk = os.read(0, 65536)
            except BlockingIOError:
                break
            if not chunk:
                self._over = True
                break
            self._data = (self._data + chunk)[-_MOST_LINE:]
        *lines, self._data = self._data.split(b"\n")
        for line in reversed(lines):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                now_s = time.monotonic()
                urgent = found.get("state") != self._line.get("state")
                self._line, self._came_s = found, now_s
                if urgent and self._pusher is not None:
                    self._pusher.hurry()
                if self._spec["file"] is not None:
                    self._file_due_s = now_s if urgent else max(now_s, self._written_s + _FILE_EVERY_S)
                break

    def _open_otlp(self) -> Any:
        from supervisor.metrics import otlp

        return otlp.Pusher(self._spec["otlp"], self._figures, lambda kind, **told: self._tell(kind, "otlp", **told))

    def _figures(self) -> tuple[dict[str, Any], list[Any]]:
        """The last line and what is shown of it, for any thread."""
        line, age_s = self._line, time.monotonic() - self._came_s
        if line and self._over:
            line, age_s = line | {"up": 0, "within_s": 0.0}, float("inf")
        with self._lock:
            return line, figures.families(line, age_s, self._names)

    def _tell(self, kind: str, what: str, **fields: str) -> None:
        """Once, until it changes."""
        line = json.dumps({kind: what, **fields})
        if self._told.get(what) != line:
            self._told[what] = line
            try:
                os.write(1, line.encode() + b"\n")
            except OSError:  # the watcher has ended
                pass

    # -- what it shows -----------------------------------------------------------------------------------------------

    def _answer(self, request: serving.Request) -> serving.Response:
        age_s = time.monotonic() - self._came_s
        if request.path == "/metrics":
            families = self._figures()[1]
            if exposition.wants_open_metrics(request.headers.get("accept", "")):
                return serving.Response(200, exposition.open_metrics(families), exposition.OPEN_METRICS)
            return serving.Response(200, exposition.prometheus(families), exposition.PROMETHEUS)
        if request.path in ("/livez", "/healthz"):
            lives = figures.watching(self._line, age_s)
            return serving.Response(200, "ok\n") if lives else serving.Response(503, f"no sample for {age_s:.0f} s\n")
        if request.path == "/readyz":
            if figures.ready(self._line, age_s):
                return serving.Response(200, "ok\n")
            return serving.Response(503, f"state {self._line.get('state')}, target up {self._line.get('up')}\n")
        return serving.Response(404, "/metrics, /livez, /readyz\n")

    def _listen(self, now_s: float) -> None:
        for what in tuple(self._wanted):
            try:
                place = self._open_port() if what == "port" else self._open_socket()
            except OSError as error:
                self._tell("failed", what, reason=_why(error), hint=self._hint(what, error))
            else:
                self._wanted.remove(what)
                self._tell("serving", what, place=place)
        self._retry_s = now_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)

    def _open_port(self) -> str:
        address, port = self._spec["address"], self._spec["port"]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(128)
        except OSError:
            sock.close()
            raise
        self._server.add(sock)
        port = sock.getsockname()[1]
        return f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"

    def _open_socket(self) -> str:
        path = self._spec["socket"]
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(path)
            sock.listen(128)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
        self._bound = path, _identity(path)
        self._server.add(sock)
        return str(path)

    def _hint(self, what: str, error: OSError) -> str:
        if what == "socket":
            return f"ls -ld {self._spec['socket']} {os.path.dirname(self._spec['socket']) or '.'}"
        port = self._spec["port"]
        if error.errno == errno.EADDRINUSE:
            return f"ss -ltnp 'sport = :{port}'; guard run --metrics-port 0 takes a free one"
        if error.errno == errno.EACCES:
            return "guard run --metrics-port with a port above 1023"
        return "ip addr; guard run --metrics-address 127.0.0.1"

    def _write(self, now_s: float) -> None:
        self._written_s, self._file_due_s = now_s, float("inf")
        path = self._spec["file"]
        try:
            text = exposition.prometheus(self._figures()[1]).encode()
            files.put_at(os.path.dirname(path), os.path.basename(path), text, _FILE_MODE)
        except OSError as error:
            self._tell("failed", "file", reason=_why(error), hint=f"ls -ld {os.path.dirname(path)}; df -h {path}")
        else:
            self._tell("serving", "file", place=path)

    def _end(self) -> None:
        if self._spec["file"] is not None and self._line:
            self._write(time.monotonic())
        self._server.close()
        if self._bound is not None:
            path, identity = self._bound
            try:
                if _identity(path) == identity:  # another guard may have the name by now
                    os.unlink(path)
            except OSError:
                pass
        if self._pusher is not None:
            self._pusher.end(self._spec["last_push_s"])


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on any more makes room. Raises OSError for whatever else is there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if mode & 0o170000 != 0o140000:
        raise FileExistsError(errno.EEXIST, "there is a file of this name that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _why(error: OSError) -> str:
    return error.strerror or str(error)
