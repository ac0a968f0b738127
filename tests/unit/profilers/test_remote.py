"""Whether a Python can be visited, and what it is given to run."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions import heap_profile, heap_remote
from supervisor.actions.task import Pass, Skip, Task
from supervisor.profilers import remote, runtime
from supervisor.profilers.pyspy import Failure

GOOD: dict[str, Any] = {
    "python": "Python 3.14", "version": (3, 14), "enabled": True, "found": None, "stopped": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"version": (3, 15)}, None),
        ({"python": "", "version": None}, "not-python"),
        ({"version": (3, 13)}, "python-too-old"),
        ({"version": None, "found": Failure("runtime-unknown", "no cookie", "")}, "python-too-old"),
        ({"stopped": True}, "target-stopped"),
        ({"found": Failure("ptrace-refused", "no", "")}, "ptrace-refused"),
        ({"found": Failure("free-threaded", "no GIL", "x")}, "free-threaded"),
        ({"found": Failure("runtime-unknown", "3.16", "x"), "version": (3, 16)}, "runtime-unknown"),
        ({"enabled": False}, "remote-debug-off"),
    ],
)
def test_refusals(changes: dict[str, Any], reason: str | None) -> None:
    found = remote.refusal(remote.Facts(**{**GOOD, **changes}))
    assert (found[0] if found else None) == reason
    assert found is None or all(found)


def test_the_script_is_one_text_that_imports_nothing_of_guards() -> None:
    text = remote.script("/tmp/guard-heap-0123")
    names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    assert {each.name for node in names for each in node.names} == {"_thread", "_frozen_importlib"}
    (body,) = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)
               and isinstance(node.value, str) and "def visit" in node.value)  # fmt: skip
    assert "visit('/tmp/guard-heap-0123', {'_guard_census': " in body
    assert "from __future__" not in body and "supervisor" not in body.partition("visit('/tmp")[2]


def test_a_python_that_shows_no_runtime_is_told() -> None:
    with pytest.raises(Failure) as caught:
        runtime.open_runtime(os.getpid())  # the one that runs the tests is older
    assert caught.value.reason == "runtime-unknown"


def test_without_room_or_leave_nothing_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"action": "heap-profile", "state": "critical", "pid": os.getpid(), "name": "x", "directory": str(tmp_path)}
    monkeypatch.setattr(remote, "look", lambda pid: remote.Facts(**GOOD))
    monkeypatch.setattr(remote, "Visit", None)
    for more, reason in (({"headroom_bytes": 1 << 20}, "no-room"), ({"remote_exec": False}, "remote-exec-off")):
        task = Task({**spec, **more})
        task.passed.append(Pass("agent-silent", "it was started without a heap agent", "x"))
        with pytest.raises(Pass) as caught:
            heap_remote.take(task)
        assert caught.value.reason == reason and "without a heap agent; sys.remote_exec: " in caught.value.said
        with pytest.raises(Skip):  # in a run; who asked for it gets an error
            task.passed.append(caught.value)
            heap_profile.nothing(task)
