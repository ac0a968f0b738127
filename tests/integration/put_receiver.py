"""A web server on loopback that takes what guard ships, or behaves badly."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.integration.loopback import Loopback, Request, body, reply


class Receiver:
    """What arrived is in `got` by path. `answer` is a status, `hang` (never any), or `cut` (hangs up)."""

    def __init__(self, *, certificate: Path | None = None, key: Path | None = None) -> None:
        self.answer: int | str = 201
        self.location = ""
        self.got: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.authorization: set[str | None] = set()
        self.asks = threading.Event()
        self._over = threading.Event()
        self._server = Loopback(self._take, certificate=certificate, key=key)
        self.port = self._server.port

    def _take(self, request: Request) -> None:
        self.asked.append(f"{request.command} {request.path}")
        self.authorization.add(request.headers["Authorization"])
        self.asks.set()
        if self.answer == "cut":
            request.close_connection = True
            request.connection.close()
            return
        came = body(request)
        if self.answer == "hang":
            self._over.wait()
            return
        assert isinstance(self.answer, int)
        if 200 <= self.answer < 300:
            self.got[request.path] = came
        reply(request, self.answer, location=self.location)

    def names(self, query: str = "") -> set[str]:
        """The names of the files that arrived."""
        return {path.removesuffix(query).rpartition("/")[2] for path in self.got}

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._server.close()
