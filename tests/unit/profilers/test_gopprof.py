import gzip
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.analysis import pprof
from supervisor.profilers import gopprof, native, sockets
from supervisor.profilers.failure import Failure

DUMP = """\
goroutine 1 [chan receive, 3 minutes, locked to thread]:
main.(*Pool).Take(0xc000118000, {0x757d50, 0xc00012e690})
\t/srv/api/pool.go:26 +0xb5
main.handle[...](...)
\t/srv/api/main.go:38
net/http.HandlerFunc.ServeHTTP(0x0?, {0x7?, 0x1?}, 0x2?)
\t/usr/lib/go-1.19/src/net/http/server.go:2109 +0x2f
created by main.main in goroutine 1
\t/srv/api/main.go:12 +0x45

goroutine 7 gp=0xc0000061c0 m=nil [runnable]:
time.Sleep(0x1e8480)
\t/usr/lib/go-1.19/src/runtime/time.go:195 +0x135
"""


def test_goroutines() -> None:
    threads, told = gopprof.goroutines(42, DUMP)
    first, second = threads
    assert first["thread_name"] == "goroutine 1 [chan receive, 3 minutes, locked to thread]"
    assert (first["active"], second["active"]) == (False, True)
    assert [(frame["name"], frame["filename"], frame["line"]) for frame in first["frames"]] == [
        ("main.(*Pool).Take", "/srv/api/pool.go", 26),
        ("main.handle[...]", "/srv/api/main.go", 38),
        ("net/http.HandlerFunc.ServeHTTP", "[runtime]", 2109),
    ]
    assert told["count"] == 2
    assert {"count": 1, "state": "chan receive", "place": "main.(*Pool).Take (/srv/api/pool.go:26)"} in told["groups"]


def test_many_that_wait_in_one_place_are_one_group() -> None:
    block = "goroutine {} [chan send]:\nmain.push(0x1)\n\t/srv/queue.go:9 +0x1\n"
    threads, told = gopprof.goroutines(1, "\n".join(block.format(number) for number in range(1000)))
    assert len(threads) == 256 and told["count"] == 1000
    assert told["groups"] == [{"count": 1000, "state": "chan send", "place": "main.push (/srv/queue.go:9)"}]


@given(st.text() | st.text(st.sampled_from("goroutine 1[]:\n\t(){}.x")))
def test_no_text_is_a_fault(text: str) -> None:
    threads, told = gopprof.goroutines(1, text)
    assert told["count"] >= len(threads)


@pytest.mark.parametrize(
    ("function", "own"),
    [("runtime.malg", True), ("net/http.(*conn).serve", True), ("bytes.(*Buffer).grow", True), ("main.grow", False),
     ("github.com/gin-gonic/gin.(*Engine).Run", False), ("sort.part.0", False), ("sort_rows", False),
     ("time.constprop.0", False), ("log", False), ("app/net/http.x", False)],
)  # fmt: skip
def test_gos_own_library(function: str, own: bool) -> None:
    assert native.is_runtime(function) is own


def test_a_profile_tells_the_library_apart() -> None:
    data = pprof.render({"main.keep (/srv/a.go:3);bytes.grow (/usr/lib/go/src/bytes/buffer.go:9)": 7}, unit="bytes")
    assert gopprof.profile(data, "URL").stacks == {"main.keep (/srv/a.go:3);bytes.grow ([runtime])": 7}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html><body>Sign in</body>", "begins with '<html>"),
        (b"", "begins with ''"),
        (gzip.compress(b"no profile at all"), "no pprof profile|cut off or damaged"),
        (gzip.compress(os.urandom(1000))[:500], "cut off"),
        (b"\x1f\x8b" + b"x" * 50, "damaged"),
        (gzip.compress(bytes(65 << 20)), "more than 64 MiB"),
    ],
    ids=["html", "nothing", "other", "short", "broken", "bomb"],
)
def test_what_is_no_profile(data: bytes, said: str) -> None:
    with pytest.raises(Failure, match="pprof-garbage") as caught:
        gopprof.profile(data, "URL")
    assert any(words in caught.value.said for words in said.split("|"))


# -- a server that does as a test says -----------------------------------------------------------------------------

Behave = Callable[[socket.socket], None]


