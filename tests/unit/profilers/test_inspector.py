import socket
import sys

import pytest

from supervisor import installing
from supervisor.profilers import inspector
from supervisor.profilers.failure import Failure


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websocket", None)
    with pytest.raises(Failure) as caught:
        inspector._library()
    assert caught.value.reason == "node-extra-missing" and caught.value.hint == installing.extra("node")


class Socket:
    """Answers each call with the messages it was given, then closes."""

    def __init__(self, *messages: str) -> None:
        self.messages = [*messages]
        self.sent: list[str] = []
        self.sock, self._other = socket.socketpair()
        self._other.send(b"always readable")

    def send(self, text: str) -> None:
        self.sent.append(text)

    def recv(self) -> str:
        return self.messages.pop(0) if self.messages else ""

    def close(self, timeout: float) -> None:
        self.sock.close()
        self._other.close()


def session(*messages: str) -> inspector.Session:
    return inspector.Session(1, Socket(*messages), was_open=True)


def test_events_between_a_call_and_its_answer_are_told() -> None:
    found = session('{"method": "X.y", "params": {"a": 1}}', '{"id": 1, "result": {"b": 2}}')
    events: list[tuple[str, dict[str, int]]] = []
    found.on_event = lambda name, parameters: events.append((name, parameters))
    assert found.call("A.b") == {"b": 2} and events == [("X.y", {"a": 1})]
    found.close()


def test_errors_a_closed_door_and_nonsense_are_told() -> None:
    refused = session('{"id": 1, "error": {"message": "no such method"}}')
    with pytest.raises(Failure, match="inspector-refused"):
        refused.call("A.b")
    refused.close()
    for messages in ((), ("[1]",), ("{",)):
        found = session(*messages)
        with pytest.raises(inspector.Gone):
            found.call("A.b")
        found.close()


def test_no_javascript_is_run_in_a_process_that_has_come_to_its_end() -> None:
    found = session('{"method": "NodeRuntime.waitingForDisconnect", "params": {}}')
    assert not found.wait(5) and found.leaving
    with pytest.raises(inspector.Gone):
        found.evaluate("1")
    assert found._socket.sent == []
    found.close()


def test_a_stream_is_passed_on_in_pieces() -> None:
    piece = '{"method": "H.chunk", "params": {"chunk": "%s"}}'
    found = session(piece % "ab", piece % "cd", '{"id": 1, "result": {}}')
    assert list(found.stream("H.take", "H.chunk", "chunk", 5.0)) == [b"ab", b"cd"]
    found.close()
