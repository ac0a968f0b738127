"""A web server on loopback for tests: what comes is answered by a function, each request in a thread of its own."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

Request = http.server.BaseHTTPRequestHandler


class Loopback:
    """A server of every method, from its making until `close`. `url` is its address."""

    def __init__(
        self, answer: Callable[[Request], None], *, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        class Handler(Request):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                answer(self)

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
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it: who comes now is refused."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


def body(request: Request) -> bytes:
    """What came with it."""
    return request.rfile.read(int(request.headers["Content-Length"] or 0))


def reply(request: Request, status: int, said: bytes = b"", location: str = "") -> None:
    """Answer it, whole."""
    request.send_response(status)
    if location:
        request.send_header("Location", location)
    request.send_header("Content-Length", str(len(said)))
    request.end_headers()
    request.wfile.write(said)
