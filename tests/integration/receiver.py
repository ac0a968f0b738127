"""A web server on loopback that answers as a test wants: `ok`, `silent`, `refuse`, `redirect`, or a status (`500`)."""

from __future__ import annotations

import http.server
import threading
from typing import Any

from tests.telling import PATIENCE_S

LOCATIONS = ("file:///etc/passwd", "http://169.254.169.254/latest/meta-data/")


class Receiver:
    """`url` is its address; `requests` are (method, path, headers, body) in order of their coming."""

    def __init__(self, behaviour: str = "ok") -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._came = threading.Condition()
        self._over = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with outer._came:
                    outer.requests.append((self.command, self.path, dict(self.headers), body))
                    outer._came.notify_all()
                if outer.behaviour == "silent":
                    outer._over.wait(PATIENCE_S)
                    return
                self.send_response({"ok": 200, "redirect": 302}.get(outer.behaviour) or int(outer.behaviour))
                if outer.behaviour == "redirect":
                    self.send_header("Location", LOCATIONS[len(outer.requests) % 2])
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PUT = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Receiver:
        self._thread.start()
        if self.behaviour == "refuse":
            self._server.shutdown()
            self._server.server_close()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.behaviour != "refuse":
            self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for_request(self, count: int = 1) -> list[tuple[str, str, dict[str, str], bytes]]:
        """So many requests have come; all of them."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, PATIENCE_S), self.requests
        return self.requests
