"""A real HTTP server on loopback that takes what guard ships, or behaves badly."""

from __future__ import annotations

import http.server
import ssl
import threading
from pathlib import Path


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
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                receiver._take(self)

            do_GET = do_POST = do_HEAD = do_PUT

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a guard that hung up
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _take(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        self.authorization.add(request.headers["Authorization"])
        self.asks.set()
        if self.answer == "cut":
            request.close_connection = True
            request.connection.close()
            return
        body = request.rfile.read(int(request.headers["Content-Length"] or 0))
        if self.answer == "hang":
            self._over.wait()
            return
        assert isinstance(self.answer, int)
        if 200 <= self.answer < 300:
            self.got[request.path] = body
        request.send_response(self.answer)
        if self.location:
            request.send_header("Location", self.location)
        request.send_header("Content-Length", "0")
        request.end_headers()

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
        self._server.shutdown()
        self._server.server_close()
