import os
from typing import Any

import pytest

from supervisor.actions import node_cpu, node_heap, node_stacks
from supervisor.analysis import cpuprofile
from supervisor.profilers.inspector import Gone
from supervisor.profilers.runner import Interrupted


def test_the_rate_fits_into_the_budget() -> None:
    assert node_cpu.pace(500, 0.03) == (500, "as asked")
    rate, why = node_cpu.pace(10_000, 0.10)
    assert rate == 5000 and "10000 Hz would take more than 10%" in why
    assert node_cpu.pace(10_000, None)[0] == 10_000


def test_frames_of_a_node_are_without_guards_own() -> None:
    sites: list[Any] = [[None, None, 3], ["f", "file:///app/a.mjs", 7], [None, "/app/b.js", None]]
    assert node_stacks.frames(sites) == [
        {"name": "f", "filename": "/app/a.mjs", "line": 7, "locals": None},
        {"name": "(anonymous)", "filename": "/app/b.js", "line": 0, "locals": None},
    ]


def test_a_stack_of_guards_own_timer_is_none_of_the_programs() -> None:
    sites: list[Any] = [["slice", "node:buffer", 3], ["guardConnected", None, 7], ["listOnTimeout", "node:timers", 5]]
    assert node_stacks.frames(sites) == []
    sites[1][1] = "/app/a.js"
    assert len(node_stacks.frames(sites)) == 3


def call(number: int, name: str, *children: int) -> dict[str, Any]:
    frame = {"functionName": name, "url": "/a.js", "lineNumber": 1, "columnNumber": 0}
    return {"id": number, "callFrame": frame, "hitCount": 1, "children": list(children)}


def test_slices_are_joined_to_one_profile() -> None:
    first = {"nodes": [call(1, "(root)", 2, 3), call(2, "a"), call(3, "b")], "startTime": 10, "endTime": 40,
             "samples": [2, 3, 2], "timeDeltas": [10, 10, 10]}  # fmt: skip
    second = {"nodes": [call(7, "(root)", 9), call(9, "b", 8), call(8, "c")], "startTime": 50, "endTime": 70,
              "samples": [9, 8], "timeDeltas": [10, 10]}  # fmt: skip
    joined = cpuprofile.joined([first, second])
    assert (joined["startTime"], joined["endTime"], len(joined["nodes"])) == (10, 70, 4)
    found = cpuprofile.read(joined, keep=True)
    assert found.stacks == {"a (/a.js:2)": 20, "b (/a.js:2)": 20, "b (/a.js:2);c (/a.js:2)": 10}
    assert cpuprofile.read(cpuprofile.joined([first]), keep=True).stacks == cpuprofile.read(first, keep=True).stacks


class Kept:
    def __init__(self) -> None:
        self.pid = self.aimed = os.getpid()
        self.spec: dict[str, Any] = {"duration": None}
        self.written: dict[str, str] = {}

    def write(self, suffix: str, text: str) -> None:
        self.written[suffix] = text

    def tell_progress(self, **line: Any) -> None:
        pass


class Played:
    """A session with a Node that ends, or whose action is ended, while its worker threads are asked."""

    def __init__(self, what: type[Exception], document: dict[str, Any], task: Kept) -> None:
        self.what, self.document, self.task = what, document, task
        self.in_place: dict[str, str] = {}  # by the time that they are asked
        self.threads = self
        self.found = {"1": "1"}
        self.read: set[str] = set()
        self.posted: list[str] = []
        self.leaving = False

    def follow(self) -> None: ...

    def post(self, key: str, *messages: Any) -> None:
        self.posted.extend(method for method, _ in messages)

    def wait(self, seconds: float) -> bool:
        return True

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return {"profile": self.document}

    def ask(self, *messages: Any, within_s: float = 2.0) -> Any:
        self.in_place.update(self.task.written)
        raise self.what

    def forget_optimised(self, key: str) -> None: ...


@pytest.mark.parametrize("what", [Gone, Interrupted])
def test_a_slice_of_the_main_thread_is_in_place_before_workers_are_asked(what: type[Exception]) -> None:
    document = {"nodes": [call(1, "(root)", 2), call(2, "a")], "startTime": 0, "endTime": 40_000,
                "samples": [2, 2], "timeDeltas": [20_000, 20_000]}  # fmt: skip
    task = Kept()
    session = Played(what, document, task)
    recording = node_cpu._Recording(task, task.pid)  # type: ignore[arg-type]
    with pytest.raises(what):
        recording.run(session)  # type: ignore[arg-type]
    assert recording.pieces == 1 and session.in_place[".folded"].startswith("a (/a.js:2) ")
    assert session.posted == ["Profiler.enable", "Profiler.setSamplingInterval", "Profiler.start"]


@pytest.mark.parametrize("what", [Gone, Interrupted])
def test_what_the_main_thread_holds_is_in_place_before_workers_are_asked(what: type[Exception]) -> None:
    frame = {"functionName": "keep", "url": "/a.js", "lineNumber": 1, "columnNumber": 0}
    keep = {"callFrame": frame, "selfSize": 4096, "id": 2, "children": []}
    head = {"callFrame": {**frame, "functionName": "(root)"}, "selfSize": 0, "id": 1, "children": [keep]}
    document = {"head": head, "samples": [{"size": 4096, "nodeId": 2, "ordinal": 1}]}
    task = Kept()
    session = Played(what, document, task)
    follower = node_heap.Follower(task, None)  # type: ignore[arg-type]
    with pytest.raises(what):
        follower._greet_workers(session)  # type: ignore[arg-type]
        follower._read(session)  # type: ignore[arg-type]
    assert session.in_place[".folded"].startswith("keep (/a.js:2) 4096")
