"""`guard ctl` on the watcher's side: who comes to the door, what they ask, when they are told.

A connection is one request, a JSON line, and one answer, a JSON line. Nothing here waits: it is served from the
watcher's one poll. What comes in is bounded in size, in number and in time; an answer that isn't taken at once is lost.
Only guard's own user and root are heard: SO_PEERCRED (unix(7)) tells who they were when they connected.
"""

from __future__ import annotations

import _socket
import json
import math
import os
import select
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from supervisor.ctl.door import Door
from supervisor.model import VERBS, Asked

MOST_REQUEST_BYTES = 4096
MOST_ANSWER_BYTES = 65536
MOST_CLIENTS = 8
MOST_DURATION_S = 600.0
SILENCE_S = 2.0
_PAUSE_S = 1.0
_NAMES = frozenset(("verb", "pid", "duration_s", "wait"))


class BadRequest(ValueError):
    """What is wrong with it."""


def parse(line: bytes) -> tuple[str, int | None, float | None, bool]:
    """A request's verb, process, duration in seconds, and whether it waits for what comes of it. Raises BadRequest."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("it is no JSON") from None
    if not isinstance(found, dict) or not found.keys() <= _NAMES:
        raise BadRequest(f"it takes an object of {', '.join(sorted(_NAMES))}")
    verb, pid, duration_s, wait = (found.get(name) for name in ("verb", "pid", "duration_s", "wait"))
    if not isinstance(verb, str) or verb not in VERBS:
        raise BadRequest(f"verb takes one of {', '.join(VERBS)}")
    if pid is not None and (type(pid) is not int or not 0 < pid < 1 << 31):
        raise BadRequest("pid takes a process's number")
    if duration_s is not None:
        good = type(duration_s) in (int, float) and math.isfinite(duration_s) and 0 < duration_s <= MOST_DURATION_S
        if not good:
            raise BadRequest(f"duration_s takes seconds up to {MOST_DURATION_S:.0f}")
        duration_s = float(duration_s)
    if wait is not None and type(wait) is not bool:
        raise BadRequest("wait takes true or false")
    return verb, pid, duration_s, wait is not False


class _Client:
    """One connection. `asked`: its request, once it came whole; until then it has until `until_s`."""

    __slots__ = ("asked", "connection", "data", "peer_pid", "uid", "until_s", "wait")

    def __init__(self, connection: _socket.socket, peer_pid: int, uid: int, until_s: float) -> None:
        self.connection = connection
        self.peer_pid = peer_pid
        self.uid = uid
        self.until_s = until_s
        self.data = b""
        self.asked: Asked | None = None
        self.wait = True


class Control:
    """The clients of one guard, over all its target's lives.

    `news` waits in it: warnings (name, fields) for whoever has a log.
    """

    def __init__(self, poller: select.poll) -> None:
        self.news: list[tuple[str, dict[str, Any]]] = []
        self._poller = poller
        self._door: Door | None = None
        self._clients: dict[int, _Client] = {}
        self._count = 0
        self._paused_s: float | None = None
        self._uids = (os.geteuid(), 0)

    def attach(self, door: Door | None) -> None:
        """From now on they come to this door; who is here already stays."""
        self._shut()
        self._door = door
        if door is not None:
            self._poller.register(door.listener.fileno(), select.POLLIN)

    def _shut(self) -> None:
        if self._door is not None:
            if self._paused_s is None:
                self._poller.unregister(self._door.listener.fileno())
            self._door.close()
        self._door, self._paused_s = None, None

    def close(self, why: str = "the run has ended") -> None:
        """Nobody is heard any more; who still waits is told why."""
        self._shut()
        for client in list(self._clients.values()):
            self._tell(client, refusal(why))

    def serve(self, ready: Iterable[int], now_s: float) -> list[Asked]:
        """Who came and what they ask. `ready`: as poll told."""
        ready = set(ready)
        asked = []
        for fd in ready & self._clients.keys():
            found = self._read(self._clients[fd])
            if found is not None:
                asked.append(found)
        if self._door is not None and self._paused_s is None and self._door.listener.fileno() in ready:
            self._admit(self._door, now_s)
        return asked

    def enforce(self, now_s: float) -> float:
        """Drop who is silent for too long; seconds to the next look."""
        for client in [each for each in self._clients.values() if each.asked is None and now_s >= each.until_s]:
            self._tell(client, refusal(f"no request came within {SILENCE_S:.0f} s"))
        if self._paused_s is not None and now_s >= self._paused_s and self._door is not None:
            self._paused_s = None
            self._poller.register(self._door.listener.fileno(), select.POLLIN)
        due = [client.until_s for client in self._clients.values() if client.asked is None]
        due += [self._paused_s] if self._paused_s is not None else []
        return min(due) - now_s if due else float("inf")

    def answer(self, number: int, document: Mapping[str, Any]) -> None:
        """Tell the client of this request, if it is still there."""
        for client in list(self._clients.values()):
            if client.asked is not None and client.asked.number == number:
                self._tell(client, document)

    def under_way(self, number: int) -> None:
        """What it asked for has begun: who doesn't wait for the end is told."""
        client = next((each for each in self._clients.values() if each.asked and each.asked.number == number), None)
        if client is not None and not client.wait:
            self._tell(client, {"ok": True, "waited": False})

    def answer_all(self, verbs: Iterable[str], document: Mapping[str, Any]) -> None:
        """Tell everybody who waits for one of these."""
        verbs = tuple(verbs)
        for client in list(self._clients.values()):
            if client.asked is not None and client.asked.verb in verbs:
                self._tell(client, document)

    # -- connections ----------------------------------------------------------------------------------------------

    def _admit(self, door: Door, now_s: float) -> None:
        for _ in range(MOST_CLIENTS):
            try:
                fd, _ = door.listener._accept()  # type: ignore[attr-defined]  # typeshed leaves it out
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors, or of memory: poll would tell of them for ever
                self._poller.unregister(door.listener.fileno())
                self._paused_s = now_s + _PAUSE_S
                fields = {"reason": error.strerror or str(error), "path": door.where, "hint": "ulimit -n"}
                self.news.append(("ctl.failed", fields))
                return
            connection = _socket.socket(fileno=fd)
            connection.setblocking(False)
            peer_pid, uid = _peer(connection)
            client = _Client(connection, peer_pid, uid, now_s + SILENCE_S)
            self._clients[fd] = client
            self._poller.register(fd, select.POLLIN)
            if uid not in self._uids:
                self._refuse(client, "only the user that guard runs as and root may ask", f"sudo -u '#{self._uids[0]}'")
            elif len(self._clients) > MOST_CLIENTS:
                self._refuse(client, f"{MOST_CLIENTS} others ask already", "guard ctl again, later")

    def _read(self, client: _Client) -> Asked | None:
        try:
            data = client.connection.recv(MOST_REQUEST_BYTES + 1)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data or client.asked is not None:  # gone, or talking where it has to listen
            self._drop(client)
            return None
        client.data += data
        line, end, rest = client.data.partition(b"\n")
        if not end and len(client.data) <= MOST_REQUEST_BYTES:
            return None
        try:
            if not end or rest or len(line) > MOST_REQUEST_BYTES:
                raise BadRequest(f"it takes one line of {MOST_REQUEST_BYTES} bytes at most")
            verb, pid, duration_s, client.wait = parse(line)
        except BadRequest as error:
            self._refuse(client, f"not a request: {error}", "guard ctl --help")
            return None
        client.data = b""
        self._count += 1
        client.asked = Asked(self._count, verb, client.uid, client.peer_pid, pid, duration_s)
        return client.asked

    def _refuse(self, client: _Client, reason: str, hint: str) -> None:
        fields = {"uid": client.uid, "peer_pid": client.peer_pid, "reason": reason, "hint": hint}
        self.news.append(("ctl.refused", fields))
        self._tell(client, refusal(reason, hint))

    def _tell(self, client: _Client, document: Mapping[str, Any]) -> None:
        """One line, if it fits at once; then the connection is over."""
        line = json.dumps(document, default=str).encode("utf-8", "backslashreplace") + b"\n"
        if len(line) > MOST_ANSWER_BYTES:
            line = json.dumps(refusal("the answer is too long")).encode() + b"\n"
        try:
            client.connection.send(line, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it went away
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.connection.fileno()
        if self._clients.pop(fd, None) is not None:
            self._poller.unregister(fd)
            client.connection.close()


def refusal(reason: str, hint: str = "") -> dict[str, Any]:
    """The answer to what isn't done."""
    return {"ok": False, "error": reason, "hint": hint}


def _peer(connection: _socket.socket) -> tuple[int, int]:
    """Pid and uid of who connected: struct ucred. A uid that can't be told is nobody's, -1."""
    try:
        data = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    except OSError:
        return 0, -1
    return int.from_bytes(data[:4], sys.byteorder), int.from_bytes(data[4:8], sys.byteorder)
