"""Whether a Python can be visited, and what it is given to run."""

from __future__ import annotations

import ast
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from supervisor.actions import heap_remote, nothing
from supervisor.actions.task import Pass, Skip, Task
from supervisor.agent import _guard_visit
from supervisor.profilers import remote, runner, runtime
from supervisor.profilers.failure import Failure

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
            nothing.heap(task)


class Runtime:
    """A runtime that takes up a script at once, or never."""

    others = 0

    def __init__(self, *, takes_up: bool) -> None:
        self.left = False
        self.place = ""
        self._takes_up = takes_up

    def leave(self, path: str) -> None:
        self.left = True
        self.place = os.path.dirname(path)

    def pending(self) -> bool:
        return not self._takes_up

    take_back = pending

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("takes_up", "reason"), [(True, "visit-silent"), (False, "main-thread-blocked")])
def test_a_script_that_may_still_be_opened_stays_until_it_runs(
    monkeypatch: pytest.MonkeyPatch, takes_up: bool, reason: str
) -> None:
    there = Runtime(takes_up=takes_up)
    monkeypatch.setattr(runtime, "open_runtime", lambda pid: there)
    monkeypatch.setattr(runner, "pause", lambda seconds, until=None: False)
    with pytest.raises(Failure, match=reason):
        remote.Visit(os.getpid(), 0.01)
    assert os.path.basename(there.place).startswith("guard-heap-")
    if takes_up:
        assert sorted(os.listdir(there.place)) == ["guard", "visit.py"]
        thread = threading.Thread(target=_guard_visit.visit, args=(there.place, {}))
        thread.start()
        thread.join()
    assert not os.path.exists(there.place)


def test_a_visit_that_fails_early_clears_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = _guard_visit._Library.fetch

    def without_sockets(library: _guard_visit._Library, name: str) -> Any:
        if name in ("_signal", "_socket"):
            raise ImportError(name)
        return fetch(library, name)

    monkeypatch.setattr(_guard_visit._Library, "fetch", without_sockets)
    _guard_visit.visit(str(tmp_path), {})
    assert not tmp_path.exists()
