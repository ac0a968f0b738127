"""Worker threads of a Node, by a session that is played."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.profilers import node_threads
from supervisor.profilers.node_threads import Threads
from supervisor.profilers.pyspy import Failure


class Session:
    """Answers what workers are asked by `answer`; None: that worker says nothing."""

    pid = 7
    collects = False

    def __init__(self) -> None:
        self.threads = Threads(self)  # type: ignore[arg-type]
        self.asked: list[tuple[str, str]] = []
        self.answer: dict[str, Any] | None = {"result": {"profile": 1}}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        if method == "NodeWorker.sendMessageToWorker":
            message = json.loads(parameters["message"])
            self.asked.append((parameters["sessionId"], message["method"]))
            if self.answer is not None:
                told = json.dumps({"id": message["id"], **self.answer})
                self.told("receivedMessageFromWorker", sessionId=parameters["sessionId"], message=told)
        return {}

    def told(self, event: str, **parameters: Any) -> bool:
        return self.threads.take(f"NodeWorker.{event}", parameters)

    def listen(self, seconds: float) -> None:
        self.told("detachedFromWorker", sessionId="1")


def test_a_worker_is_asked_through_the_session_and_forgotten_when_it_has_ended() -> None:
    session = Session()
    assert session.told("attachedToWorker", sessionId="1", workerInfo={"workerId": "4"})
    assert not session.threads.take("HeapProfiler.lastSeenObjectId", {})
    assert session.threads.call("1", "Profiler.stop") == {"profile": 1}
    assert session.threads.marked("1", "f (a.js:1)") == "thread (4): worker;f (a.js:1)"
    session.answer = {"error": {"message": "no"}}
    with pytest.raises(Failure) as caught:
        session.threads.call("1", "Profiler.start")
    assert caught.value.reason == "inspector-refused" and "no" in caught.value.said
    session.answer = None
    with pytest.raises(Failure) as caught:
        session.threads.call("1", "Profiler.start")
    assert caught.value.reason == "worker-gone" and session.threads.found == {} and session.threads.most == 1


def test_one_that_waits_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    session.told("attachedToWorker", sessionId="2", workerInfo={"workerId": "2"})
    session.answer = None
    monkeypatch.setattr(node_threads, "_ANSWER_S", 0.0)
    with pytest.raises(Failure) as caught:
        session.threads.call("2", "Profiler.start")
    assert caught.value.reason == "worker-silent" and session.threads.found == {}
