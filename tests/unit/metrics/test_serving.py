"""The small HTTP server: what it answers, and that no client takes more of it than its share."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.metrics import serving
from supervisor.metrics.serving import Request, Response, Server, respond


def answer(request: Request) -> Response:
    return Response(200, f"{request.path} {request.headers.get('accept', '')}")


class Served:
    """A server with a clock of the test's own."""

    def __init__(self) -> None:
        self.poller = select.poll()
        self.server = Server(self.poller, answer)
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.place = listener.getsockname()
        self.server.add(listener)
        self.now_s = 0.0
        self.clients: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.place)
        client.setblocking(False)
        client.sendall(data)
        self.clients.append(client)
        return client

    def turn(self) -> None:
        """Until nothing is ready any more."""
        while ready := dict(self.poller.poll(20)):
            self.server.step(ready, self.now_s)
        self.server.step({}, self.now_s)

    def close(self) -> None:
        self.server.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


def said(client: socket.socket) -> bytes | None:
    """All that came until the end; None while it is open."""
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return data
    return data


def test_a_request_is_answered(served: Served) -> None:
    client = served.connect(b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
    served.turn()
    head, _, body = (said(client) or b"").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 19" in head
    assert body == b"/metrics text/plain"


def test_a_request_in_pieces_is_answered(served: Served) -> None:
    client = served.connect()
    for piece in (b"GET /", b"x HTTP/1.1\r\nAcc", b"ept: a\r\n", b"\r\n"):
        client.sendall(piece)
        served.turn()
    assert (said(client) or b"").endswith(b"\r\n\r\n/x a")


def test_a_body_that_is_still_coming_does_not_cost_the_answer(served: Served) -> None:
    client = served.connect(b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
    served.turn()
    client.setblocking(True)
    client.sendall(b"x" * 40_000)
    client.shutdown(socket.SHUT_WR)
    served.turn()
    assert (said(client) or b"").startswith(b"HTTP/1.1 405 ")
    assert served.server.left_s(0.0) == float("inf")


def test_a_silent_client_is_closed_in_time(served: Served) -> None:
    silent, slow = served.connect(), served.connect(b"GET /metrics HTTP/1.1\r\n")
    served.turn()
    assert served.server.left_s(served.now_s) == serving.PATIENCE_S
    served.now_s = serving.PATIENCE_S - 0.1
    slow.sendall(b"X: a\r\n")  # a header now and then doesn't win time
    served.turn()
    assert said(silent) is None
    served.now_s = serving.PATIENCE_S
    served.turn()
    assert said(silent) == b"" and said(slow) == b""


def test_an_endless_head_is_refused(served: Served) -> None:
    client = served.connect(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000)
    served.turn()
    client.shutdown(socket.SHUT_WR)
    served.turn()
    assert (said(client) or b"").startswith(b"HTTP/1.1 431 ")


def test_one_that_talks_on_after_its_answer_is_closed(served: Served) -> None:
    client = served.connect(b"GET / HTTP/1.1\r\n\r\n")
    client.setblocking(True)
    client.settimeout(0.05)
    sent = 0
    with pytest.raises(OSError):
        while sent < 64 << 20:
            served.turn()
            sent += client.send(b"x" * 65536)
    assert sent < 8 << 20


def test_a_client_that_reads_nothing_holds_up_nobody(served: Served) -> None:
    served.server._answer = lambda request: Response(200, "x" * (8 << 20) if request.path == "/big" else "small")
    stuck = served.connect(b"GET /big HTTP/1.1\r\n\r\n")
    served.turn()
    client = served.connect(b"GET / HTTP/1.1\r\n\r\n")
    served.turn()
    assert (said(client) or b"").endswith(b"small")
    served.now_s = serving.PATIENCE_S
    served.turn()
    assert len(said(stuck) or b"") < 8 << 20


def test_many_that_ask_nothing_do_not_keep_one_out_that_asks(served: Served) -> None:
    crowd = [served.connect(b"GET") for _ in range(3 * serving.MOST_CONNECTIONS)]
    served.turn()
    client = served.connect(b"GET /metrics HTTP/1.1\r\n\r\n")
    served.turn()
    assert (said(client) or b"").startswith(b"HTTP/1.1 200 ")
    closed = sum(said(each) is not None for each in crowd)
    assert closed == len(crowd) - serving.MOST_CONNECTIONS + 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /a HTTP/1.0\r\n\r\n", 200),
        (b"GET http://x/a HTTP/1.1\r\n\r\n", 200),
        (b"GET /a HTTP/1.1\n\n", 200),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"DELETE /a HTTP/1.1\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\r\n\r\n", 400),
        (b"GET /a\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\n", 431),
    ],
)
def test_what_is_answered(head: bytes, status: int) -> None:
    assert respond(head, answer).startswith(f"HTTP/1.1 {status} ".encode())


def test_head_is_get_without_a_body() -> None:
    get, head = (respond(word + b" /a HTTP/1.1\r\n\r\n", answer) for word in (b"GET", b"HEAD"))
    assert get.startswith(head) and get.removeprefix(head) == b"/a "


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    for whole in (
        data,
        data + b"\r\n\r\n",
        b"GET /" + data + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + data + b"\n\n",
    ):
        status = int(respond(whole, answer).split(b" ", 2)[1])
        assert status in (200, 400, 405, 431, 505)
