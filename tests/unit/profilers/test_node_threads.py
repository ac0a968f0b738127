"""Worker threads of a Node, by a session and a clock that are played."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.profilers import node_threads
from supervisor.profilers.node_threads import ANSWER_S, BRIEF_S, Threads
from supervisor.profilers.runner import Interrupted


class Session:
    """Workers answer what they are asked when `listen` lets it in; those in `silent` keep it until they wake up."""

    collects = False
    leaving = False

    def __init__(self) -> None:
        self.threads = Threads(self)  # type: ignore[arg-type]
        self.asked: list[tuple[str, str]] = []
        self.silent: set[str] = set()
        self.answer: dict[str, Any] = {"result": {"profile": 1}}
        self.now_s = 0.0
        self.ends: str | None = None
        self.interrupts = False
        self._kept: list[tuple[str, int]] = []

    def post(self, method: str, **parameters: Any) -> None:
        assert method == "NodeWorker.sendMessageToWorker"
        message = json.loads(parameters["message"])
        self.asked.append((parameters["sessionId"], message["method"]))
        self._kept.append((parameters["sessionId"], message["id"]))

    def told(self, event: str, **parameters: Any) -> bool:
        return self.threads.take(f"NodeWorker.{event}", parameters)

    def come(self, *keys: str) -> None:
        for key in keys:
            assert self.told("attachedToWorker", sessionId=key, workerInfo={"workerId": f"1{key}"})

    def listen(self, seconds: float) -> None:
        """One message at a time; none costs the time."""
        if self.interrupts:
            self.interrupts = False
            raise Interrupted
        if self.ends is not None:
            self.told("detachedFromWorker", sessionId=self.ends)
            self.ends = None
            return
        for each in self._kept:
            if each[0] not in self.silent:
                self._kept.remove(each)
                told = json.dumps({"id": each[1], **self.answer})
                assert self.told("receivedMessageFromWorker", sessionId=each[0], message=told)
                return
        self.now_s += seconds

    def ask(self, **options: Any) -> list[str]:
        return [key for key, _ in self.threads.ask("Profiler.stop", ("Profiler.start", {}), **options)]

    def settle(self) -> None:
        for _ in range(len(self._kept)):
            self.listen(0)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    monkeypatch.setattr(node_threads, "time", SimpleNamespace(monotonic=lambda: made.now_s))
    return made


def test_workers_are_asked_through_the_session(session: Session) -> None:
    session.come("1", "2")
    assert not session.threads.take("HeapProfiler.lastSeenObjectId", {})
    assert list(session.threads.ask("Profiler.stop")) == [("1", {"profile": 1}), ("2", {"profile": 1})]
    assert session.threads.marked("1", "f (a.js:1)") == "thread (11): worker;f (a.js:1)"
    assert session.threads.note(".x") == ["Of 2 worker threads as well; the `.x` is the main thread's."]
    assert session.now_s == 0


def test_one_that_refuses_or_ends_is_not_waited_for(session: Session) -> None:
    session.come("1")
    session.answer = {"error": {"message": "no"}}
    assert session.ask() == [] and session.now_s == 0
    session.settle()
    session.ends = "1"
    assert session.ask() == [] and session.now_s == 0
    assert session.threads.found == {} and session.threads.read == set()


def test_many_that_wait_cost_the_time_of_one_and_that_once(session: Session) -> None:
    silent = [str(number) for number in range(20)]
    session.come(*silent, "20")
    session.silent = set(silent)
    assert session.ask() == ["20"] and session.now_s == ANSWER_S
    session.settle()
    session.asked.clear()
    assert session.ask() == ["20"] and session.now_s == ANSWER_S
    assert {key for key, _ in session.asked} == {"20"}
    (note,) = session.threads.note(".x")
    assert note.startswith("Of 1 of 21 worker threads as well; the others didn't answer") and len(note) < 200


def test_what_is_only_posted_is_not_waited_for(session: Session) -> None:
    session.come("1")
    session.silent = {"1"}
    session.threads.forget_optimised("1")
    session.threads.post("1", ("HeapProfiler.enable", {}))
    assert len(session.asked) == 4
    assert session.ask() == [] and session.now_s == 0 and len(session.asked) == 4


def test_one_that_wakes_up_is_read_late_and_asked_again(session: Session) -> None:
    session.come("1")
    session.silent = {"1"}
    assert session.ask(within_s=BRIEF_S) == [] and session.now_s == BRIEF_S
    session.silent = set()
    session.settle()
    assert session.ask() == ["1", "1"] and session.threads.read == {"1"}
    assert session.now_s == BRIEF_S


def test_a_process_that_comes_to_its_end_is_held_only_briefly(session: Session) -> None:
    session.come("1")
    session.silent, session.leaving = {"1"}, True
    assert session.ask() == [] and session.now_s == BRIEF_S


def test_who_answers_is_read_though_guard_ends_it(session: Session) -> None:
    session.come("1", "2")
    session.silent, session.interrupts = {"1"}, True
    found = session.threads.ask("Profiler.stop")
    assert next(found)[0] == "2"
    with pytest.raises(Interrupted):
        next(found)
    assert session.now_s == BRIEF_S
