"""A small HTTP server: one thread, one request a connection, everything bounded.

http.server would be a thread a connection and 8 MB more; what a scrape needs is a GET and an answer. A client that is
slow, silent or talks for ever is closed; one connection too many takes the place of the oldest that has not asked yet.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import NamedTuple

MOST_CONNECTIONS = 32
MOST_HEAD = 8192
PATIENCE_S = 5.0
_LINGER_S = 1.0
_MOST_LEFT = 1 << 20
_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip


class Response(NamedTuple):
    """What is answered."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """What was asked: a path without its query, headers by lower-case name (the last of a name)."""

    path: str
    headers: dict[str, str]


class _Connection:
    def __init__(self, sock: socket.socket, now_s: float) -> None:
        self.sock = sock
        self.head = b""
        self.answer: memoryview | None = None
        self.left = _MOST_LEFT  # bytes that are read and thrown away after the answer
        self.deadline_s = now_s + PATIENCE_S


class Server:
    """Listens, reads, answers; `step` after each poll of the poller that it was given."""

    def __init__(self, poller: select.poll, answer: Callable[[Request], Response]) -> None:
        self._poller = poller
        self._answer = answer
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, _Connection] = {}

    def add(self, listener: socket.socket) -> None:
        """Answer who connects there."""
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        self._poller.register(listener.fileno(), select.POLLIN)

    def step(self, ready: dict[int, int], now_s: float) -> None:
        """Do what can be done without waiting. `ready`: events by descriptor."""
        for fd, listener in self._listeners.items():
            if fd in ready:
                self._accept(listener, now_s)
        for fd, connection in list(self._connections.items()):
            if now_s >= connection.deadline_s:
                self._close(fd)
            elif fd in ready:
                try:
                    self._advance(fd, connection, now_s)
                except BlockingIOError:
                    continue
                except OSError:
                    self._close(fd)

    def left_s(self, now_s: float) -> float:
        """Seconds until a connection has to be closed."""
        return max(0.0, min((each.deadline_s - now_s for each in self._connections.values()), default=float("inf")))

    def close(self) -> None:
        """Answer nobody any more."""
        for fd in list(self._connections):
            self._close(fd)
        for fd, listener in self._listeners.items():
            self._poller.unregister(fd)
            listener.close()
        self._listeners.clear()

    def _accept(self, listener: socket.socket, now_s: float) -> None:
        for _ in range(MOST_CONNECTIONS):
            try:
                sock, _ = listener.accept()
            except OSError:  # nobody is left; or out of descriptors, which ends by itself
                return
            sock.setblocking(False)
            if len(self._connections) >= MOST_CONNECTIONS:
                waiting = [fd for fd, each in self._connections.items() if each.answer is None]
                self._close((waiting or list(self._connections))[0])
            self._connections[sock.fileno()] = _Connection(sock, now_s)
            self._poller.register(sock.fileno(), select.POLLIN)

    def _advance(self, fd: int, connection: _Connection, now_s: float) -> None:
        if connection.answer is None:
            data = connection.sock.recv(MOST_HEAD)
            connection.head += data
            if b"\r\n\r\n" not in connection.head and b"\n\n" not in connection.head:
                if not data:
                    return self._close(fd)
                if len(connection.head) <= MOST_HEAD:
                    return None
            connection.answer = memoryview(respond(connection.head, self._answer))
            connection.deadline_s = now_s + PATIENCE_S
        if connection.answer:
            try:
                connection.answer = connection.answer[connection.sock.send(connection.answer) :]
            except BlockingIOError:
                pass
            if connection.answer:
                self._poller.modify(fd, select.POLLOUT)
                return None
            # What is still to come of the request has to be read: closing before makes the kernel send a reset, which
            # can take the answer with it (RFC 9112, 9.6).
            connection.sock.shutdown(socket.SHUT_WR)
            connection.deadline_s = now_s + _LINGER_S
            self._poller.modify(fd, select.POLLIN)
        data = connection.sock.recv(65536)
        connection.left -= len(data)
        if not data or connection.left < 0:
            self._close(fd)
        return None

    def _close(self, fd: int) -> None:
        self._poller.unregister(fd)
        self._connections.pop(fd).sock.close()


def respond(head: bytes, answer: Callable[[Request], Response]) -> bytes:
    """The whole response to what was received of a request."""
    method, response = _asked(head, answer)
    body = response.body.encode("utf-8", "backslashreplace")
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
        f"Content-Type: {response.kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(["Allow: GET, HEAD"] if response.status == 405 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)


def _asked(head: bytes, answer: Callable[[Request], Response]) -> tuple[str, Response]:
    text, ended, _ = head.decode("latin-1").replace("\r\n", "\n").partition("\n\n")
    if not ended or len(text) > MOST_HEAD:
        return "", Response(431, f"a request's head has {MOST_HEAD} bytes at most\n")
    first, *rest = text.split("\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        return "", Response(400, "not understood\n")
    method, target, version = words
    if not version.startswith("HTTP/1."):
        return "", Response(505, "HTTP/1.1 is spoken here\n")
    if method not in ("GET", "HEAD"):
        return method, Response(405, "GET and HEAD only\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if "://" in target:  # absolute form, as to a proxy (RFC 9112, 3.2.2)
        target = "/" + target.partition("://")[2].partition("/")[2]
    return method, answer(Request(target.partition("?")[0], headers))
