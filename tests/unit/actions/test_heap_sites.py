"""tracemalloc's files and lines as functions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supervisor.actions import heap_memray, heap_sites, stacks
from supervisor.actions.task import Task

SOURCE = """import app

class Bus:
    def subscribe(self):
        def listener():
            return 1
        return listener

async def serve():
    pass
"""


def test_functions_by_their_lines() -> None:
    found = heap_sites.functions(SOURCE)
    names = [heap_sites.function_at(found, line) for line in range(1, 11)]
    assert names == [
        "<module>", "<module>", "Bus", "Bus.subscribe", "Bus.subscribe.listener", "Bus.subscribe.listener",
        "Bus.subscribe", "<module>", "serve", "serve",
    ]  # fmt: skip
    assert heap_sites.functions("def broken(:") == []
    assert heap_sites.functions("\0") == []


def test_what_guards_own_agent_allocated_is_left_out() -> None:
    """Also where its census called the standard library."""
    own = ["/venv/guard/supervisor/agent/_guard_census.py", 54]
    traces = {"sites": [[900, 1, [own]], [800, 1, [["/usr/lib/python3.11/json/encoder.py", 3], own]],
                        [7, 1, [["/gone.py", 3]]]]}  # fmt: skip
    assert heap_sites.counts(traces) == {"<module> (/gone.py:3)": 7}
    assert heap_sites.innermost(traces) == {"/gone.py:3": 7}


def test_a_recording_of_memrays_is_without_the_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.memray"
    path.write_bytes(b"recorded")
    held = {"main (/app.py:1);keep (/app.py:3)": 90, "_bootstrap (threading.py:9);listen (_guard_agent.py:54)": 10}
    monkeypatch.setattr(heap_memray.memray, "held_at_the_peak", lambda _: held)
    task = Task({"action": "heap-profile", "state": "ok", "pid": os.getpid(), "name": "1", "directory": str(tmp_path)})
    assert heap_memray.keep(task, str(path))[0] == {"main (/app.py:1);keep (/app.py:3)": 90}


def test_stacks_are_without_the_agents_thread(tmp_path: Path) -> None:
    spec = {"action": "stacks", "state": "critical", "pid": os.getpid(), "name": "1", "directory": str(tmp_path)}
    serving = {"name": "_Agent._serve", "filename": "/x/supervisor/agent/_guard_agent.py", "line": 9}
    accepting = {"name": "accept", "filename": "socket.py", "line": 9}
    main = {"thread_name": "MainThread", "frames": [{"name": "keep", "filename": "/app.py", "line": 3}]}
    threads = [main, {"thread_name": "guard", "frames": [accepting, serving]}]
    stacks.write(Task(spec | {"run": "r"}), threads, nonblocking=True)
    assert json.loads((tmp_path / "1.stacks.json").read_text())["threads"] == [main]


def test_stacks_are_root_first_with_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bus.py"
    path.write_text(SOURCE)
    stack = [[str(path), 6], [str(path), 7], [str(path), 1]]
    traces = {"sites": [[500, 2, stack], [100, 1, stack], [7, 1, [["/gone.py", 3]]], ["x"], [1, 1, []]]}
    assert heap_sites.counts(traces) == {
        f"<module> ({path}:1);Bus.subscribe ({path}:7);Bus.subscribe.listener ({path}:6)": 600,
        "<module> (/gone.py:3)": 7,
    }
    assert heap_sites.innermost(traces) == {f"{path}:6": 600, "/gone.py:3": 7}
    assert heap_sites.counts({"error": "no room"}) == {}
