"""Single probes of real sockets on loopback: answers, refusals, failures and hangs are told apart."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from supervisor import probe


class Handler(http.server.BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, self.headers["Authorization"]))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        else:
            self.send_response(int(self.path.lstrip("/").partition("?")[0] or 200))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"x" * 100)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    Handler.seen.clear()
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def ask(url: str, timeout_s: float = 20.0) -> dict[str, Any]:
    told, _ = probe.probe(probe.asker(url, timeout_s), timeout_s)
    return told


def test_a_page_is_an_answer_with_its_time(server: http.server.HTTPServer) -> None:
    told = ask(f"http://127.0.0.1:{server.server_port}")
    assert told["outcome"] == "answered" and 0 < told["elapsed_s"] < 20
    ask(f"http://me:p%40ss@127.0.0.1:{server.server_port}/204?a=b#c")
    assert Handler.seen == [("GET", "/", None), ("GET", "/204?a=b", "Basic bWU6cEBzcw==")]


@pytest.mark.parametrize(("path", "outcome"), [("404", "failed"), ("503", "failed"), ("redirect", "answered")])
def test_a_status_from_400_on_is_a_failure_and_a_redirect_is_not_followed(
    server: http.server.HTTPServer, path: str, outcome: str
) -> None:
    told = ask(f"http://127.0.0.1:{server.server_port}/{path}")
    assert (told["outcome"], told["said"]) == (outcome, f"status {path}" if outcome == "failed" else "")
    assert len(Handler.seen) == 1


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "tcp://127.0.0.1:{}", "unix:///nowhere/{}"])
def test_nobody_there_is_a_refusal(url: str) -> None:
    told = ask(url.format(free_port()))
    assert told["outcome"] == "refused" and told["said"]


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None], path: str | None = None) -> Iterator[int]:
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as bound:
        bound.bind(path or ("127.0.0.1", 0))
        bound.listen()

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = bound.accept()
                    with connected:
                        serve(connected)

        threading.Thread(target=run, daemon=True).start()
        yield 0 if path else bound.getsockname()[1]
        bound.shutdown(socket.SHUT_RDWR)


def drip(connected: socket.socket) -> None:
    """A byte now and then: no read ever times out, and the page never ends."""
    connected.recv(4096)
    connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(1000):
            connected.sendall(b"x")
            time.sleep(0.01)


def test_whatever_hangs_ends_with_the_deadline() -> None:
    for serve in (lambda connected: connected.recv(10) and time.sleep(1.0), drip):
        with listening(serve) as port:
            began_s = time.monotonic()
            told = ask(f"http://127.0.0.1:{port}/", 0.2)
            assert told == {"outcome": "timeout", "said": "no answer within 0.2 s", "elapsed_s": 0.2}
            assert time.monotonic() - began_s < 0.9  # less than the server takes


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_garbage_is_a_failure(answer: bytes) -> None:
    def serve(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(answer)

    with listening(serve) as port:
        told = ask(f"http://127.0.0.1:{port}/")
    assert told["outcome"] == "failed" and told["said"]


def test_a_connection_is_an_answer_of_tcp_and_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")

    def serve(connected: socket.socket) -> None:
        if connected.recv(4096).startswith(b"GET /health HTTP/1.1\r\n"):
            connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with listening(serve) as port:
        assert ask(f"tcp://127.0.0.1:{port}")["outcome"] == "answered"
    with listening(serve, path):
        assert ask(f"unix://{path}")["outcome"] == "answered"
        quoted = path.replace("/", "%2F")
        assert ask(f"http+unix://{quoted}/health")["outcome"] == "answered"


def test_a_page_without_end_is_read_in_part(server: http.server.HTTPServer) -> None:
    def serve(connected: socket.socket) -> None:
        connected.recv(4096)
        with contextlib.suppress(OSError):
            connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connected.sendall(b"x" * 65536)

    with listening(serve) as port:
        assert ask(f"http://127.0.0.1:{port}/")["outcome"] == "answered"


def test_a_certificate_counts_except_on_this_machine(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=elsewhere", "-days", "2"]
    try:
        subprocess.run([*line, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connected: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connected, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with listening(serve) as port:
        assert ask(f"https://127.0.0.1:{port}/")["outcome"] == "answered"
    modes = {host: probe._tls(host).verify_mode for host in ("example.org", "127.example.org", "10.0.0.1")}
    assert set(modes.values()) == {ssl.CERT_REQUIRED}
    assert {probe._tls(host).verify_mode for host in ("::1", "127.0.0.2", "localhost")} == {ssl.CERT_NONE}
