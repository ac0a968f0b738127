from typing import Any

from supervisor.actions import node_cpu, node_stacks
from supervisor.analysis import cpuprofile


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