@pytest.fixture
def served() -> Iterator[Callable[[Behave], str]]:
    """The base URL of a server of this process that treats each connection as told."""
    listeners: list[socket.socket] = []

    def serve(behave: Behave) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        behave(connection)
            except OSError:
                pass

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(status: str, body: bytes) -> Behave:
    return lambda connection: connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode() + body)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(1 << 14):
        connection.sendall(bytes(65536))  # 1 GiB, if somebody takes it


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    connection.settimeout(0.02)
    for _ in range(500):
        connection.sendall(b"x")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize(
    ("behave", "reason", "said"),
    [
        (answer("404 Not Found", b"Unknown profile\n"), "pprof-refused", "answered 404: Unknown profile"),
        (answer("302 Found", b"<a href=x>"), "pprof-refused", "answered 302"),
        (answer("500 Oops", b"Could not enable CPU profiling: cpu profiling already in use"), "pprof-refused",
         "already in use"),
        (lambda connection: connection.sendall(b"SSH-2.0-server\r\n"), "pprof-refused", "SSH-2.0"),
        (lambda connection: None, "pprof-refused", "without response"),
        (flood, "pprof-flood", "it would have gone on"),
        (trickle, "pprof-hung", "no whole answer within 0.5 s"),
    ],
    ids=["404", "redirect", "busy", "ssh", "closed", "flood", "trickle"],
)  # fmt: skip
def test_answers_that_are_none(served: Callable[[Behave], str], behave: Behave, reason: str, said: str) -> None:
    source = gopprof.Source(served(behave))
    with pytest.raises(Failure, match=reason) as caught:
        source.fetch("heap", 0.5 if behave is trickle else 20.0)
    assert said in caught.value.said, caught.value.said


def test_a_port_of_somebody_else_is_not_asked(served: Callable[[Behave], str]) -> None:
    url = served(answer("200 OK", b"goroutine"))
    assert gopprof.find(os.getpid(), url).url == f"{url}/debug/pprof"
    assert gopprof.find(os.getpid(), f"{url}/internal/pprof/").url == f"{url}/internal/pprof"
    with pytest.raises(Failure, match="pprof-elsewhere"):
        gopprof.find(os.getpid(), url.replace("127.0.0.1", "192.0.2.1"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(Failure, match="pprof-elsewhere"):
        gopprof.find(os.getpid(), f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("address", "own", "others", "answers"),
    [
        ("127.0.0.1", ["127.0.0.1"], ["0.0.0.0", "::", "::1"], True),
        ("127.0.0.1", ["::ffff:127.0.0.1"], ["::"], True),
        ("127.0.0.1", ["0.0.0.0"], ["127.0.0.1"], False),
        ("127.0.0.1", ["0.0.0.0"], ["::ffff:127.0.0.1"], False),
        ("127.0.0.1", ["::"], ["0.0.0.0"], False),
        ("127.0.0.1", ["::"], ["::1", "192.0.2.1"], True),
        ("127.0.0.1", ["::1"], [], False),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.1"], False),  # SO_REUSEPORT
        ("::1", ["::"], ["127.0.0.1"], True),
        ("::1", ["::"], ["::1"], False),
        ("::1", ["0.0.0.0"], [], False),
        ("192.0.2.1", ["0.0.0.0", "::"], [], False),
        ("192.0.2.1", ["192.0.2.1"], [], True),
        ("example.org", ["127.0.0.1"], [], False),
    ],
)
def test_who_answers_at_an_address(address: str, own: list[str], others: list[str], answers: bool) -> None:
    def listeners(hosts: list[str]) -> list[sockets.Listener]:
        return [sockets.Listener(7, host, 6060) for host in hosts]

    assert gopprof.answers(address, 6060, listeners(own), listeners(others)) is answers
    assert not gopprof.answers(address, 6061, listeners(own), listeners(others))


def test_what_is_asked_is_the_address_that_it_listens_on() -> None:
    """Another process may have the port at the other address, and would get the password."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        source = gopprof.find(os.getpid(), f"http://user:hush@localhost:{port}")
        assert source.address == "127.0.0.1" and "localhost" in source.url
        with pytest.raises(Failure, match="pprof-elsewhere"):
            gopprof.find(os.getpid(), f"http://user:hush@[::1]:{port}")


def test_the_address_is_what_is_connected_to(served: Callable[[Behave], str]) -> None:
    port = served(answer("200 OK", b"goroutine")).rpartition(":")[2]
    assert gopprof.Source(f"http://name.invalid:{port}", "127.0.0.1").fetch("heap") == b"goroutine"


def test_its_own_ports_are_asked_by_auto(served: Callable[[Behave], str]) -> None:
    served(answer("404 Not Found", b""))
    url = served(answer("200 OK", b"<a href='goroutine?debug=1'>goroutine</a>"))
    assert gopprof.find(os.getpid(), "auto").url == f"{url}/debug/pprof"


def test_nothing_secret_is_told(served: Callable[[Behave], str]) -> None:
    url = served(answer("403 Forbidden", b"no")).replace("://", "://user:hush@") + "/token-hush"
    with pytest.raises(Failure) as caught:
        gopprof.Source(url).fetch("heap")
    assert "hush" not in caught.value.said + caught.value.hint and "403" in caught.value.said
