"""A web server on loopback that takes what guard sends, or behaves badly."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.integration.loopback import Loopback, Request, body, reply
from tests.telling import PATIENCE_S

SECRETS = "http://169.254.169.254/latest/meta-data/"  # where a cloud's machines find theirs


class Receiver:
    """`url` is its address; `answer` a status, `hang` (never any) or `cut` (hangs up), and may change.

    `requests` are (method, path, headers, body) in the order of their coming, `got` the bodies that were taken by
    path. A redirect leads to `location`. After `close` nobody listens.
    """

    def __init__(
        self,
        answer: int | str = 200,
        *,
        location: str = "",
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.answer = answer
        self.location = location
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.got: dict[str, bytes] = {}
        self._came = threading.Condition()
        self._over = threading.Event()
        self._server = Loopback(self._take, certificate=certificate, key=key)
        self.url = self._server.url

    def _take(self, request: Request) -> None:
        came = b"" if self.answer == "cut" else body(request)
        with self._came:
            self.requests.append((request.command, request.path, dict(request.headers), came))
            self._came.notify_all()
        if self.answer == "cut":
            request.close_connection = True
            request.connection.close()
        elif self.answer == "hang":
            self._over.wait()
        else:
            assert isinstance(self.answer, int)
            if 200 <= self.answer < 300:
                self.got[request.path] = came
            reply(request, self.answer, location=self.location)

    def wait_for_request(self, count: int = 1) -> list[tuple[str, str, dict[str, str], bytes]]:
        """So many requests have come; all of them."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, PATIENCE_S), self.requests
        return self.requests

    def headers(self, name: str) -> set[str | None]:
        """All values that a header had."""
        return {headers.get(name) for _, _, headers, _ in self.requests}

    def names(self, query: str = "") -> set[str]:
        """The names of the files that were taken."""
        return {path.removesuffix(query).rpartition("/")[2] for path in self.got}

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it: who comes now is refused."""
        self._over.set()
        self._server.close()
