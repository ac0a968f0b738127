"""A receiver of messages on loopback, as a test wants it: `ok`, `silent`, `refuse`, `redirect`, or a status (`500`)."""

from __future__ import annotations

import threading

from tests.integration.loopback import Loopback, Request, body, reply
from tests.telling import PATIENCE_S

LOCATIONS = ("file:///etc/passwd", "http://169.254.169.254/latest/meta-data/")


class Receiver:
    """`url` is its address; `requests` are (method, path, headers, body) in order of their coming."""

    def __init__(self, behaviour: str = "ok") -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._came = threading.Condition()
        self._over = threading.Event()
        self._server = Loopback(self._answer)
        self.url = self._server.url

    def _answer(self, request: Request) -> None:
        came = (request.command, request.path, dict(request.headers), body(request))
        with self._came:
            self.requests.append(came)
            self._came.notify_all()
        if self.behaviour == "silent":
            self._over.wait(PATIENCE_S)
        elif self.behaviour == "redirect":
            reply(request, 302, location=LOCATIONS[len(self.requests) % 2])
        else:
            reply(request, 200 if self.behaviour == "ok" else int(self.behaviour))

    def __enter__(self) -> Receiver:
        if self.behaviour == "refuse":
            self._server.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.close()

    def wait_for_request(self, count: int = 1) -> list[tuple[str, str, dict[str, str], bytes]]:
        """So many requests have come; all of them."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, PATIENCE_S), self.requests
        return self.requests
